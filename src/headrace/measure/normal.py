"""Quantiles of the normal, of Student's t and of the binomial distribution, in plain Python.

The few that intervals need, so that measuring asks for nothing beyond numpy; the tests hold them to
scipy. Not a library of distributions.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_NORMAL = NormalDist()


def z(probability: float) -> float:
    """The standard normal quantile."""
    return _NORMAL.inv_cdf(probability)


@lru_cache(maxsize=4096)
def t(probability: float, freedom: float) -> float:
    """Student's t quantile for ``freedom`` degrees of freedom, which need not be whole (1 and more).

    Bisection on the distribution function, which is an incomplete beta function; right to 1e-9 of
    its size.
    """
    if probability == 0.5:
        return 0.0
    if probability < 0.5:
        return -t(1.0 - probability, freedom)
    tail = 2.0 * (1.0 - probability)
    low, high = 0.0, 2.0
    while _two_tails(high, freedom) > tail:
        low, high = high, high * 2.0
    while high - low > 1e-10 * max(1.0, high):
        middle = (low + high) / 2.0
        if _two_tails(middle, freedom) > tail:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _two_tails(value: float, freedom: float) -> float:
    """P(|T| > value)."""
    return incomplete_beta(freedom / (freedom + value * value), freedom / 2.0, 0.5)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz's method)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast on the other side only
        return 1.0 - incomplete_beta(1.0 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    total = d
    for m in range(1, 10_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + numerator / c
            c = c if abs(c) > tiny else tiny
            step = c * d
            total *= step
        if abs(step - 1.0) < 1e-14:
            break
    return front * total / a


def binomial_at_most(k: int, n: int, p: float) -> float:
    """P(X ≤ k) for X counting successes of ``n`` trials with probability ``p``."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    return incomplete_beta(1.0 - p, n - k, k + 1.0)
