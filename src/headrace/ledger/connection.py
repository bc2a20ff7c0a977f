"""Opening the ledger's SQLite file, and saying in Headrace's words what SQLite complains of.

Not here: the schema (``migrations.py``) and the queries.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import Corrupt, DiskFull, HeadraceError, Locked, StateError
from headrace.ledger.migrations import check, migrate

BUSY_SECONDS = 10.0
_CODE = 0xFF  # SQLite's extended result codes keep the plain one in the low byte

# What a full disk or a limit on file sizes looks like besides SQLITE_FULL.
_NO_ROOM = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)


def explain(error: sqlite3.Error, path: Path) -> HeadraceError:
    """The Headrace error for what SQLite reported about the ledger at ``path``."""
    extended = getattr(error, "sqlite_errorcode", None) or 0
    code = extended & _CODE
    name = repr(str(path))
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Corrupt(
            f"The ledger {name} is damaged: {error}.",
            hint="Move the file away (keep it with its -wal): the next run begins a new ledger.",
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Locked(f"The ledger {name} was busy for {BUSY_SECONDS:g} seconds: {error}.")
    if code == sqlite3.SQLITE_FULL or extended in _NO_ROOM:
        return DiskFull(f"The ledger {name} could not grow: {error}.")
    return StateError(
        f"The ledger {name} cannot be used: {error}.",
        hint="Check that its folder exists, is writable and is on a local disk.",
    )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the file system within the block come out as Headrace errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path) from error
    except OSError as error:
        raise StateError(
            f"The ledger {str(path)!r} cannot be used: {error}.",
            hint="Check that its folder is writable, or set enabled = false under [ledger].",
        ) from error


def open_for_writing(path: Path, *, durable: bool) -> sqlite3.Connection:
    """A connection; makes file and tables where they are missing.

    ``durable``: a commit is on the disk when it returns (``synchronous=FULL``). Otherwise it
    outlives the process but may be lost with the power. The file is readable by its owner only,
    because it holds what people asked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    connection = _connect(path, create=True)
    try:
        if new:
            # Not by creating the file ourselves: closing it would drop the locks that other
            # connections of this process hold on it (POSIX). -wal and -shm inherit the mode.
            connection.execute("PRAGMA schema_version").fetchone()
            os.chmod(path, 0o600)
        if check(connection, path) == 0:
            # Before the first page is written, or it has no effect.
            _patiently(connection, "PRAGMA auto_vacuum = INCREMENTAL")
        _patiently(connection, "PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten
        connection.execute("PRAGMA journal_size_limit = 16777216")
        migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection | None:
    """A connection, or None where there is no ledger yet; creates nothing."""
    if not path.exists():
        return None
    connection = _connect(path)
    try:
        version = check(connection, path)
        if version:
            migrate(connection, path)  # one that an older Headrace wrote is brought up to date
            connection.execute("PRAGMA query_only = ON")
            return connection
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


def _connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    uri = path.absolute().as_uri() + ("?mode=rwc" if create else "?mode=rw")
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Run a statement for which SQLite does not wait for other processes by itself."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & _CODE
            if code != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.02)
