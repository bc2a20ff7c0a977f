"""Quantiles and probabilities against scipy."""

from __future__ import annotations

import pytest
from scipy import special, stats

from headrace.measure import normal


@pytest.mark.parametrize("freedom", [1, 2, 2.5, 7, 30, 499, 1e5])
@pytest.mark.parametrize("probability", [0.001, 0.1, 0.5, 0.6, 0.975, 0.9995])
def test_t_quantile(probability: float, freedom: float) -> None:
    expected = stats.t.ppf(probability, freedom)
    assert normal.t(probability, freedom) == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_normal_quantile() -> None:
    for probability in (0.025, 0.5, 0.9, 0.99999):
        assert normal.z(probability) == pytest.approx(stats.norm.ppf(probability), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("n", [1, 5, 72, 500])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
def test_binomial_distribution(n: int, p: float) -> None:
    for k in range(-1, n + 1):
        assert normal.binomial_at_most(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), abs=1e-11)


def test_incomplete_beta_at_its_ends_and_between() -> None:
    assert normal.incomplete_beta(0.0, 2, 3) == 0.0
    assert normal.incomplete_beta(1.0, 2, 3) == 1.0
    for x in (0.01, 0.4, 0.77, 0.999):
        for a, b in ((0.5, 0.5), (250.0, 0.5), (3.0, 800.0)):
            assert normal.incomplete_beta(x, a, b) == pytest.approx(special.betainc(a, b, x), abs=1e-12)
