"""Fences: marks round text that comes from elsewhere, so that a model can tell data from orders.

Three habits, all cheap and none of them a proof against injection: marks with a random part that
the enclosed text cannot know ("spotlighting by delimiting", Hines et al., arXiv:2403.14720), the
order repeated after the data ("sandwich"), and a canary in the instructions whose appearance in an
answer shows that they leaked. Look-alikes of chat marks within the data are broken up.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

from headrace.errors import InputError

# Marks by which chat formats begin a turn: ChatML, Llama 2 and 3, Mistral, Gemma, Phi, DeepSeek.
_CONTROL = re.compile(
    r"<\|[\w./-]{1,40}\|>|<｜[^｜>]{1,40}｜>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS)\]"
    r"|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad)>",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"^([ \t]*)\[(\d{1,4})\]", re.MULTILINE)
_FENCE = re.compile(r"<<(?=\s*(?:begin|end)\b)", re.IGNORECASE)
_JOINER = "\u2060"  # word joiner: no width, breaks a mark up without changing what a person reads


@dataclass(frozen=True)
class Fence:
    """The two lines round a text. ``token`` is their random part."""

    token: str
    label: str

    @property
    def open(self) -> str:
        return f"<<begin {self.label} {self.token}>>"

    @property
    def close(self) -> str:
        return f"<<end {self.label} {self.token}>>"

    def around(self, text: str) -> str:
        """The text between its marks, each on a line of its own."""
        return f"{self.open}\n{text}\n{self.close}"


def make_fence(texts: Iterable[str], *, label: str = "passages", rng: random.Random | None = None) -> Fence:
    """A fence whose random part (64 bits) occurs in none of the texts, in any case of letters."""
    rng = rng or random.SystemRandom()
    known = [text.lower() for text in texts]
    while True:
        token = f"{rng.getrandbits(64):016x}"
        if not any(token in text for text in known):
            return Fence(token, label)


DELIMITERS = ("###", '"""', "```", "~~~", "=====", "-----")


def choose_delimiter(texts: Iterable[str], *, rng: random.Random | None = None) -> str:
    """The first of the usual delimiters that occurs in none of the texts; where all do, a random one.

    The choice depends on the texts, so the same prompt is the same text again; and whoever writes
    one into the data only moves the choice to the next.
    """
    known = list(texts)
    for delimiter in DELIMITERS:
        if not any(delimiter in text for text in known):
            return delimiter
    return f"== {make_fence(known, rng=rng).token} =="


def without(text: str, delimiter: str) -> str:
    """The text with every copy of a delimiter broken up, so that it stands nowhere within."""
    if len(delimiter) < 2:
        raise InputError(f"The delimiter {delimiter!r} is too short.", hint="Use one like '###'.")
    while delimiter in text:  # what is broken up may form another copy: "####" holds two of "###"
        text = text.replace(delimiter, delimiter[0] + _JOINER + delimiter[1:])
    return text


def without_turns(text: str) -> str:
    """Foreign text without marks that a chat format takes for the beginning or end of a turn."""
    return _CONTROL.sub(lambda match: match.group()[0] + _JOINER + match.group()[1:], text)


def neutralise(text: str) -> str:
    """Foreign text without marks that a model could take for the end of a turn, of the data or of
    a passage: an invisible joiner breaks them up. Offsets into the result mean nothing."""
    text = without_turns(text)
    text = _FENCE.sub(f"<{_JOINER}<", text)
    return _NUMBER.sub(rf"\1[{_JOINER}\2]", text)


def make_canary(*, rng: random.Random | None = None) -> str:
    """A word that no text contains by chance."""
    return f"canary-{(rng or random.SystemRandom()).getrandbits(48):012x}"


def leaked(canary: str, text: str) -> bool:
    """Whether a text gives the canary away, also with blanks or signs put in between."""
    if not canary:
        return False
    plain = re.sub(r"[\W_]+", "", text).lower()
    return re.sub(r"[\W_]+", "", canary).lower() in plain


def sandwich(before: str, data: str, after: str) -> str:
    """Orders, data, and the orders again in short: the last word is ours."""
    return f"{before}\n\n{data}\n\n{after}"
