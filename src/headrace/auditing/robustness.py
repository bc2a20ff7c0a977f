"""Does an answer stay when its question is written worse: typos, capitals, white space, punctuation, order?

Each kind has a pass rate with its interval, seeded: the same inputs and seed give the same variants.
``measure`` takes any function of a text, ``measure_order`` one of a question and passages. What "the
same answer" means is an argument; by default labels must be equal and texts share most of their
content words (after CheckList's invariance tests, Ribeiro et al., ACL 2020).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headrace import request
from headrace.errors import InputError
from headrace.measure.metrics import abstained, text_of
from headrace.measure.statistics import Interval, rate
from headrace.text import content_words, normalise
from headrace.types import Passages

KINDS = ("typos", "lower case", "upper case", "white space", "punctuation")
ORDER = "order of passages"
ALIKE = 0.6  # F1 of content words from which two answers are taken for one
_TYPOS = 0.06  # of the letters of longer words
_NEAR = dict(zip("qwertyuiopasdfghjklzxcvbnm", "wertyuioopsdfghjklkxcvbnmn", strict=True))

Same = Callable[[Any, Any], bool]


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Of one kind: the pass rate, and the inputs whose answer changed ``(input, variant, before, after)``.

    ``skipped``: inputs that the kind leaves as they are; they are not in the rate.
    """

    kind: str
    rate: Interval
    changed: tuple[tuple[Any, Any, Any, Any], ...]
    skipped: int


def variant(text: str, kind: str, seed: int = 0) -> str:
    """The text, written worse in this way; numbers are never touched."""
    rng = random.Random(f"{seed}:{kind}:{text}")
    if kind == "typos":
        return re.sub(r"[^\W\d_]{4,}", lambda match: _typos(match[0], rng), text)
    if kind == "lower case":
        return text.lower()
    if kind == "upper case":
        return text.upper()
    if kind == "white space":
        return "  " + re.sub(r" ", lambda _: rng.choice((" ", "  ", "\t", " \n")), text) + " \n"
    if kind == "punctuation":
        bare = re.sub(r"(?<!\d)[.,;:!?…](?!\d)", "", text).rstrip()
        return bare if bare != text else text + rng.choice((".", "??", " !"))
    raise InputError(f"There is no kind of change {kind!r}.", hint=f"Known: {', '.join(KINDS)}.")


def _typos(word: str, rng: random.Random) -> str:
    """At most one slip a word: two letters swapped, one left out, doubled, or its neighbour's key."""
    if rng.random() > _TYPOS * len(word):
        return word
    at = rng.randrange(1, len(word) - 1)
    kind = rng.choice(("swap", "drop", "double", "neighbour"))
    if kind == "swap":
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == "drop":
        return word[:at] + word[at + 1 :]
    if kind == "double":
        return word[:at] + word[at] * 2 + word[at + 1 :]
    return word[:at] + _NEAR.get(word[at], word[at]) + word[at + 1 :]


def same_answer(before: Any, after: Any) -> bool:
    """Equal best labels; both declined; or texts that share most of their content words."""
    labels = [_label(value) for value in (before, after)]
    if None not in labels:
        return labels[0] == labels[1]
    if abstained(before) or abstained(after):
        return abstained(before) and abstained(after)
    one, other = text_of(before), text_of(after)
    if normalise(one) == normalise(other):
        return True
    mine, theirs = Counter(content_words(one)), Counter(content_words(other))
    shared = sum((mine & theirs).values())
    return bool(shared) and 2 * shared / (mine.total() + theirs.total()) >= ALIKE


def _label(value: Any) -> str | None:
    first = value[0] if isinstance(value, Sequence) and not isinstance(value, str) and value else value
    return str(first["label"]) if isinstance(first, Mapping) and "label" in first else None


def measure(
    function: Callable[[str], Any],
    texts: Sequence[str],
    *,
    kinds: Sequence[str] = KINDS,
    same: Same = same_answer,
    seed: int = 0,
    confidence: float = 0.95,
) -> list[Robustness]:
    """The pass rate of each kind over the texts; the function runs once a text and once a variant."""
    if not texts:
        raise InputError("There is nothing to change.", hint="Give at least one text.")
    before = [function(text) for text in texts]
    found = []
    for kind in kinds:
        pairs = [(text, variant(text, kind, seed), old) for text, old in zip(texts, before, strict=True)]
        found.append(_measured(kind, pairs, function, same, confidence))
    return found


def measure_order(
    function: Callable[[str, Sequence[Any]], Any],
    rows: Sequence[tuple[str, Sequence[Any]]],
    *,
    same: Same = same_answer,
    seed: int = 0,
    confidence: float = 0.95,
) -> Robustness:
    """The pass rate where the passages of each ``(question, passages)`` come in another order."""
    pairs = []
    for question, passages in rows:
        other = tuple(turned(passages, f"{seed}:{question}"))
        pairs.append(((question, tuple(passages)), (question, other), function(question, passages)))
    return _measured(ORDER, pairs, lambda pair: function(*pair), same, confidence)


class Turned:
    """What stands in for a knowledge base: it finds what that finds, in another order, seeded."""

    def __init__(self, engine: Any, seed: int = 0) -> None:
        self._engine, self._seed = engine, seed

    def search(self, query: str, *args: Any, **options: Any) -> Passages:
        """The same passages, never in the order in which they were found (where there are two)."""
        found: Passages = self._engine.search(query, *args, **options)
        return replace(found, items=tuple(turned(found.items, f"{self._seed}:{query}")))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def turned(items: Sequence[Any], seed: str) -> list[Any]:
    """The items in another order."""
    other = list(items)
    random.Random(seed).shuffle(other)
    if other == list(items):
        other.reverse()
    return other


def _measured(
    kind: str,
    pairs: Sequence[tuple[Any, Any, Any]],
    function: Callable[[Any], Any],
    same: Same,
    confidence: float,
) -> Robustness:
    changed = []
    tried = 0
    for given, worse, before in pairs:
        if worse == given:
            continue
        request.checkpoint()
        tried += 1
        after = function(worse)
        if not same(before, after):
            changed.append((given, worse, before, after))
    return Robustness(
        kind=kind,
        rate=rate(tried - len(changed), tried, confidence),
        changed=tuple(changed),
        skipped=len(pairs) - tried,
    )
