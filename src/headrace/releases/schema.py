"""The registry's tables, and opening its file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from headrace.database import BUSY_SECONDS, Format, patiently

# ``manifest`` is canonical JSON: its SHA-256 is ``id``. The log is what happened, in order; the
# aliases are what holds now, and ``history`` (the releases that production went through, the newest
# last) can be made again from the log.
_STEPS = (
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


REGISTRY = Format(
    application_id=0x48525247,  # "HRRG"
    noun="registry of releases",
    steps=_STEPS,
    foreign="Move it away: the next release begins a new registry.",
    newer="Use the newer Headrace that wrote it.",
    damaged="Restore it from a copy.",
)


def connect(path: Path, *, create: bool) -> sqlite3.Connection | None:
    """A connection; None where there is no registry and ``create`` is False. NewerVersion, Corrupt."""
    if not create and not path.is_file():
        return None
    with REGISTRY.explained(path):
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            if REGISTRY.check(connection, path) == 0:
                patiently(connection, "PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = 1")
            REGISTRY.migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection
