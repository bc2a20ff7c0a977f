"""The registry's tables, one numbered step after another, and what SQLite complains of in our words.

``application_id`` says that a database is a registry, ``user_version`` which step it has reached. A
step is never edited after a release; a change is a new step at the end.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import Corrupt, DiskFull, HeadraceError, Locked, NewerVersion, StateError

APPLICATION_ID = 0x48525247  # "HRRG"
BUSY_SECONDS = 10.0

# ``manifest`` is canonical JSON: its SHA-256 is ``id``. The log is what happened, in order; the
# aliases are what holds now, and ``history`` (the releases that production went through, the newest
# last) can be made again from the log.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE releases (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL,
            fingerprint TEXT NOT NULL, created REAL NOT NULL, manifest TEXT NOT NULL,
            UNIQUE (name, version)) WITHOUT ROWID""",
        """CREATE TRIGGER releases_stay BEFORE UPDATE ON releases
            BEGIN SELECT RAISE(ABORT, 'a release never changes'); END""",
        """CREATE TABLE aliases (
            name TEXT NOT NULL, alias TEXT NOT NULL, release TEXT NOT NULL REFERENCES releases(id),
            percent REAL, PRIMARY KEY (name, alias)) WITHOUT ROWID""",
        """CREATE TABLE history (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,
            release TEXT NOT NULL REFERENCES releases(id))""",
        """CREATE TABLE log (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, at REAL NOT NULL,
            who TEXT NOT NULL, what TEXT NOT NULL, alias TEXT NOT NULL, release TEXT,
            previous TEXT, percent REAL, verdict TEXT NOT NULL, why TEXT NOT NULL, gates TEXT NOT NULL)""",
        "CREATE INDEX log_by_name ON log (name, seq)",
        """CREATE TRIGGER log_is_kept BEFORE UPDATE ON log
            BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END""",
        """CREATE TRIGGER log_is_whole BEFORE DELETE ON log
            BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END""",
    ),
)


def connect(path: Path, *, create: bool) -> sqlite3.Connection | None:
    """A connection; None where there is no registry and ``create`` is False. NewerVersion, Corrupt."""
    if not create and not path.is_file():
        return None
    with explained(path):
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            if check(connection, path) == 0:
                _patiently(connection, "PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = 1")
            migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def check(connection: sqlite3.Connection, path: Path, known: int = len(MIGRATIONS)) -> int:
    """The step that this file has reached, 0 for an empty one."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if owner == 0 and version == 0:
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
            return 0
        # another process may just have made the tables, between our two questions
        owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if owner != APPLICATION_ID:
        raise Corrupt(
            f"{str(path)!r} is a SQLite database, but not a registry of releases.",
            hint="Move it away: the next release begins a new registry.",
        )
    if version > known:
        raise NewerVersion(
            f"The registry {str(path)!r} has format {version}; this Headrace knows formats up to {known}.",
            hint="Use the newer Headrace that wrote it.",
        )
    return version


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS
) -> None:
    """Bring the file to the newest step, each whole or not at all; safe among processes."""
    if check(connection, path, len(migrations)) == len(migrations):
        return
    with transaction(connection):
        version = check(connection, path, len(migrations))  # another process may have been quicker
        for statements in migrations[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")


@contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool = True) -> Iterator[None]:
    """One transaction as a block; ``write`` takes the write lock at once."""
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Run a statement for which SQLite does not wait for other processes by itself."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            if code != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.02)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of SQLite within the block come out as Headrace errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explain(error, path) from error


def _explain(error: sqlite3.Error, path: Path) -> HeadraceError:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    name = repr(str(path))
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Corrupt(f"The registry {name} is damaged: {error}.", hint="Restore it from a copy.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Locked(f"The registry {name} was busy for {BUSY_SECONDS:g} seconds: {error}.")
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(f"The registry {name} could not grow: {error}.")
    return StateError(
        f"The registry {name} cannot be used: {error}.",
        hint="Check that its folder is writable and on a local disk.",
    )
