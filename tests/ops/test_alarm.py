"""The alarm on thumbs: its guarantee by exact enumeration and by simulation, and that it finds a fall."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from headrace.errors import InputError
from headrace.ops import alarm


@pytest.mark.parametrize("releases", ["aaaaaaaaaaaa", "aaabbbbccccc", "aabaabbabacb"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_expectation_is_at_most_one_whatever_the_rate(p: float, releases: str) -> None:
    """All 2^12 sequences, at every length: the sum of probability times value."""
    n = len(releases)
    labels = np.array(["abc".index(name) for name in releases])
    total = np.zeros(n + 1)
    for votes in itertools.product((False, True), repeat=n):
        values, _ = alarm.evidence(np.array(votes), labels)
        total += math.exp(sum(math.log(p if v else 1 - p) for v in votes)) * np.exp(values)
    assert (total <= 1 + 1e-9).all()
    if releases[-1] != "a":
        assert total[-1] > 0.01  # the test can fail: there is something to add up


def test_the_weights_of_all_moments_stay_below_one() -> None:
    weights = [math.exp(weight) for weight, _ in alarm._moments(200_000)]
    assert 0.4 < sum(weights) < 0.5  # the other half: 1/2 · 1/(r (r + 1)) over releases


def test_steady_thumbs_raise_nothing_at_the_stated_rate() -> None:
    random = np.random.default_rng(7)
    raised = [alarm.watch(random.random(600) < 0.85, false_alarms=0.2).raised for _ in range(150)]
    assert sum(r is not None for r in raised) <= 0.2 * 150 + 3 * math.sqrt(150 * 0.2 * 0.8)


def test_a_fall_is_found_and_placed() -> None:
    random = np.random.default_rng(3)
    votes = np.concatenate([random.random(500) < 0.92, random.random(400) < 0.6])
    found = alarm.watch(votes)
    assert found.raised is not None
    assert 500 < found.raised <= 640
    assert found.fell_after is not None
    assert abs(found.fell_after - 500) <= 40
    assert found.release is None
    assert found.worse is not None
    assert found.rest is not None
    assert found.worse[1] + found.rest[1] == 900
    assert found.rest[0] / found.rest[1] > 0.85 > 0.7 > found.worse[0] / found.worse[1]
    assert found.evidence >= found.limit == pytest.approx(20)


def test_a_worse_release_is_found_sooner_than_an_unknown_moment() -> None:
    random = np.random.default_rng(5)
    votes = np.concatenate([random.random(300) < 0.9, random.random(400) < 0.65])
    known, unknown = alarm.watch(votes, ["old"] * 300 + ["new"] * 400), alarm.watch(votes)
    assert known.raised is not None
    assert unknown.raised is not None
    assert known.raised < unknown.raised
    assert (known.release, known.fell_after) == ("new", None)
    assert known.worse is not None
    assert known.worse[1] == 400


def test_a_worse_canary_is_found_beside_production() -> None:
    random = np.random.default_rng(6)
    names = ["prod"] * 200 + [random.choice(["prod", "canary"]) for _ in range(500)]
    votes = [random.random() < (0.9 if name == "prod" else 0.6) for name in names]
    found = alarm.watch(votes, names)
    assert found.raised is not None
    assert found.release == "canary"


def test_a_better_canary_raises_nothing() -> None:
    random = np.random.default_rng(8)
    names = ["prod"] * 100 + [random.choice(["prod", "canary"]) for _ in range(500)]
    votes = [random.random() < (0.7 if name == "prod" else 0.95) for name in names]
    assert alarm.watch(votes, names).raised is None


def test_a_rise_is_no_fall() -> None:
    random = np.random.default_rng(4)
    votes = np.concatenate([random.random(300) < 0.6, random.random(600) < 0.95])
    found = alarm.watch(votes, ["old"] * 300 + ["new"] * 600)
    assert found.raised is None
    assert found.evidence < 1


@pytest.mark.parametrize("votes", [[], [True], [False] * 3, [True] * 50])
def test_few_votes_say_nothing(votes: list[bool]) -> None:
    found = alarm.watch(votes)
    assert found.raised is None
    assert found.votes == len(votes)


def test_a_rate_of_false_alarms_lies_between_0_and_1() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        alarm.watch([True], false_alarms=0.0)


def test_each_vote_has_its_release() -> None:
    with pytest.raises(InputError, match="3 votes on 1 releases"):
        alarm.watch([True] * 3, ["a"])
