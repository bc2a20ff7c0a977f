"""The tables of a knowledge base: DDL, numbered migrations, connections, and what SQLite's errors mean.

SQLite is the truth: text, chunks and metadata are rows here, and so are the newest vectors. What
is derived (sealed vector segments, the word index) is only registered here. This module knows no
documents and no searches.

Rows carry the commits at which they were ``born`` and ``died`` (NULL: they live). A row is live
at commit c when ``born <= c AND (died IS NULL OR died > c)``.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import Corrupt, DiskFull, HeadraceError, Locked, NewerVersion, StateError

FILE = "kb.sqlite"
APPLICATION_ID = 0x48447263  # "Hdrc", in the file's header: tells our files from other SQLite files
BUSY_MS = 10_000

_TABLES_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('id', json_quote(lower(hex(randomblob(16))))), ('metric', '"cosine"'),
  ('created', round((julianday('now') - 2440587.5) * 86400.0, 3));

-- one row per durable change of contents; last_seq, documents and chunks hold as of that commit
CREATE TABLE commits (
  n INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, what TEXT NOT NULL,
  last_seq INTEGER NOT NULL, documents INTEGER NOT NULL, chunks INTEGER NOT NULL);

-- texts stand apart, so that a scan over documents (a filter) does not drag them along,
-- and so that a change of metadata or a rollback does not copy them
CREATE TABLE bodies (body INTEGER PRIMARY KEY AUTOINCREMENT, sections TEXT NOT NULL, text TEXT NOT NULL);

CREATE TABLE documents (
  doc_seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, hash TEXT NOT NULL,
  splitter TEXT NOT NULL, source TEXT, title TEXT NOT NULL, media TEXT NOT NULL,
  metadata TEXT NOT NULL, body INTEGER NOT NULL, born INTEGER NOT NULL, died INTEGER);
CREATE UNIQUE INDEX documents_live ON documents(id) WHERE died IS NULL;
CREATE INDEX documents_id ON documents(id);
CREATE INDEX documents_source ON documents(source) WHERE died IS NULL AND source IS NOT NULL;
CREATE INDEX documents_dead ON documents(died) WHERE died IS NOT NULL;

CREATE TABLE chunks (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, doc_seq INTEGER NOT NULL REFERENCES documents(doc_seq),
  ordinal INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, heading TEXT NOT NULL,
  tokens INTEGER NOT NULL, hash BLOB NOT NULL, born INTEGER NOT NULL, died INTEGER, text TEXT NOT NULL);
CREATE INDEX chunks_document ON chunks(doc_seq);
CREATE INDEX chunks_hash ON chunks(hash);
CREATE INDEX chunks_dead ON chunks(died) WHERE died IS NOT NULL;

-- files whose reading was finished
CREATE TABLE sources (
  path TEXT PRIMARY KEY, given TEXT NOT NULL, hash TEXT NOT NULL, size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL, reader TEXT NOT NULL, finished INTEGER NOT NULL) WITHOUT ROWID;

-- every chunk has its vector in exactly one of: a segment, the tail; or it stands in missing
CREATE TABLE tail (seq INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE missing (seq INTEGER PRIMARY KEY);
CREATE TABLE segments (
  id INTEGER PRIMARY KEY AUTOINCREMENT, file TEXT NOT NULL UNIQUE, first INTEGER NOT NULL,
  last INTEGER NOT NULL, rows INTEGER NOT NULL, dimension INTEGER NOT NULL, digest TEXT NOT NULL);

CREATE TABLE versions (
  version INTEGER PRIMARY KEY AUTOINCREMENT, commit_n INTEGER NOT NULL, name TEXT UNIQUE,
  created REAL NOT NULL, documents INTEGER NOT NULL, chunks INTEGER NOT NULL, corpus TEXT NOT NULL);

-- 'words': the commit up to which the word index is complete; 'layout': counts rearrangements of
-- the vectors (between two of them the tail only grows at its end)
CREATE TABLE watermarks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO watermarks VALUES ('words', 0), ('layout', 0);

-- chunks that are gone from here and have yet to leave the word index
CREATE TABLE purged (seq INTEGER PRIMARY KEY);
"""

