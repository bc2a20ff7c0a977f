"""The words that reading files and keeping them share: sources, and what a write did.

On floor 0 because two rooms of floor 1 speak them: ``ingest`` walks files and hands documents to
a :class:`Sink`; ``search`` is that sink. Neither imports the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace.types import Document


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file on disk as ingest saw it.

    ``path`` is absolute and recognises the file; ``given`` is the path as a person gave it,
    joined with ``/``, and is what citations show. ``hash`` is SHA-256 of the bytes. ``reader`` is
    the identity of reader and splitter: when it changes, the file is read again.
    """

    path: str
    given: str
    hash: str
    size: int
    mtime_ns: int
    reader: str = ""


@dataclass(frozen=True, kw_only=True)
class PutResult:
    """What one durable write did. All of it is committed when this object exists."""

    added: int = 0  # documents new to the knowledge base
    replaced: int = 0  # documents whose content changed
    unchanged: int = 0  # documents that were there already
    chunks: int = 0  # chunks written
    commit: int = 0


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """What one ingest did. ``failed`` lists (document, reason); counts are of this run.

    ``documents`` counts documents added or replaced, ``skipped`` files that had not changed,
    ``duplicates`` groups of documents with the same or nearly the same text.
    """

    documents: int = 0
    chunks: int = 0
    skipped: int = 0
    replaced: int = 0
    removed: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    dropped: int = 0
    seconds: float = 0.0
    stopped: bool = False
    notes: tuple[str, ...] = field(default=())


class Sink(Protocol):
    """Where ingest puts documents. One writer at a time; every call that returns is durable."""

    def sources(self) -> Mapping[str, Source]:
        """All sources whose reading was finished, by absolute path."""
        ...

    def put(
        self, documents: Sequence[Document], source: Source | Sequence[Source | None] | None = None
    ) -> PutResult:
        """Write documents, each whole (text, chunks, vectors) in one commit; unchanged ones are skipped.

        Documents of several small files come in one call, to keep embedding batches full:
        ``source`` is the file of all, or one per document. Many documents make several commits.
        """
        ...

    def finish(self, source: Source, documents: Sequence[str]) -> int:
        """All of this source is in: ``documents`` are its ids; others of it are removed.

        The source claims those ids, whichever source (or none) they were put under. Returns the
        number of documents removed.
        """
        ...

    def finish_all(self, sources: Sequence[tuple[Source, Sequence[str]]]) -> int:
        """:meth:`finish` for many small files, in one commit (each commit waits for the disk)."""
        ...

    def remove(self, path: str) -> int:
        """Remove a source (absolute path) and its documents; returns how many documents."""
        ...

    def publish(self, name: str | None = None) -> int:
        """Seal, bring the word index up to date, publish a version; returns its number.

        Where nothing was committed since the last version, that one's number, at no cost.
        """
        ...
