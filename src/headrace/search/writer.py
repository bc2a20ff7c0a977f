"""The one writer of a knowledge base: whole documents in, durable commits out.

Every call that returns is durable (one SQLite commit, ``synchronous=FULL``): text, chunks,
metadata and vectors of a document are in it together or not at all. Nothing is embedded inside a
transaction. Vectors start in the tail table and are sealed into segments a few thousand at a
time, so memory stays flat. A version is a published commit; :meth:`Writer.publish` makes one.
Used by one thread at a time, under the lock of lock.py.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Corrupt, InputError, NotFound
from headrace.protocols import Embedder, Progress, Splitter
from headrace.request import checkpoint
from headrace.search import publish, records, schema, segments
from headrace.search.changes import Change, Planned, transaction
from headrace.search.lock import WriterLock
from headrace.search.records import WordSync
from headrace.search.snapshot import read_document
from headrace.search.store import Store
from headrace.storage import PutResult, Source
from headrace.types import Chunk, Document, digest

GROUP = publish.GROUP  # chunks embedded and committed together (more only for one long document)

_SOURCE = ("path", "given", "hash", "size", "mtime_ns", "reader")


@contextmanager
def open_writer(
    store: Store,
    *,
    embedder: Callable[[], Embedder] | None,
    splitter: Callable[[], Splitter],
    words: WordSync,
    wait: float = 0.0,
    progress: Progress | None = None,
) -> Iterator[Writer]:
    """Take the lock, clear what a crash left, and hand out the writer."""
    with WriterLock(store.folder, wait=wait):
        connection = schema.connect(store.path)
        try:
            with schema.translated(store.path):
                registered = records.read_segments(connection)
                segments.remove_strays(store.maps.folder, (s.file for s in registered))
                store.maps.forget(registered)
            yield Writer(
                store, connection, embedder=embedder, splitter=splitter, words=words, progress=progress
            )
        finally:
            connection.close()


class Writer:
    """Writes documents, removes them, publishes versions. Implements ``storage.Sink``."""

    def __init__(
        self,
        store: Store,
        connection: sqlite3.Connection,
        *,
        embedder: Callable[[], Embedder] | None,
        splitter: Callable[[], Splitter],
        words: WordSync,
        progress: Progress | None,
    ) -> None:
        self.store = store
        self.sql = connection
        self.words = words
        self.progress = progress
        self._open_embedder = embedder
        self._open_splitter = splitter
        self._embedder: Embedder | None = None
        self._splitter: Splitter | None = None
        self._sealed: dict[segments.Segment, NDArray[np.int64]] = {}
        self._made = 0  # chunks embedded so far, for progress
        self._unsealed = int(connection.execute("SELECT count(*) FROM tail").fetchone()[0])

    # ------------------------------------------------------------------ what ingest calls

    def sources(self) -> Mapping[str, Source]:
        """All sources whose reading was finished, by absolute path."""
        with schema.translated(self.store.path):
            rows = self.sql.execute("SELECT path, given, hash, size, mtime_ns, reader FROM sources")
            return {row[0]: Source(**dict(zip(_SOURCE, row, strict=True))) for row in rows}

    def put(
        self, documents: Sequence[Document], source: Source | Sequence[Source | None] | None = None
    ) -> PutResult:
        """Write documents, each whole; unchanged ones are skipped. Durable when it returns.

        ``source`` is the file that they came from, or one per document. Many documents make
        several commits of some hundred chunks. Of two documents with one id the later wins.
        """
        each = [source] * len(documents) if source is None or isinstance(source, Source) else source
        sources = {source.path: source for source in each if source is not None}
        pairs = [(d, s.path if s else None) for d, s in zip(documents, each, strict=True)]
        added = replaced = unchanged = chunks = 0
        with schema.translated(self.store.path):
            for group, same in self._plan(pairs):
                checkpoint()
                self._write(group, same, sources)
                unchanged += len(same)
                added += sum(1 for item in group if item.old is None)
                replaced += sum(1 for item in group if item.old is not None)
                chunks += sum(len(item.chunks) for item in group)
                self._settle()
            return PutResult(
                added=added, replaced=replaced, unchanged=unchanged, chunks=chunks, commit=self.head
            )

    def finish(self, source: Source, documents: Sequence[str]) -> int:
        """All of this source is in; its other documents are removed. Returns how many."""
        return self.finish_all([(source, documents)])

    def finish_all(self, sources: Sequence[tuple[Source, Sequence[str]]]) -> int:
        """:meth:`finish` for many sources, in one commit."""
        with schema.translated(self.store.path), self.transaction("finish") as change:
            return sum(change.finish(source, ids) for source, ids in sources)

    def remove(self, path: str) -> int:
        """Remove a source (absolute path) and its documents; returns how many documents."""
        with schema.translated(self.store.path), self.transaction("remove") as change:
            rows = change.of(path)
            change.kill(rows)
            change.forget([path])
            return len(rows)

    def publish(self, name: str | None = None) -> int:
        """Fill in missing vectors, seal, bring the word index up to date, publish a version.

        Returns the newest version when nothing changed since; a new ``name`` always makes one.
        """
        with schema.translated(self.store.path):
            return publish.publish(self, name)

    # ------------------------------------------------------------------ what people call

    def get(self, id: str) -> Document | None:
        """A live document by its id."""
        with schema.translated(self.store.path):
            return read_document(self.sql, id, self.head)

    def delete(self, ids: Iterable[str]) -> int:
        """Remove documents by id; unknown ones are left out of the count. One commit.

        Their files are forgotten too, so that the next ingest reads them again.
        """
        with schema.translated(self.store.path):
            found: dict[int, str | None] = {}
            for id in ids:
                row = self.sql.execute(
                    "SELECT doc_seq, source FROM documents WHERE id = ? AND died IS NULL", (id,)
                ).fetchone()
                if row:
                    found[row[0]] = row[1]
            with self.transaction("delete") as change:
                change.kill(list(found))
                change.forget(source for source in found.values() if source)
            return len(found)

    def update_metadata(self, id: str, metadata: Mapping[str, Any]) -> None:
        """Replace a document's metadata; its text is not embedded again. NotFound."""
        old = self.get(id)
        if old is None:
            raise NotFound(f"There is no document {id!r} in {str(self.store.folder)!r}.")
        changed = Document(old.text, metadata, id, media=old.media, sections=old.sections)
        with schema.translated(self.store.path):
            row = self.sql.execute(
                "SELECT source FROM documents WHERE id = ? AND died IS NULL", (id,)
            ).fetchone()
            for plan, _ in self._plan([(changed, row[0])]):
                vectors = self._vectors(plan)
                with self.transaction("update") as change:
                    self.identify()
                    for item in plan:
                        change.write(item, vectors)

    def rollback(self, version: int, name: str | None = None) -> int:
        """Publish a new version with the contents of an old one; returns its number. NotFound.

        Documents that differ come back as new rows with their old vectors. Their files count as
        unread: the next ingest brings the folder's state back in.
        """
        with schema.translated(self.store.path):
            return publish.roll_back(self, version, name)

    # ------------------------------------------------------------------ planning

    def transaction(self, what: str) -> AbstractContextManager[Change]:
        """One durable change."""
        return transaction(self.sql, self.store.clock(), what)

    @property
    def head(self) -> int:
        """The newest commit."""
        return int(self.sql.execute("SELECT coalesce(max(n), 0) FROM commits").fetchone()[0])

    def embedder(self) -> Embedder | None:
        """The embedder, opened at its first use; EmbedderMismatch when it is not the stored one."""
        if self._embedder is None and self._open_embedder is not None:
            opened = self._open_embedder()
            stored = records.read_meta(self.sql).embedder
            if stored is not None:
                records.require_same(stored, opened.identity, self.store.folder)
            self._embedder = opened
        return self._embedder

    def splitter(self) -> Splitter:
        """The splitter, opened at its first use."""
        if self._splitter is None:
            self._splitter = self._open_splitter()
        return self._splitter

    def _plan(
        self, documents: Iterable[tuple[Document, str | None]]
    ) -> Iterator[tuple[list[Planned], list[tuple[int, str | None]]]]:
        """Groups of documents to write, and the rows of those that are there already; with sources."""
        wanted: dict[str, tuple[Document, str, str | None]] = {}
        for document, source in documents:
            hash = document.hash
            key = document.id if document.id is not None else f"sha256:{hash[:16]}"
            if not isinstance(key, str) or not key:
                raise InputError(f"A document has the id {key!r}.", hint="Give a text, or None.")
            wanted.pop(key, None)
            wanted[key] = (document, hash, source)
        if not wanted:
            return
        splitter = self.splitter()
        cut = digest(splitter.identity)[:16]
        group: list[Planned] = []
        same: list[tuple[int, str | None]] = []
        size = 0
        for key, (document, hash, source) in wanted.items():
            row = self.sql.execute(
                "SELECT doc_seq, hash, splitter FROM documents WHERE id = ? AND died IS NULL", (key,)
            ).fetchone()
            if row and row[1] == hash and row[2] == cut:
                same.append((row[0], source))
                continue
            chunks = splitter.split(document)
            _verify(key, document, chunks)
            hashes = [_hash(chunk.text) for chunk in chunks]
            old = row[0] if row else None
            group.append(Planned(key, document, hash, cut, old, source, chunks, hashes))
            size += len(chunks)
            if size >= GROUP:
                yield group, same
                group, same, size = [], [], 0
        yield group, same

    def _write(
        self, group: Sequence[Planned], same: Sequence[tuple[int, str | None]], sources: Mapping[str, Source]
    ) -> None:
        vectors = self._vectors(group)
        with self.transaction("put") as change:
            paths = {item.source for item in group} | {path for _, path in same}
            for path in paths:
                if path is not None:
                    change.reading(sources[path])
            for row, path in same:
                if path is not None:
                    change.own(row, path)
            if group:
                self.identify()
            for item in group:
                change.write(item, vectors)
        self._unsealed += sum(len(item.chunks) for item in group)

    def identify(self) -> None:
        """Record who splits and embeds, in the transaction of the rows that it is true for."""
        meta = records.read_meta(self.sql)
        if self._splitter is not None and digest(meta.splitter) != digest(self._splitter.identity):
            records.write_meta(self.sql, splitter=dict(self._splitter.identity))
        if self._embedder is not None and meta.embedder is None:
            records.write_meta(
                self.sql, embedder=dict(self._embedder.identity), dimension=self._embedder.dimension
            )

    def _settle(self) -> None:
        if self._unsealed >= publish.SEAL:
            publish.seal(self, publish.SEAL)
            publish.sync_words(self)
            self._unsealed = 0

    def _vectors(self, group: Sequence[Planned]) -> dict[bytes, NDArray[np.float32]]:
        """A vector for each distinct chunk text of a group; {} when there is no embedder.

        Texts that stand in the knowledge base already keep their vectors.
        """
        if self._open_embedder is None:
            return {}
        texts: dict[bytes, str] = {}
        for item in group:
            for hash, chunk in zip(item.hashes, item.chunks, strict=True):
                texts.setdefault(hash, chunk.text)
        known = self._known(list(texts))
        fresh = [hash for hash in texts if hash not in known]
        for at in range(0, len(fresh), GROUP):
            checkpoint()
            part = fresh[at : at + GROUP]
            known.update(zip(part, self.embed([texts[hash] for hash in part]), strict=True))
        return known

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimension) from the embedder, looked at before it is believed."""
        embedder = self.embedder()
        assert embedder is not None, "embed without an embedder"
        matrix = np.asarray(embedder.embed(texts), np.float32)
        name = records.describe(embedder.identity)
        if matrix.shape != (len(texts), embedder.dimension):
            raise InputError(
                f"The embedder {name} gave an array of shape {matrix.shape} for {len(texts)} texts"
                f" and dimension {embedder.dimension}.",
                hint="Nothing was written; correct the embedder.",
            )
        if not np.isfinite(matrix).all():
            raise InputError(
                f"The embedder {name} gave numbers that are not finite.", hint="Nothing was written."
            )
        if self.progress is not None:
            self._made += len(texts)
            self.progress(self._made, None, "chunks embedded")
        return matrix

    def _known(self, hashes: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        seqs: dict[bytes, int] = {}
        for hash in hashes:
            row = self.sql.execute("SELECT max(seq) FROM chunks WHERE hash = ?", (hash,)).fetchone()
            if row[0] is not None:
                seqs[hash] = row[0]
        if not seqs:
            return {}
        found = self.vectors_of(list(seqs.values()))
        return {hash: found[seq] for hash, seq in seqs.items() if seq in found}

    def vectors_of(self, seqs: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The stored vectors of chunks, where they can be had."""
        wanted = np.asarray(sorted(seqs), np.int64)
        found: dict[int, NDArray[np.float32]] = {}
        folder = self.store.maps.folder
        for segment in records.read_segments(self.sql):
            part = wanted[(wanted >= segment.first) & (wanted <= segment.last)]
            if not len(part):
                continue
            try:
                if segment not in self._sealed:
                    self._sealed[segment] = segments.read_seqs(folder, segment)
                at = np.minimum(np.searchsorted(self._sealed[segment], part), segment.rows - 1)
                there = self._sealed[segment][at] == part
                found.update(
                    zip(
                        part[there].tolist(),
                        segments.read_rows(folder, segment, at[there].tolist()),
                        strict=True,
                    )
                )
            except (FileNotFoundError, Corrupt):
                continue  # a lost segment is the check's business; its texts are embedded again
        for seq in wanted.tolist():
            if seq not in found:
                row = self.sql.execute("SELECT vector FROM tail WHERE seq = ?", (seq,)).fetchone()
                if row:
                    found[seq] = np.frombuffer(row[0], np.float32)
        return found


def _hash(text: str) -> bytes:
    """What recognises a chunk's text: the first 16 bytes of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _verify(key: str, document: Document, chunks: Sequence[Chunk]) -> None:
    for ordinal, chunk in enumerate(chunks):
        if chunk.text != document.text[chunk.start : chunk.end] or chunk.ordinal != ordinal:
            raise InputError(
                f"The splitter gave chunk {chunk.ordinal!r} of {key!r}, whose text is not the document's"
                f" [{chunk.start}:{chunk.end}], or which is out of order.",
                hint="Nothing of this document was written; correct the splitter.",
            )
