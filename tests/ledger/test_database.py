"""The ledger as its callers see it: what is recorded is found again, and nothing else is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from headrace.errors import Corrupt, InputError, NotFound
from headrace.ledger.database import Ledger
from headrace.settings import LedgerSettings
from headrace.types import Answer, Feedback, to_json

from .conftest import NOW, OpenLedger, make_trace


def test_a_trace_is_found_again_whole(ledger: Ledger) -> None:
    trace = make_trace()
    ledger.record(trace)
    found = ledger.trace(trace.id)
    assert to_json(found) == to_json(trace)
    assert ledger.count() == 1


def test_looking_at_a_missing_ledger_creates_nothing(ledger: Ledger) -> None:
    assert not ledger.exists
    assert ledger.count() == 0
    assert ledger.traces() == []
    assert ledger.trace("0199") is None
    assert ledger.feedback("0199") == []
    assert ledger.feedback_counts()[0].up == 0
    assert ledger.dropped == 0
    assert ledger.prune() == 0
    assert ledger.flush()
    assert ledger.close()
    with pytest.raises(NotFound):
        ledger.add_feedback(Feedback(trace_id="0199", value="up"))
    assert not ledger.path.parent.exists()


def test_switched_off_it_writes_nothing(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(enabled=False)
    ledger.record(make_trace())
    assert not ledger.enabled
    assert ledger.flush()
    assert not ledger.exists


def test_the_same_trace_again_replaces_itself(ledger: Ledger) -> None:
    trace = make_trace()
    ledger.record(trace)
    ledger.record(make_trace(id=trace.id, output="another"))
    assert ledger.count() == 1
    found = ledger.trace(trace.id)
    assert found is not None
    assert found.output == "another"


def test_a_beginning_of_an_id_is_enough_unless_two_share_it(ledger: Ledger) -> None:
    first, second = "0199aaaa" + "1" * 24, "0199aaab" + "2" * 24
    for identity in (first, second):
        ledger.record(make_trace(id=identity))
    found = ledger.trace("0199aaaa")
    assert found is not None
    assert found.id == first
    assert ledger.trace("0199AAAB") is not None
    assert ledger.trace("0199b") is None
    with pytest.raises(InputError, match="0199") as caught:
        ledger.trace("0199")
    assert first in str(caught.value)
    assert second in str(caught.value)
    with pytest.raises(InputError):
        ledger.trace("")


def test_an_id_with_wildcards_matches_only_itself(ledger: Ledger) -> None:
    ledger.record(make_trace())
    for strange in ("%", "_", "*", "'; DROP TABLE traces; --", "\x00"):
        assert ledger.trace(strange) is None
    assert ledger.count() == 1


def test_filters_narrow(ledger: Ledger) -> None:
    plain = make_trace(start=NOW)
    failed = make_trace(
        start=NOW + 1, error="input-error: The question is empty.", output=None, context={"user": "bo"}
    )
    silent = make_trace(
        start=NOW + 2, output=Answer(text="Nothing was found.", abstained=True), subject={"app": "other"}
    )
    spoken = make_trace(
        start=NOW + 3, inputs={"question": "Wann fährt die FÄHRE?"}, context={}, output={"days": [1, 2]}
    )
    for trace in (plain, failed, silent, spoken):
        ledger.record(trace)
    ledger.flush()
    ledger.add_feedback(Feedback(trace_id=plain.id, value="up", user="ana"))
    ledger.add_feedback(Feedback(trace_id=failed.id, value="up", user="ana"))
    ledger.add_feedback(Feedback(trace_id=failed.id, value="down", user="bo"))

    def ids(**filters: object) -> list[str]:
        return [row.id for row in ledger.traces(**filters)]  # type: ignore[arg-type]

    assert ids() == [spoken.id, silent.id, failed.id, plain.id]
    assert ids(limit=2) == [spoken.id, silent.id]
    assert ids(app="other") == [silent.id]
    assert ids(status="error") == [failed.id]
    assert ids(status="abstained") == [silent.id]
    assert ids(status="ok") == [spoken.id, plain.id]
    assert ids(user="bo") == [failed.id]
    assert ids(since=NOW + 2) == [spoken.id, silent.id]
    assert ids(before=NOW + 1) == [plain.id]
    assert ids(before=silent.id) == [failed.id, plain.id]
    assert ids(text="fähre") == [spoken.id]
    assert ids(text="leaves AT   nine") == [plain.id]
    assert ids(text="100%") == []
    assert ids(feedback="up") == [failed.id, plain.id]
    assert ids(feedback="down") == [failed.id]
    assert ids(feedback="any", user="bo") == [failed.id]
    assert ids(feedback="none") == [spoken.id, silent.id]
    rows = {row.id: row for row in ledger.traces()}
    assert rows[failed.id].feedback == "mixed"
    assert rows[plain.id].feedback == "up"
    assert rows[failed.id].answer == "input-error: The question is empty."
    assert rows[plain.id].question == "When does the ferry leave?"
    assert rows[plain.id].answer.startswith("The ferry leaves")
    assert rows[spoken.id].answer == '{"days": [1, 2]}'


def test_pages_cover_every_trace_once_even_at_one_moment(ledger: Ledger) -> None:
    traces = [make_trace(start=NOW + i // 4) for i in range(23)]
    for trace in traces:
        ledger.record(trace)
    seen: list[str] = []
    before: str | None = None
    while page := ledger.traces(limit=5, before=before):
        seen += [row.id for row in page]
        before = page[-1].id
    assert len(seen) == 23
    assert set(seen) == {trace.id for trace in traces}


def test_unknown_filter_values_are_refused(ledger: Ledger) -> None:
    for wrong in ({"status": "fine"}, {"feedback": "sideways"}, {"limit": 0}, {"limit": 2.5}):
        with pytest.raises(InputError, match="is not"):
            ledger.traces(**wrong)  # type: ignore[arg-type]
    ledger.record(make_trace())
    with pytest.raises(NotFound):
        ledger.traces(before="ffff")


def test_what_a_caller_changes_afterwards_is_not_what_was_recorded(ledger: Ledger) -> None:
    inputs, output = {"rows": [1, 2]}, {"sums": {"all": 3}}
    trace = make_trace(inputs=inputs, output=output)
    ledger.record(trace)
    inputs["rows"].append(99)
    output["sums"]["all"] = 0
    found = ledger.trace(trace.id)
    assert found is not None
    assert found.inputs == {"rows": [1, 2]}
    assert found.output == {"sums": {"all": 3}}


def test_an_iterator_is_not_consumed(ledger: Ledger) -> None:
    pieces = iter(["a", "b"])
    ledger.record(make_trace(output=pieces))
    ledger.flush()
    assert list(pieces) == ["a", "b"]


def test_lone_surrogates_and_control_characters_survive(ledger: Ledger) -> None:
    trace = make_trace(inputs={"question": "broken \ud83d \x00 text"}, output="\udcff")
    ledger.record(trace)
    found = ledger.trace(trace.id)
    assert found is not None
    assert found.inputs == trace.inputs
    assert found.output == "\udcff"
    assert ledger.traces(text="broken")[0].id == trace.id


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_the_file_is_its_owners(ledger: Ledger) -> None:
    ledger.record(make_trace())
    ledger.flush()
    for file in ledger.path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_a_damaged_file_is_named(tmp_path: Path, open_ledger: OpenLedger) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is no database at all, whatever its name says" * 100)
    with pytest.raises(Corrupt, match=r"ledger\.sqlite"):
        open_ledger(path)


def test_damage_inside_is_told_when_it_is_met(tmp_path: Path, open_ledger: OpenLedger) -> None:
    path = tmp_path / "ledger.sqlite"
    writing = open_ledger(path)
    for i in range(300):
        writing.record(make_trace(start=NOW + i))
    writing.close()
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    ledger = open_ledger(path)
    with pytest.raises(Corrupt, match="damaged"):
        ledger.traces(limit=300)
    ledger.record(make_trace())  # never raises
    assert not ledger.flush(30)
    assert "damaged" in ledger.problem


def test_a_database_of_something_else_is_left_alone(tmp_path: Path, open_ledger: OpenLedger) -> None:
    path = tmp_path / "ledger.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (x)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(Corrupt, match="not a ledger"):
        open_ledger(path)
    assert path.read_bytes() == before


def test_an_empty_file_is_an_empty_ledger(tmp_path: Path, open_ledger: OpenLedger) -> None:
    path = tmp_path / "ledger.sqlite"
    path.touch()
    ledger = open_ledger(path)
    assert ledger.count() == 0
    ledger.record(make_trace())
    assert ledger.count() == 1


def test_a_ledger_taken_away_is_begun_anew(ledger: Ledger) -> None:
    ledger.record(make_trace())
    assert ledger.flush()
    shutil.rmtree(ledger.path.parent)
    ledger.record(make_trace())
    assert ledger.flush()
    assert ledger.count() == 1


def test_it_can_be_closed_and_used_again(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.record(make_trace())
        assert ledger.close()
    assert ledger.count() == 3


def test_many_threads_share_one_ledger(ledger: Ledger) -> None:
    def work() -> None:
        for _ in range(40):
            ledger.record(make_trace())
            ledger.traces(limit=1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.count() == 240
    assert ledger.dropped == 0


def test_a_ledger_nobody_holds_ends_its_thread(tmp_path: Path) -> None:
    import gc

    ledger = Ledger.open(tmp_path / "ledger.sqlite", LedgerSettings())
    ledger.record(make_trace(start=NOW))
    ledger.flush()
    thread = ledger._writer._thread
    assert thread is not None
    del ledger
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()
