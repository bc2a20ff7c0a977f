"""Votes: acknowledged when committed, all kept, the latest of a user counting."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from headrace.errors import InputError, NotFound
from headrace.ledger.database import FeedbackCount, Ledger
from headrace.settings import LedgerSettings
from headrace.types import Feedback

from .conftest import NOW, OpenLedger, make_trace


def test_a_vote_is_filled_in_and_found(ledger: Ledger) -> None:
    trace = make_trace()
    ledger.record(trace)
    given = Feedback(trace_id=trace.id, value="down", comment="Too short.", correction="At ten.", user="bo")
    kept = ledger.add_feedback(given)
    assert (kept.value, kept.comment, kept.correction, kept.user) == ("down", "Too short.", "At ten.", "bo")
    assert kept.at == NOW
    assert len(kept.id) == 32
    assert ledger.feedback(trace.id) == [kept]
    assert ledger.feedback(trace.id[:16]) == [kept]


def test_the_latest_vote_of_a_user_counts_and_all_are_kept(ledger: Ledger) -> None:
    trace = make_trace()
    ledger.record(trace)
    for user, value in (("bo", "up"), ("cy", "up"), ("bo", "down"), ("", "up"), ("", "down")):
        ledger.add_feedback(Feedback(trace_id=trace.id, value=value, user=user))  # type: ignore[arg-type]
    assert [vote.value for vote in ledger.feedback(trace.id)] == ["up", "up", "down", "up", "down"]
    assert ledger.feedback_counts() == [FeedbackCount(group="", up=1, down=2)]
    assert ledger.traces()[0].feedback == "mixed"


def test_a_beginning_of_the_id_is_stored_whole(ledger: Ledger) -> None:
    trace = make_trace()
    ledger.record(trace)
    assert ledger.add_feedback(Feedback(trace_id=trace.id[:16], value="up")).trace_id == trace.id


def test_the_same_vote_sent_twice_is_one(ledger: Ledger) -> None:
    trace = make_trace()
    ledger.record(trace)
    first = ledger.add_feedback(Feedback(trace_id=trace.id, value="up", id="v1"))
    assert ledger.add_feedback(Feedback(trace_id=trace.id, value="up", id="v1")) == first
    assert len(ledger.feedback(trace.id)) == 1


def test_other_values_and_unknown_traces_are_refused(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        ledger.add_feedback(Feedback(trace_id="0199", value="up"))
    ledger.record(make_trace())
    with pytest.raises(InputError, match="sideways"):
        ledger.add_feedback(Feedback(trace_id="0199", value="sideways"))  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="ffff"):
        ledger.add_feedback(Feedback(trace_id="ffff", value="up"))
    assert ledger.feedback_counts()[0] == FeedbackCount(group="", up=0, down=0)


def test_votes_are_counted_by_application_release_and_day(ledger: Ledger) -> None:
    day = 86400.0
    for number, (app, release, value) in enumerate(
        [("a", "1", "up"), ("a", "2", "up"), ("a", "2", "down"), ("b", "1", "down")], start=1
    ):
        trace = make_trace(subject={"app": app, "release": release})
        ledger.record(trace)
        ledger.add_feedback(Feedback(trace_id=trace.id, value=value, at=number * day))  # type: ignore[arg-type]
    of = FeedbackCount
    assert ledger.feedback_counts(by="app") == [of(group="a", up=2, down=1), of(group="b", up=0, down=1)]
    assert ledger.feedback_counts(by="release") == [of(group="1", up=1, down=1), of(group="2", up=1, down=1)]
    assert ledger.feedback_counts(by="day", app="a", since=2 * day) == [
        of(group="1970-01-03", up=1, down=0),
        of(group="1970-01-04", up=0, down=1),
    ]
    with pytest.raises(InputError, match="weather"):
        ledger.feedback_counts(by="weather")  # type: ignore[arg-type]


def test_without_content_only_the_vote_is_kept(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(content=False)
    trace = make_trace()
    ledger.record(trace)
    kept = ledger.add_feedback(Feedback(trace_id=trace.id, value="down", comment="secret", correction="x"))
    assert (kept.comment, kept.correction) == ("", "")
    assert ledger.feedback(trace.id) == [kept]


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(path, LedgerSettings())
    trace = make_trace()
    ledger.record(trace)
    ledger.close()
    code = """
import itertools, sys
from pathlib import Path
from headrace.ledger.database import Ledger
from headrace.settings import LedgerSettings
from headrace.types import Feedback
ledger = Ledger.open(Path(sys.argv[1]), LedgerSettings())
for i in itertools.count():
    print(ledger.add_feedback(Feedback(trace_id=sys.argv[2], value="up", user=str(i))).id, flush=True)
"""
    acknowledged: list[str] = []
    for attempt in range(3):
        command = [sys.executable, "-c", code, str(path), trace.id]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            acknowledged += [process.stdout.readline().strip() for _ in range(2 + 3 * attempt)]
            process.kill()
            acknowledged += [line for line in process.stdout.read().split() if len(line) == 32]
    assert len(acknowledged) >= 15
    assert set(acknowledged) <= {vote.id for vote in ledger.feedback(trace.id)}


def test_votes_are_synced_to_the_disk(ledger: Ledger) -> None:
    from headrace.ledger.connection import open_for_writing

    with closing(open_for_writing(ledger.path, durable=True)) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert isinstance(connection, sqlite3.Connection)
