"""Intervals: known values, edges, and coverage by small simulations with wide limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headrace.errors import InputError
from headrace.measure import resampling
from headrace.measure.resampling import counts, studentised
from headrace.measure.statistics import Interval, mean, quantile, rate, summary

NAN = float("nan")


def inflated(random: np.random.Generator, size: int | tuple[int, int]) -> np.ndarray:
    """Scores as F1 gives them: mostly 1, some 0, the rest in between. Mean 0.7 + 0.2 × 0.5 = 0.8."""
    which = random.random(size)
    return np.where(which < 0.7, 1.0, np.where(which < 0.8, 0.0, random.random(size)))


def covers(interval: Interval, truth: float) -> bool:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= truth <= interval.high


# --------------------------------------------------------------------------- rates


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 20), (45, 50), (50, 50), (499, 1000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_rate_is_wilsons_interval(successes: int, n: int, confidence: float) -> None:
    found = rate(successes, n, confidence)
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)
    assert found.value == successes / n


def test_rate_of_nothing_and_impossible_rates() -> None:
    nothing = rate(0, 0)
    assert (nothing.value, nothing.low, nothing.high, nothing.n) == (None, None, None, 0)
    for successes, n in ((3, 2), (-1, 5), (0, -1)):
        with pytest.raises(InputError, match="no rate"):
            rate(successes, n)
    with pytest.raises(InputError, match="confidence"):
        rate(1, 2, confidence=95)


# --------------------------------------------------------------------------- scores between bounds


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_scores_stay_between_their_bounds_and_hold_their_mean(values: list[float]) -> None:
    found = mean(values, bounds=(0, 1))
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1


def test_ones_only_leave_room_for_a_zero_that_was_not_seen() -> None:
    found = mean([1.0] * 50, bounds=(0, 1))
    assert found.low == pytest.approx(rate(50, 50).low)
    assert found.high == 1.0
    assert mean([0.5] * 50, bounds=(0, 1)).low < 0.4  # equal values prove no narrow spread either


def test_zeros_and_ones_come_out_as_a_rate() -> None:
    values = [1.0] * 45 + [0.0] * 5
    as_scores, as_rate = mean(values, bounds=(0, 1)), summary(values, "rate")
    assert as_rate.method == "Wilson"
    assert as_scores.low == pytest.approx(as_rate.low, abs=0.01)
    assert as_scores.high == pytest.approx(as_rate.high, abs=0.01)


def test_bounds_may_be_any() -> None:
    unit = mean([0.2, 0.9, 0.4, 1.0] * 10, bounds=(0, 1))
    stars = mean([1 + 4 * x for x in [0.2, 0.9, 0.4, 1.0] * 10], bounds=(1, 5))
    assert stars.low == pytest.approx(1 + 4 * unit.low)
    with pytest.raises(InputError, match="outside"):
        mean([0.5, 1.5], bounds=(0, 1))


def test_scores_cover() -> None:
    random = np.random.default_rng(3)
    hits = [covers(mean(row, bounds=(0, 1)), 0.8) for row in inflated(random, (1500, 60))]
    assert 0.925 <= np.mean(hits) <= 0.985


# --------------------------------------------------------------------------- means without bounds


def test_bootstrap_t_covers_a_skewed_mean_better_than_the_percentiles() -> None:
    random = np.random.default_rng(4)
    rows = random.lognormal(size=(600, 60))
    truth = math.exp(0.5)
    ours = np.mean([covers(mean(row), truth) for row in rows])
    drawn = counts(60)
    low, high = np.quantile(rows @ drawn.T / 60, [0.025, 0.975], axis=1)
    percentiles = np.mean((low <= truth) & (truth <= high))
    assert ours >= 0.90
    assert ours > percentiles


def test_resampled_t_agrees_with_a_loop() -> None:
    x = np.array([3.0, 4.0, 8.0, 1.0, 9.5, 2.5])
    drawn = counts(6, 50, seed=2)
    assert drawn.sum(axis=1).tolist() == [6.0] * 50
    found = studentised(x[None], resamples=50, seed=2)[0]
    for line, value in zip(drawn, found, strict=True):
        again = np.repeat(x, line.astype(int))
        variance = max(again.var(ddof=1), ((x - x.mean()) ** 2).mean() / 6 * 6 / 5)
        assert value == pytest.approx((again.mean() - x.mean()) / math.sqrt(variance / 6))


def test_the_seed_decides_and_nothing_else() -> None:
    values = list(np.random.default_rng(0).exponential(size=80))
    assert mean(values) == mean(values)
    assert mean(values, seed=1) != mean(values)


def test_few_values_have_wide_intervals_or_none() -> None:
    assert (mean([2.0]).low, mean([2.0]).value) == (None, 2.0)
    two = mean([1.0, 3.0])
    expected = stats.t.interval(0.95, 1, loc=2, scale=1)
    assert (two.low, two.high) == pytest.approx(expected)
    assert mean([]).value is None
    constant = mean([7.0] * 30)
    assert (constant.low, constant.high, constant.method) == (7.0, 7.0, "all equal")


# --------------------------------------------------------------------------- quantiles


@pytest.mark.parametrize(("n", "q"), [(6, 0.5), (25, 0.5), (50, 0.5), (300, 0.5), (100, 0.95), (500, 0.95)])
def test_quantile_ranks_have_the_stated_probability(n: int, q: float) -> None:
    values = [float(i) for i in range(1, n + 1)]
    found = quantile(values, q)
    assert found.low is not None
    assert found.high is not None
    low, high = round(found.low), round(found.high)
    probability = stats.binom.cdf(high - 1, n, q) - stats.binom.cdf(low - 1, n, q)
    assert 0.95 <= probability <= 0.99
    assert found.value == pytest.approx(np.quantile(values, q))


def test_too_few_rows_bound_no_quantile() -> None:
    assert quantile([1.0] * 5).low is None
    assert quantile([1.0] * 5).high is None
    assert quantile(list(range(6))).low == 0.0
    assert quantile(list(range(72)), 0.95).high is not None or quantile(list(range(72)), 0.95).low is not None
    short = quantile(list(range(40)), 0.95)
    assert short.high is None
    assert short.low is not None
    with pytest.raises(InputError, match="quantile"):
        quantile([1.0], 95)


def test_quantile_with_clusters_is_wider() -> None:
    random = np.random.default_rng(1)
    groups = [i // 10 for i in range(200)]
    values = [float(x) for x in random.normal(size=20)[np.array(groups)] + 0.1 * random.normal(size=200)]
    alone, together = quantile(values), quantile(values, clusters=groups)
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    assert together.effective is not None
    assert together.effective < 100


# --------------------------------------------------------------------------- clusters


def test_copies_of_rows_are_no_new_rows() -> None:
    random = np.random.default_rng(2)
    values = [float(x) for x in (random.random(40) < 0.7)]
    copied = [x for x in values for _ in range(5)]
    labels = [i // 5 for i in range(200)]
    alone = summary(values, "rate")
    together = summary(copied, "rate", clusters=labels)
    blind = summary(copied, "rate")
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert blind.high - blind.low < 0.6 * (together.high - together.low)
    tokens = [float(x) for x in random.lognormal(size=40)]
    free = mean([x for x in tokens for _ in range(5)], clusters=labels)
    assert free.method == "bootstrap-t, clustered"
    assert free.high - free.low == pytest.approx(mean(tokens).high - mean(tokens).low, rel=0.1)


def test_clustered_rates_cover_and_blind_ones_do_not() -> None:
    random = np.random.default_rng(7)
    labels = [i // 5 for i in range(100)]
    aware = blind = 0
    for _ in range(600):
        chance = random.beta(0.8 * 2, 0.2 * 2, 20)[np.array(labels)]
        values = [float(x) for x in random.random(100) < chance]
        aware += covers(summary(values, "rate", clusters=labels), 0.8)
        blind += covers(summary(values, "rate"), 0.8)
    assert 0.91 <= aware / 600 <= 0.99
    assert blind / 600 < 0.90


def test_every_row_its_own_cluster_is_the_plain_case() -> None:
    values = [0.0, 1.0, 1.0, 0.5] * 8
    assert mean(values, bounds=(0, 1), clusters=list(range(32))) == mean(values, bounds=(0, 1))
    assert mean(values, bounds=(0, 1), clusters=[None] * 32) == mean(values, bounds=(0, 1))


def test_one_cluster_says_little() -> None:
    found = mean([0.2, 0.9, 0.7, 0.8], bounds=(0, 1), clusters=["a"] * 4)
    assert found.high - found.low > 0.9
    assert mean([2.0, 9.0, 7.0], clusters=["a"] * 3).low is None


# --------------------------------------------------------------------------- what is not a number


@pytest.mark.parametrize("kind", ["rate", "mean", "quantile"])
def test_missing_values_are_counted(kind: str) -> None:
    found = summary([1.0, None, NAN, 0.0], kind, clusters=["a", "b", None, "d"])
    assert (found.n, found.missing) == (2, 2)
    nothing = summary([None, NAN], kind)
    assert (nothing.n, nothing.missing, nothing.value) == (0, 2, None)


def test_bad_values_are_refused() -> None:
    with pytest.raises(InputError, match="infinite"):
        mean([1.0, float("inf")])
    with pytest.raises(InputError, match="cluster labels"):
        mean([1.0, 2.0], clusters=["a"])
    with pytest.raises(InputError, match="0 and 1"):
        summary([0.5, 1.0], "rate")
    with pytest.raises(InputError, match="kind"):
        summary([0.5, 1.0], "total")


def test_resampling_in_pieces_is_resampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the counts would not fit into memory they are drawn in pieces: other draws, the same answer."""
    random = np.random.default_rng(11)
    values = [float(x) for x in random.lognormal(size=400)]
    labels = [i // 4 for i in range(400)]
    both = np.array([values, values[::-1]]).T
    groups = np.array(labels)

    def all_of_them() -> list[float]:
        free, clustered_ = mean(values), mean(values, clusters=labels)
        plain = np.quantile(resampling.quantiles(both, 0.5), [0.025, 0.975])
        whole = np.quantile(resampling.quantiles(both, 0.5, groups), [0.025, 0.975])
        return [free.low, free.high, clustered_.low, clustered_.high, *plain, *whole]

    at_once = all_of_them()
    monkeypatch.setattr(resampling, "KEPT", 50_000)
    assert all_of_them() == pytest.approx(at_once, rel=0.05)
    assert all_of_them() != at_once
