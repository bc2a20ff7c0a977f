"""What the search benchmarks share: the candidates of one question, ways to rank them, paired intervals.

The functions are those that a search runs; here the same candidates can be ranked in several ways.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace.search import fuse
from headrace.search import terms as words_of
from headrace.search import vectors as exact
from headrace.search.store import Block
from headrace.search.words import Words

RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Of one question: both rankings, and for their union both scores. Seqs count from 1."""

    dense: np.ndarray
    words: np.ndarray
    seqs: np.ndarray
    cosine: np.ndarray
    bm25: np.ndarray
    coverage: np.ndarray
    ceiling: float
    terms: tuple[words_of.Term, ...]


def candidates(
    words: Words, block: Block, question: str, vector: np.ndarray, only: np.ndarray | None = None
) -> Candidates:
    """What a search looks at; ``only`` (sorted) narrows the base to those seqs."""
    terms = words.terms(question)
    keep = None if only is None else (lambda seqs: exact.member(seqs, only))
    dense = exact.search([block], vector, fuse.DEPTH, only=only).seqs
    lexical = words.search(terms, fuse.DEPTH, keep=keep).seqs
    seqs = np.union1d(dense, lexical)
    bm25 = np.zeros(len(seqs))
    hits = words.search(terms, len(seqs), only=seqs)
    bm25[np.searchsorted(seqs, hits.seqs)] = hits.scores
    return Candidates(
        dense=dense,
        words=lexical,
        seqs=seqs,
        cosine=exact.scores([block], vector, seqs),
        bm25=bm25,
        coverage=words.coverage(terms, seqs),
        ceiling=words_of.ceiling(terms),
        terms=terms,
    )


def fused(
    found: Candidates, weight: float = fuse.DENSE_WEIGHT, share: float = fuse.COVERAGE_SHARE
) -> np.ndarray:
    """Seqs by the convex combination, best first."""
    score = fuse.convex(found.cosine, found.bm25, found.coverage, found.ceiling, weight, share)
    return found.seqs[np.lexsort((found.seqs, -score))]


def reciprocal(found: Candidates, constant: int = fuse.RANK_CONSTANT) -> list[int]:
    """Seqs by reciprocal rank, best first."""
    return [seq for seq, _ in fuse.reciprocal_rank([found.dense.tolist(), found.words.tolist()], constant)]


def difference(first: np.ndarray, second: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Mean of the paired differences with a 95 % bootstrap interval (percentiles)."""
    gap = first - second
    picks = np.random.default_rng(seed).integers(0, len(gap), (RESAMPLES, len(gap)))
    low, high = np.percentile(gap[picks].mean(axis=1), [2.5, 97.5])
    return {
        "difference": round(float(gap.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }
