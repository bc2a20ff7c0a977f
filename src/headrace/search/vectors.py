"""Exact vector search over blocks: memory-mapped segments, then the unsealed tail.

Every distance is computed; nothing is approximated and nothing is kept between searches. Which
chunks are live or allowed comes in as arrays of ``seq``. No SQLite, no files.

Scores are "higher is nearer" for every metric: cosine similarity, or the negative distance.
Vectors are of unit length (protocols.Embedder), so cosine is the dot product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Seqs = NDArray[np.int64]
    Floats = NDArray[np.float32]

Metric = Literal["cosine", "l2", "l1"]
METRICS: tuple[str, ...] = get_args(Metric)

_ROWS = 8_192  # rows at a time where a distance needs a temporary array as large as its rows
_GATHER = 4  # picking rows costs about this many times a row of a plain scan
_GRAIN = 1e-6  # scores nearer than this are equal: the order must not hang on how rows lie in blocks


class Block(Protocol):
    """Rows with ascending seqs: (n,) int64 and (n, dimension) float32."""

    @property
    def seqs(self) -> Seqs: ...
    @property
    def matrix(self) -> Floats: ...


@dataclass(frozen=True, kw_only=True)
class VectorHits:
    """Chunks by descending score, equal scores (to one millionth) by ``seq``."""

    seqs: Seqs
    scores: NDArray[np.float64]


def search(
    blocks: Sequence[Block],
    query: Floats,
    depth: int,
    *,
    metric: str = "cosine",
    dead: Seqs | None = None,
    only: Seqs | None = None,
) -> VectorHits:
    """The ``depth`` nearest rows. ``dead`` are left out; ``only`` (sorted) are the ones that count.

    ``query`` has shape (dimension,). With few ``only`` rows these are picked out of the blocks,
    otherwise whole blocks are scanned and masked: both are exact.
    """
    found: list[tuple[Seqs, NDArray[np.float64]]] = []
    for block in blocks:
        if not len(block.seqs):
            continue
        seqs, values = _scan(block, query, metric, only)
        if dead is not None and len(dead):
            alive = ~member(seqs, dead)
            seqs, values = seqs[alive], values[alive]
        found.append(_best(seqs, _rounded(values), depth))
    if not found:
        return VectorHits(seqs=np.empty(0, np.int64), scores=np.empty(0, np.float64))
    seqs = np.concatenate([item[0] for item in found])
    best, nearness = _best(seqs, np.concatenate([item[1] for item in found]), depth)
    return VectorHits(seqs=best, scores=nearness)


def scores(
    blocks: Sequence[Block], query: Floats, seqs: Seqs, *, metric: str = "cosine"
) -> NDArray[np.float64]:
    """The score of each of ``seqs`` (any order), NaN where it has no vector."""
    result = np.full(len(seqs), np.nan)
    for block in blocks:
        if not len(block.seqs):
            continue
        place = np.searchsorted(block.seqs, seqs)
        place[place == len(block.seqs)] = 0
        here = np.flatnonzero(block.seqs[place] == seqs)
        if len(here):
            result[here] = _rounded(MEASURES[metric](block.matrix[place[here]], query))
    return result


def _scan(block: Block, query: Floats, metric: str, only: Seqs | None) -> tuple[Seqs, Floats]:
    measure = MEASURES[metric]
    if only is None:
        return block.seqs, measure(block.matrix, query)
    low, high = np.searchsorted(only, [block.seqs[0], block.seqs[-1] + 1])
    wanted = only[low:high]
    if len(wanted) * _GATHER < len(block.seqs):
        place = np.searchsorted(block.seqs, wanted)
        place = place[block.seqs[place] == wanted]
        return block.seqs[place], measure(block.matrix[place], query)
    mask = member(block.seqs, wanted)
    return block.seqs[mask], measure(block.matrix, query)[mask]


def member(seqs: Seqs, sorted_set: Seqs) -> NDArray[np.bool_]:
    """Which of ``seqs`` are in a sorted array."""
    if not len(sorted_set):
        return np.zeros(len(seqs), bool)
    place = np.searchsorted(sorted_set, seqs)
    place[place == len(sorted_set)] = 0
    return np.asarray(sorted_set[place] == seqs)


def _rounded(scores: Floats) -> NDArray[np.float64]:
    return np.asarray(np.round(scores.astype(np.float64) / _GRAIN) * _GRAIN)


def _best(seqs: Seqs, scores: NDArray[np.float64], depth: int) -> tuple[Seqs, NDArray[np.float64]]:
    """The ``depth`` highest, in order of (-score, seq), without sorting the rest."""
    if depth < len(scores):
        cut = np.partition(scores, len(scores) - depth)[len(scores) - depth]
        above, at = np.flatnonzero(scores > cut), np.flatnonzero(scores == cut)
        at = at[np.argsort(seqs[at], kind="stable")][: depth - len(above)]
        chosen = np.concatenate([above, at])
        seqs, scores = seqs[chosen], scores[chosen]
    order = np.lexsort((seqs, -scores))
    return seqs[order], scores[order]


def _cosine(matrix: Floats, query: Floats) -> Floats:
    # not `matrix @ query`: memory sets the pace here, and BLAS threads that wait for each other on
    # a busy machine take several times as long (2,067 rows: 31 ms instead of 5)
    return np.asarray(np.einsum("ij,j->i", matrix, query))


def _l2(matrix: Floats, query: Floats) -> Floats:
    return -np.sqrt(_by_rows(matrix, lambda part: np.einsum("ij,ij->i", part - query, part - query)))


def _l1(matrix: Floats, query: Floats) -> Floats:
    return -_by_rows(matrix, lambda part: np.abs(part - query).sum(axis=1))


def _by_rows(matrix: Floats, of: Callable[[Floats], Floats]) -> Floats:
    """``of`` over slices of rows, so that the temporary differences stay small."""
    result = np.empty(len(matrix), np.float32)
    for start in range(0, len(matrix), _ROWS):
        result[start : start + _ROWS] = of(matrix[start : start + _ROWS])
    return result


MEASURES: dict[str, Callable[[Floats, Floats], Floats]] = {"cosine": _cosine, "l2": _l2, "l1": _l1}
