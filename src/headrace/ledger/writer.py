"""The thread that writes traces down, off the road from question to answer.

``put`` appends to a bounded queue and returns; one daemon thread per ledger turns traces into
rows and commits them in batches. What holds:

- ``put`` never blocks and never raises. Where the queue is full the trace is dropped and counted;
  the count is stored with the next commit.
- At a normal exit (the end of the program, ``sys.exit``, an unhandled exception, Ctrl-C) the queue
  is written out. A process that is killed (SIGKILL, SIGTERM without a handler, ``os._exit``) loses
  what was not committed: a trace waits ``BATCH_SECONDS`` for others and then for the commit under
  way, never more than ``QUEUE + BATCH`` of them. When the power fails, commits of the last seconds
  can be lost too (``synchronous=NORMAL``); the file stays sound.
- A busy or full disk is waited for, while the queue fills; a damaged file is not, nor, at exit, a place
  where writing is forbidden: those traces are counted as dropped, and ``problem`` says why.

It knows nothing of reading; that is ``database.py``.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import queue
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.database import transaction
from headrace.errors import Corrupt, HeadraceError, NewerVersion
from headrace.ledger import figures, retention
from headrace.ledger.connection import open_for_writing
from headrace.ledger.content import Mask, masked, without_content
from headrace.ledger.migrations import LEDGER
from headrace.ledger.records import COLUMNS, row_and_data, with_settled
from headrace.settings import LedgerSettings
from headrace.types import Trace

QUEUE = 4096  # traces that wait at most
BATCH = 256  # traces in one commit at most
BATCH_SECONDS = 0.1  # from the first trace of a batch to its commit
RETRY_SECONDS = 0.5
EXIT_SECONDS = 15.0  # how long the end of the program waits for a busy or full disk
PRUNE_SECONDS = 600.0

_log = logging.getLogger("headrace.ledger")
Item = tuple[Trace, Any, Any]  # the trace; its inputs and output as they were when it was recorded

_INSERT = (
    f"INSERT INTO traces ({COLUMNS}) VALUES ({', '.join('?' * len(COLUMNS.split(',')))}) "
    "ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", ")[1:])
)


class _Marker:
    """Put into the queue behind traces: ``done`` is set once they are committed or given up."""

    def __init__(self, *, stop: bool = False) -> None:
        self.stop = stop
        self.written = False
        self.done = threading.Event()


class Writer:
    """Queue and thread of one ledger. The thread starts with the first trace."""

    def __init__(
        self, path: Path, settings: LedgerSettings, clock: Callable[[], float], mask: Mask | None = None
    ) -> None:
        self.path = path
        self.problem = ""
        self._mask = mask
        self._settings = settings
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._queue: queue.SimpleQueue[Item | _Marker] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._items: list[Item] = []  # taken from the queue, not made into rows yet
        self._rows: list[tuple[Any, ...]] = []  # made, not committed yet
        self._figures: list[tuple[Any, ...]] = []  # of the same traces, in the same order
        self._dropped = 0  # not stored yet
        self._give_up_at: float | None = None  # monotonic; set when the process wants to end
        self._opened: tuple[sqlite3.Connection, tuple[int, int], bytes] | None = None
        self._next_prune = 0.0

    # ------------------------------------------------------------------ any thread

    def put(self, item: Item) -> None:
        if self._queue.qsize() >= QUEUE:
            self._drop(1)
            return
        self._queue.put(item)
        if self._thread is None:
            self._start()

    def refuse(self, error: Exception) -> None:
        """Count a trace that its caller could not hand over."""
        self._refuse(error)
        self._queue.put(_Marker())  # wakes the thread, which stores the count
        if self._thread is None:
            self._start()

    @property
    def dropped(self) -> int:
        """Traces that were dropped and whose count is not in the file yet."""
        return self._dropped

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything that was put is committed; False where it is not (yet)."""
        if self._thread is None and self._queue.empty():
            return True
        return self._wait(_Marker(), timeout)

    def stop(self, timeout: float | None = None) -> bool:
        """Commit, end the thread and let go of the file. A later ``put`` begins anew.

        What cannot be committed within ``EXIT_SECONDS`` is dropped and reported.
        """
        if self._thread is None and self._queue.empty():
            return True
        self._give_up_at = time.monotonic() + EXIT_SECONDS  # read by the thread
        return self._wait(_Marker(stop=True), timeout)

    def ask_to_stop(self) -> None:
        """As :meth:`stop`, without waiting."""
        if self._thread is not None:
            self._queue.put(_Marker(stop=True))

    def _wait(self, marker: _Marker, timeout: float | None) -> bool:
        self._queue.put(marker)
        if self._thread is None:
            self._start()
        return marker.done.wait(timeout) and marker.written

    def _drop(self, count: int) -> None:
        with self._lock:
            self._dropped += count

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="headrace-ledger", daemon=True)
            self._thread = thread
            _living.add(self)
            _at_child_exit()
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down and starts no threads any more
            self._queue.put(_Marker(stop=True))
            self._run()

    # ------------------------------------------------------------------ the writer's thread

    def _run(self) -> None:
        while True:
            markers = self._gather()
            stop = any(marker.stop for marker in markers)
            written = self._commit()
            while stop and self._waiting():  # until it is written, or given up after EXIT_SECONDS
                time.sleep(RETRY_SECONDS)
                written = self._commit()
            if written and not stop and time.monotonic() >= self._next_prune:
                self._prune()
            if stop:
                self._let_go()
                self._give_up_at = None
                self._thread = None
            for marker in markers:
                marker.written = written
                marker.done.set()
            if not stop:
                continue
            # Whoever puts a trace looks at _thread afterwards, we at the queue after clearing
            # _thread: one of the two sees the other.
            if self._queue.empty():
                return
            with self._lock:
                if self._thread is not None:
                    return
                self._thread = threading.current_thread()

    def _gather(self) -> list[_Marker]:
        """Take traces from the queue until a batch is full, late, or asked for."""
        pending = bool(self._waiting() or self._dropped)  # the last commit failed
        until = time.monotonic() + (RETRY_SECONDS if pending else 0.0)
        while self._waiting() < BATCH:
            try:
                item = self._queue.get(timeout=max(0.0, until - time.monotonic()) if pending else None)
            except queue.Empty:
                break
            if isinstance(item, _Marker):
                return [item]
            self._items.append(item)
            if not pending:
                pending, until = True, time.monotonic() + BATCH_SECONDS
        return []

    def _waiting(self) -> int:
        """How many traces were gathered and not committed."""
        return len(self._items) + len(self._rows)

    def _commit(self) -> bool:
        """Commit what was gathered; True where nothing is left. Never raises."""
        try:
            self._write()
            self.problem = ""
            return True
        except (HeadraceError, sqlite3.Error, OSError) as error:
            told = LEDGER.explain(error, self.path) if isinstance(error, sqlite3.Error) else error
            forbidden = is_forbidden(error)
        self._let_go()
        ends = self._give_up_at
        late = ends is not None and (time.monotonic() >= ends or forbidden)
        if late or isinstance(told, (Corrupt, NewerVersion)):
            lost = self._waiting()
            self._items, self._rows, self._figures = [], [], []
            self._drop(lost)
            self._report(f"{told}\n{lost} traces were dropped.")
        else:
            self._report(str(told))
            if self._waiting() >= BATCH:
                time.sleep(RETRY_SECONDS)
        return False

    def _write(self) -> None:
        if not (self._items or self._rows or self._dropped):
            return
        connection = self._connection()
        items, self._items = self._items, []
        for item in items:
            self._make_row(item)
        dropped = self._dropped
        with transaction(connection):
            connection.executemany(_INSERT, self._rows)
            # A run that was recorded twice has one row: the last one's.
            latest = {row[2]: row for row in self._figures}
            connection.executemany(figures.INSERT, list(latest.values()))
            if dropped:
                connection.execute(
                    "INSERT INTO counters VALUES ('dropped', ?) "
                    "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                    (dropped,),
                )
        self._rows, self._figures = [], []
        self._drop(-dropped)

    def _make_row(self, item: Item) -> None:
        content = self._settings.content
        try:
            trace = with_settled(*item)
            if not content:
                assert self._opened is not None
                trace = without_content(trace, self._opened[2])
            elif self._settings.mask:
                trace = masked(trace, self._mask)
            row, data = row_and_data(trace, content=content)
            if figures.counts(data):
                self._figures.append(figures.of(data, row[3], row[4]))
            self._rows.append(row)
        except Exception as error:  # noqa: BLE001  an application's own objects are turned to JSON here
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        self._drop(1)
        self._report(f"A trace was dropped, it cannot be written as JSON: {type(error).__name__}: {error}")

    def _connection(self) -> sqlite3.Connection:
        """The open connection; a new one where the file was taken away meanwhile."""
        if self._opened is not None:
            connection, identity, _ = self._opened
            try:
                stat = os.stat(self.path)
                if (stat.st_dev, stat.st_ino) == identity:
                    return connection
            except FileNotFoundError:
                pass
            self._let_go()
        connection = open_for_writing(self.path, durable=False)
        stat = os.stat(self.path)
        (key,) = connection.execute("SELECT value FROM secrets WHERE name = 'key'").fetchone()
        self._opened = (connection, (stat.st_dev, stat.st_ino), key)
        return connection

    def _let_go(self) -> None:
        if self._opened is not None:
            self._opened[0].close()
            self._opened = None

    def _prune(self) -> None:
        self._next_prune = time.monotonic() + PRUNE_SECONDS
        if self._opened is None:
            return
        try:
            retention.prune(self._opened[0], self._settings, self._clock())
        except sqlite3.Error as error:
            self._report(str(LEDGER.explain(error, self.path)))

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            _log.warning("%s", problem)
        self.problem = problem


