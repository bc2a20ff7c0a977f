"""Intervals: how far a rate, a mean or a quantile may be from what was measured.

- A rate, and any score between 0 and 1: Wilson's score interval (Wilson 1927), with the measured
  spread in the place of the binomial one, and with the spread between clusters where rows share a
  document.
- A mean without bounds (tokens, cost): bootstrap-t (Efron & Tibshirani 1993, chapter 12).
- A quantile (latency): order statistics, with the exact binomial probability (no assumption about
  the shape); with clusters, Woodruff's (1952) inversion.

Pure functions of numbers. Which method, and how often it covers, is in docs/why/intervals.md. No
comparison of two variants here: see ``verdict``.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from headrace.errors import InputError
from headrace.measure import normal
from headrace.measure.resampling import RESAMPLES, Floats, Ints, studentised, studentised_clusters

Kind = Literal["rate", "mean", "quantile"]
# Below this many rows (or clusters) resampling knows too few different samples.
FEW = 10
# How many rows' worth of doubt the measured spread is mixed with: scores that happen to lie close
# together in a small sample do not prove that scores lie close together.
DOUBT = 2.0


@dataclass(frozen=True, kw_only=True)
class Interval:
    """What was measured and how far off it may be.

    ``value``, ``low`` and ``high`` have the unit of the values. ``value`` is None where nothing was
    assessed; ``low`` or ``high`` is None where the rows are too few to bound that side at all.
    ``n`` rows were used, ``missing`` were None or NaN. ``effective`` is how many independent rows
    the ``n`` are worth (smaller with clusters).
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str
    missing: int = 0
    effective: float | None = None


# --------------------------------------------------------------------------- the three kinds


