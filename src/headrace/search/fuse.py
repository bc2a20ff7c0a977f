"""Two rankings into one: a convex combination on fixed bounds, and reciprocal rank.

Pure functions over numbers. The default is convex: it keeps how much better a hit is, which ranks
throw away (Bruch, Gai & Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", 2022).
Unlike there, nothing is scaled by the best hit of a query: cosine is taken as it is, BM25 is
divided by the most that any chunk could score for these terms, and coverage is a share already.
So a fused score means the same whatever else was found, and no candidate's score depends on the
others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Scores = NDArray[np.float64]

DEPTH = 200  # candidates taken from each ranking, whatever top_k is
DENSE_WEIGHT = 0.5  # chosen on SciFact's train queries and on SQuAD's fit half: benchmarks/scifact.py
COVERAGE_SHARE = 0.5  # of the words' half; chosen there too
RANK_CONSTANT = 60  # Cormack, Clarke & Büttcher, SIGIR 2009


def convex(
    similarity: Scores,
    bm25: Scores,
    coverage: Scores,
    ceiling: float,
    weight: float = DENSE_WEIGHT,
    share: float = COVERAGE_SHARE,
) -> Scores:
    """weight × similarity + (1 − weight) × words, for each candidate.

    ``similarity`` is a cosine (−1 to 1), NaN where a candidate has no vector: 0 is taken. ``words``
    is (1 − share) × bm25 / ceiling + share × coverage, where ``ceiling`` is the query's highest
    possible BM25 score and ``coverage`` the part of the question (weighted by idf) that the chunk
    holds at all: BM25 alone lets a rare word that is repeated make up for one that is missing.
    """
    relative = bm25 / ceiling if ceiling > 0 else np.zeros_like(bm25)
    words = (1 - share) * relative + share * coverage
    return weight * np.nan_to_num(similarity, nan=0.0) + (1 - weight) * words


def reciprocal_rank(
    rankings: Sequence[Sequence[int]], constant: int = RANK_CONSTANT
) -> list[tuple[int, float]]:
    """(item, sum of 1 / (constant + rank)) over all rankings, best first, ties by item."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for place, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1.0 / (constant + place)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
