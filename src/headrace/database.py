"""SQLite files of ours: whose a file is, the numbered steps of its tables, one transaction as a block.

``application_id`` says what a file is, ``user_version`` which step it has reached. A step is never
edited after a release; a change is a new step at the end. So a file that an older Headrace wrote is
brought up to date, and one that a newer one wrote is refused with both numbers.

Not here: the tables, and how a file is opened; both belong to the room whose file it is.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import Corrupt, DiskFull, HeadraceError, Locked, NewerVersion, StateError

BUSY_SECONDS = 10.0  # how long one process waits for another before it gives up
# What a full disk or a limit on file sizes looks like besides SQLITE_FULL.
_NO_ROOM = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)

# A step is SQL, and where SQL cannot say it, a function of the connection.
Statement = str | Callable[[sqlite3.Connection], None]
Step = tuple[Statement, ...]


@dataclass(frozen=True, kw_only=True)
class Format:
    """What one kind of file is. ``noun`` names it in errors (``"ledger"``); the three hints say what to
    do with a ``foreign`` file in its place, one that a ``newer`` Headrace wrote, and a ``damaged`` one."""

    application_id: int
    noun: str
    steps: tuple[Step, ...]
    foreign: str
    newer: str
    damaged: str

    @property
    def newest(self) -> int:
        """The step that this Headrace writes."""
        return len(self.steps)

    def check(self, connection: sqlite3.Connection, path: Path) -> int:
        """The step that this file has reached; 0 where it is empty.

        Raises NewerVersion naming both numbers, Corrupt where it is a database of something else.
        """
        # The three numbers of one moment: another process may just be making the tables.
        with nullcontext() if connection.in_transaction else transaction(connection, write=False):
            owner = _number(connection, "application_id")
            reached = _number(connection, "user_version")
            empty = _number(connection, "schema_version") == 0
        if owner == 0 and reached == 0 and empty:
            return 0
        if owner != self.application_id:
            raise Corrupt(
                f"{str(path)!r} is a database of something else, not a {self.noun} of Headrace.",
                hint=self.foreign,
            )
        if reached > self.newest:
            raise NewerVersion(
                f"The {self.noun} {str(path)!r} has format {reached}; "
                f"this Headrace knows formats up to {self.newest}.",
                hint=self.newer,
            )
        return reached

    def migrate(self, connection: sqlite3.Connection, path: Path) -> None:
        """Bring the file to the newest step, whole or not at all; safe among processes.

        Inside a transaction that is open already it is part of that one.
        """
        if self.check(connection, path) == self.newest:
            return
        with nullcontext() if connection.in_transaction else transaction(connection):
            reached = self.check(connection, path)  # another process may have been quicker
            for step in self.steps[reached:]:
                for statement in step:
                    if isinstance(statement, str):
                        connection.execute(statement)
                    else:
                        statement(connection)
            connection.execute(f"PRAGMA application_id = {self.application_id}")
            connection.execute(f"PRAGMA user_version = {self.newest}")

    def explain(self, error: sqlite3.Error, path: Path) -> HeadraceError:
        """The Headrace error for what SQLite reported about the file at ``path``."""
        code = _code(error)
        name = f"The {self.noun} {str(path)!r}"
        if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return Corrupt(f"{name} is damaged: {error}.", hint=self.damaged)
        if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Locked(f"{name} was busy for {BUSY_SECONDS:g} seconds: {error}.")
        if code & 0xFF == sqlite3.SQLITE_FULL or code in _NO_ROOM:
            return DiskFull(f"{name} could not grow: {error}.")
        return StateError(
            f"{name} cannot be used: {error}.",
            hint="Check that its folder exists, is writable and is on a local disk.",
        )

    @contextmanager
    def explained(self, path: Path) -> Iterator[None]:
        """Errors of SQLite within the block come out as Headrace errors."""
        try:
            yield
        except sqlite3.Error as error:
            raise self.explain(error, path) from error


@contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool = True) -> Iterator[None]:
    """One transaction as a block: committed at its end, rolled back where it raises.

    ``write`` takes the write lock at once, so that nothing read within can change meanwhile.
    """
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # SQLite rolls back by itself after some errors
            connection.execute("ROLLBACK")


def patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Run a statement for which SQLite does not wait for other processes by itself."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if _code(error) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.02)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _code(error: sqlite3.Error) -> int:
    """SQLite's extended result code; its low byte is the plain one."""
    return getattr(error, "sqlite_errorcode", None) or 0
