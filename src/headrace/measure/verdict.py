"""Is A better than B? A verdict on paired values, with its interval and what is missing for one.

The same examples went through both; the difference is A − B. A confidence interval decides, in this
order:

1. ``equivalent``: the interval lies inside (−margin, margin). It comes first: a difference that is
   surely smaller than what matters is not called better, however sure it is.
2. ``better`` or ``worse``: the interval excludes 0, read in the metric's direction.
3. ``not enough data``, with the number of examples that would do.

Means and rates: Student's t on the differences after two rows were added, one of +m and one of −m,
where m is the usual size of a difference that is not 0. For rates m = 1, and this is the interval of
Bonett & Price (2012), which holds its level where few rows differ, as it is with two variants of one
application; the added rows are what keeps five lucky rows from being a verdict. Quantiles (latency):
the difference of the two quantiles, rows (or whole clusters) resampled in pairs.

No reports and no names of metrics here: see ``comparing``.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from headrace.errors import InputError
from headrace.measure import normal
from headrace.measure.resampling import Floats, Ints, quantiles
from headrace.measure.statistics import Kind, check_confidence, clean, cluster_variance

Word = Literal["better", "worse", "equivalent", "not enough data"]
# Fewer pairs (or clusters, counted by what their sizes are worth) than this give no verdict.
LEAST_PAIRS = 10
LEAST_CLUSTERS = 5
# Planned chance of finding a difference as large as the margin at the announced number. The spread
# that the plan rests on is itself measured; 0.9 planned gives over 0.8 in fact (benchmarks/verdicts.py).
POWER = 0.9
# A larger number of examples is no plan: the margin is too small for what was compared.
MOST_NEEDED = 1e9


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A − B with its interval, in the metric's unit, and what it means.

    ``n`` pairs were compared. ``needed`` is the total number of examples for a verdict: with
    ``not enough data`` more than ``n`` (None where no number can be told: nothing to compare, or a
    margin of next to nothing), else ``n``. ``low`` and ``high`` are None without an interval.
    """

    verdict: Word
    difference: float | None
    low: float | None
    high: float | None
    n: int
    needed: int | None
    method: str


def paired(
    a: Sequence[float | None],
    b: Sequence[float | None],
    *,
    direction: Literal["higher", "lower"],
    margin: float,
    kind: Kind = "mean",
    clusters: Sequence[Hashable] | None = None,
    bounds: tuple[float, float] | None = None,
    q: float = 0.5,
    confidence: float = 0.95,
    seed: int = 0,
) -> Verdict:
    """The verdict on A (first) against B; ``a[i]`` and ``b[i]`` are of the same example.

    A pair with None or NaN on either side is left out (``n`` says how many were used). ``margin`` is
    in the unit of the values. ``clusters``: one label a pair. ``bounds``: the smallest and
    largest value there can be, (0, 1) for scores and for rates without asking. ``q``: which quantile,
    for ``kind="quantile"``. Raises InputError for lengths that differ or a negative margin.
    """
    check_confidence(confidence)
    if len(a) != len(b):
        raise InputError(f"{len(a)} values against {len(b)}.", hint="Pair them by example first.")
    if not margin >= 0:
        raise InputError(f"A margin of {margin!r}.", hint="The smallest difference that matters, 0 or more.")
    if direction not in ("higher", "lower"):
        raise InputError(f"{direction!r} is no direction.", hint="higher or lower: which values are better.")
    first, second, groups = _pairs(a, b, clusters)
    n = len(first)
    if n == 0:
        return Verdict(
            verdict="not enough data",
            difference=None,
            low=None,
            high=None,
            n=0,
            needed=None,
            method="nothing to compare",
        )
    if kind == "quantile":
        difference, low, high, sd, method = _by_quantiles(first, second, groups, q, confidence, seed)
    else:
        difference, low, high, sd, method = _by_rows(
            first, second, groups, confidence, (0.0, 1.0) if kind == "rate" else bounds
        )
    enough = n >= LEAST_PAIRS and (groups is None or _kish(groups) >= LEAST_CLUSTERS)
    word: Word = "not enough data"
    if enough and low is not None and high is not None:
        word = _word(low, high, margin, direction)
    needed: int | None = n
    if word == "not enough data":
        needed = _needed(n, sd, margin or abs(difference), confidence)
    return Verdict(verdict=word, difference=difference, low=low, high=high, n=n, needed=needed, method=method)


def _word(low: float, high: float, margin: float, direction: str) -> Word:
    if -margin < low and high < margin:
        return "equivalent"
    if low > 0:
        return "better" if direction == "higher" else "worse"
    if high < 0:
        return "worse" if direction == "higher" else "better"
    # A margin of 0 and an interval of exactly 0: nothing differs, and nothing can.
    return "equivalent" if low == high == 0 else "not enough data"


