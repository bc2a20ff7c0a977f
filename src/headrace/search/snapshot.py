"""A short, consistent view of a knowledge base: one read transaction and its vector blocks.

It says what is live and hands out rows; it neither scores nor ranks. Made by ``Store.snapshot``
and of no use after that context ends.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Corrupt, NotFound
from headrace.search import records, segments
from headrace.search.filters import Condition
from headrace.search.records import KnowledgeMeta, Row, VersionRow
from headrace.search.segments import Block
from headrace.types import Document, KnowledgeVersion, Section

if TYPE_CHECKING:
    from headrace.search.store import Store

_LIVE = "{0}.born <= :at AND ({0}.died IS NULL OR {0}.died > :at)"


class Snapshot:
    """What was live at one commit. Attributes: ``commit`` (the newest one of this view), ``version``."""

    def __init__(self, store: Store, connection: sqlite3.Connection, version: int | None) -> None:
        self._store = store
        self._sql = connection
        head = connection.execute(
            "SELECT n, last_seq, documents, chunks FROM commits ORDER BY n DESC LIMIT 1"
        ).fetchone()
        counts: tuple[int, int, int, int] = head or (0, 0, 0, 0)
        self.head, self._last, self.document_count, self.chunk_count = counts
        self.meta: KnowledgeMeta = records.read_meta(connection)
        self.commit: int = self.head
        if version is None:
            found = _published(connection, "commit_n = ?", self.head)
        else:
            found = _published(connection, "version = ?", version)
            if found is None:
                known = [str(row.version) for row in records.read_versions(connection)]
                raise NotFound(
                    f"{str(store.folder)!r} has no version {version!r}.",
                    hint=f"It has {', '.join(known[-10:])}." if known else "Nothing was published there yet.",
                )
            self.commit = found.commit
            self._last = records.last_seq(connection, found.commit)
            self.document_count, self.chunk_count = found.documents, found.chunks
        self.version = KnowledgeVersion(
            name=store.folder.name,
            commit=self.commit,
            version=found.version if found else None,
            corpus=found.corpus if found else "",
            embedder=records.describe(self.meta.embedder),
            splitter=records.describe(self.meta.splitter),
        )
        self.layout = records.watermark(connection, "layout")
        self.segments = records.read_segments(connection)
        self._blocks: list[Block] | None = None

    def opened(self) -> bool:
        """Map the segments; False when a file is not there (see Store.snapshot)."""
        try:
            self._blocks = self._store.maps.get(self.segments)
        except FileNotFoundError:
            return False
        except Corrupt:
            return True  # searching by words still works; blocks() says what is wrong
        return True

    def blocks(self) -> list[Block]:
        """All vectors that this view may need: memory-mapped segments, then the unsealed tail.

        The blocks are disjoint, and seqs ascend within each; rows in :meth:`dead` are among them.
        Raises Corrupt when a segment is missing or damaged.
        """
        if self._blocks is None:
            try:
                self._blocks = self._store.maps.get(self.segments)
            except FileNotFoundError as error:
                raise segments.missing(self._store.maps.folder / str(error.filename)) from error
        blocks = [block.upto(self._last) for block in self._blocks]
        blocks.append(self._store.tail(self._sql, self.layout, self._last, self.meta.dimension or 0))
        return [block for block in blocks if len(block)]

    def dead(self) -> NDArray[np.int64]:
        """Sorted seqs that blocks or word index may hold and that are not live in this view."""
        return self._store.dead(self._sql, (self.head, self.commit, self.layout), self._last)

    def rows(self, seqs: Sequence[int]) -> dict[int, Row]:
        """The live chunks among these, by seq; what is not live is left out."""
        found: dict[int, Row] = {}
        metadata: dict[int, object] = {}
        for row in self._sql.execute(
            "SELECT c.seq, d.id, c.ordinal, c.start, c.end, c.heading, c.tokens, c.text, d.title, d.media,"
            " d.doc_seq, d.metadata FROM chunks c JOIN documents d ON d.doc_seq = c.doc_seq"
            f" WHERE c.seq IN (SELECT value FROM json_each(:seqs)) AND {_LIVE.format('c')}",
            {"seqs": json.dumps([int(seq) for seq in seqs]), "at": self.commit},
        ):
            if row[10] not in metadata:
                metadata[row[10]] = json.loads(row[11])
            found[row[0]] = Row(
                **dict(zip(_ROW, row[:10], strict=True)),
                metadata=metadata[row[10]],  # type: ignore[arg-type]
            )
        return found

    def select(self, where: str, params: Sequence[object] = ()) -> NDArray[np.int64]:
        """Sorted live seqs whose document matches ``where``: SQL over documents under the alias ``d``
        (``d.id``, ``d.source``, ``d.title``, ``d.media``, ``d.metadata`` as JSON text), with ``?`` for
        ``params``. The SQL is trusted: filters.py makes it."""
        seqs = self._sql.execute(
            "SELECT c.seq FROM documents d CROSS JOIN chunks c ON c.doc_seq = d.doc_seq"  # in this order
            f" WHERE d.born <= {self.commit:d} AND (d.died IS NULL OR d.died > {self.commit:d})"
            f" AND ({where}) ORDER BY c.seq",
            tuple(params),
        )
        return np.fromiter((row[0] for row in seqs), np.int64)

    def watermark(self) -> int:
        """The commit up to which the word index is known to be complete."""
        return records.watermark(self._sql, "words")

    def unindexed(self) -> Iterator[tuple[int, str, str]]:
        """(seq, text, heading) of the live chunks that are newer than the word index's watermark."""
        after = records.last_seq(self._sql, self.watermark())
        if after >= self._last:
            return iter(())
        found: Iterator[tuple[int, str, str]] = self._sql.execute(
            "SELECT c.seq, c.text, c.heading FROM chunks c"
            f" WHERE c.seq > :after AND {_LIVE.format('c')} ORDER BY c.seq",
            {"after": after, "at": self.commit},
        )
        return found

    def ids(self) -> Iterator[str]:
        """The ids of all live documents, sorted."""
        for row in self._sql.execute(
            f"SELECT d.id FROM documents d WHERE {_LIVE.format('d')} ORDER BY d.id", {"at": self.commit}
        ):
            yield row[0]

    def get(self, id: str, visible: Condition | None = None) -> Document | None:
        """A live document by its id, as it was written, if it meets the condition."""
        if visible is not None and not self._matching(visible, "d.id = ?", id):
            return None
        return read_document(self._sql, id, self.commit)

    def count(self, visible: Condition | None = None) -> int:
        """How many live documents meet the condition."""
        return self.document_count if visible is None else self._matching(visible)

    def _matching(self, visible: Condition, also: str = "TRUE", *params: object) -> int:
        row = self._sql.execute(
            f"SELECT count(*) FROM documents d WHERE d.born <= {self.commit:d}"
            f" AND (d.died IS NULL OR d.died > {self.commit:d}) AND ({visible.where}) AND ({also})",
            (*visible.params, *params),
        ).fetchone()
        return int(row[0])


_ROW = ("seq", "document", "ordinal", "start", "end", "heading", "tokens", "text", "title", "media")


def read_document(connection: sqlite3.Connection, id: str, at: int) -> Document | None:
    """The document that was live under this id at a commit."""
    row = connection.execute(
        "SELECT b.text, d.metadata, d.id, d.media, b.sections FROM documents d JOIN bodies b USING (body)"
        f" WHERE d.id = :id AND {_LIVE.format('d')}",
        {"id": id, "at": at},
    ).fetchone()
    return rebuild(*row) if row else None


def rebuild(text: str, metadata: str, id: str, media: str, sections: str) -> Document:
    """A document from its columns."""
    headings = tuple(Section(start=s, level=n, title=t) for s, n, t in json.loads(sections))
    return Document(text, json.loads(metadata), id, media=media, sections=headings)


def _published(connection: sqlite3.Connection, where: str, value: int) -> VersionRow | None:
    row = connection.execute(
        "SELECT version, commit_n, name, created, documents, chunks, corpus FROM versions"
        f" WHERE {where} ORDER BY version DESC LIMIT 1",
        (value,),
    ).fetchone()
    return VersionRow(**dict(zip(VersionRow.__slots__, row, strict=True))) if row else None
