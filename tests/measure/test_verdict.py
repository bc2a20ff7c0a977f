"""Verdicts: what is equal, what is not, what cannot be told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InputError
from headrace.measure.verdict import Verdict, paired

SCORES = st.lists(st.floats(0, 1), max_size=120)
ONES = [1.0] * 60 + [0.0] * 40


def compared(a: list[float], b: list[float], **settings: object) -> Verdict:
    return paired(a, b, **{"direction": "higher", "margin": 0.05, "bounds": (0, 1), **settings})


@given(SCORES, st.sampled_from(["mean", "quantile"]), st.floats(0, 0.2))
def test_identical_rows_are_never_better_or_worse(values: list[float], kind: str, margin: float) -> None:
    found = compared(values, values, kind=kind, margin=margin)
    assert found.verdict in ("equivalent", "not enough data")
    assert found.difference in (0.0, None)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=9))
def test_a_handful_of_rows_is_no_verdict(rows: list[tuple[float, float]]) -> None:
    found = compared([a for a, _ in rows], [b for _, b in rows])
    assert found.verdict == "not enough data"
    assert found.needed is None if not rows else found.needed is not None and found.needed > len(rows)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_a_against_b_is_the_mirror_of_b_against_a(rows: list[tuple[bool, bool]]) -> None:
    a, b = [float(x) for x, _ in rows], [float(y) for _, y in rows]
    one, other = compared(a, b), compared(b, a)
    mirrored = {"better": "worse", "worse": "better"}
    assert other.verdict == mirrored.get(one.verdict, one.verdict)
    assert other.difference == pytest.approx(-one.difference)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))
    assert one.low <= one.difference <= one.high
    assert other.needed == one.needed


def test_rates_have_bonett_and_prices_interval() -> None:
    a = [1.0] * 12 + [0.0] * 3 + [1.0] * 85
    b = [0.0] * 12 + [1.0] * 3 + [1.0] * 85
    found = compared(a, b)
    more, fewer, n = 13 / 102, 4 / 102, 102
    half = 1.9842 * ((more + fewer - (more - fewer) ** 2) / (n - 1)) ** 0.5  # t with 99, not z
    assert (found.low, found.high) == pytest.approx((more - fewer - half, more - fewer + half), abs=1e-4)
    assert found.difference == pytest.approx(0.09)
    assert found.verdict == "better"


def test_direction_turns_the_verdict() -> None:
    low = [x * 0.3 for x in ONES]
    assert compared(ONES, low).verdict == "better"
    assert compared(ONES, low, direction="lower").verdict == "worse"
    assert compared(low, ONES).verdict == "worse"


def test_equivalent_comes_before_better() -> None:
    random = np.random.default_rng(0)
    b = random.uniform(0.2, 0.8, 2000)
    a = b + 0.01 + random.normal(0, 0.01, 2000)
    found = compared(a.tolist(), b.tolist(), margin=0.05)
    assert found.low is not None
    assert found.low > 0
    assert found.verdict == "equivalent"
    assert compared(a.tolist(), b.tolist(), margin=0.005).verdict == "better"


def test_five_lucky_rows_are_no_verdict() -> None:
    a, b = [1.0] * 50, [0.0] * 5 + [1.0] * 45
    assert compared(a, b).verdict == "not enough data"
    assert compared(a, [0.0] * 7 + [1.0] * 43).verdict == "better"


def test_needed_brings_a_verdict_about() -> None:
    """With the announced number of rows of the same kind there is a verdict."""
    random = np.random.default_rng(5)
    b = (random.random(60) < 0.8).astype(float)
    a = np.where(random.random(60) < 0.1, 1 - b, b)
    first = compared(a.tolist(), b.tolist())
    assert first.verdict == "not enough data"
    assert first.needed is not None
    assert first.needed > 60
    times = -(-first.needed // 60)
    assert compared(a.tolist() * times, b.tolist() * times).verdict != "not enough data"


def test_needed_where_the_difference_lies_between_zero_and_the_margin() -> None:
    a = [1.0] * 30 + [0.0] * 18 + [1.0] * 352
    b = [0.0] * 30 + [1.0] * 18 + [1.0] * 352
    found = compared(a, b)
    assert found.verdict == "not enough data"
    assert found.needed is not None
    assert found.needed > 400
    assert compared(ONES, ONES, margin=0.0).needed is None


def test_clusters_count_as_what_they_are_worth() -> None:
    random = np.random.default_rng(8)
    labels = [i // 10 for i in range(200)]
    worse = random.random(20) < 0.3
    b = [1.0] * 200
    a = [0.0 if worse[label] else 1.0 for label in labels]
    alone, together = compared(a, b), compared(a, b, clusters=labels)
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert compared(a, b, clusters=["one"] * 200).verdict == "not enough data"


def test_two_equal_variants_are_rarely_called_different() -> None:
    random = np.random.default_rng(9)
    called = 0
    for _ in range(600):
        b = random.random(50) < 0.8
        a = np.where(random.random(50) < 0.3, random.random(50) < 0.8, b)
        called += compared(a.tolist(), b.tolist()).verdict in ("better", "worse")
    assert called <= 0.07 * 600


def test_latency_is_compared_by_its_median() -> None:
    random = np.random.default_rng(10)
    b = random.lognormal(0, 0.4, 200)
    found = paired(b * 1.5, b, direction="lower", margin=0.1, kind="quantile")
    assert found.verdict == "worse"
    assert found.difference == pytest.approx(0.5 * np.median(b))
    tail = paired(b[:40] * 9, b[:40], direction="lower", margin=0.1, kind="quantile", q=0.95)
    assert (tail.verdict, tail.low) == ("not enough data", None)
    labels = [i // 20 for i in range(200)]
    assert paired(b, b, direction="lower", margin=0.1, kind="quantile", clusters=labels).low == 0.0


def test_a_constant_that_stays_is_equivalent_a_constant_that_moves_is_not() -> None:
    assert paired([0.0] * 30, [0.0] * 30, direction="lower", margin=9.0, kind="mean").verdict != "better"
    spent = np.random.default_rng(1).lognormal(-8, 0.5, 60)  # a cost of well under a cent a run
    assert paired(spent, spent, direction="lower", margin=4e-5).verdict == "equivalent"
    assert paired(spent * 1.3, spent, direction="lower", margin=4e-5).verdict == "worse"
    fewer = paired([100.0] * 50, [160.0] * 50, direction="lower", margin=10.0)
    assert (fewer.verdict, fewer.difference) == ("better", -60.0)


def test_incomplete_pairs_are_left_out_and_bad_input_is_refused() -> None:
    found = compared([1.0, None, 0.0] * 10, [1.0, 1.0, float("nan")] * 10)
    assert found.n == 10
    with pytest.raises(InputError, match="against"):
        compared([1.0], [1.0, 2.0])
    with pytest.raises(InputError, match="margin"):
        compared([1.0], [1.0], margin=-1.0)
    with pytest.raises(InputError, match="direction"):
        compared([1.0], [1.0], direction="up")
