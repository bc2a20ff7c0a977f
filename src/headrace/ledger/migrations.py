"""The ledger's schema, one numbered step after another.

``application_id`` says that a database is a ledger, ``user_version`` which step it has reached. A
step is never edited after a release; a change is a new step at the end. Not here: what is written
into the tables (``records.py``, ``feedback.py``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from headrace.errors import Corrupt, NewerVersion
from headrace.ledger import figures
from headrace.ledger.transaction import transaction

APPLICATION_ID = 0x48524C47  # "HRLG"

# ``body`` is the whole trace: JSON in UTF-8, deflated; the other columns are what lists show and
# filter by, and can be made again from it. ``words`` is normalised text for searching.
# ``current`` is 1 for the latest vote of one user on one trace.
# A step is SQL, and where SQL cannot say it, a function of the connection.
Statement = str | Callable[[sqlite3.Connection], None]
MIGRATIONS: tuple[tuple[Statement, ...], ...] = (
    (
        """CREATE TABLE traces (
            id TEXT PRIMARY KEY, start REAL NOT NULL, seconds REAL NOT NULL,
            app TEXT NOT NULL, release TEXT NOT NULL, user TEXT NOT NULL, session TEXT NOT NULL,
            status TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL,
            bytes INTEGER NOT NULL, words TEXT NOT NULL, body BLOB NOT NULL)""",
        "CREATE INDEX traces_by_time ON traces (start, id)",
        "CREATE INDEX traces_by_user ON traces (user) WHERE user <> ''",
        """CREATE TABLE feedback (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, trace_id TEXT NOT NULL,
            value TEXT NOT NULL CHECK (value IN ('up', 'down')), comment TEXT NOT NULL,
            correction TEXT NOT NULL, user TEXT NOT NULL, at REAL NOT NULL, current INTEGER NOT NULL)""",
        "CREATE INDEX feedback_by_trace ON feedback (trace_id, user)",
        "CREATE INDEX feedback_by_user ON feedback (user) WHERE user <> ''",
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
        "CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
        "INSERT INTO secrets VALUES ('key', randomblob(32))",
        """CREATE TABLE tombstones (
            hash TEXT NOT NULL, at REAL NOT NULL, traces INTEGER NOT NULL, feedback INTEGER NOT NULL)""",
    ),
    (*figures.TABLE, figures.fill),
)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def check(connection: sqlite3.Connection, path: Path, known: int = len(MIGRATIONS)) -> int:
    """The step that this database has reached; 0 where it is empty.

    Raises NewerVersion naming both versions, Corrupt where it is a database of something else.
    """
    # The three numbers of one moment: another process may just be making the tables.
    with nullcontext() if connection.in_transaction else transaction(connection, write=False):
        owner = _number(connection, "application_id")
        version = _number(connection, "user_version")
        empty = _number(connection, "schema_version") == 0
    if owner == 0 and version == 0 and empty:
        return 0
    if owner != APPLICATION_ID:
        raise Corrupt(
            f"{str(path)!r} is a SQLite database, but not a ledger of Headrace.",
            hint="Move it away: the next run begins a new ledger.",
        )
    if version > known:
        raise NewerVersion(
            f"The ledger {str(path)!r} has format {version}; this Headrace knows formats up to {known}.",
            hint="Use the newer Headrace that wrote it, or move the file away to begin a new ledger.",
        )
    return version


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[Statement]] = MIGRATIONS
) -> None:
    """Bring the database to the newest step, each step whole or not at all; safe among processes."""
    if check(connection, path, len(migrations)) == len(migrations):
        return
    with transaction(connection):
        version = check(connection, path, len(migrations))  # another process may have been quicker
        for statements in migrations[version:]:
            for statement in statements:
                if isinstance(statement, str):
                    connection.execute(statement)
                else:
                    statement(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
