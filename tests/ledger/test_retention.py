"""What leaves, in which order, and that it is gone from the file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headrace.errors import InputError
from headrace.ledger.database import Ledger
from headrace.ledger.retention import _used
from headrace.types import Feedback

from .conftest import NOW, OpenLedger, make_trace

DAY = 86400.0


def noise(number: int) -> str:
    """4,000 characters that do not deflate to nothing, the same for the same number."""
    import random

    return "".join(random.Random(number).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=4000))


def used(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return _used(connection)


def test_what_is_older_than_the_days_leaves_with_its_votes(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(retention_days=10.0)
    ledger.record(make_trace())
    ledger.flush()  # the first commit prunes by itself; those below stay for us to prune
    old = [make_trace(start=NOW - 10 * DAY - 1 - i) for i in range(3)]
    young = make_trace(start=NOW - 10 * DAY + 1)
    for trace in (*old, young):
        ledger.record(trace)
    ledger.flush()
    ledger.add_feedback(Feedback(trace_id=old[0].id, value="up"))
    assert ledger.prune(NOW) == 3
    assert ledger.prune(NOW) == 0
    assert ledger.trace(old[0].id) is None
    assert ledger.trace(young.id) is not None
    assert ledger.feedback_counts()[0].up == 0
    with closing(sqlite3.connect(ledger.path)) as connection:
        assert connection.execute("SELECT count(*) FROM feedback").fetchone() == (0,)


def test_when_it_is_too_large_the_oldest_without_votes_leave_first(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(retention_mb=1.0)
    ledger.record(make_trace(start=NOW - 1000))
    ledger.flush()
    traces = [make_trace(start=NOW + i, inputs={"question": noise(i)}) for i in range(250)]
    for trace in traces:
        ledger.record(trace)
    ledger.flush()
    for trace in traces[:20]:
        ledger.add_feedback(Feedback(trace_id=trace.id, value="down"))
    assert used(ledger.path) > 1e6
    removed = ledger.prune(NOW)
    assert removed > 0
    assert used(ledger.path) <= 0.9e6
    left = {row.id for row in ledger.traces(limit=1000)}
    assert len(left) == 251 - removed
    assert left >= {trace.id for trace in traces[:20]}  # old, but somebody cared
    others = [trace.id in left for trace in traces[20:]]
    assert others == sorted(others)  # gone are the oldest
    assert ledger.prune(NOW) == 0


def test_votes_leave_too_when_nothing_else_is_left(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(retention_mb=0.4)
    ledger.record(make_trace(start=NOW - 1))
    ledger.flush()
    traces = [make_trace(start=NOW + i, inputs={"question": noise(i)}) for i in range(100)]
    for trace in traces:
        ledger.record(trace)
    ledger.flush()
    for trace in traces:
        ledger.add_feedback(Feedback(trace_id=trace.id, value="down"))
    ledger.prune(NOW)
    left = {row.id for row in ledger.traces(limit=1000)}
    assert used(ledger.path) <= 0.36e6
    assert 0 < len(left) < 100
    assert left == {trace.id for trace in traces[-len(left) :]}


def test_the_writer_prunes_by_itself(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(retention_days=1.0)
    ledger.record(make_trace(start=NOW - 2 * DAY))
    ledger.record(make_trace(start=NOW))
    ledger.flush()
    assert ledger.count() == 1


def test_without_limits_everything_stays(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(retention_days=float("inf"), retention_mb=float("inf"))
    ledger.record(make_trace(start=0.0))
    ledger.flush()
    assert ledger.prune(NOW) == 0
    assert ledger.count() == 1


def test_space_is_given_back(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(retention_days=10.0)
    for i in range(200):
        ledger.record(make_trace(start=NOW, inputs={"question": noise(i)}))
    ledger.close()
    full = ledger.path.stat().st_size
    assert ledger.prune(NOW + 11 * DAY) == 200
    assert ledger.path.stat().st_size < full / 4


def everything(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


def test_a_forgotten_user_is_gone_from_the_file(ledger: Ledger) -> None:
    mine = make_trace(context={"user": "marta-unmistakable"}, inputs={"question": "about my garden gnome"})
    other = make_trace(context={"user": "bo"})
    for trace in (mine, other):
        ledger.record(trace)
    ledger.add_feedback(Feedback(trace_id=mine.id, value="up", user="bo", comment="gnome indeed"))
    ledger.add_feedback(Feedback(trace_id=other.id, value="up", user="marta-unmistakable"))
    kept = ledger.add_feedback(Feedback(trace_id=other.id, value="down", user="bo"))
    assert b"marta-unmistakable" in everything(ledger.path.parent)
    gone = ledger.forget_user("marta-unmistakable")
    assert (gone.traces, gone.feedback) == (1, 2)
    assert ledger.trace(mine.id) is None
    assert ledger.feedback(other.id) == [kept]
    left = everything(ledger.path.parent)
    for trail in (b"marta-unmistakable", b"garden gnome", b"gnome indeed"):
        assert trail not in left
    with closing(sqlite3.connect(ledger.path)) as connection:
        rows = connection.execute("SELECT hash, at, traces, feedback FROM tombstones").fetchall()
    assert rows == [(gone.tombstone, NOW, 1, 2)]
    assert ledger.forget_user("marta-unmistakable").tombstone == gone.tombstone


def test_nobody_is_not_a_user(ledger: Ledger) -> None:
    with pytest.raises(InputError):
        ledger.forget_user("")
    assert ledger.forget_user("ghost").traces == 0
    assert not ledger.exists


def test_a_document_leaves_the_texts_of_traces_that_hold_it(ledger: Ledger) -> None:
    passages = [{"document": "docs/ferry.md", "text": "Zanzibar ferry", "relevance": 0.9, "score": 1.0}]
    held = make_trace(
        record={"passages": passages, "prompts": []}, output="Zanzibar", inputs={"q": "Zanzibar?"}
    )
    other = make_trace(output="Zanzibar elsewhere", record={})
    for trace in (held, other):
        ledger.record(trace)
    ledger.add_feedback(Feedback(trace_id=held.id, value="down", comment="Zanzibar is wrong", user="bo"))
    done = ledger.forget_document("docs/ferry.md")
    assert (done.traces, done.feedback) == (1, 1)
    kept = ledger.trace(held.id)
    assert kept is not None
    assert "Zanzibar" not in str(kept)
    assert "docs/ferry.md" not in str(kept)
    assert kept.record["passages"][0]["relevance"] == 0.9
    assert kept.record["forgotten"][0]["hash"] == done.tombstone
    (vote,) = ledger.feedback(held.id)
    assert (vote.value, vote.comment) == ("down", "")
    untouched = ledger.trace(other.id)
    assert untouched is not None
    assert untouched.output == "Zanzibar elsewhere"
    assert [row.id for row in ledger.traces(text="zanzibar")] == [other.id]
    assert ledger.forget_document("docs/ferry.md").traces == 0
    assert ledger.forget_document("docs/ferry.md").tombstone == done.tombstone
    with pytest.raises(InputError, match="empty"):
        ledger.forget_document("")
