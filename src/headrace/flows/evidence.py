"""What speaks for a sentence as the answer to a question: candidates and their features.

Pure functions from a question and passages to numbers; which numbers count how much is decided in
``quote.py``. No thresholds here, and no words of any data set: question words, number words and
month names are the only vocabulary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.text import STOPWORDS, sentences, stem, word_spans
from headrace.types import Passage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headrace.protocols import Embedder

# --------------------------------------------------------------------------- sentences

# Where a new unit begins even without a sentence mark: headings, list items, table rows, fences.
_BREAK = re.compile(
    r"^(?=[ \t]*(?:#{1,6} |[-*+•] |\d{1,3}[.)] |\||```|~~~|\.\. ))|\n(?=[=\-~^\"`*+#]{3,}\s*$)", re.M
)
_HEADING_LINE = re.compile(r"^[ \t]*#{1,6} [^\n]*(?:\n|$)", re.M)
_RULE = re.compile(r"^[=\-~^\"`*+#_|: \t]{3,}$", re.M)
_MARKER = re.compile(r"[ \t]*(?:[-*+•]|\d{1,3}[.)]) +")
_LONGEST = 1_200  # code points: a unit without any mark is cut here, at white space


@dataclass(frozen=True)
class Sentence:
    """A candidate: ``passage.text[start:end]`` of ``passages[passage]``; ``order`` counts in it."""

    passage: int
    order: int
    start: int
    end: int
    text: str


def split_units(text: str) -> list[tuple[int, int]]:
    """Spans of what can be quoted: sentences, list items, table rows; no headings, no rules."""
    cuts = {0, len(text)}
    for match in _BREAK.finditer(text):
        cuts.add(match.start())
    hidden = []
    for pattern in (_HEADING_LINE, _RULE):
        for match in pattern.finditer(text):
            hidden.append(match.span())
            cuts.update(match.span())
    bounds = sorted(cuts)
    spans = []
    for begin, end in pairwise(bounds):
        if any(low <= begin and end <= high for low, high in hidden):
            continue
        marker = _MARKER.match(text, begin, end)
        begin = marker.end() if marker else begin
        for start, stop in sentences(text[begin:end]):
            spans.extend(_shortened(text, begin + start, begin + stop))
    return spans


def _shortened(text: str, start: int, end: int) -> list[tuple[int, int]]:
    pieces = []
    while end - start > _LONGEST:
        cut = max(text.rfind(" ", start + 1, start + _LONGEST), text.rfind("\n", start + 1, start + _LONGEST))
        cut = start + _LONGEST if cut <= start else cut
        pieces.append((start, cut))
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if start < end:
        pieces.append((start, end))
    return pieces


def candidates(passages: Sequence[Passage]) -> list[Sentence]:
    """All quotable sentences of the passages, in order; a place that two passages share, once."""
    found: list[Sentence] = []
    seen: set[tuple[str, int, int]] = set()
    for number, passage in enumerate(passages):
        for order, (start, end) in enumerate(split_units(passage.text)):
            place = (passage.document, passage.start + start, passage.start + end)
            text = passage.text[start:end]
            if place in seen or not any(c.isalnum() for c in text):
                continue
            seen.add(place)
            found.append(Sentence(number, order, start, end, text))
    return found


# --------------------------------------------------------------------------- the question

_NUMBER_WORDS = frozenset(
    """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand
    million billion trillion dozen half quarter third twice once double triple none zero several many few
    percent""".split()
)
_TIME_WORDS = frozenset(
    """january february march april may june july august september october november december monday
    tuesday wednesday thursday friday saturday sunday century centuries decade year years month months
    week weeks day days hour hours morning evening noon midnight today yesterday tomorrow spring summer
    autumn winter ago era bc ad""".split()
)
_REASON_WORDS = frozenset(
    """because since due reason reasons therefore thus hence so cause caused causes causing led leading
    result resulted owing order allow allows prevent prevents avoid as to for by""".split()
)
_THE = r"(?:is |was |were |are )?(?:the )?(?:total |average |maximum |minimum )?"
_QUANTITIES = "number percentage percent amount population age size length height distance cost price rate"
_TIMES = "year years date day month century decade time era season"
_PERSONS = "person people man woman name company team author organization organisation group"
_PLACES = "city country state place location region town river island continent area street"


def _alternatives(nouns: str) -> str:
    return "(?:" + "|".join(nouns.split()) + r")\b"


_ASKS = (  # kind of answer, how it is asked for
    ("number", r"\bhow (?:many|much|old|long|far|tall|high|big|large|often|fast|deep|wide|heavy)\b"),
    ("number", rf"\b(?:what|which) {_THE}{_alternatives(_QUANTITIES)}"),
    ("time", rf"\bwhen\b|\b(?:what|which) (?:\w+ )?{_alternatives(_TIMES)}"),
    ("name", rf"\bwho\b|\bwhom\b|\bwhose\b|\b(?:what|which) (?:\w+ )?{_alternatives(_PERSONS)}"),
    ("place", rf"\bwhere\b|\b(?:what|which) (?:\w+ )?{_alternatives(_PLACES)}"),
    ("reason", r"\bwhy\b|\bwhat (?:is|was|were|are)? ?(?:the )?(?:reason|cause|purpose)\b"),
)
_ASKS_COMPILED = tuple((kind, re.compile(pattern, re.I)) for kind, pattern in _ASKS)


@dataclass(frozen=True)
class Term:
    """A content word of the question. ``weight`` is its idf; ``name``: capitalised or a number."""

    word: str
    stem: str
    weight: float
    name: bool


@dataclass(frozen=True)
class Question:
    """What is asked: content words in order, and the kind of answer (empty: any)."""

    text: str
    terms: tuple[Term, ...]
    kind: str
    stems: frozenset[str]  # of all its words, stop words too


def kind_of(question: str) -> str:
    """``number, time, name, place, reason`` or "" by the question word; the earliest one counts."""
    best, at = "", len(question) + 1
    for kind, pattern in _ASKS_COMPILED:
        match = pattern.search(question)
        if match and match.start() < at:
            best, at = kind, match.start()
    return best


_ASKING = frozenset("what which who whom whose where when why how much many".split())


def read_question(text: str, passages: Sequence[Passage], idf: Mapping[str, float] | None) -> Question:
    """Take a question apart; ``idf`` by stem from the index, else estimated from the passages."""
    spans = word_spans(text)
    found: list[tuple[str, str, bool]] = []
    stems = set()
    for position, (start, end) in enumerate(spans):
        word = text[start:end]
        lower = word.lower().replace("’", "'")
        root = stem(lower)
        stems.add(root)
        if lower in STOPWORDS or lower in _ASKING:
            continue
        name = word[0].isdigit() or (position > 0 and word[0].isupper())
        found.append((lower, root, name))
    if not found:  # nothing but stop words: then they are what is asked for
        found = [
            (w, stem(w), False)
            for w in (text[s:e].lower().replace("’", "'") for s, e in spans)
            if w not in _ASKING
        ]
    weights = _weights([root for _, root, _ in found], passages, idf)
    unique: dict[str, Term] = {}
    for lower, root, name in found:
        known = unique.get(root)
        unique[root] = Term(lower, root, weights[root], name or (known.name if known else False))
    return Question(text=text, terms=tuple(unique.values()), kind=kind_of(text), stems=frozenset(stems))


def _weights(
    roots: Sequence[str], passages: Sequence[Passage], idf: Mapping[str, float] | None
) -> dict[str, float]:
    if idf:
        rare = max(idf.values())
        return {root: max(0.05, float(idf.get(root, rare))) for root in roots}
    units = [stems_of(s.text) for s in candidates(passages)]
    n = len(units)
    weights = {}
    for root in roots:
        df = sum(root in unit for unit in units)
        weights[root] = math.log(1.0 + (n - df + 0.5) / (df + 0.5)) + 0.5
    return weights


@lru_cache(maxsize=4096)
def _analysed(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    surface = tuple(text[s:e] for s, e in word_spans(text))
    return surface, tuple(stem(w.lower().replace("’", "'")) for w in surface)


@lru_cache(maxsize=4096)
def stems_of(text: str) -> frozenset[str]:
    """Stems of all words of a text."""
    return frozenset(_analysed(text)[1])


def match(root: str, stems: frozenset[str]) -> float:
    """1 for the same stem, 0.6 for a longer relative (elect, election), 0 otherwise."""
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
                    return 0.6
    return 0.0


# --------------------------------------------------------------------------- features

FEATURES = (
    "cosine",  # question · sentence
    "before",  # question · the sentence before it
    "after",  # question · the sentence after it
    "passage",  # question · the mean of the passage's sentences
    "cover",  # idf share of the question's terms that the sentence has
    "cover_before",  # … that only the sentence before or the heading has
    "cover_passage",  # … that only the rest of the passage has
    "pairs",  # share of neighbouring terms of the question that are neighbours here too
    "names",  # share of the question's names and numbers that the sentence has
    "kind",  # something new of the kind that is asked for: a number, a date, a name, a reason
    "close",  # the kind's nearest distance to a matched word: 1 beside it, towards 0 far away
    "novel",  # logarithm of the number of content words that are not in the question
    "length",  # logarithm of the number of words
    "first",  # 1 for the passage's first sentence
    "rank",  # 1 / place of the passage
    "asks",  # 1 where the sentence is itself a question
)


def features(
    question: Question,
    passages: Sequence[Passage],
    found: Sequence[Sentence],
    cosines: NDArray[np.float32] | None,
    means: NDArray[np.float32] | None,
) -> NDArray[np.float64]:
    """One row per candidate, one column per name in FEATURES.

    ``cosines`` (len(found),) of question and sentence, ``means`` (len(passages),) of question and
    passage; None where no embedder is at hand: those columns are 0.
    """
    table = np.zeros((len(found), len(FEATURES)))
    total = sum(t.weight for t in question.terms) or 1.0
    names = [t for t in question.terms if t.name]
    whole = [stems_of(p.text) | stems_of(p.heading) for p in passages]
    in_whole = [{t.stem: match(t.stem, stems) for t in question.terms} for stems in whole]
    hits: list[dict[str, float]] = []
    for sentence in found:
        stems = stems_of(sentence.text)
        hits.append({t.stem: match(t.stem, stems) for t in question.terms})
    for i, sentence in enumerate(found):
        here = hits[i]
        before = i - 1 if i and found[i - 1].passage == sentence.passage else None
        after = i + 1 if i + 1 < len(found) and found[i + 1].passage == sentence.passage else None
        heading = stems_of(passages[sentence.passage].heading)
        cover = near = rest = 0.0
        for t in question.terms:
            own = here[t.stem]
            beside = max(hits[before][t.stem] if before is not None else 0.0, match(t.stem, heading))
            around = in_whole[sentence.passage][t.stem]
            cover += t.weight * own
            near += t.weight * max(0.0, beside - own)
            rest += t.weight * max(0.0, around - max(own, beside))
        surface, stems_here = _analysed(sentence.text)
        kind_at = positions_of(question.kind, surface, stems_here, question.stems)
        matched_at = [k for k, root in enumerate(stems_here) if here.get(root)]
        new = sum(
            1
            for w, root in zip(surface, stems_here)
            if root not in question.stems and w.lower() not in STOPWORDS
        )
        row = {
            "cover": cover / total,
            "cover_before": near / total,
            "cover_passage": rest / total,
            "pairs": _pairs(question.terms, stems_here),
            "names": sum(here[t.stem] for t in names) / len(names) if names else 0.0,
            "kind": float(bool(kind_at)) if question.kind else 0.0,
            "close": _closeness(kind_at, matched_at),
            "novel": math.log1p(new),
            "length": math.log1p(len(surface)),
            "first": float(sentence.order == 0),
            "rank": 1.0 / (1 + sentence.passage),
            "asks": float(sentence.text.rstrip().endswith(("?", "？", "؟"))),
        }
        if cosines is not None and means is not None:
            row["cosine"] = float(cosines[i])
            row["before"] = float(cosines[before]) if before is not None else float(means[sentence.passage])
            row["after"] = float(cosines[after]) if after is not None else float(means[sentence.passage])
            row["passage"] = float(means[sentence.passage])
        for name, value in row.items():
            table[i, _COLUMN[name]] = value
    return table


_COLUMN = {name: i for i, name in enumerate(FEATURES)}


def positions_of(kind: str, surface: Sequence[str], stems: Sequence[str], asked: frozenset[str]) -> list[int]:
    """Word positions of new content (not in the question) of the kind that is asked for."""
    found = []
    for i, (word, root) in enumerate(zip(surface, stems)):
        if root in asked:
            continue
        lower = word.lower()
        if kind == "number":
            fits = word[0].isdigit() or lower in _NUMBER_WORDS
        elif kind == "time":
            fits = word[0].isdigit() or lower in _TIME_WORDS
        elif kind in ("name", "place"):
            fits = word[0].isupper() and lower not in STOPWORDS and (i > 0 or len(surface) == 1)
        elif kind == "reason":
            fits = lower in _REASON_WORDS
        else:
            return []
        if fits:
            found.append(i)
    return found


def _closeness(kind_at: Sequence[int], matched_at: Sequence[int]) -> float:
    if not kind_at or not matched_at:
        return 0.0
    return 1.0 / min(abs(a - b) for a in kind_at for b in matched_at)


def _pairs(terms: Sequence[Term], stems: Sequence[str]) -> float:
    """Share (by idf) of neighbouring terms of the question that stand within 4 words here."""
    places: dict[str, list[int]] = {}
    for i, root in enumerate(stems):
        places.setdefault(root, []).append(i)
    total = got = 0.0
    for a, b in pairwise(terms):
        weight = a.weight + b.weight
        total += weight
        if a.stem in places and b.stem in places:
            gap = min(abs(i - j) for i in places[a.stem] for j in places[b.stem])
            got += weight if gap <= 4 else 0.0
    return got / total if total else 0.0


def similarities(
    question: str, passages: Sequence[Passage], found: Sequence[Sentence], embedder: Embedder
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines of the question with each sentence, and with the mean of each passage's sentences."""
    vectors = np.asarray(embedder.embed([question, *(s.text for s in found)]), dtype=np.float32)
    asked, rows = vectors[0], vectors[1:]
    owner = np.array([s.passage for s in found], dtype=np.int64)
    means = np.zeros(len(passages), dtype=np.float32)
    for number in range(len(passages)):
        mine = rows[owner == number]
        if len(mine):
            mean = mine.mean(axis=0)
            means[number] = float(mean @ asked) / (float(np.linalg.norm(mean)) or 1.0)
    return (rows @ asked).astype(np.float32), means


def signals(terms: Sequence[Term], passages: Sequence[Passage]) -> Mapping[str, Any]:
    """Which terms of the question stand in no passage: the strongest sign that nothing answers."""
    together: frozenset[str] = frozenset().union(*(stems_of(p.text) | stems_of(p.heading) for p in passages))
    missing = [t for t in terms if match(t.stem, together) == 0.0]
    return {"missing": missing}
