"""What the writer promises: nothing is lost at a normal exit, nothing blocks, losses are counted.

Exits and kills are real processes.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace.ledger import writer
from headrace.ledger.database import Ledger
from headrace.settings import LedgerSettings

from .conftest import OpenLedger, make_trace

BEGIN = """
import os, signal, sys, time
from pathlib import Path
from headrace.ledger.database import Ledger
from headrace.settings import LedgerSettings
from headrace.types import Feedback, Trace

ledger = Ledger.open(Path(sys.argv[1]), LedgerSettings())

def record(name):
    inputs = {"q": "x" * 500}
    ledger.record(Trace(id=name, start=time.time(), seconds=0.1, subject={"app": "a"}, inputs=inputs))
"""


def run(code: str, path: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + code, str(path), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ids(path: Path) -> list[str]:
    """In the order in which they were written."""
    ledger = Ledger.open(path, LedgerSettings())
    assert ledger.dropped == 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [row[0] for row in connection.execute("SELECT id FROM traces ORDER BY rowid")]


ENDINGS = {
    "end": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "unhandled": ("raise ValueError('oops')", 1),
    "ctrl-c": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -signal.SIGINT),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_normal_exit_loses_nothing(ending: str, tmp_path: Path) -> None:
    code, expected = ENDINGS[ending]
    path = tmp_path / "ledger.sqlite"
    process = run(f"for i in range(300): record(f'{{i:04}}')\n{code}", path)
    _, told = process.communicate(timeout=120)
    assert process.returncode == expected, told
    assert ids(path) == [f"{i:04}" for i in range(300)]


def test_a_trace_of_the_very_end_is_written_too(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    code = "import threading\nthreading.Thread(target=lambda: (time.sleep(0.3), record('late'))).start()"
    process = run(code, path)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert ids(path) == ["late"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forking is POSIX")
def test_children_write_what_is_theirs(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    code = """
import multiprocessing
record('before')
def child(n):
    for i in range(20): record(f'child {n} {i:02}')
children = [multiprocessing.get_context('fork').Process(target=child, args=(n,)) for n in range(2)]
for c in children: c.start()
for i in range(20): record(f'parent {i:02}')
for c in children: c.join(); assert c.exitcode == 0
"""
    process = run(code, path)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    expected = {"before"} | {f"{who} {i:02}" for who in ("parent", "child 0", "child 1") for i in range(20)}
    assert set(ids(path)) == expected


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="killing is POSIX")
def test_a_kill_loses_only_the_end_and_never_what_was_flushed(tmp_path: Path) -> None:
    code = """
i = 0
while True:
    for _ in range(7): record(f'{i:06}'); i += 1
    if i % 3 == 0 and ledger.flush(): print(i, flush=True)
"""
    for attempt in range(4):
        path = tmp_path / f"{attempt}.sqlite"
        with run(code, path) as process:
            assert process.stdout is not None
            for _ in range(1 + 3 * attempt):
                process.stdout.readline()
            process.kill()
            rest = process.stdout.read().split()
        found = ids(path)
        assert found == [f"{i:06}" for i in range(len(found))]  # the beginning, without holes
        assert len(found) >= max([7, *map(int, rest)])


def test_without_a_flush_traces_arrive_while_the_program_runs(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with run("record('one')\nprint('recorded', flush=True)\ntime.sleep(600)", path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        reading = Ledger.open(path, LedgerSettings())
        try:
            while reading.count() == 0:  # pytest's own limit is the only clock here
                time.sleep(0.02)
        finally:
            process.kill()
    assert reading.trace("one") is not None


def test_four_processes_write_one_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    code = """
for i in range(50):
    record(f'{sys.argv[2]}-{i:03}')
    if i % 10 == 9:
        ledger.add_feedback(Feedback(trace_id=f'{sys.argv[2]}-{i:03}', value='up', user=sys.argv[2]))
