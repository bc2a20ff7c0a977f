"""Watching: releases side by side, trend, drift and alarm, from a real ledger."""

from __future__ import annotations

import calendar
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import InputError
from headrace.ledger.database import Ledger
from headrace.ops import monitor
from headrace.settings import LedgerSettings
from headrace.tracing import new_id
from headrace.types import Answer, Feedback, Trace

NOON = float(calendar.timegm((2026, 8, 15, 12, 0, 0)))
DAY = monitor.DAY


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.sqlite", LedgerSettings(retention_days=1e6), clock=lambda: NOON)
    yield opened
    opened.close()


def ran(ledger: Ledger, at: float, release: str | None, vote: str = "", **changes: Any) -> str:
    relevance = changes.pop("relevance", 0.8)
    given: dict[str, Any] = {
        "seconds": 0.5,
        "inputs": {"question": "When does the ferry leave?"},
        "output": Answer(text="At nine."),
        "record": {
            "passages": [{"relevance": relevance}],
            "usage": [{"input_tokens": 10, "output_tokens": 4}],
        },
    }
    trace = Trace(
        id=new_id(at), start=at, subject={"app": "harbour", "release": release}, **{**given, **changes}
    )
    ledger.record(trace)
    if vote:
        ledger.add_feedback(Feedback(trace_id=trace.id, value=vote, at=at + 1, id=new_id(at)))  # type: ignore[arg-type]
    return trace.id


def test_releases_stand_side_by_side_production_first(ledger: Ledger) -> None:
    for i in range(6):
        ran(ledger, NOON - 100 + i, "aaa", "up" if i else "down", seconds=0.1 * (i + 1))
    ran(ledger, NOON - 50, "bbb", "up", error="model-timeout: too late", output=None)
    ran(ledger, NOON - 49, None, output=Answer(text="No.", abstained=True))
    found = monitor.watch(
        ledger, "harbour", since=NOON - DAY, until=NOON, live={"aaa": "production", "bbb": "canary"}
    )
    assert [(part.release, part.role, part.runs) for part in found.releases] == [
        ("aaa", "production", 6),
        ("", "", 1),
        ("bbb", "canary", 1),
    ]
    aaa, none, bbb = found.releases
    assert (aaa.up, aaa.down, aaa.thumbs.value) == (5, 1, pytest.approx(5 / 6))
    assert aaa.thumbs.low is not None
    assert 0.4 < aaa.thumbs.low < 5 / 6
    assert aaa.p50.value == pytest.approx(0.35)
    assert bbb.problems == {"model-timeout": 1}
    assert bbb.errors.value == 1.0
    assert none.abstained.value == 1.0
    assert none.thumbs.value is None
    assert (found.whole.runs, found.whole.up, found.whole.down, found.whole.input_tokens) == (8, 6, 1, 80)
    assert sum(part.share for part in found.releases) == pytest.approx(1)
    assert found.whole.cost is None  # no price is known, which is not 0


def test_the_trend_is_per_release_and_step(ledger: Ledger) -> None:
    for day in range(3):
        for i in range(4):
            ran(ledger, NOON - (3 - day) * DAY + i, "aaa" if day < 2 else "bbb", "up" if i < day else "down")
    found = monitor.watch(ledger, "harbour", since=NOON - 7 * DAY, until=NOON)
    assert found.every == DAY
    assert [(p.release, p.runs, p.up, p.down) for p in found.trend] == [
        ("aaa", 4, 0, 4),
        ("aaa", 4, 1, 3),
        ("bbb", 4, 2, 2),
    ]
    assert [p.start for p in found.trend] == sorted(p.start for p in found.trend)
    assert monitor.watch(ledger, "harbour", since=NOON - DAY, until=NOON).every == monitor.HOUR


def test_drift_is_stated_with_intervals(ledger: Ledger) -> None:
    rng = random.Random(1)
    for i in range(60):
        ran(ledger, NOON - 1.5 * DAY + i, "a", relevance=0.8 + 0.1 * rng.random())
        ran(
            ledger,
            NOON - 0.5 * DAY + i,
            "a",
            relevance=0.4 + 0.1 * rng.random(),
            output=Answer(text="", abstained=i % 2 == 0),
        )
    length, abstained, relevance = monitor.watch(ledger, "harbour", since=NOON - DAY, until=NOON).drift
    assert (length.change, length.difference) == ("no change shown", 0.0)
    assert (abstained.change, abstained.now) == ("risen", 0.5)
    assert relevance.change == "fallen"
    assert relevance.low is not None
    assert relevance.high is not None
    assert relevance.low < -0.4 < relevance.high < 0
    assert relevance.confidence == pytest.approx(1 - 0.05 / 3)


def test_nothing_to_compare_with_is_said(ledger: Ledger) -> None:
    ran(ledger, NOON - 10, "a")
    found = monitor.watch(ledger, "harbour", since=NOON - DAY, until=NOON)
    assert {drift.change for drift in found.drift} == {"not enough data"}
    assert found.drift[2].now == pytest.approx(0.8)
    assert found.drift[2].before is None


def test_the_alarm_goes_off_when_a_release_is_worse(ledger: Ledger) -> None:
    rng = random.Random(2)
    for i in range(160):
        good = rng.random() < (0.92 if i < 80 else 0.35)
        ran(ledger, NOON - 20 * DAY + i * 60, "old" if i < 80 else "new", "up" if good else "down")
    found = monitor.watch(ledger, "harbour", since=NOON - DAY, until=NOON)  # the stream is longer than that
    assert found.whole.runs == 0
    assert found.alarm.votes == 160
    assert found.alarm.raised is not None
    assert found.alarm.release == "new"
    said = monitor.told(found.alarm)
    assert "Thumbs have fallen" in said
    assert "on release new" in said
    assert "at most 5%" in said


def test_the_stream_of_the_alarm_begins_with_the_quarter_before() -> None:
    start = monitor.quarter_before
    assert start(NOON) == calendar.timegm((2026, 4, 1, 0, 0, 0))
    assert start(calendar.timegm((2026, 2, 1, 0, 0, 0))) == calendar.timegm((2025, 10, 1, 0, 0, 0))
    assert start(calendar.timegm((2026, 12, 31, 23, 0, 0))) == calendar.timegm((2026, 7, 1, 0, 0, 0))


def test_nobody_asked(ledger: Ledger) -> None:
    found = monitor.watch(ledger, "harbour", since=NOON - DAY, until=NOON)
    assert (found.whole.runs, found.releases, found.trend, found.whole.p50.value) == (0, (), (), None)
    assert monitor.told(found.alarm).startswith("No alarm after 0 votes")


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("12h", 43200), ("7d", 604800), (" 2W ", 1209600)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert monitor.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "0d", "7 days", "1y"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(InputError, match="length of time"):
        monitor.seconds_of(text)


def test_an_empty_window_is_refused(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="empty"):
        monitor.watch(ledger, "harbour", since=NOON, until=NOON)
