"""Counting runs and votes: sums that add up, rows that leave with their traces, older ledgers filled in."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.ledger import figures
from headrace.ledger.database import Ledger
from headrace.ledger.migrations import LEDGER
from headrace.ledger.records import COLUMNS, to_row, trace_to_json
from headrace.ledger.traffic import Moments
from headrace.request import EVALUATION
from headrace.settings import LedgerSettings
from headrace.types import Answer, Feedback, Span, Trace

from .conftest import NOW, OpenLedger, make_trace

DAY = 86400.0


def run(at: float, release: str | None = None, **changes: Any) -> Trace:
    record = {
        "kb_versions": [{"name": "kb", "commit": 1}],
        "passages": [{"relevance": 0.2, "score": 1.0}, {"relevance": 0.7, "score": 0.4}],
        "usage": [{"calls": 2, "input_tokens": 30, "output_tokens": 5, "cost": 0.25}],
    }
    subject = {"app": "harbour", "release": release, "fingerprint": "f"}
    return make_trace(**{"start": at, "subject": subject, "record": record, **changes})


def fill(ledger: Ledger) -> list[Trace]:
    traces = [
        run(NOW, "one"),
        run(NOW + 10, "one", seconds=4.0, error="model-timeout: no answer in 3 s", output=None),
        run(NOW + 20, "two", output=Answer(text="Nothing.", abstained=True), inputs={"question": "Why so?"}),
        run(NOW + DAY, "two", record={}, inputs={"n": 3}),
        run(NOW + 30, "two", subject={"app": "other"}),
    ]
    for trace in traces:
        ledger.record(trace)
    ledger.flush()
    return traces


def test_runs_add_up_per_release_and_step(ledger: Ledger) -> None:
    fill(ledger)
    found = ledger.traffic("harbour", since=NOW, until=NOW + 2 * DAY, every=DAY)
    day = int(NOW // DAY)
    assert set(found.sums) == {("one", day), ("two", day), ("two", day + 1)}
    one = found.sums["one", day]
    assert (one.runs, one.errors, one.abstained) == (2, 1, 0)
    assert (one.input_tokens, one.output_tokens, one.priced, one.cost) == (60, 10, 2, 0.5)
    asked = len("When does the ferry leave?")
    assert one.asked == Moments(n=2, total=2 * asked, squares=2 * asked**2)
    assert one.relevance.total == pytest.approx(1.4)
    later = found.sums["two", day + 1]
    assert (later.asked.n, later.relevance.n, later.priced) == (0, 0, 0)
    assert sorted(found.seconds["one", day]) == [0.25, 4.0]
    assert found.problems == {"one": {"model-timeout": 1}}
    assert found.first == {"one": NOW, "two": NOW + 20}
    whole = found.sums["two", day] + later
    assert (whole.runs, whole.abstained, whole.relevance.n) == (2, 1, 1)
    assert ledger.apps() == ["harbour", "other"]


def test_the_end_of_a_window_is_outside_it(ledger: Ledger) -> None:
    fill(ledger)
    found = ledger.traffic("harbour", since=NOW + 10, until=NOW + 20, every=DAY)
    assert sum(s.runs for s in found.sums.values()) == 1
    assert ledger.traffic("nobody", since=0, until=NOW * 2).sums == {}


def test_an_empty_ledger_counts_nothing(ledger: Ledger) -> None:
    assert ledger.traffic("harbour", since=0, until=NOW).sums == {}
    assert ledger.votes("harbour", since=0, until=NOW) == []
    assert ledger.apps() == []


def test_the_latest_vote_of_a_user_counts(ledger: Ledger) -> None:
    first, second = fill(ledger)[:2]
    ledger.add_feedback(Feedback(trace_id=first.id, value="up", user="ana", at=NOW + 1))
    ledger.add_feedback(Feedback(trace_id=second.id, value="up", user="ana", at=NOW + 2))
    ledger.add_feedback(Feedback(trace_id=first.id, value="down", user="ana", at=NOW + 3))
    found = ledger.votes("harbour", since=NOW, until=NOW + DAY)
    assert [(vote.at, vote.up, vote.release) for vote in found] == [
        (NOW + 2, True, "one"),
        (NOW + 3, False, "one"),
    ]
    assert ledger.votes("harbour", since=NOW + 3, until=NOW + DAY) == found[1:]
    assert ledger.votes("other", since=0, until=2 * NOW) == []


def test_figures_leave_with_their_trace_and_follow_it(ledger: Ledger) -> None:
    traces = fill(ledger)
    ledger.record(replace(traces[0], start=NOW + DAY, subject={"app": "moved"}))  # the same id again
    ledger.forget_user("ana")  # all others
    ledger.record(replace(traces[0], start=NOW + DAY, subject={"app": "moved"}, context={}))
    ledger.record(replace(traces[0], start=NOW + 2 * DAY, subject={"app": "gone"}, context={}))
    ledger.flush()
    with closing(sqlite3.connect(ledger.path)) as connection:
        assert connection.execute("SELECT app, start, id FROM figures").fetchall() == [
            ("gone", NOW + 2 * DAY, traces[0].id)
        ]


def test_without_content_the_length_of_a_question_is_still_known(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(content=False)
    ledger.record(run(NOW))
    ledger.flush()
    (sums,) = ledger.traffic("harbour", since=0, until=2 * NOW).sums.values()
    assert sums.asked.total == len("When does the ferry leave?")
    assert sums.relevance.total == pytest.approx(0.7)


def test_a_search_that_found_nothing_counts_as_irrelevant() -> None:
    data = trace_to_json(run(NOW, record={"kb_versions": [{"name": "kb"}]}))
    row = dict(zip(figures.COLUMNS.split(", "), figures.of(data, "harbour", ""), strict=True))
    assert row["relevance"] == 0.0
    assert row["cost"] is None
    kept_back = Span(
        id="s", parent=None, name="retrieve", kind="retrieve", start=NOW, seconds=0.1,
        attributes={"outcome": "below threshold", "best_relevance": 0.25},
    )  # fmt: skip
    data = trace_to_json(run(NOW, record={"kb_versions": [{"name": "kb"}]}, spans=(kept_back,)))
    assert 0.25 in figures.of(data, "harbour", "")


def test_a_ledger_from_before_is_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    old = [run(NOW + i, "one", seconds=float(i)) for i in range(3)]
    marks = ", ".join("?" * len(COLUMNS.split(", ")))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        first = replace(LEDGER, steps=LEDGER.steps[:1])  # what the first version of the format was
        first.migrate(connection, path)
        for trace in old:
            connection.execute(f"INSERT INTO traces ({COLUMNS}) VALUES ({marks})", to_row(trace))
        connection.execute("UPDATE traces SET body = x'00' WHERE id = ?", (old[2].id,))
        connection.execute("UPDATE traces SET status = 'error' WHERE id = ?", (old[2].id,))
    ledger = Ledger.open(path, LedgerSettings(), clock=lambda: NOW)
    found = ledger.traffic("harbour", since=0, until=2 * NOW)
    (sums,) = found.sums.values()
    assert (sums.runs, sums.errors, sums.input_tokens) == (3, 1, 60)
    assert sums.relevance.n == 2  # the damaged one is counted by what its row says
    kept = ledger.trace(old[0].id)
    assert kept is not None
    assert kept.record["usage"] == old[0].record["usage"]


def test_runs_that_measure_are_no_traffic(ledger: Ledger) -> None:
    ledger.record(run(NOW, "one"))
    ledger.record(run(NOW + 1, "one", context={"user": "", "session": EVALUATION}))
    ledger.flush()
    assert ledger.count() == 2
    found = ledger.traffic("harbour", since=NOW - 1, until=NOW + 10, every=DAY)
    assert sum(sums.runs for sums in found.sums.values()) == 1
