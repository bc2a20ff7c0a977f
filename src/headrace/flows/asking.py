"""Reading a question: its content words with their weights, and the kind of answer it wants.

Pure functions over text; English question words, and by words alone for other languages. No
vocabulary of any data set. Search has its own analysis of words (tantivy's); this one is light.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from headrace.text import STOPWORDS, stem, word_spans

NUMBER_WORDS = frozenset(
    """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand
    million billion trillion dozen half quarter third twice once double triple none zero several many few
    percent""".split()
)
TIME_WORDS = frozenset(
    """january february march april may june july august september october november december monday
    tuesday wednesday thursday friday saturday sunday century centuries decade year years month months
    week weeks day days hour hours morning evening noon midnight today yesterday tomorrow spring summer
    autumn winter ago era bc ad""".split()
)
REASON_WORDS = frozenset(
    """because since due reason reasons therefore thus hence so cause caused causes causing led leading
    result resulted owing order allow allows prevent prevents avoid as to for by""".split()
)

_THE = r"(?:is |was |were |are )?(?:the )?(?:total |average |maximum |minimum )?"
_QUANTITIES = "number percentage percent amount population age size length height distance cost price rate"
_DEGREES = "many much old long far tall high big large often fast deep wide heavy"
_TIMES = "year years date day month century decade time era season"
_PERSONS = "person people man woman name company team author organization organisation group"
_PLACES = "city country state place location region town river island continent area street"


def _alternatives(nouns: str) -> str:
    return "(?:" + "|".join(nouns.split()) + r")\b"


_ASKS = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        ("number", rf"\bhow {_alternatives(_DEGREES)}"),
        ("number", rf"\b(?:what|which) {_THE}{_alternatives(_QUANTITIES)}"),
        ("time", rf"\bwhen\b|\b(?:what|which) (?:\w+ )?{_alternatives(_TIMES)}"),
        ("name", rf"\bwho\b|\bwhom\b|\bwhose\b|\b(?:what|which) (?:\w+ )?{_alternatives(_PERSONS)}"),
        ("place", rf"\bwhere\b|\b(?:what|which) (?:\w+ )?{_alternatives(_PLACES)}"),
        ("reason", r"\bwhy\b|\bwhat (?:is|was|were|are)? ?(?:the )?(?:reason|cause|purpose)\b"),
    )
)
# Words that ask and name nothing: stop words hold the rest.
_ASKING = frozenset("what which who whom whose where when why how much many please tell say explain".split())
_COUNTED = re.compile(r"\bhow (?:many|much)\s+((?:\S+\s+){0,2}\S+)", re.IGNORECASE)
_NEAR = 0.6  # what a relative of a word counts (elect, election); between a hit and a miss
_UNKNOWN = 0.05  # the least weight of a term: none is worth nothing


@dataclass(frozen=True)
class Term:
    """A content word of the question. ``weight`` is its idf; ``name``: capitalised or a number."""

    word: str
    stem: str
    weight: float
    name: bool


@dataclass(frozen=True)
class Question:
    """What is asked.

    ``terms``: content words in order, each once. ``kind`` of answer: ``number, time, name, place,
    reason`` or "" (any). ``roots``: the stems of all its words, stop words too, in order.
    ``counted``: the stems that follow "how many".
    """

    text: str
    terms: tuple[Term, ...]
    kind: str
    roots: tuple[str, ...]
    counted: frozenset[str]

    @property
    def total(self) -> float:
        """The sum of the weights, above 0."""
        return sum(term.weight for term in self.terms) or 1.0


def read_question(
    text: str, units: Sequence[frozenset[str]], idf: Mapping[str, float] | None = None
) -> Question:
    """Take a question apart.

    ``idf`` by stem, as the index has it (``Passages.plan["terms"]``); without it, it is estimated
    from ``units``, the stems of each sentence that may be quoted.
    """
    spans = word_spans(text)
    lower = [text[start:end].lower().replace("’", "'") for start, end in spans]
    roots = tuple(stem(word) for word in lower)
    degrees = {i + 1 for i, word in enumerate(lower) if word == "how" and lower[i + 1 : i + 2]}
    chosen = [
        i
        for i, word in enumerate(lower)
        if not (word in STOPWORDS or word in _ASKING or (i in degrees and word in _DEGREES.split()))
    ]
    if not chosen:  # nothing but stop words: then they are what is asked for
        chosen = [i for i, word in enumerate(lower) if word not in _ASKING] or list(range(len(lower)))
    unique: dict[str, Term] = {}
    for i in chosen:
        first = text[spans[i][0]]
        name = first.isdigit() or (i > 0 and first.isupper())
        known = unique.get(roots[i])
        weight = known.weight if known else _weight(roots[i], units, idf)
        unique[roots[i]] = Term(lower[i], roots[i], weight, name or (known is not None and known.name))
    counted: frozenset[str] = frozenset()
    if match := _COUNTED.search(text):
        after = text[match.start(1) : match.end(1)]
        counted = frozenset(stem(after[s:e].lower()) for s, e in word_spans(after)) & unique.keys()
    return Question(text=text, terms=tuple(unique.values()), kind=kind_of(text), roots=roots, counted=counted)


def _weight(root: str, units: Sequence[frozenset[str]], idf: Mapping[str, float] | None) -> float:
    if idf:
        return max(_UNKNOWN, float(idf[root])) if root in idf else max(idf.values())
    frequency = sum(root in unit for unit in units)
    return 0.5 + math.log(1.0 + (len(units) - frequency + 0.5) / (frequency + 0.5))


def kind_of(question: str) -> str:
    """``number, time, name, place, reason`` or "" by the question word; the earliest one counts."""
    best, at = "", len(question) + 1
    for kind, pattern in _ASKS:
        match = pattern.search(question)
        if match and match.start() < at:
            best, at = kind, match.start()
    return best


@lru_cache(maxsize=4096)
def analysed(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of a text as they stand, and their stems."""
    surface = tuple(text[start:end] for start, end in word_spans(text))
    return surface, tuple(stem(word.lower().replace("’", "'")) for word in surface)


@lru_cache(maxsize=4096)
def stems_of(text: str) -> frozenset[str]:
    """Stems of all words of a text."""
    return frozenset(analysed(text)[1])


def matched(root: str, stems: frozenset[str]) -> float:
    """1 for the same stem, less for a relative (elect, election), 0 otherwise."""
    if root in stems:
        return 1.0
    if len(root) >= 5 and not root[0].isdigit():
        head = root[:5]
        for other in stems:
            if other.startswith(head):
                shared = 5
                for a, b in zip(root[5:], other[5:]):
                    if a != b:
                        break
                    shared += 1
                if shared >= 0.6 * max(len(root), len(other)):
                    return _NEAR
    return 0.0


def fitting(kind: str, surface: Sequence[str], stems: Sequence[str], asked: frozenset[str]) -> bool:
    """Whether a sentence has something new (not in the question) of the kind that is asked for."""
    for i, (word, root) in enumerate(zip(surface, stems)):
        if root in asked:
            continue
        lower = word.lower()
        if kind == "number":
            fits = is_number(word)
        elif kind == "time":
            fits = word[0].isdigit() or lower in TIME_WORDS
        elif kind in ("name", "place"):
            fits = word[0].isupper() and lower not in STOPWORDS and (i > 0 or len(surface) == 1)
        else:
            fits = kind == "reason" and lower in REASON_WORDS
        if fits:
            return True
    return False


def is_number(word: str) -> bool:
    """Digits, or a number word (English)."""
    return word[0].isdigit() or word.lower() in NUMBER_WORDS
