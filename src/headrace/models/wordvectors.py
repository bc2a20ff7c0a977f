"""Vectors of words, learned from any text: who stands near whom, weighed, and squeezed into few numbers.

Positive pointwise mutual information of words that stand within a few places of each other, then a truncated
decomposition: what word2vec computes implicitly (Levy and Goldberg, NIPS 2014; their choices of window,
smoothing and weights from TACL 3, 2015). Deterministic. No model is loaded, none is shipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace import text as plain
from headrace.errors import InputError, NotFound

WINDOW = 5  # places to each side
SMOOTHING = 0.75  # of the counts of contexts: rare ones would look too informative
MOST = 3000  # words that get a vector: the table has the square of it
SIZE = 100


@dataclass(frozen=True, kw_only=True)
class Near:
    """A word near another one; ``similarity`` is the cosine, the same from either side."""

    word: str
    similarity: float
    count: int


class WordVectors:
    """``words`` (most frequent first), their ``counts``, and ``vectors``: (words, size), unit length."""

    def __init__(self, words: list[str], counts: list[int], vectors: NDArray[np.float64]) -> None:
        self.words, self.counts, self.vectors = words, counts, vectors
        self._at = {word: row for row, word in enumerate(words)}

    def __contains__(self, word: str) -> bool:
        return word.lower() in self._at

    def similarity(self, one: str, other: str) -> float:
        """Cosine of two words, between -1 and 1."""
        return float(self.vectors[self._row(one)] @ self.vectors[self._row(other)])

    def near(self, word: str, n: int = 10) -> list[Near]:
        """The words nearest to one, best first, itself left out."""
        row = self._row(word)
        found = self.vectors @ self.vectors[row]
        found[row] = -np.inf
        best = np.argsort(-found, kind="stable")[:n]
        return [
            Near(word=self.words[i], similarity=float(found[i]), count=self.counts[i])
            for i in best.tolist()
            if np.isfinite(found[i])
        ]

    def _row(self, word: str) -> int:
        if (row := self._at.get(word.lower().strip())) is None:
            raise NotFound(
                f"{word!r} has no vector: it is not among the {len(self.words):,} most frequent words.",
                hint=f"Give a more frequent word, for example {self.words[min(50, len(self.words) - 1)]!r}, "
                "or more text.",
            )
        return row


def train(
    texts: Iterable[str],
    *,
    size: int = SIZE,
    window: int = WINDOW,
    most: int = MOST,
    least: int = 5,
    seed: int = 0,
) -> WordVectors:
    """Vectors of the ``most`` most frequent words that occur ``least`` times or more.

    Two words count as near within ``window`` places of one text, nearer ones more: 1 / distance. ``seed``
    fixes the decomposition; the same texts give the same vectors. InputError where too little is there.
    """
    lists = [plain.words(text) for text in texts]
    counted = Counter(word for words in lists for word in words if word not in plain.STOPWORDS)
    known = [(word, n) for word, n in counted.most_common() if n >= least]
    known = sorted(known, key=lambda item: (-item[1], item[0]))[:most]
    if len(known) < 3:
        raise InputError(
            f"The text has {len(known)} words that occur {least} times or more: too few to learn from.",
            hint="Give more text; some hundred thousand words are a beginning.",
        )
    ids = {word: row for row, (word, _) in enumerate(known)}
    table = _together([[ids[w] for w in words if w in ids] for words in lists], len(known), window)
    vectors = _squeezed(_informative(table), min(size, len(known) - 1), seed)
    return WordVectors([word for word, _ in known], [n for _, n in known], vectors)


def _together(rows: list[list[int]], words: int, window: int) -> NDArray[np.float64]:
    """(words, words), symmetric: how often two stand near each other, weighed by 1 / distance."""
    table = np.zeros(words * words)
    gap = [-1] * window  # texts do not see each other
    line = np.array([id for row in rows for id in (*row, *gap)], dtype=np.int64)
    for distance in range(1, window + 1):
        left, right = line[:-distance], line[distance:]
        both = (left >= 0) & (right >= 0)
        found = np.bincount(left[both] * words + right[both], minlength=words * words)
        table += found / distance
    square = table.reshape(words, words)
    return square + square.T


def _informative(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positive pointwise mutual information, the contexts' counts smoothed."""
    smooth = table.sum(axis=0) ** SMOOTHING
    contexts = smooth / smooth.sum()
    own = table.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(table / own / contexts)
    found = np.where(np.isfinite(logs) & (logs > 0), logs, 0.0)
    return (found + found.T) / 2  # the smoothing leaned it to one side


def _squeezed(table: NDArray[np.float64], size: int, seed: int) -> NDArray[np.float64]:
    """The first ``size`` eigenvectors by magnitude, each times the root of its value; rows of unit length.

    By a random start and a few multiplications (Halko, Martinsson and Tropp, SIAM Review 53, 2011).
    """
    rng = np.random.default_rng(seed)
    basis = table @ rng.standard_normal((len(table), min(len(table), size + 20)))
    for _ in range(4):
        basis, _ = np.linalg.qr(basis)
        basis = table @ basis
    basis, _ = np.linalg.qr(basis)
    values, turn = np.linalg.eigh(basis.T @ table @ basis)
    order = np.argsort(-np.abs(values), kind="stable")[:size]
    vectors = (basis @ turn[:, order]) * np.sqrt(np.abs(values[order]))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float64] = vectors / np.where(lengths > 0, lengths, 1.0)
    return unit
