"""Rows through an application: each once, resumed after kill -9 and Ctrl-C, failures kept apart."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace import request
from headrace.errors import Cancelled, Corrupt, InputError, NewerVersion, StateError
from headrace.flows import rows
from headrace.flows.app import App
from headrace.flows.fingerprint import fingerprint
from headrace.flows.journal import Journal
from headrace.types import Answer, Citation, digest


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "rows.sqlite")


def items(count: int) -> list[dict[str, Any]]:
    return [{"text": f"t{i}"} for i in range(count)]


def run(app: App, given: list[dict[str, Any]], journal: Journal | None, **more: Any) -> rows.Rows:
    return rows.run_rows(app, given, made=fingerprint(app), journal=journal, **more)


def shout_app(seen: list[str] | None = None) -> App:
    @hr.app
    def shout(text: str) -> str:
        if seen is not None:
            seen.append(text)
        if text == "boom":
            raise ValueError("too loud")
        return text.upper()

    return shout


def test_order_and_results(journal: Journal) -> None:
    done = run(shout_app(), items(20), journal, workers=4)
    assert [row.result["output"] for row in done.rows] == [f"T{i}" for i in range(20)]
    assert (done.computed, done.cached, done.recomputed, done.workers) == (20, 0, 0, 4)
    assert journal.begun(fingerprint(shout_app()).id) == set()


def test_results_are_the_same_from_the_journal(journal: Journal) -> None:
    cited = Citation(number=1, document="a", heading="", start=0, end=1, text="x", score=1.0, relevance=0.5)

    @hr.app
    def ask(text: str) -> hr.Answer:
        return Answer(text=text, citations=(cited,))

    first = run(ask, items(3), journal)
    again = run(ask, items(3), journal)
    assert [r.cached for r in again.rows] == [True] * 3
    assert [dict(r.result) for r in again.rows] == [dict(r.result) for r in first.rows]
    answer = rows.revived(again.rows[0].result)
    assert isinstance(answer, Answer)
    assert answer.citations == (cited,)
    assert answer.trace_id == again.rows[0].result["trace_id"]


def test_another_fingerprint_or_other_inputs_are_computed(journal: Journal) -> None:
    seen: list[str] = []
    app = shout_app(seen)
    run(app, items(2), journal)
    run(app, items(3), journal)
    assert sorted(seen) == ["t0", "t1", "t2"]
    made = fingerprint(app)
    from dataclasses import replace

    rows.run_rows(app, items(2), made=replace(made, code="other"), journal=journal)
    assert len(seen) == 5


def test_a_row_that_raises_is_a_failed_row_and_is_not_kept(journal: Journal) -> None:
    given = [{"text": "a"}, {"text": "boom"}, {"text": "b"}]
    done = run(shout_app(), given, journal)
    assert [row.result["error"] for row in done.rows] == [None, "ValueError: too loud", None]
    assert done.rows[1].result["steps"][0]["error"] == "ValueError: too loud"
    again = run(shout_app(), given, journal)
    assert (again.cached, again.computed, again.recomputed) == (2, 1, 0)


def test_even_an_exit_fails_only_its_row(journal: Journal) -> None:
    @hr.app
    def leaves(text: str) -> str:
        sys.exit(3) if text == "t1" else None
        return text

    assert [r.result["error"] for r in run(leaves, items(3), journal).rows] == [None, "SystemExit: 3", None]


def test_workers_are_bounded_and_rows_run_side_by_side(journal: Journal) -> None:
    running, most, lock = 0, 0, threading.Lock()
    barrier = threading.Barrier(3, timeout=20)

    @hr.app
    def slow(text: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        barrier.wait()  # passes only when three are running
        with lock:
            running -= 1
        return text

    run(slow, items(9), journal, workers=3)
    assert most == 3
    with pytest.raises(InputError, match="workers=0"):
        run(slow, items(1), journal, workers=0)


def test_pools_inside_a_row_run_inline(journal: Journal) -> None:
    @hr.app
    def nested(text: str) -> list[str]:
        here = threading.current_thread().name
        return [here, *hr.map(lambda _: threading.current_thread().name, range(3))]

    for row in run(nested, items(4), journal, workers=2).rows:
        assert len(set(row.result["output"])) == 1


def test_progress_counts_what_was_known_too(journal: Journal) -> None:
    told: list[tuple[int, int | None]] = []
    run(shout_app(), items(2), journal)
    run(shout_app(), items(5), journal, progress=lambda done, total, what: told.append((done, total)))
    assert told[0] == (2, 5)
    assert told[-1] == (5, 5)


def test_the_caller_s_context_holds_and_its_deadline_ends_the_run(journal: Journal) -> None:
    @hr.app
    def who(text: str) -> str:
        return request.current().user

    with hr.context(user="ana"):
        assert run(who, items(1), journal).rows[0].result["output"] == "ana"

    @hr.app
    def late(text: str) -> str:
        time.sleep(0.05)
        request.checkpoint()
        return text

    with hr.context(deadline=0.12), pytest.raises(Cancelled):
        run(late, items(50), journal, workers=1)
    kept = len(journal.read(fingerprint(late).id, [digest(i) for i in items(50)]))
    assert kept < 50
    done = run(late, items(50), journal, workers=8)
    assert (done.cached, done.recomputed) == (kept, 0)


def test_a_row_s_own_deadline_fails_only_that_row(journal: Journal) -> None:
    @hr.app
    def hurried(text: str) -> str:
        if text == "t1":
            with hr.context(deadline=0.001):
                time.sleep(0.01)
                request.checkpoint()
        return text

    errors = [row.result["error"] for row in run(hurried, items(3), journal).rows]
    assert errors[0] is errors[2] is None
    assert "deadline" in str(errors[1])


def test_an_interruption_keeps_what_was_finished(journal: Journal) -> None:
    @hr.app
    def patient(text: str) -> str:
        time.sleep(0.02)
        request.checkpoint()
        return text

    def interrupt(done: int, total: int | None, what: str) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(patient, items(200), journal, workers=2, progress=interrupt)
    subject = fingerprint(patient).id
    kept = len(journal.read(subject, [digest(i) for i in items(200)]))
    assert 3 <= kept < 200
    assert journal.begun(subject) == set(), "stopped in order: nothing counts as lost in flight"


KILLED = """
    import sys, time
    from pathlib import Path
    import headrace as hr
    from headrace.flows import rows
    from headrace.flows.fingerprint import fingerprint
    from headrace.flows.journal import Journal

    log = open("log.txt", "a", buffering=1)

    @hr.app
    def slow(text: str) -> str:
        log.write(text + "\\n")
        time.sleep(0.03)
        return text

    done = rows.run_rows(slow, [{"text": f"t{i}"} for i in range(120)], made=fingerprint(slow),
                         journal=Journal(Path("journal.sqlite")), workers=4)
    texts = [row.result["output"] for row in done.rows]
    assert texts == [f"t{i}" for i in range(120)]
    print(done.computed, done.cached, done.recomputed)
