"""One transaction of the writer: rows that die, rows that are born, and the commit that says so.

Knows rows and no embedding, no files. A change that touched no contents (a file's time stamp,
say) leaves no commit behind, so that it does not make a new version.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InputError
from headrace.search import schema
from headrace.storage import Source
from headrace.types import Chunk, Document, to_json

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Planned:
    """A document on its way in; ``old`` is the row that it replaces, ``cut`` the splitter's hash."""

    key: str
    document: Document
    hash: str
    cut: str
    old: int | None
    source: str | None
    chunks: list[Chunk]
    hashes: list[bytes]


class Change:
    """The open transaction. ``commit`` is the number that it will have."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection
        head = connection.execute(
            "SELECT n, documents, chunks FROM commits ORDER BY n DESC LIMIT 1"
        ).fetchone()
        before: tuple[int, int, int] = head or (0, 0, 0)
        self.commit = before[0] + 1
        self.documents, self.chunks = before[1], before[2]
        seq = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
        self.last_seq: int = seq[0] if seq else 0
        self.dirty = False

    def kill(self, rows: Iterable[int]) -> None:
        """Let documents (``doc_seq``) die, with their chunks."""
        for row in rows:
            died = self._sql.execute(
                "UPDATE documents SET died = ? WHERE doc_seq = ? AND died IS NULL", (self.commit, row)
            ).rowcount
            self.documents -= died
            self.chunks -= self._sql.execute(
                "UPDATE chunks SET died = ? WHERE doc_seq = ? AND died IS NULL", (self.commit, row)
            ).rowcount
            self.dirty = self.dirty or bool(died)

    def forget(self, paths: Iterable[str]) -> None:
        """These sources no longer count as finished: the next ingest reads them again."""
        self._sql.executemany("DELETE FROM sources WHERE path = ?", [(path,) for path in paths])

    def write(self, item: Planned, vectors: Mapping[bytes, Vector]) -> None:
        """A document, its chunks and their vectors are born; what it replaces dies."""
        body = self._body(item)
        if item.old is not None:
            self._moved(item.old, item.source)
            self.kill([item.old])
        metadata = json.dumps(to_json(item.document.metadata), ensure_ascii=False, allow_nan=False)
        title = item.document.metadata.get("title")
        row = (
            item.key,
            item.hash,
            item.cut,
            item.source,
            str(title or ""),
            item.document.media,
            metadata,
            body,
        )
        doc_seq = self.document(row)
        self.rows(
            doc_seq,
            [
                (c.ordinal, c.start, c.end, c.heading, c.tokens, hash, c.text)
                for c, hash in zip(item.chunks, item.hashes, strict=True)
            ],
            [vectors.get(hash) for hash in item.hashes],
        )

    def document(self, row: Sequence[object]) -> int:
        """One row of documents: (id, hash, splitter, source, title, media, metadata, body)."""
        self.documents += 1
        self.dirty = True
        found = self._sql.execute(
            "INSERT INTO documents (id, hash, splitter, source, title, media, metadata, body, born)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, self.commit),
        ).lastrowid
        assert found is not None
        return found

    def rows(
        self, doc_seq: int, chunks: Sequence[tuple[object, ...]], vectors: Sequence[Vector | None]
    ) -> None:
        """Chunks (ordinal, start, end, heading, tokens, hash, text) under new seqs, and their vectors."""
        first = self.last_seq + 1
        self.last_seq += len(chunks)
        self.chunks += len(chunks)
        self._sql.executemany(
            "INSERT INTO chunks (seq, doc_seq, ordinal, start, end, heading, tokens, hash, text, born)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(first + i, doc_seq, *chunk, self.commit) for i, chunk in enumerate(chunks)],
        )
        with_vector = [(first + i, v.tobytes()) for i, v in enumerate(vectors) if v is not None]
        without = [(first + i,) for i, v in enumerate(vectors) if v is None]
        self._sql.executemany("INSERT INTO tail VALUES (?, ?)", with_vector)
        self._sql.executemany("INSERT INTO missing VALUES (?)", without)

    def _body(self, item: Planned) -> int:
        sections = json.dumps(
            [(s.start, s.level, s.title) for s in item.document.sections], ensure_ascii=False
        )
        if item.old is not None:  # only its metadata changed: the text need not be there twice
            same = self._sql.execute(
                "SELECT b.body FROM documents d JOIN bodies b USING (body)"
                " WHERE d.doc_seq = ? AND b.sections = ? AND b.text = ?",
                (item.old, sections, item.document.text),
            ).fetchone()
            if same:
                return int(same[0])
        found = self._sql.execute(
            "INSERT INTO bodies (sections, text) VALUES (?, ?)", (sections, item.document.text)
        ).lastrowid
        assert found is not None
        return found

    def _moved(self, row: int, path: str | None) -> None:
        """A document comes from another source now: the one it came from is unfinished."""
        before = self._sql.execute("SELECT source FROM documents WHERE doc_seq = ?", (row,)).fetchone()[0]
        if before is not None and before != path:
            self.forget([before])

    def own(self, row: int, path: str) -> None:
        """A document that was there already belongs to this source from now on."""
        changed = self._sql.execute(
            "SELECT 1 FROM documents WHERE doc_seq = ? AND source IS NOT ?", (row, path)
        ).fetchone()
        if changed:
            self._moved(row, path)
            self._sql.execute("UPDATE documents SET source = ? WHERE doc_seq = ?", (path, row))

    def reading(self, source: Source) -> None:
        """A source is being read: unless it is what was finished before, it is unfinished now."""
        self._sql.execute(
            "DELETE FROM sources WHERE path = ? AND NOT (hash = ? AND reader = ?)",
            (source.path, source.hash, source.reader),
        )

    def finish(self, source: Source, ids: Iterable[str]) -> int:
        """All of a source is in: documents ``ids`` are its own, others of it die. Returns how many died."""
        keep: set[int] = set()
        for id in ids:
            row = self._sql.execute(
                "SELECT doc_seq FROM documents WHERE id = ? AND died IS NULL", (id,)
            ).fetchone()
            if row:
                keep.add(row[0])
                self.own(row[0], source.path)
        gone = [row for row in self.of(source.path) if row not in keep]
        self.kill(gone)
        self._sql.execute(
            "INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                source.path,
                source.given,
                source.hash,
                source.size,
                source.mtime_ns,
                source.reader,
                self.commit if self.dirty else self.commit - 1,
            ),
        )
        return len(gone)

    def of(self, path: str) -> list[int]:
        """The live documents of a source."""
        rows = self._sql.execute("SELECT doc_seq FROM documents WHERE source = ? AND died IS NULL", (path,))
        return [row[0] for row in rows]

    def close(self, now: float, what: str) -> None:
        """Record the commit, if contents changed."""
        if self.dirty:
            self._sql.execute(
                "INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?)",
                (self.commit, now, what, self.last_seq, self.documents, self.chunks),
            )


@contextmanager
def transaction(connection: sqlite3.Connection, now: float, what: str) -> Iterator[Change]:
    """All or nothing; durable when the block has ended."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        change = Change(connection)
        yield change
        change.close(now, what)
        connection.execute("COMMIT")
    except UnicodeEncodeError as error:
        schema.rollback(connection)
        raise InputError(
            f"A text holds {error.object[error.start : error.end]!r}, half of a surrogate pair.",
            hint="Decode the bytes that it came from with the right encoding.",
        ) from error
    except BaseException:
        schema.rollback(connection)
        raise


def rearranged(connection: sqlite3.Connection) -> None:
    """Vectors moved: what snapshots cached of the tail no longer holds."""
    connection.execute("UPDATE watermarks SET value = value + 1 WHERE name = 'layout'")
