"""How probable it is that an answer stands in the passages at all: what abstention rests on.

A logistic function of a few signs, each a number between about 0 and 1, about the question and
what was found for it. It does not pick the answer, and it trusts no score that a search rescaled
for this question: only what is absolute (cosines, shares of the question's words).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from headrace.flows.asking import Question, matched, stems_of
from headrace.flows.evidence import COLUMN, Sentence
from headrace.types import Passage

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNS = (
    "bias",
    "passage",  # the best passage's cosine
    "ahead",  # how far it is ahead of the mean of the others
    "sentence",  # the best sentence's cosine, or with the one before it
    "cover",  # share of the question's terms, by idf, in the best sentence and round it
    "own",  # … in the best sentence itself
    "bigrams",  # share of the question's word pairs in the best sentence
    "missing",  # share of the terms that stand in none of the passages
    "names",  # … of them, names and numbers
    "rarest",  # the rarest missing term against the rarest of all
    "kind",  # the best sentence has something new of the kind that is asked for
    "untyped",  # no kind is asked for
    "lead",  # how far the best sentence's score is ahead of the best in another passage
    "length",  # logarithm of the number of terms
)


def signs(
    asked: Question,
    passages: Sequence[Passage],
    found: Sequence[Sentence],
    table: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> NDArray[np.float64]:
    """One number per name in SIGNS; ``table`` and ``scores`` are the candidates' features and rank."""
    best = int(np.argmax(scores))
    row = table[best]
    by_passage: dict[int, float] = {}
    for sentence, features in zip(found, table):
        by_passage[sentence.passage] = float(features[COLUMN["passage"]])
    cosines = sorted(by_passage.values(), reverse=True)
    others = cosines[1:]
    elsewhere = [s for s, sentence in zip(scores, found) if sentence.passage != found[best].passage]
    together: frozenset[str] = frozenset().union(*(stems_of(p.text) | stems_of(p.heading) for p in passages))
    missing = [t for t in asked.terms if matched(t.stem, together) == 0.0]
    total = asked.total
    heaviest = max((t.weight for t in asked.terms), default=1.0)
    around = row[COLUMN["cover"]] + row[COLUMN["cover_before"]] + row[COLUMN["cover_passage"]]
    return np.array(
        [
            1.0,
            cosines[0],
            cosines[0] - sum(others) / len(others) if others else 0.0,
            max(row[COLUMN["cosine"]], row[COLUMN["both"]]),
            around,
            row[COLUMN["cover"]],
            row[COLUMN["bigrams"]],
            sum(t.weight for t in missing) / total,
            sum(t.weight for t in missing if t.name) / total,
            max((t.weight for t in missing), default=0.0) / heaviest,
            row[COLUMN["kind"]],
            float(not asked.kind),
            min(1.0, float(scores[best] - max(elsewhere)) / 5.0) if elsewhere else 1.0,
            math.log1p(len(asked.terms)) / 2,
        ]
    )


def probability(weights: NDArray[np.float64], given: NDArray[np.float64]) -> float:
    """1 / (1 + exp(−w·x))."""
    logit = float(weights @ given)
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, logit))))