def _needed(n: int, sd: float, margin: float, confidence: float) -> int | None:
    """The total number of examples. ``sd`` is that of one example's difference.

    As many as find a difference of ``margin`` with the planned power. Where there are that many
    already, the difference lies between 0 and the margin: then as many as make the interval narrower
    than the margin, so that it cannot hold both 0 and ±margin.
    """
    if margin == 0 or not math.isfinite(sd):
        return None
    z = normal.z(0.5 + confidence / 2)
    for factor in (z + normal.z(POWER), 2 * z):
        root = factor * sd / margin
        if root > MOST_NEEDED**0.5:
            return None
        if root**2 > n:
            return max(math.ceil(root**2), LEAST_PAIRS)
    return max(n + max(1, n // 10), LEAST_PAIRS)


# --------------------------------------------------------------------------- means and rates


def _by_rows(
    a: Floats, b: Floats, groups: Ints | None, confidence: float, bounds: tuple[float, float] | None
) -> tuple[float, float | None, float | None, float, str]:
    """Difference, low, high, the standard deviation of one row's difference, method."""
    d = a - b
    n = len(d)
    widest = None if bounds is None else bounds[1] - bounds[0]
    unseen = float(np.concatenate([a, b]).std()) if widest is None else widest
    size = _size(d if groups is None else np.bincount(groups, d).astype(np.float64), unseen, n)
    y = np.concatenate([d, [size, -size]])
    total = n + 2
    variance = float(y.var(ddof=1)) / total
    freedom = float(max(n - 1, 1))
    if groups is not None:  # the added rows are documents of their own
        many = int(groups.max()) + 1
        labels = np.concatenate([groups, [many, many + 1]]).astype(np.int64)
        sizes = np.bincount(labels).astype(np.float64)
        variance = max(variance, cluster_variance(y, labels, sizes))
        freedom = max(_kish(groups) - 1, 1.0)
    centre = float(y.sum()) / total
    half = normal.t(0.5 + confidence / 2, freedom) * math.sqrt(variance)
    difference = float(d.mean())
    low, high = min(centre - half, difference), max(centre + half, difference)
    if widest is not None:
        low, high = max(low, -widest), min(high, widest)
    method = "paired t, two rows added" + (", clustered" if groups is not None else "")
    return difference, low, high, math.sqrt(variance * total), method


def _size(sums: Floats, unseen: float, rows: int) -> float:
    """How large a difference is where there is one, of a row or summed over a document's rows.

    The root mean square of the differences that were seen and of two that were not, which are as
    large as can be (1 a row for scores), or as rows differ among themselves. Where only one row
    differs, by a little, that says little about the next one.
    """
    widest = unseen * rows / len(sums)
    return math.sqrt((float((sums**2).sum()) + 2 * widest**2) / (np.count_nonzero(sums) + 2))


# --------------------------------------------------------------------------- quantiles


def _by_quantiles(
    a: Floats, b: Floats, groups: Ints | None, q: float, confidence: float, seed: int
) -> tuple[float, float | None, float | None, float, str]:
    """As ``_by_rows``; no interval where the tail beyond the quantile holds too few rows."""
    both = np.stack([a, b], axis=1)
    n = len(both)
    at = np.quantile(both, q, axis=0)
    difference = float(at[0] - at[1])
    worth = n if groups is None else _kish(groups)
    method = "paired bootstrap of quantiles" + (", clustered" if groups is not None else "")
    drawn = quantiles(both, q, groups, seed=seed)
    shifts = drawn[:, 0] - drawn[:, 1]
    sd = float(shifts.std()) * math.sqrt(n)
    if worth * min(q, 1 - q) < LEAST_CLUSTERS:
        return difference, None, None, sd, method
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(shifts, tails).tolist()
    return difference, min(low, difference), max(high, difference), sd, method


# --------------------------------------------------------------------------- pairs


def _pairs(
    a: Sequence[float | None], b: Sequence[float | None], clusters: Sequence[Hashable] | None
) -> tuple[Floats, Floats, Ints | None]:
    """The values of complete pairs, and their clusters."""
    there = [i for i in range(len(a)) if _number(a[i]) and _number(b[i])]
    kept = None if clusters is None else [clusters[i] for i in there]
    first, groups, _ = clean([a[i] for i in there], kept)
    second, _, _ = clean([b[i] for i in there], None)
    return first, second, groups


def _number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _kish(groups: Ints) -> float:
    """How many clusters of one size these are worth (Kish 1965)."""
    sizes = np.bincount(groups).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())
