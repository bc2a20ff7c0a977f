"""Has what people ask, and what is found for them, changed? One window of time against the one before.

Means by Welch's interval, rates by Newcombe's (1998, method 10: from two Wilson intervals). A change
is named only where its interval leaves 0 out. Pure functions of sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from headrace.ledger.traffic import Moments, Sums
from headrace.measure import normal
from headrace.measure.statistics import rate

CONFIDENCE = 0.95
FEW = 5  # values in each window, below which no interval of a mean is given

Change = Literal["risen", "fallen", "no change shown", "not enough data"]


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A quantity in this window against the window of the same length before it.

    ``difference`` = ``now`` − ``before``, with an interval. ``confidence`` is that of each interval;
    all of them together hold with 95 % (Bonferroni).
    """

    name: str
    unit: str
    before: float | None
    now: float | None
    difference: float | None
    low: float | None
    high: float | None
    n_before: int
    n_now: int
    change: Change
    confidence: float


def drift(before: Sums, now: Sums) -> tuple[Drift, ...]:
    """Length of the question, abstention and relevance: this window against the one before.

    Each interval has a confidence at which all three hold together with ``CONFIDENCE`` (Bonferroni).
    """
    each = 1 - (1 - CONFIDENCE) / 3
    return (
        _of_means("question length", "characters", before.asked, now.asked, each),
        _of_rates("abstained", (before.abstained, before.runs), (now.abstained, now.runs), each),
        _of_means("relevance", "", before.relevance, now.relevance, each),
    )


def _of_means(name: str, unit: str, a: Moments, b: Moments, confidence: float) -> Drift:
    first = a.total / a.n if a.n else None
    second = b.total / b.n if b.n else None
    low = high = None
    if first is not None and second is not None and min(a.n, b.n) >= FEW:
        va, vb = variance(a) / a.n, variance(b) / b.n
        spread = va + vb
        if spread > 0:
            freedom = spread**2 / (va**2 / (a.n - 1) + vb**2 / (b.n - 1))
            half = normal.t(0.5 + confidence / 2, freedom) * math.sqrt(spread)
            low, high = second - first - half, second - first + half
        else:  # every run the same, in both windows
            low = high = second - first
    return _drift(name, unit, first, second, low, high, a.n, b.n, confidence)


def _of_rates(name: str, a: tuple[int, int], b: tuple[int, int], confidence: float) -> Drift:
    one, two = rate(*a, confidence), rate(*b, confidence)
    low = high = None
    if one.value is not None and two.value is not None:
        assert one.low is not None
        assert one.high is not None
        assert two.low is not None
        assert two.high is not None
        gap = two.value - one.value
        low = gap - math.hypot(two.value - two.low, one.high - one.value)
        high = gap + math.hypot(two.high - two.value, one.value - one.low)
    return _drift(name, "share", one.value, two.value, low, high, one.n, two.n, confidence)


def _drift(
    name: str,
    unit: str,
    before: float | None,
    now: float | None,
    low: float | None,
    high: float | None,
    n_before: int,
    n_now: int,
    confidence: float,
) -> Drift:
    change: Change
    if low is None or high is None:
        change = "not enough data"
    elif low > 0:
        change = "risen"
    elif high < 0:
        change = "fallen"
    else:
        change = "no change shown"
    return Drift(
        name=name,
        unit=unit,
        before=before,
        now=now,
        difference=now - before if now is not None and before is not None else None,
        low=low,
        high=high,
        n_before=n_before,
        n_now=n_now,
        change=change,
        confidence=confidence,
    )


def variance(m: Moments) -> float:
    """The variance of the values (n - 1 in the denominator)."""
    return max(0.0, (m.squares - m.total**2 / m.n) / (m.n - 1)) if m.n > 1 else 0.0
