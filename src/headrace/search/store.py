"""A knowledge base folder for reading: opening it, its versions, and short snapshots of it.

SQLite holds the truth (schema.py); a snapshot is one read transaction and the vector blocks that
belong to it. Nothing here writes (writer.py), scores or ranks. A store may be shared by threads:
each snapshot has a connection of its own from a small pool. Keep snapshots short: an open one
holds back SQLite's checkpoint, so none may stay open across a model call.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headrace.errors import NotFound
from headrace.protocols import Clock, Embedder, Progress, Splitter
from headrace.search import records, schema, segments
from headrace.search.lock import refuse_network
from headrace.search.records import Info, KnowledgeMeta, Row, VersionRow, WordSync
from headrace.search.segments import Block
from headrace.search.snapshot import Snapshot

if TYPE_CHECKING:
    from headrace.search.writer import Writer

__all__ = ["Block", "Info", "KnowledgeMeta", "Row", "Snapshot", "Store", "VersionRow", "WordSync"]

_POOL = 8  # idle connections kept


class Store:
    """An open knowledge base folder. ``close`` it, or use it as a context manager."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, clock: Clock) -> None:
        self.folder = folder
        self.path = folder / schema.FILE
        self.maps = segments.Maps(folder / segments.FOLDER)
        self.clock = clock
        self._idle = [connection]
        self._lock = threading.Lock()
        self._closed = False
        self._tail: tuple[int, Block] | None = None  # (layout, rows)
        self._dead: OrderedDict[tuple[int, int, int], NDArray[np.int64]] = OrderedDict()

    @classmethod
    def open(cls, folder: Path, *, create: bool = False, clock: Clock = time.time) -> Store:
        """Open a folder. NotFound when nothing is there and ``create`` is False; NewerVersion; Corrupt."""
        folder = Path(folder)
        path = folder / schema.FILE
        if not create and not path.is_file():
            raise NotFound(
                f"There is no knowledge base in {str(folder)!r}.", hint="Make one with `headrace ingest`."
            )
        refuse_network(folder)
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        connection = schema.connect(path)
        try:
            with schema.translated(path):
                found = schema.check_version(connection, path)
                if found == 0 and not create:
                    raise NotFound(
                        f"The knowledge base in {str(folder)!r} was never finished being made.",
                        hint="Make it with `headrace ingest`.",
                    )
                schema.prepare(connection, path)
                if found == 0:
                    segments.sync_folder(folder)
                    segments.sync_folder(folder.parent)
                connection.execute("PRAGMA query_only = 1")
        except BaseException:
            connection.close()
            raise
        return cls(folder, connection, clock)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections and forget the maps. Snapshots in use end by themselves."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self.maps.forget()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection inside one read transaction."""
        with self._lock:
            assert not self._closed, f"{self.folder} is closed"
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = schema.connect(self.path, read_only=True)
        sound = False
        try:
            with schema.translated(self.path):
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    schema.rollback(connection)
            sound = True
        finally:
            with self._lock:
                keep = (
                    not self._closed and len(self._idle) < _POOL and (sound or not connection.in_transaction)
                )
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.close()

    @contextmanager
    def snapshot(self, version: int | None = None) -> Iterator[Snapshot]:
        """A short, consistent view: of the newest commit, or of a published version.

        A segment that is gone means that a compaction came between the transaction's start and
        the opening of its files; the registry is read once more, then it is an error.
        """
        for last in (False, True):
            with self.reading() as connection:
                snapshot = Snapshot(self, connection, version)
                if not snapshot.opened() and not last:
                    continue
                yield snapshot
                return

    def meta(self) -> KnowledgeMeta:
        """Identity, embedder, splitter and format."""
        with self.reading() as connection:
            return records.read_meta(connection)

    def versions(self) -> list[VersionRow]:
        """All published versions, oldest first."""
        with self.reading() as connection:
            return records.read_versions(connection)

    def info(self) -> Info:
        """Counts and sizes; cheap."""
        with self.reading() as connection:
            view = Snapshot(self, connection, None)
            newest = connection.execute("SELECT max(version) FROM versions").fetchone()[0]
            return Info(
                documents=view.document_count,
                chunks=view.chunk_count,
                version=newest,
                embedder=records.describe(view.meta.embedder) or None,
                bytes=sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file()),
                commit=view.commit,
                segments=len(view.segments),
                tail=_count(connection, "tail"),
                dead=_count(connection, "chunks WHERE died IS NOT NULL"),
                missing=_count(connection, "missing"),
            )

    def writer(
        self,
        *,
        embedder: Callable[[], Embedder] | None,
        splitter: Callable[[], Splitter],
        words: WordSync,
        wait: float = 0,
        progress: Progress | None = None,
    ) -> AbstractContextManager[Writer]:
        """The right to write, for one thread, until the context ends; Locked names who has it.

        ``embedder`` and ``splitter`` are called when they are first needed. ``embedder`` None
        writes texts and words only; a later writer with an embedder fills the vectors in.
        """
        from headrace.search.writer import open_writer

        return open_writer(
            self, embedder=embedder, splitter=splitter, words=words, wait=wait, progress=progress
        )

    def tail(self, connection: sqlite3.Connection, layout: int, last: int, dimension: int) -> Block:
        """The unsealed rows up to ``last`` as this transaction sees them.

        Within one layout the tail only grows at its end, so what was read before is kept and only
        newer rows are fetched. A snapshot of another layout reads for itself; the newer one stays.
        """
        with self._lock:
            known = self._tail
        have = known[1] if known is not None and known[0] == layout else segments.empty_block(dimension)
        after = int(have.seqs[-1]) if len(have) else 0
        if after < last:
            fresh = connection.execute(
                "SELECT seq, vector FROM tail WHERE seq > ? ORDER BY seq", (after,)
            ).fetchall()
            if fresh:
                have = segments.joined(have, segments.from_blobs(fresh, dimension))
        with self._lock:
            newest = self._tail
            if newest is None or (newest[0], len(newest[1])) < (layout, len(have)):
                self._tail = (layout, have)
        return have.upto(last)

    def dead(self, connection: sqlite3.Connection, key: tuple[int, int, int], last: int) -> NDArray[np.int64]:
        """Sorted seqs that are not live at ``key[1]``; cached for the newest few states."""
        with self._lock:
            if key in self._dead:
                self._dead.move_to_end(key)
                return self._dead[key]
        at = key[1]
        parts = (
            ("SELECT seq FROM chunks WHERE died <= ?", (at,)),
            ("SELECT seq FROM chunks WHERE seq > ?", (last,)),
            ("SELECT seq FROM purged", ()),
        )
        # not np.unique: its first call imports numpy.ma, 80 ms
        found = sorted({row[0] for sql, values in parts for row in connection.execute(sql, values)})
        dead = np.asarray(found, np.int64)
        with self._lock:
            self._dead[key] = dead
            while len(self._dead) > 4:
                self._dead.popitem(last=False)
        return dead


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
