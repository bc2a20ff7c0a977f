"""What a knowledge base says about itself: the small records that store, writer and check share.

Plain data and the rows they come from; nothing here opens a file.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from headrace.errors import EmbedderMismatch
from headrace.search.segments import Segment
from headrace.types import digest


class WordSync(Protocol):
    """The word index as the writer drives it, always under the writer's lock."""

    def apply(self, add: Iterable[tuple[int, str, str]], purge: Iterable[int], watermark: int) -> None:
        """Delete ``purge``, delete and add (seq, text, heading), commit. Doing it twice changes nothing."""
        ...

    def rebuild(self, rows: Iterable[tuple[int, str, str]], watermark: int) -> None:
        """Throw everything away and index these rows."""
        ...

    def count(self) -> int:
        """How many chunks are indexed."""
        ...

    def seqs(self) -> Iterable[int]:
        """Which chunks are indexed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeMeta:
    """What a knowledge base says about itself. Identities are None until the first write."""

    id: str
    created: float
    format: int
    metric: str
    embedder: Mapping[str, Any] | None
    splitter: Mapping[str, Any] | None
    dimension: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A published version. ``corpus`` is a hash over the (id, hash) of its documents."""

    version: int
    commit: int
    name: str | None
    created: float
    documents: int
    chunks: int
    corpus: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """Size and state. ``bytes`` counts all files of the folder, ``dead`` chunks that only older
    versions hold, ``tail`` vectors that are not sealed yet, ``missing`` chunks without a vector."""

    documents: int
    chunks: int
    version: int | None
    embedder: str | None
    bytes: int
    commit: int
    segments: int
    tail: int
    dead: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A live chunk with what its document says."""

    seq: int
    document: str
    ordinal: int
    start: int
    end: int
    heading: str
    tokens: int
    text: str
    title: str
    media: str
    metadata: Mapping[str, Any]


def describe(identity: Mapping[str, Any] | None) -> str:
    """An identity in a few words: name, precision class, and the start of the hash over all of it."""
    if identity is None:
        return ""
    name = " ".join(str(identity[key]) for key in ("name", "precision") if key in identity)
    return f"{name or 'unnamed'} ({digest(comparable(identity))[:12]})"


def comparable(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What decides whether two embedders' vectors may meet: everything but the name."""
    rest = {key: value for key, value in identity.items() if key != "name"}
    return rest or dict(identity)


def require_same(stored: Mapping[str, Any], given: Mapping[str, Any], folder: Path) -> None:
    """Raise EmbedderMismatch unless both identities are of one class."""
    if digest(comparable(stored)) != digest(comparable(given)):
        differ = sorted(
            key
            for key in {*comparable(stored), *comparable(given)}
            if digest([stored.get(key)]) != digest([given.get(key)])
        )
        raise EmbedderMismatch(
            f"{str(folder)!r} was embedded with {describe(stored)}, and this is {describe(given)};"
            f" they differ in {', '.join(differ)}.",
            hint="Use the first embedder, or ingest the documents into a new knowledge base.",
        )


def read_meta(connection: sqlite3.Connection) -> KnowledgeMeta:
    """The record of this knowledge base."""
    rows = {key: json.loads(value) for key, value in connection.execute("SELECT key, value FROM meta")}
    return KnowledgeMeta(
        id=rows["id"],
        created=rows["created"],
        format=int(connection.execute("PRAGMA user_version").fetchone()[0]),
        metric=rows["metric"],
        embedder=rows.get("embedder"),
        splitter=rows.get("splitter"),
        dimension=rows.get("dimension"),
    )


def write_meta(connection: sqlite3.Connection, **values: Any) -> None:
    """Set entries of the record."""
    connection.executemany(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)",
        [(key, json.dumps(value, ensure_ascii=False, sort_keys=True)) for key, value in values.items()],
    )


def read_versions(connection: sqlite3.Connection) -> list[VersionRow]:
    """All published versions, oldest first."""
    return [
        VersionRow(version=v, commit=c, name=n, created=at, documents=d, chunks=k, corpus=h)
        for v, c, n, at, d, k, h in connection.execute(
            "SELECT version, commit_n, name, created, documents, chunks, corpus"
            " FROM versions ORDER BY version"
        )
    ]


def read_segments(connection: sqlite3.Connection) -> tuple[Segment, ...]:
    """The registered segments in the order in which they were sealed."""
    return tuple(
        Segment(*row)
        for row in connection.execute(
            "SELECT file, first, last, rows, dimension, digest FROM segments ORDER BY id"
        )
    )


def watermark(connection: sqlite3.Connection, name: str) -> int:
    """One of the watermarks: 'words' or 'layout'."""
    return int(connection.execute("SELECT value FROM watermarks WHERE name = ?", (name,)).fetchone()[0])


def last_seq(connection: sqlite3.Connection, commit: int) -> int:
    """The newest chunk as of a commit."""
    row = connection.execute(
        "SELECT last_seq FROM commits WHERE n <= ? ORDER BY n DESC LIMIT 1", (commit,)
    ).fetchone()
    return int(row[0]) if row else 0