def is_forbidden(error: Exception) -> bool:
    """Whether writing is not allowed here (a read-only disk, another user's folder).

    Then a process that wants to end does not wait: unlike a busy or full disk, that stays so.
    """
    if isinstance(error, sqlite3.Error):
        return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF == sqlite3.SQLITE_READONLY
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


# --------------------------------------------------------------------------- the end of a process

_living: weakref.WeakSet[Writer] = weakref.WeakSet()  # those that have had a thread
_inherited: list[Any] = []  # connections of a parent: SQLite forbids a child even to close them


def _write_out() -> None:
    for writer in list(_living):
        if not writer.stop(EXIT_SECONDS + 5):
            _log.warning("Traces were not written to %r: %s", str(writer.path), writer.problem)


def _after_fork() -> None:
    """The child has the queue but not the thread; what is in the queue is the parent's to write."""
    for writer in list(_living):
        _inherited.append(writer._opened)
        writer._begin()
    _living.clear()


_registered_in: set[int] = set()


def _at_child_exit() -> None:
    """Children of multiprocessing that were forked leave without atexit; they have their own list."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is None or processes.parent_process() is None or os.getpid() in _registered_in:
        return
    from multiprocessing.util import Finalize

    _registered_in.add(os.getpid())
    Finalize(None, _write_out, exitpriority=100)


atexit.register(_write_out)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
