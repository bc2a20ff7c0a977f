"""What speaks for a sentence as the answer to a question: candidates and their features.

Pure functions from a question and passages to numbers; which numbers count how much is decided in
``quote.py``. No thresholds here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from headrace.flows.asking import Question, analysed, fitting, is_number, matched, stems_of
from headrace.text import STOPWORDS, sentences
from headrace.types import Passage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headrace.protocols import Embedder

# Where a new unit begins even without a sentence mark: headings, list items, table rows, fences.
_BREAK = re.compile(r"^(?=[ \t]*(?:#{1,6} |[-*+•] |\d{1,3}[.)] |\||```|~~~|\.\. ))", re.MULTILINE)
# What is never quoted: headings (marked, or underlined), the lines that open and close a code block,
# and lines of nothing but signs.
_HIDDEN = (
    re.compile(r"^[ \t]*#{1,6} [^\n]*(?:\n|$)", re.MULTILINE),
    re.compile(r"^(?!\s)[^\n]{1,120}\n([=\-~^\"*+#])\1{2,}[ \t]*$", re.MULTILINE),
    re.compile(r"^[ \t]*(?:```|~~~)[^\n]*$", re.MULTILINE),
    re.compile(r"^(?=[^\n]{3})[=\-~^\"`*+#_|: \t]+$", re.MULTILINE),
)
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
    cuts = {0, len(text), *(match.start() for match in _BREAK.finditer(text))}
    hidden = [match.span() for pattern in _HIDDEN for match in pattern.finditer(text)]
    cuts.update(edge for span in hidden for edge in span)
    spans: list[tuple[int, int]] = []
    for begin, end in pairwise(sorted(cuts)):
        if any(low <= begin and end <= high for low, high in hidden):
            continue
        marker = _MARKER.match(text, begin, end)
        begin = marker.end() if marker else begin
        for start, stop in sentences(text[begin:end]):
            spans.extend(_pieces(text, begin + start, begin + stop))
    return spans


def _pieces(text: str, start: int, end: int) -> list[tuple[int, int]]:
    found = []
    while end - start > _LONGEST:
        cut = max(text.rfind(" ", start + 1, start + _LONGEST), text.rfind("\n", start + 1, start + _LONGEST))
        cut = start + _LONGEST if cut <= start else cut
        found.append((start, cut))
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if start < end:
        found.append((start, end))
    return found


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


@dataclass(frozen=True)
class Cosines:
    """Of the question with each sentence, with the one before it, with both together (n,), and
    with each passage (the mean of its sentences) (p,)."""

    sentence: NDArray[np.float32]
    before: NDArray[np.float32]
    both: NDArray[np.float32]
    passage: NDArray[np.float32]


def cosines(question: str, count: int, found: Sequence[Sentence], embedder: Embedder) -> Cosines:
    """Embed question and sentences in one go; ``count`` is the number of passages."""
    vectors = np.asarray(embedder.embed([question, *(s.text for s in found)]), dtype=np.float32)
    asked, rows = vectors[0], vectors[1:]
    plain = rows @ asked
    owner = np.array([s.passage for s in found], dtype=np.int64)
    mean = np.zeros(count, dtype=np.float32)
    for number in range(count):
        mine = rows[owner == number]
        if len(mine):
            mean[number] = _cosine(mine.sum(axis=0), asked)
    before, both = mean[owner], plain.copy()
    for i in range(1, len(found)):
        if follows(found, i):
            before[i] = plain[i - 1]
            both[i] = _cosine(rows[i] + rows[i - 1], asked)
    return Cosines(plain, before, both, mean)


def follows(found: Sequence[Sentence], i: int) -> bool:
    """Whether the candidate before this one is the sentence before it."""
    here, last = found[i], found[i - 1]
    return i > 0 and here.passage == last.passage and here.order == last.order + 1


def _cosine(vector: NDArray[np.float32], unit: NDArray[np.float32]) -> float:
    return float(vector @ unit) / (float(np.linalg.norm(vector)) or 1.0)


FEATURES = (
    "cosine",  # question · sentence
    "before",  # question · the sentence before it
    "both",  # question · the sentence and the one before it, added
    "passage",  # question · the passage, as search found it (else the mean)
    "cover",  # share of the question's terms, by idf, that the sentence has
    "cover_names",  # … of these, its names and numbers (a pronoun may stand for them)
    "cover_before",  # … that only the sentence before or the heading has
    "cover_passage",  # … that only the rest of the passage has
    "exact",  # … that it has in the very form of the question
    "bigrams",  # share of the question's word pairs, stop words too, that stand here
    "kind",  # something new of the kind that is asked for: a number, a date, a name, a reason
    "counted",  # how many X: a number right before X
    "first",  # the passage's first sentence
    "score",  # the passage's score as a share of the best one's
    "asks",  # the sentence is itself a question
    "echo",  # nothing in it that is not in the question
)
COLUMN = {name: i for i, name in enumerate(FEATURES)}


def features(
    asked: Question, passages: Sequence[Passage], found: Sequence[Sentence], close: Cosines | None
) -> NDArray[np.float64]:
    """(len(found), len(FEATURES)). Without ``close`` (no embedder) the first four columns are 0."""
    table = np.zeros((len(found), len(FEATURES)))
    total = asked.total
    words = frozenset(asked.roots)
    bigrams = set(pairwise(asked.roots))
    whole = [
        {t.stem: matched(t.stem, stems_of(p.text) | stems_of(p.heading)) for t in asked.terms}
        for p in passages
    ]
    headings = [{t.stem: matched(t.stem, stems_of(p.heading)) for t in asked.terms} for p in passages]
    best = max((p.score for p in passages), default=0.0)
    before: dict[str, float] = {}
    for i, sentence in enumerate(found):
        surface, stems = analysed(sentence.text)
        here = {t.stem: matched(t.stem, stems_of(sentence.text)) for t in asked.terms}
        if not follows(found, i):
            before = {}
        heading, around = headings[sentence.passage], whole[sentence.passage]
        forms = {word.lower() for word in surface}
        cover = names = beside = rest = exact = 0.0
        for t in asked.terms:
            own = here[t.stem]
            near = max(own, before.get(t.stem, 0.0), heading[t.stem])
            cover += t.weight * own
            names += t.weight * own * t.name
            beside += t.weight * (near - own)
            rest += t.weight * (max(near, around[t.stem]) - near)
            exact += t.weight * (t.word in forms)
        passage = passages[sentence.passage]
        row = {
            "cover": cover / total,
            "cover_names": names / total,
            "cover_before": beside / total,
            "cover_passage": rest / total,
            "exact": exact / total,
            "bigrams": len(bigrams & set(pairwise(stems))) / len(bigrams) if bigrams else 0.0,
            "kind": float(fitting(asked.kind, surface, stems, words)),
            "counted": float(bool(asked.counted) and _counts(asked.counted, surface, stems, words)),
            "first": float(sentence.order == 0),
            "score": min(1.0, max(0.0, passage.score / best)) if best > 0 else 0.0,
            "asks": float(sentence.text.rstrip().endswith(("?", "？", "؟"))),
            "echo": float(all(r in words or w.lower() in STOPWORDS for w, r in zip(surface, stems))),
        }
        if close is not None:
            row["cosine"] = float(close.sentence[i])
            row["before"] = float(close.before[i])
            row["both"] = float(close.both[i])
            row["passage"] = passage.signals.get("cosine", float(close.passage[sentence.passage]))
        for name, value in row.items():
            table[i, COLUMN[name]] = value
        before = here
    return table


def covered(asked: Question, found: Sequence[Sentence]) -> NDArray[np.float64]:
    """(len(found),): the feature ``cover`` alone, at a fraction of what all of them cost."""
    return np.array(
        [
            sum(t.weight * matched(t.stem, stems) for t in asked.terms) / asked.total
            for stems in (stems_of(sentence.text) for sentence in found)
        ]
    )


def _counts(
    counted: frozenset[str], surface: Sequence[str], stems: Sequence[str], asked: frozenset[str]
) -> bool:
    """Whether a number stands within three words before what is counted."""
    return any(
        root in counted
        and any(is_number(surface[k]) and stems[k] not in asked for k in range(max(0, i - 3), i))
        for i, root in enumerate(stems)
    )
