"""A published version of a knowledge base as files of its own, for a release to keep.

The truth is copied (one consistent copy of the SQLite file, brought down to what that version
holds: no deleted text, no path of this machine travels with a release). What is immutable is
linked: the sealed vectors, and the files of the word index. Runs under the writer's lock, so that
nothing moves meanwhile; the unsealed tail is sealed first, so that no vector is in the copy.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import NotFound, UserError
from headrace.request import checkpoint
from headrace.search import publish, records, schema, segments
from headrace.search.records import VersionRow
from headrace.search.writer import Writer

WORDS = "words"  # the folder of the word index, beside the SQLite file and the segments
_CHANGING = ("meta.json", ".managed.json")  # what tantivy replaces; all else it only adds and removes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """Which contents would be frozen: ``id`` of the knowledge base, and one of its versions."""

    id: str
    version: VersionRow


def pin(writer: Writer, version: int | None = None) -> Pinned:
    """The version that a release of now pins: the published head, or ``version``.

    NotFound for an unknown version; UserError where nothing, or not everything, was published.
    """
    sql = writer.sql
    id = records.read_meta(sql).id
    known = records.read_versions(sql)
    if version is not None:
        found = next((row for row in known if row.version == version), None)
        if found is None:
            raise NotFound(
                f"{str(writer.store.folder)!r} has no version {version!r}.",
                hint=f"It has {', '.join(str(row.version) for row in known[-10:]) or 'none'}.",
            )
        return Pinned(id=id, version=found)
    head = writer.head
    found = next((row for row in reversed(known) if row.commit == head), None)
    if found is None:
        raise UserError(
            f"{str(writer.store.folder)!r} has changes that no version holds: an ingest was interrupted.",
            hint="Run the same `headrace ingest` again: it finishes, and publishes a version.",
        )
    return Pinned(id=id, version=found)


def freeze(writer: Writer, pinned: Pinned, folder: Path) -> list[str]:
    """Write that version into ``folder`` (new); returns the names of its files, sorted.

    Links where the file system can, copies where it cannot.
    """
    store, sql = writer.store, writer.sql
    folder.mkdir(parents=True)
    with schema.translated(store.path):
        publish.seal(writer, 1)
        publish.sync_words(writer)
        checkpoint()
        _copy(sql, folder / schema.FILE, pinned.version)
        names = [schema.FILE]
        for segment in records.read_segments(sql):
            checkpoint()
            source = store.maps.folder / segment.file
            if not source.is_file():
                raise segments.missing(source)
            segments.open_map(store.maps.folder, segment)  # size, header and footer
            names.append(_link(source, folder, f"{segments.FOLDER}/{segment.file}"))
        words = store.folder / WORDS
        for source in sorted(words.iterdir()) if words.is_dir() else ():
            if source.is_file() and (source.name in _CHANGING or not source.name.startswith(".")):
                link = _link if source.name not in _CHANGING else _duplicate
                names.append(link(source, folder, f"{WORDS}/{source.name}"))
    return sorted(names)


def readable(folder: Path, cache: Path) -> Path:
    """A frozen version as this program reads it: the folder itself, or, where an older Headrace wrote
    it, a copy brought up to date below ``cache``. What was frozen never changes. NewerVersion, Corrupt.
    """
    path = folder / schema.FILE
    with schema.translated(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            found, newest = schema.check_version(connection, path), len(schema.MIGRATIONS)
        finally:
            connection.close()
    if found == newest:
        return folder
    target = cache / f"format-{newest}"
    if not target.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=cache))
        for source in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = source.relative_to(folder).as_posix()
            (_link if name.startswith(segments.FOLDER) else _duplicate)(source, made, name)
        connection = schema.connect(made / schema.FILE)
        try:
            with schema.translated(made / schema.FILE):
                schema.prepare(connection, made / schema.FILE)
                connection.execute("PRAGMA journal_mode = DELETE")
        finally:
            connection.close()
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was quicker
                raise
            shutil.rmtree(made)
    return target


def _copy(sql: sqlite3.Connection, target: Path, version: VersionRow) -> None:
    """A consistent copy without a write-ahead log of its own: it will only ever be read."""
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        with schema.translated(target):
            copy.execute("PRAGMA synchronous = OFF")  # one fsync at the end
            sql.backup(copy)
            copy.execute("PRAGMA journal_mode = MEMORY")
            copy.execute("PRAGMA secure_delete = ON")  # what is taken out leaves nothing behind
            copy.execute("BEGIN")
            gone = _take_out(copy, version)
            copy.execute("COMMIT")
            if gone:
                copy.execute("VACUUM")
            copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()
    fd = os.open(target, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _take_out(copy: sqlite3.Connection, version: VersionRow) -> int:
    """Everything that is not live at the version leaves; returns how many chunks that were."""
    at = {"at": version.commit}
    dead = "born > :at OR died <= :at"
    copy.execute(f"INSERT OR IGNORE INTO purged SELECT seq FROM chunks WHERE {dead}", at)  # masked in indexes
    for table in ("tail", "missing"):
        copy.execute(f"DELETE FROM {table} WHERE seq IN (SELECT seq FROM chunks WHERE {dead})", at)
    gone = copy.execute(f"DELETE FROM chunks WHERE {dead}", at).rowcount
    documents = copy.execute(f"DELETE FROM documents WHERE {dead}", at).rowcount
    if gone or documents:
        copy.execute("DELETE FROM bodies WHERE body NOT IN (SELECT body FROM documents)")
    for table in ("chunks", "documents"):
        copy.execute(f"UPDATE {table} SET died = NULL WHERE died IS NOT NULL")
    copy.execute("DELETE FROM commits WHERE n <> :at", at)
    copy.execute("DELETE FROM versions WHERE version <> ?", (version.version,))
    copy.execute("DELETE FROM sources")
    copy.execute("UPDATE documents SET source = NULL WHERE source IS NOT NULL")
    copy.execute("UPDATE watermarks SET value = min(value, :at) WHERE name = 'words'", at)
    return gone + documents


def _link(source: Path, folder: Path, name: str) -> str:
    target = folder / name
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
    return name


def _duplicate(source: Path, folder: Path, name: str) -> str:
    target = folder / name
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, target)
    return name
