"""What the current embedder finds: hard negatives for training, and how good its ranking is.

Hard negatives are passages that the untuned embedder ranks high and that are not marked as right.
Some of those are right all the same, only unmarked; so whatever lies above a share of the
positive's own similarity is left out (Moreira et al. 2024, arXiv:2407.15831, "TopK-PercPos").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.tuning.pairs import Corpus, Question

Floats = NDArray[np.float32]
MARGIN = 0.95  # of the positive's similarity: a candidate above this is taken for an unmarked positive
DEPTH = 10


@dataclass(frozen=True)
class Pair:
    """A question, the passage that answers it, and passages that look as if they did.

    All are rows of the corpus; ``positives`` are all passages of the question's documents, of which
    none may be taken for a negative.
    """

    question: str
    positive: int
    negatives: tuple[int, ...]
    positives: frozenset[int]


def mine(
    questions: Sequence[Question],
    corpus: Corpus,
    asked: Floats,
    vectors: Floats,
    *,
    negatives: int = 8,
    margin: float = MARGIN,
) -> list[Pair]:
    """One pair per question and document, with up to ``negatives`` hard negatives, hardest first.

    ``asked`` (questions, width) and ``vectors`` (passages, width) are the current embedder's. Of a
    document with several passages the nearest to the question counts as the one that answers.
    """
    pairs = []
    for question, vector in zip(questions, asked, strict=True):
        near = vectors @ vector
        positives = frozenset(row for name in question.documents for row in corpus.of[name])
        best = np.argsort(-near, kind="stable")[: len(positives) + 4 * negatives + 20].tolist()
        for name in sorted(question.documents):
            positive = max(corpus.of[name], key=lambda row: float(near[row]))
            ceiling = margin * float(near[positive])
            hard = [row for row in best if row not in positives and near[row] <= ceiling]
            pairs.append(Pair(question.text, positive, tuple(hard[:negatives]), positives))
    return pairs


def ndcg(
    questions: Sequence[Question],
    documents: Sequence[str],
    asked: Floats,
    vectors: Floats,
    depth: int = DEPTH,
) -> list[float]:
    """nDCG@depth of each question over the passages given, by document, grades 0 and 1.

    trec_eval's ``ndcg_cut``: gain 1, discount 1 / log2(1 + rank), against the best ranking there
    could be. A document stands where its nearest passage stands.
    """
    scores = []
    for question, found in zip(questions, _right(questions, documents, asked, vectors, depth), strict=True):
        gained = sum(1 / math.log2(rank + 1) for rank in found)
        ideal = sum(1 / math.log2(rank + 2) for rank in range(min(depth, len(question.documents))))
        scores.append(min(1.0, gained / ideal))
    return scores


def ranks(
    questions: Sequence[Question],
    documents: Sequence[str],
    asked: Floats,
    vectors: Floats,
    depth: int = DEPTH,
) -> list[int | None]:
    """The rank, from 1, of each question's first right document; None where it is beyond ``depth``."""
    return [min(found, default=None) for found in _right(questions, documents, asked, vectors, depth)]


def _right(
    questions: Sequence[Question], documents: Sequence[str], asked: Floats, vectors: Floats, depth: int
) -> Iterator[list[int]]:
    """The ranks of each question's right documents among the first ``depth`` documents."""
    for question, vector in zip(questions, asked, strict=True):
        found, seen = [], set[str]()
        for row in np.argsort(-(vectors @ vector), kind="stable").tolist():
            if (name := documents[row]) in seen:
                continue
            seen.add(name)
            if name in question.documents:
                found.append(len(seen))
            if len(seen) == depth:
                break
        yield found


def pool(
    questions: Sequence[Question], corpus: Corpus, asked: Floats, vectors: Floats, depth: int
) -> list[int]:
    """The passages on which checkpoints are compared: for each question its positives and the
    ``depth`` that are nearest by the untuned embedder. A tenth of the work of ranking everything."""
    rows = {row for q in questions for name in q.documents for row in corpus.of[name]}
    for vector in asked:
        rows.update(np.argsort(-(vectors @ vector), kind="stable")[:depth].tolist())
    return sorted(rows)
