"""The results of rows on disk, by application and inputs: what makes running many rows resumable.

A row is here once it is finished, and marked as begun before; a process that is killed leaves the
marks of the rows that were in flight, so that the next one can say which it computes again. It is a
cache: whoever removes the file loses time, nothing else. What a row holds is decided in ``rows.py``.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.database import BUSY_SECONDS, Format, Step, transaction

KEEP_DAYS = 30.0
CHECKPOINT_PAGES = 16384  # 64 MB

# ``body`` is NULL from the moment a row is begun until it has a result. One table, so that finishing a
# row and beginning the next is one statement: with many threads, each one more waits for its turn.
_TABLES: Step = (
    "CREATE TABLE rows (subject TEXT, inputs TEXT, at REAL NOT NULL, body BLOB, "
    "PRIMARY KEY (subject, inputs)) WITHOUT ROWID",
    "CREATE INDEX rows_by_time ON rows (at)",
)
# Of the first step nothing is left: a cache of an older format is worth no conversion.
JOURNAL = Format(
    application_id=0x4852524A,  # "HRRJ"
    noun="journal of rows",
    steps=((), _TABLES),
    foreign="Remove the file (and its -wal): it is a cache, rows are computed again.",
    newer="Use the newer Headrace, or remove the file: it is a cache.",
    damaged="Remove the file (and its -wal): it is a cache, rows are computed again.",
)
_MADE = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
_PUT = "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)"
_DROP = "DELETE FROM rows WHERE subject = ? AND inputs = ? AND body IS NULL"
_SMALL = 4096  # bytes; shorter bodies are kept as they are


class Journal:
    """Finished rows of one project. Safe to share between threads and among processes.

    A row that :meth:`write` was given outlives the process when the call returns; the power failing
    can cost the last seconds, and the file stays sound (WAL, ``synchronous=NORMAL``).
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: list[_Change] = []
        self._led = False  # whether a thread commits for all at the moment
        self._guard = threading.Lock()
        with JOURNAL.explained(self.path):
            path.parent.mkdir(parents=True, exist_ok=True)
            new = not path.exists()
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(new)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, new: bool) -> None:
        connection = self._connection
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # A checkpoint waits for the disk while all rows wait for it: seldom, and once at the end.
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute("PRAGMA journal_size_limit = 1048576")
        if new:
            os.chmod(self.path, 0o600)  # it holds what was asked and what was answered
        with transaction(connection):
            if JOURNAL.check(connection, self.path) < JOURNAL.newest:
                for name in [name for (name,) in connection.execute(_MADE)]:
                    connection.execute(f'DROP TABLE "{name}"')
            JOURNAL.migrate(connection, self.path)
            connection.execute("DELETE FROM rows WHERE at < ?", (self._clock() - KEEP_DAYS * 86400,))
        connection.execute("PRAGMA incremental_vacuum(1000)")

    # ------------------------------------------------------------------ reading

    def read(self, subject: str, inputs: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The finished rows of ``subject`` among these inputs (digests)."""
        found: dict[str, dict[str, Any]] = {}
        with JOURNAL.explained(self.path), self._lock:
            for some in _parts(inputs):
                marks = ",".join("?" * len(some))
                for key, body in self._connection.execute(
                    f"SELECT inputs, body FROM rows WHERE subject = ? AND inputs IN ({marks}) "
                    "AND body IS NOT NULL",
                    (subject, *some),
                ):
                    found[key] = _unpacked(body)
        return found

    def begun(self, subject: str) -> set[str]:
        """Inputs of rows that were begun and never finished: in flight when a process was killed."""
        with JOURNAL.explained(self.path), self._lock:
            rows = self._connection.execute(
                "SELECT inputs FROM rows WHERE subject = ? AND body IS NULL", (subject,)
            )
            return {key for (key,) in rows}

    # ------------------------------------------------------------------ writing

    def write(
        self,
        subject: str,
        *,
        done: str | None = None,
        body: Mapping[str, Any] | None = None,
        begin: str | None = None,
    ) -> None:
        """Finish the row ``done`` (``body`` None: without a result) and mark ``begin``, in one commit.

        Threads that arrive while another one commits wait, and share the next commit.
        """
        packed = None if body is None else _packed(body)
        change = _Change(subject, done, packed, begin, self._clock())
        with self._guard:
            self._waiting.append(change)
            leads, self._led = not self._led, True
        if leads:
            self._lead(change)
        else:
            change.committed.acquire()  # released by the one who leads
        if change.error is not None:
            raise change.error

    def _lead(self, own: _Change) -> None:
        """Commit what waits, until nothing does; each thread is woken by itself, not one after another."""
        while True:
            with self._guard:
                changes, self._waiting = self._waiting, []
                if not changes:
                    self._led = False
                    return
            try:
                with self._lock:
                    self._commit(changes)
            except BaseException as error:  # noqa: BLE001 - handed to every thread that waits for it
                for change in changes:
                    change.error = error
            for change in changes:
                if change is not own:
                    change.committed.release()

    def forget(self, subject: str, inputs: Sequence[str]) -> None:
        """Drop rows, finished or begun."""
        with JOURNAL.explained(self.path), self._lock:
            for some in _parts(inputs):
                marks = ",".join("?" * len(some))
                self._connection.execute(
                    f"DELETE FROM rows WHERE subject = ? AND inputs IN ({marks})", (subject, *some)
                )

    def close(self) -> None:
        self._connection.close()

    def _commit(self, changes: Sequence[_Change]) -> None:
        puts = [row for change in changes for row in change.puts]
        drops = [row for change in changes for row in change.drops]
        connection = self._connection
        with JOURNAL.explained(self.path):
            if len(puts) == 2 and not drops:  # the usual case, in a transaction of its own
                connection.execute(f"{_PUT}, (?, ?, ?, ?)", (*puts[0], *puts[1]))
                return
            with transaction(connection):
                connection.executemany(_DROP, drops)
                connection.executemany(_PUT, puts)


class _Change:
    """What one thread wants written; ``committed`` is released when it is, or ``error`` says why not."""

    __slots__ = ("committed", "drops", "error", "puts")

    def __init__(
        self, subject: str, done: str | None, body: bytes | None, begin: str | None, at: float
    ) -> None:
        self.puts: list[tuple[str, str, float, bytes | None]] = []
        self.drops: list[tuple[str, str]] = []
        if done is not None and body is not None:
            self.puts.append((subject, done, at, body))
        elif done is not None:
            self.drops.append((subject, done))
        if begin is not None:
            self.puts.append((subject, begin, at, None))
        self.committed = threading.Lock()
        self.committed.acquire()
        self.error: BaseException | None = None


def _parts(keys: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def _packed(body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return text if len(text) < _SMALL else zlib.compress(text, 1)


def _unpacked(body: bytes) -> dict[str, Any]:
    text = body if body[:1] == b"{" else zlib.decompress(body)  # zlib's begins with 0x78
    found: dict[str, Any] = json.loads(text.decode("utf-8", "surrogatepass"))
    return found
