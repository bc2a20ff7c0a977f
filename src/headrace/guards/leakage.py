"""Does an output give away what is private: the canary, a secret, the instructions?

A canary and secrets are looked for as they are, with signs or blanks put between their letters,
backwards, and in base64 and hexadecimal. Instructions count as repeated where an output shares long
runs of words with them; a fact of ten words that stands in a prompt may be said. It compares texts;
what is private is the caller's to say. A translation, a summary or a cipher passes: no filter on the
output can promise more.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence

from headrace.text import word_spans
from headrace.types import Finding

GUARD = "leakage"
SHORTEST = 8  # letters and digits: anything shorter occurs by chance
RUN = 8  # words in a row that count as shared
LONG_RUN = 30  # words in a row that are a leak by themselves
SHARE = 0.2  # of the instructions' runs
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}[ :]?){8,}")
_SIGNS = re.compile(r"[\W_]+")


def find(
    text: str,
    canary: str = "",
    secrets: Sequence[str] = (),
    *,
    prompt: str = "",
    where: str = "answer",
) -> list[Finding]:
    """What of the ``canary``, the ``secrets`` and the ``prompt`` (the instructions) the text repeats.

    A message never holds the secret itself. Secrets of fewer than eight letters are not looked for:
    they would occur by chance.

    >>> [f.message for f in find("It is 2-1-y-r-a-n-a-c.", "canary12")]
    ['It repeats the private part of the instructions (backwards).']
    """
    found = []
    for secret, what in (
        (canary, "the private part of the instructions"),
        *((s, "a secret") for s in secrets),
    ):
        if hit := _hidden(text, secret):
            form, start, end = hit
            message = f"It repeats {what}" + (f" ({form})." if form else ".")
            found.append(_finding(message, where, start, end))
    if run := _repeated(text, prompt):
        words, share, start, end = run
        found.append(
            _finding(
                f"It repeats the instructions: {words} words in a row, {share:.0%} of them in all.",
                where,
                start,
                end,
            )
        )
    return found


def _finding(message: str, where: str, start: int | None, end: int | None) -> Finding:
    return Finding(guard=GUARD, message=message, severity="block", where=where, start=start, end=end)


def _hidden(text: str, secret: str) -> tuple[str, int | None, int | None] | None:
    """(form, start, end) of a secret in a text; "" is the form it has."""
    letters = _SIGNS.sub("", secret).lower()
    if len(letters) < SHORTEST:
        return None
    at = text.lower().find(secret.lower())
    if at >= 0:
        return "", at, at + len(secret)
    plain = _SIGNS.sub("", text).lower()
    if letters in plain:
        return "with signs between its letters", None, None
    if letters[::-1] in plain:
        return "backwards", None, None
    for form, decoded in _decoded(text):
        if letters in _SIGNS.sub("", decoded).lower():
            return form, None, None
    return None


def _decoded(text: str) -> Iterator[tuple[str, str]]:
    """What runs of base64 and of hexadecimal digits say, the blanks within them taken out too."""
    for whole in (text, "".join(text.split())):
        for match in _BASE64.finditer(whole):
            blob = match.group().replace("-", "+").replace("_", "/").rstrip("=")
            for cut in range(4):  # a blob may begin in the middle of other letters
                part = blob[cut:]
                try:
                    part = part[: len(part) - (1 if len(part) % 4 == 1 else 0)]
                    yield "in base64", base64.b64decode(part + "=" * (-len(part) % 4)).decode("latin-1")
                except (binascii.Error, ValueError):
                    continue
        for match in _HEX.finditer(whole):
            digits = re.sub(r"[ :]", "", match.group())
            yield "in hexadecimal", bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("latin-1")


def _repeated(text: str, prompt: str) -> tuple[int, float, int, int] | None:
    """(words in a row, share of the prompt's runs, start, end) where a text repeats a prompt too much."""
    theirs = [prompt[s:e].lower() for s, e in word_spans(prompt)]
    spans = word_spans(text)
    ours = [text[s:e].lower() for s, e in spans]
    runs = {tuple(theirs[i : i + RUN]) for i in range(len(theirs) - RUN + 1)}
    if not runs or len(ours) < RUN:
        return None
    shared, longest, best, length = set(), 0, 0, 0
    for i in range(len(ours) - RUN + 1):
        here = tuple(ours[i : i + RUN])
        if here in runs:
            shared.add(here)
            length = length + 1 if length else RUN
            if length > longest:
                longest, best = length, i + RUN
        else:
            length = 0
    share = len(shared) / len(runs)
    if longest < LONG_RUN and (share < SHARE or longest < 2 * RUN):
        return None
    return longest, share, spans[best - longest][0], spans[best - 1][1]