def rate(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for ``successes`` out of ``n``; never outside 0 to 1, wide for small ``n``."""
    check_confidence(confidence)
    if n < 0 or not 0 <= successes <= max(n, 0):
        raise InputError(f"{successes!r} successes out of {n!r} is no rate.", hint="0 ≤ successes ≤ n.")
    if n == 0:
        return _nothing("Wilson", 0)
    p = successes / n
    low, high = _wilson(p, float(n), normal.z(0.5 + confidence / 2))
    return Interval(value=p, low=low, high=high, n=n, method="Wilson", effective=float(n))


def mean(
    values: Sequence[float | None],
    *,
    clusters: Sequence[Hashable] | None = None,
    bounds: tuple[float, float] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The mean with its interval.

    ``bounds``: the smallest and largest value there can be, (0, 1) for scores; without them the
    values may be any number. ``clusters`` has one label a value: values with the same label (the
    same document) are not independent; None is a label of its own. ``seed`` fixes the resamples.

    Raises InputError for infinite values, values outside ``bounds``, or labels that do not match.
    """
    check_confidence(confidence)
    x, groups, missing = clean(values, clusters)
    if bounds is not None and len(x) and (x.min() < bounds[0] or x.max() > bounds[1]):
        wrong = x.min() if x.min() < bounds[0] else x.max()
        raise InputError(f"{wrong!r} is outside of {bounds!r}.", hint="Leave bounds out for such values.")
    if len(x) == 0:
        return _nothing("mean", missing)
    if bounds is not None:
        low, high, effective = _bounded(x, groups, bounds, confidence)
        method = "Wilson with measured spread" + (", clustered" if groups is not None else "")
        return Interval(
            value=float(x.mean()),
            low=low,
            high=high,
            n=len(x),
            method=method,
            missing=missing,
            effective=effective,
        )
    return _free(x, groups, missing, confidence, seed, resamples)


def quantile(
    values: Sequence[float | None],
    q: float = 0.5,
    confidence: float = 0.95,
    *,
    clusters: Sequence[Hashable] | None = None,
) -> Interval:
    """The ``q`` quantile (0.5: median) with an interval between two of the measured values.

    The ranks are those with an exact binomial probability of at least ``confidence``. ``low`` is
    None where even the smallest value may be above the quantile (n < 6 for a median, n < 73 for the
    upper side of a 95th percentile), ``high`` likewise.
    """
    check_confidence(confidence)
    if not 0 < q < 1:
        raise InputError(f"A quantile lies between 0 and 1, not {q!r}.", hint="0.5 is the median.")
    x, groups, missing = clean(values, clusters)
    if len(x) == 0:
        return _nothing("order statistics", missing)
    ordered = np.sort(x)
    effective = float(len(x))
    method = "order statistics"
    if groups is None:
        low_rank, high_rank = _ranks(len(x), q, confidence)
    else:
        below = (x <= np.quantile(x, q)).astype(np.float64)
        low_share, high_share, effective = _bounded(below, groups, (0.0, 1.0), confidence, at=q)
        low_rank, high_rank = math.floor(low_share * len(x)), math.ceil(high_share * len(x)) + 1
        method += ", clustered"
    return Interval(
        value=float(np.quantile(x, q)),
        low=float(ordered[low_rank - 1]) if low_rank >= 1 else None,
        high=float(ordered[high_rank - 1]) if high_rank <= len(x) else None,
        n=len(x),
        method=method,
        missing=missing,
        effective=effective,
    )


def summary(
    values: Sequence[float | None],
    kind: Kind,
    *,
    clusters: Sequence[Hashable] | None = None,
    bounds: tuple[float, float] | None = None,
    q: float = 0.5,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval that fits ``kind``: ``rate`` (values 0 or 1), ``mean``, ``quantile`` (the ``q`` one)."""
    if kind == "quantile":
        return quantile(values, q, confidence, clusters=clusters)
    if kind == "mean":
        return mean(values, clusters=clusters, bounds=bounds, confidence=confidence, seed=seed)
    if kind != "rate":
        raise InputError(f"{kind!r} is no kind of measurement.", hint="One of rate, mean, quantile.")
    x, groups, missing = clean(values, clusters)
    if any(value not in (0.0, 1.0) for value in set(x.tolist())):
        raise InputError("A rate is made of values 0 and 1.", hint='Use kind="mean" for others.')
    if groups is None:
        found = rate(float(x.sum()), len(x), confidence)
        return Interval(**{**found.__dict__, "missing": missing})
    low, high, effective = _bounded(x, groups, (0.0, 1.0), confidence)
    return Interval(
        value=float(x.mean()),
        low=low,
        high=high,
        n=len(x),
        method="Wilson, clustered",
        missing=missing,
        effective=effective,
    )


# --------------------------------------------------------------------------- values between bounds


def _wilson(p: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's bounds for a share ``p`` of ``n`` rows; ``n`` need not be whole."""
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(max(p * (1 - p), 0.0) / n + z * z / (4 * n * n))
    # At p = 0 and 1 the bound is exactly p; rounding must not put it on the wrong side.
    return min(max(0.0, centre - half), p), max(min(1.0, centre + half), p)


def _bounded(
    x: Floats,
    groups: Ints | None,
    bounds: tuple[float, float],
    confidence: float,
    *,
    at: float | None = None,
) -> tuple[float, float, float]:
    """Low, high and effective rows: Wilson's interval for ``n / φ`` rows.

    φ is the measured variance over that of a coin with the same mean, p (1 − p): 1 for a rate, less
    for scores in between, more where clusters move together. Values that are all equal say nothing
    about their spread, so φ is then 1: [1 / (1 + z²/n), 1] for n ones, as for a rate.
    """
    width = bounds[1] - bounds[0]
    y = (x - bounds[0]) / width
    n = len(y)
    p = float(y.mean())
    coin = p * (1 - p)
    spread = float(y.var()) * n / (n - 1) if n > 1 else 0.0
    same = spread <= 1e-15 or coin <= 1e-15
    alone = 1.0 if same else (n * spread / coin + DOUBT) / (n + DOUBT)
    if groups is None:
        phi, quantile_ = alone, normal.t(0.5 + confidence / 2, max(n - 1, 1)) if not same else None
    else:
        sizes = np.bincount(groups).astype(np.float64)
        kish = n * n / float((sizes**2).sum())  # as many equal clusters as these are worth
        if same:
            phi, quantile_ = max(1.0, n / kish), None
        else:
            phi = max(alone, cluster_variance(y, groups, sizes) * n / coin)
            quantile_ = normal.t(0.5 + confidence / 2, max(kish - 1, 1.0))
    effective = n / phi
    z = normal.z(0.5 + confidence / 2) if quantile_ is None else quantile_
    low, high = _wilson(p if at is None else at, effective, z)
    return bounds[0] + width * low, bounds[0] + width * high, effective


def cluster_variance(y: Floats, groups: Ints, sizes: Floats) -> float:
    """Variance of the mean when whole clusters vary: leave one cluster out (CR3, MacKinnon & White 1985)."""
    n, many = len(y), len(sizes)
    if many < 2:
        return 0.25  # one cluster: nothing is known beyond the bounds 0 and 1
    rest = np.bincount(groups, y - y.mean())
    return float((many - 1) / many * ((rest / (n - sizes)) ** 2).sum())


# --------------------------------------------------------------------------- values without bounds


def _free(
    x: Floats, groups: Ints | None, missing: int, confidence: float, seed: int, resamples: int
) -> Interval:
    n = len(x)
    value = float(x.mean())

    def made(low: float | None, high: float | None, method: str, effective: float | None = None) -> Interval:
        return Interval(
            value=value,
            low=low,
            high=high,
            n=n,
            method=method,
            missing=missing,
            effective=float(n) if effective is None else effective,
        )

    independent = n if groups is None else int(groups.max()) + 1
    if independent == 1:
        return made(None, None, "one value", 1.0)
    if x.min() == x.max():
        return made(value, value, "all equal")
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    if groups is None:
        error = float(x.std(ddof=1)) / math.sqrt(n)
        if n < FEW:
            half = normal.t(tails[1], n - 1) * error
            return made(value - half, value + half, "t")
        low_t, high_t = np.quantile(studentised(x[None], resamples=resamples, seed=seed)[0], tails).tolist()
        return made(value - high_t * error, value - low_t * error, "bootstrap-t")
    sizes = np.bincount(groups).astype(np.float64)
    sums = np.bincount(groups, x).astype(np.float64)
    _, error, drawn = studentised_clusters(sums, sizes, resamples=resamples, seed=seed)
    plain = float(x.var(ddof=1)) / n
    effective = n * plain / error**2 if error > 0 else float(independent)
    if independent < FEW:
        half = normal.t(tails[1], independent - 1) * math.sqrt(max(error**2, plain))
        return made(value - half, value + half, "t, clustered", min(effective, float(n)))
    low_t, high_t = np.quantile(drawn, tails).tolist()
    return made(
        value - high_t * error, value - low_t * error, "bootstrap-t, clustered", min(effective, float(n))
    )


# --------------------------------------------------------------------------- quantiles, cleaning


@lru_cache(maxsize=256)
def _ranks(n: int, q: float, confidence: float) -> tuple[int, int]:
    """Ranks (from 1) between which the quantile lies; 0 and n + 1 stand for 'no value bounds it'.

    P(x₍low₎ ≤ quantile ≤ x₍high₎) = P(low ≤ X ≤ high − 1), X binomial(n, q). Starting from equal
    tails, a rank is given up where the probability stays at ``confidence``.
    """
    tail = (1 - confidence) / 2

    def below(rank: int) -> float:
        return normal.binomial_at_most(rank - 1, n, q)

    def covers(first: int, last: int) -> bool:
        return below(last) - below(first) >= confidence

    low = bisect_right(range(n + 2), tail, key=below) - 1  # the largest with P(X ≤ low − 1) ≤ tail
    high = bisect_left(range(n + 2), 1 - tail, key=below)  # the smallest with P(X ≤ high − 1) ≥ 1 − tail
    if low > 0 and high <= n and low + 1 < high:
        if covers(low + 1, high):
            low += 1
        elif covers(low, high - 1):
            high -= 1
    return low, min(high, n + 1)


def clean(
    values: Sequence[float | None], clusters: Sequence[Hashable] | None
) -> tuple[Floats, Ints | None, int]:
    """Values that are numbers, their clusters from 0 (None: each row is its own), and how many are not."""
    if clusters is not None and len(clusters) != len(values):
        raise InputError(
            f"{len(values)} values with {len(clusters)} cluster labels.", hint="Give one label a value."
        )
    x = np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)
    if np.isinf(x).any():
        raise InputError("An infinite value cannot be averaged.", hint="Give None for a row without one.")
    there = ~np.isnan(x)
    missing = int(len(x) - there.sum())
    if clusters is None:
        return x[there], None, missing
    labels: dict[Hashable, int] = {}
    groups = [
        labels.setdefault(("", i) if label is None else ("label", label), len(labels))
        for i, label in enumerate(clusters)
        if there[i]
    ]
    if len(labels) == len(groups):  # every row on its own: the plain case
        return x[there], None, missing
    return x[there], np.asarray(groups, dtype=np.int64), missing


def _nothing(method: str, missing: int) -> Interval:
    return Interval(value=None, low=None, high=None, n=0, method=method, missing=missing, effective=0.0)


def check_confidence(confidence: float) -> None:
    if not 0.5 <= confidence < 1:
        raise InputError(f"A confidence of {confidence!r} is of no use.", hint="0.95 is usual.")
