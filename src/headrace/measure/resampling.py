"""Bootstrap resamples as a matrix of counts, so that resampling is one matrix product.

A resample of n rows is how often each row was drawn. With the counts of all resamples in one matrix,
the resampled means and variances of many data sets at once are two products, and a data set of 1,000
rows with 2,000 resamples takes milliseconds. The same seed and size give the same resamples: results
repeat exactly. No intervals for the user here: see ``statistics``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
RESAMPLES = 2000
# Above this many numbers the counts are drawn in pieces instead of being kept.
KEPT = 8_000_000


@lru_cache(maxsize=4)
def counts(rows: int, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """How often each row was drawn: shape (resamples, rows), each line adds up to ``rows``."""
    drawn = np.random.default_rng([seed, rows]).integers(0, rows, (resamples, rows))
    drawn += np.arange(resamples)[:, None] * rows
    return np.bincount(drawn.ravel(), minlength=resamples * rows).reshape(resamples, rows).astype(np.float64)


def _pieces(rows: int, resamples: int, seed: int) -> list[tuple[int, int]]:
    """(resamples, seed) of each piece that is drawn at once."""
    most = max(1, KEPT // rows)
    whole, rest = divmod(resamples, most)
    return [(most, seed + 7919 * i) for i in range(whole)] + ([(rest, seed + 7919 * whole)] if rest else [])


def studentised(samples: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """(mean* − mean) / se* for each data set (a line of ``samples``) and resample: shape (lines, resamples).

    A resample without spread would divide by zero: its variance is held at one n-th of the data's.
    """
    lines, rows = samples.shape
    centred = samples - samples.mean(axis=1, keepdims=True)
    squares = centred**2
    floor = squares.mean(axis=1, keepdims=True) / rows
    parts = []
    for many, own in _pieces(rows, resamples, seed):
        drawn = counts(rows, many, own).T
        means = centred @ drawn / rows
        variances = np.maximum((squares @ drawn / rows - means**2), floor) * rows / max(rows - 1, 1)
        parts.append(means / np.sqrt(variances / rows))
    assert all(part.shape[0] == lines for part in parts)
    return np.concatenate(parts, axis=1)


def studentised_clusters(
    sums: Floats, sizes: Floats, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float, Floats]:
    """Mean, standard error and the studentised means of resampled whole clusters.

    ``sums`` and ``sizes`` have one number a cluster. The mean is a ratio of two sums; its variance is
    the linearised one, over clusters.
    """
    many = len(sums)
    total = sizes.sum()
    mean = float(sums.sum() / total)
    rest = sums - mean * sizes  # deviations of each cluster; they add up to 0
    factor = many / (many - 1)
    variance = float(factor * (rest**2).sum() / total**2)
    t = np.empty(resamples)
    done = 0
    for piece, own in _pieces(many, resamples, seed):
        drawn = counts(many, piece, own)
        size = drawn @ sizes
        shift = (drawn @ rest) / size
        spread = drawn @ (rest**2) - 2 * shift * (drawn @ (rest * sizes)) + shift**2 * (drawn @ sizes**2)
        spread = np.maximum(factor * spread / size**2, variance / many)
        t[done : done + piece] = shift / np.sqrt(spread)
        done += piece
    return mean, float(np.sqrt(variance)), t


def quantiles(
    samples: Floats, q: float, groups: Ints | None = None, *, resamples: int = 1000, seed: int = 0
) -> Floats:
    """The ``q`` quantile of each column in each resample of rows: shape (resamples, columns).

    ``samples`` is (rows, columns). With ``groups`` (a cluster number a row) whole clusters are drawn,
    and a row counts as often as its cluster was.
    """
    rows = len(samples)
    found = []
    for many, own in _pieces(rows * samples.shape[1], resamples, seed):
        if groups is None:
            drawn = np.random.default_rng([own, rows]).integers(0, rows, (many, rows))
            found.append(np.quantile(samples[drawn], q, axis=1))
            continue
        weights = counts(int(groups.max()) + 1, many, own)[:, groups]
        columns = []
        for column in samples.T:
            order = np.argsort(column)
            reached = np.cumsum(weights[:, order], axis=1)
            columns.append(column[order][(reached >= q * reached[:, -1:]).argmax(axis=1)])
        found.append(np.stack(columns, axis=1))
    return np.concatenate(found, axis=0)