MIGRATIONS: tuple[str, ...] = (_TABLES_1,)  # number n brings user_version n - 1 to n


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection with explicit transactions; usable from any one thread at a time."""
    with translated(path):
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000, cached_statements=64
        )
        connection.execute("PRAGMA synchronous = FULL")
        if read_only:
            connection.execute("PRAGMA query_only = 1")
        else:
            connection.execute("PRAGMA foreign_keys = 1")
            connection.execute("PRAGMA journal_size_limit = 16777216")
        return connection


def user_version(connection: sqlite3.Connection) -> int:
    """The number of migrations that this file has seen; 0 for an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def prepare(connection: sqlite3.Connection, path: Path, *, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring a new or older file to this version's tables; refuse a foreign or newer one.

    Each migration is one transaction. Two processes may do this at once: the second finds it done.
    """
    with translated(path):
        found = check_version(connection, path, len(migrations))
        if found == len(migrations):
            return
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StateError(
                f"The file system of {str(path)!r} cannot hold a write-ahead log (SQLite offers {mode!r}).",
                hint="Put the knowledge base on a local disk.",
            )
        while found < len(migrations):
            connection.execute("BEGIN IMMEDIATE")
            try:
                if (found := user_version(connection)) < len(migrations):
                    _migrate(connection, migrations[found], found + 1)
                    found += 1
                connection.execute("COMMIT")
            except BaseException:
                rollback(connection)
                raise


def _migrate(connection: sqlite3.Connection, script: str, number: int) -> None:
    for statement in _statements(script):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {number}")


def _statements(script: str) -> Iterator[str]:
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    assert not pending.strip(), f"a statement without its end: {pending!r}"


def check_version(connection: sqlite3.Connection, path: Path, newest: int = len(MIGRATIONS)) -> int:
    """The file's version, when it is one of ours that this program can read."""
    found = user_version(connection)
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables or found or application:
            raise Corrupt(
                f"{str(path)!r} is a SQLite file, but not a knowledge base of Headrace.",
                hint="Name another folder, or move that file away.",
            )
    if found > newest:
        raise NewerVersion(
            f"{str(path)!r} has format {found}; this Headrace reads formats up to {newest}.",
            hint="Install the newer Headrace that wrote it.",
        )
    return found


def rollback(connection: sqlite3.Connection) -> None:
    """Undo the open transaction, if SQLite has not done it already."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors in our words: Corrupt, DiskFull, Locked, StateError."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error
    except OSError as error:
        if is_full(error):
            raise DiskFull(f"No room left while writing below {str(path.parent)!r}: {error}.") from error
        raise


def is_full(error: OSError) -> bool:
    """Whether a system error says that there is no room (disk, quota or file size limit)."""
    import errno

    return error.errno in {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def translate(error: sqlite3.Error, path: Path) -> HeadraceError:
    """One SQLite error as one of ours."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    name = repr(str(path))
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Corrupt(
            f"{name} is damaged: {error}.",
            hint="Restore this folder from a copy, or delete it and ingest the documents again.",
        )
    if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and _no_room(code, path)):
        return DiskFull(f"No room left while writing {name}: {error}.")
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Locked(f"{name} is being written by another process: {error}.")
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StateError(
            f"{name} cannot be opened or written: {error}.", hint="Check the permissions of its folder."
        )
    if primary == sqlite3.SQLITE_IOERR:
        return StateError(f"Reading or writing {name} failed: {error}.", hint="Check the disk.")
    return StateError(f"{name}: {error}.", hint="Run `headrace kb check` on this knowledge base.")


_WRITES = {
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
}


def _no_room(code: int | None, path: Path) -> bool:
    """SQLite reports a file size limit and some full disks as a plain failure to write."""
    if code not in _WRITES:
        return False
    if sys.platform != "win32":
        import resource

        if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
            return True
    return shutil.disk_usage(path.parent).free < 1 << 20
