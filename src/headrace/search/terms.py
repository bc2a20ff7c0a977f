"""Words as search sees them: analysing a text into terms, how rare a term is, and the BM25 formula.

Pure functions apart from the analyser itself, which is tantivy's (and imported at first use). No
index here: that is ``words.py``.

Okapi BM25 as in Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond"
(2009), with tantivy's constants and its lengths rounded to one byte, so that a row scored here
gets the number that the index would give it.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from headrace import text as floor_text

if TYPE_CHECKING:
    import tantivy

K1 = 1.2  # tantivy's constants; they cannot be set
B = 0.75
K3 = 2.0  # a word asked n times counts n (K3 + 1) / (n + K3) times: at most three times
MOST_TERMS = 128  # a question's distinct terms beyond these (the commonest) are left out
ANALYSER = "headrace1"  # name in the index's schema; a new way of analysing gets a new name
_LONGEST = 64  # bytes; longer tokens (base64, hashes in a row) are no words

# Scripts that are written without spaces are cut into single characters, everything else into
# runs of letters, marks and digits. (Rust regex syntax; the first alternative wins.)
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_TOKEN = rf"[{_UNSPACED}]|[[\p{{L}}\p{{N}}\p{{M}}]--[{_UNSPACED}]]+"
# What is left of "don't", "it's", "we'll" when the apostrophe parts it.
_REMAINS = frozenset("s t d ll m re ve don didn doesn isn wasn aren couldn hasn haven shouldn wouldn".split())


@cache
def analyser() -> tantivy.TextAnalyzer:
    """Lower case, accents folded, English (Porter2) stems. Stop words stay: see :func:`asked`."""
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    return (
        TextAnalyzerBuilder(Tokenizer.regex(_TOKEN))
        .filter(Filter.remove_long(_LONGEST))
        .filter(Filter.lowercase())
        .filter(Filter.ascii_fold())
        .filter(Filter.stemmer("english"))
        .build()
    )


def composed(text: str) -> str:
    """Unicode NFC, so that both spellings of an accented letter are one; lone surrogates replaced."""
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def analyse(text: str) -> list[str]:
    """The terms of a text, in order, stop words included."""
    return analyser().analyze(composed(text))


@cache
def _stopwords() -> frozenset[str]:
    return frozenset(term for word in (*floor_text.STOPWORDS, *_REMAINS) for term in analyse(word))


def asked(question: str) -> Counter[str]:
    """The question's terms with their counts, stop words left out.

    A question of nothing but stop words ("to be or not to be") keeps them: the index has them.
    """
    counts = Counter(analyse(question))
    rare = Counter({term: count for term, count in counts.items() if term not in _stopwords()})
    return rare or counts


@dataclass(frozen=True, kw_only=True)
class Term:
    """An analysed term of a question: how often it is asked, and how rare it is in the base."""

    text: str
    count: int
    frequency: int  # chunks that hold it
    idf: float

    @property
    def weight(self) -> float:
        """How much it counts in the question: 1 for a word asked once, saturating for more."""
        return self.count * (K3 + 1) / (self.count + K3)

    @property
    def ceiling(self) -> float:
        """What this term adds to a BM25 score at most."""
        return self.weight * self.idf * (K1 + 1)


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What BM25 needs to know of the collection: chunks, and their average length in terms."""

    chunks: int
    average: float

    def idf(self, frequency: int) -> float:
        """ln(1 + (N - n + 0.5) / (n + 0.5)): always above 0."""
        return math.log(1 + (self.chunks - frequency + 0.5) / (frequency + 0.5))


def weigh(
    counts: Mapping[str, int], frequency: Callable[[str], int], statistics: Statistics
) -> tuple[Term, ...]:
    """Terms with their rarity. Of more than ``MOST_TERMS`` the rarest that occur at all are kept."""
    terms = []
    for text, count in counts.items():
        found = min(frequency(text), statistics.chunks)
        terms.append(Term(text=text, count=count, frequency=found, idf=statistics.idf(found)))
    if len(terms) > MOST_TERMS:
        known = [term for term in terms if term.frequency] or terms
        terms = sorted(known, key=lambda term: (-term.idf, term.text))[:MOST_TERMS]
    return tuple(terms)


def ceiling(terms: Sequence[Term]) -> float:
    """The BM25 score that no chunk can exceed for these terms."""
    return sum(term.ceiling for term in terms)


def round_length(length: int) -> int:
    """A length as one byte holds it: exact to 40, then three bits after the leading one.

    The "byte4" coding of Lucene (SmallFloat) that tantivy's field norms follow.
    """
    if length < 40:
        return length
    value = length - 24
    shift = value.bit_length() - 4
    return 24 + ((value >> shift) << shift)


def bm25(terms: Sequence[Term], counts: Mapping[str, int], length: int, statistics: Statistics) -> float:
    """The score of one chunk, given the counts of its terms and how many terms it has."""
    norm = K1 * (1 - B + B * round_length(length) / statistics.average)
    score = 0.0
    for term in terms:
        if found := counts.get(term.text, 0):
            score += term.ceiling * found / (found + norm)
    return score


def coverage(terms: Sequence[Term], present: Mapping[str, Any] | set[str]) -> float:
    """The share of the question's terms, weighted by idf, that occur in a text; 0 without terms."""
    whole = sum(term.idf for term in terms)
    return sum(term.idf for term in terms if term.text in present) / whole if whole else 0.0


def content_terms(question: str, idf: Callable[[str], float], most: int = MOST_TERMS) -> dict[str, float]:
    """``{stem: idf}`` of a question's content words, stems as ``headrace.text.content_words`` gives.

    What lies outside search (quoting, abstention) matches with these; ``idf`` is asked for the
    analysed form of each word. A word that analyses into several terms counts as its rarest.
    """
    found: dict[str, float] = {}
    for word in floor_text.words(question):
        if word in floor_text.STOPWORDS:
            continue
        stem = floor_text.stem(word)
        if stem in found:
            continue
        found[stem] = max((idf(term) for term in analyse(word)), default=0.0)
        if len(found) >= most:
            break
    return found
