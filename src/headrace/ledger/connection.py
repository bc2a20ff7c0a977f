"""Opening the ledger's SQLite file, and saying in Headrace's words what SQLite complains of.

Not here: the schema (``migrations.py``) and the queries.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.database import BUSY_SECONDS, patiently
from headrace.errors import StateError
from headrace.ledger.migrations import LEDGER


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the file system within the block come out as Headrace errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise LEDGER.explain(error, path) from error
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
        if LEDGER.check(connection, path) == 0:
            # Before the first page is written, or it has no effect.
            patiently(connection, "PRAGMA auto_vacuum = INCREMENTAL")
        patiently(connection, "PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten
        connection.execute("PRAGMA journal_size_limit = 16777216")
        LEDGER.migrate(connection, path)
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
        version = LEDGER.check(connection, path)
        if version:
            LEDGER.migrate(connection, path)  # one that an older Headrace wrote is brought up to date
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