"""
    processes = [run(code, path, str(n)) for n in range(4)]
    for process in processes:
        _, told = process.communicate(timeout=240)
        assert process.returncode == 0, told
    assert sorted(ids(path)) == [f"{n}-{i:03}" for n in range(4) for i in range(50)]
    ledger = Ledger.open(path, LedgerSettings())
    assert ledger.feedback_counts()[0].up == 20


def test_a_full_queue_drops_counts_and_never_blocks(
    open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_ledger()
    ledger.record(make_trace())
    assert ledger.flush()
    monkeypatch.setattr(writer, "QUEUE", 10)
    monkeypatch.setattr(writer, "BATCH", 5)
    blocker = sqlite3.connect(ledger.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")  # no other connection can commit now
    for _ in range(100):
        ledger.record(make_trace())
    assert 100 - 16 <= ledger.dropped <= 90
    blocker.execute("ROLLBACK")
    blocker.close()
    assert ledger.flush()
    dropped = ledger.dropped
    assert ledger.count() + dropped == 101
    ledger.record(make_trace())
    assert ledger.close()
    again = Ledger.open(ledger.path, LedgerSettings())
    assert again.dropped == dropped > 0


def test_closing_waits_for_whoever_holds_the_file(ledger: Ledger) -> None:
    ledger.record(make_trace())
    assert ledger.flush()
    busy = sqlite3.connect(ledger.path, isolation_level=None, check_same_thread=False)
    busy.execute("BEGIN IMMEDIATE")
    ledger.record(make_trace())
    timer = threading.Timer(0.7, busy.execute, ("ROLLBACK",))
    timer.start()
    assert ledger.close()
    timer.join()
    busy.close()
    assert (ledger.count(), ledger.dropped) == (2, 0)


def test_a_folder_that_comes_back_before_the_end_gets_everything(
    tmp_path: Path, open_ledger: OpenLedger, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    ledger = open_ledger(tmp_path / "file" / "ledger.sqlite")
    ledger.record(make_trace())
    assert not ledger.flush()
    timer = threading.Timer(0.7, (tmp_path / "file").unlink)
    timer.start()
    assert ledger.close()
    timer.join()
    assert (ledger.count(), ledger.dropped) == (1, 0)


def test_an_exit_does_not_wait_where_writing_is_forbidden(tmp_path: Path) -> None:
    import errno

    sqlite3.connect(tmp_path / "a.sqlite").execute("CREATE TABLE t (x)").connection.close()
    with (
        closing(sqlite3.connect(f"file:{tmp_path}/a.sqlite?mode=ro", uri=True)) as connection,
        pytest.raises(sqlite3.OperationalError) as caught,
    ):
        connection.execute("INSERT INTO t VALUES (1)")
    assert writer.is_forbidden(caught.value)
    assert writer.is_forbidden(OSError(errno.EROFS, "read-only file system"))
    assert writer.is_forbidden(PermissionError(errno.EACCES, "denied"))
    assert not writer.is_forbidden(OSError(errno.ENOSPC, "full"))
    assert not writer.is_forbidden(FileExistsError(errno.EEXIST, "a folder that may come back"))


class Stubborn:
    """An application's object that cannot be turned into JSON."""

    def __str__(self) -> str:
        raise RuntimeError("not me")


def test_what_cannot_be_json_is_counted_and_the_rest_is_written(ledger: Ledger) -> None:
    ledger.record(make_trace(record={"strange": [Stubborn()]}))
    good = make_trace()
    ledger.record(good)
    assert ledger.flush()
    assert ledger.trace(good.id) is not None
    assert (ledger.count(), ledger.dropped) == (1, 1)


def test_a_stubborn_input_does_not_reach_the_caller(ledger: Ledger) -> None:
    ledger.record(make_trace(inputs={"x": Stubborn()}))
    assert ledger.flush()
    assert (ledger.count(), ledger.dropped) == (0, 1)


def test_a_folder_that_cannot_be_made_is_told_not_raised(
    tmp_path: Path, open_ledger: OpenLedger, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    ledger = open_ledger(tmp_path / "file" / "ledger.sqlite")
    ledger.record(make_trace())
    assert not ledger.flush()
    assert "file" in ledger.problem
    (tmp_path / "file").unlink()
    ledger.record(make_trace())
    while not ledger.flush(1):
        pass
    assert (ledger.count(), ledger.problem) == (2, "")


@pytest.mark.skipif(sys.platform == "win32", reason="limits on files are POSIX")
def test_a_full_disk_is_a_clear_error_for_feedback_and_none_for_answers(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    code = """
import resource
from headrace.errors import DiskFull
from headrace.ledger import writer
writer.EXIT_SECONDS = 0.0
record('first'); ledger.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
record('second')
print(ledger.flush(60), 'could not grow' in ledger.problem)
try:
    ledger.add_feedback(Feedback(trace_id='first', value='up'))
except DiskFull as error:
    print(type(error).__name__, 'Free some space' in str(error))
"""
    process = run(code, path)
    out, told = process.communicate(timeout=120)
    assert out.split() == ["False", "True", "DiskFull", "True"], told
    assert "dropped" in told
    assert ids(path) == ["first"]


def test_the_thread_is_not_needed_for_what_was_not_recorded() -> None:
    fresh: Any = writer.Writer(Path("nowhere.sqlite"), LedgerSettings(), time.time)
    assert fresh.flush()
    assert fresh.stop()
    assert fresh._thread is None