"""


def test_killed_and_resumed_no_row_twice_and_only_those_in_flight_again(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(textwrap.dedent(KILLED))
    log = tmp_path / "log.txt"
    for at in (30, 70):
        child = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path)
        until = time.monotonic() + 60
        while time.monotonic() < until and (not log.exists() or len(log.read_text().splitlines()) < at):
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    begun = log.read_text().splitlines()
    assert len(begun) >= 70
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    computed, cached, recomputed = map(int, done.stdout.split())
    assert computed + cached == 120
    assert recomputed <= 4
    times = Counter(log.read_text().splitlines())
    assert len(times) == 120
    assert sum(times.values()) - 120 <= 2 * 4, "two kills, four rows in flight each"
    assert sum(times[text] > 1 for text in times) >= recomputed


def test_a_disk_that_fails_ends_the_run_and_says_so(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise StateError("the disk is gone")

    app = shout_app()
    made = fingerprint(app)
    monkeypatch.setattr(journal, "_commit", broken)
    with pytest.raises(StateError, match="disk is gone"):
        rows.run_rows(app, items(20), made=made, journal=journal, workers=4)


def test_without_a_journal_nothing_is_kept(tmp_path: Path) -> None:
    assert run(shout_app(), items(3), None).computed == 3
    assert list(tmp_path.glob("*.sqlite")) == []


def test_a_remote_model_has_more_workers() -> None:
    made = fingerprint(shout_app())
    from dataclasses import replace

    remote = replace(made, resources={"model:auto": {"claimed": True, "host": "example.org"}})
    assert rows.workers_for(remote) == rows.REMOTE_WORKERS
    assert 1 <= rows.workers_for(made) <= 16


# --------------------------------------------------------------------------- the journal itself


def test_commits_of_many_threads_all_arrive(journal: Journal) -> None:
    def work(number: int) -> None:
        for i in range(25):
            key = f"{number}-{i}"
            journal.write("s", begin=key)
            journal.write("s", done=key, body={"n": i})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = [f"{n}-{i}" for n in range(8) for i in range(25)]
    assert len(journal.read("s", keys)) == 200
    assert journal.begun("s") == set()
    assert journal.read("other", keys) == {}
    journal.forget("s", keys[:50])
    assert len(journal.read("s", keys)) == 150


def test_old_rows_go(tmp_path: Path) -> None:
    old = Journal(tmp_path / "j.sqlite", clock=lambda: 1000.0)
    old.write("s", done="a", body={}, begin="b")
    old.close()
    new = Journal(tmp_path / "j.sqlite")
    assert new.read("s", ["a"]) == {}
    assert new.begun("s") == set()


def test_a_damaged_a_foreign_and_a_newer_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "damaged.sqlite").write_bytes(b"not a database at all, surely" * 100)
    with pytest.raises(Corrupt, match="damaged"):
        Journal(tmp_path / "damaged.sqlite")
    foreign = sqlite3.connect(tmp_path / "foreign.sqlite")
    foreign.execute("CREATE TABLE x (y)")
    foreign.close()
    with pytest.raises(Corrupt, match="something else"):
        Journal(tmp_path / "foreign.sqlite")
    Journal(tmp_path / "newer.sqlite").close()
    newer = sqlite3.connect(tmp_path / "newer.sqlite")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(NewerVersion, match="format 99"):
        Journal(tmp_path / "newer.sqlite")


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    Journal(tmp_path / "j.sqlite").close()
    assert oct((tmp_path / "j.sqlite").stat().st_mode & 0o777) == "0o600"
