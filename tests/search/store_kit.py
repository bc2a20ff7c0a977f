"""What the tests of the store share: a fast embedder and splitter, and words kept in a dict.

The embedder is deterministic (a unit vector from a text's hash), so that a test can say which
vector a chunk must have. The words double has the contract of WordSync and nothing more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.search.store import Store
from headrace.search.writer import Writer
from headrace.storage import Source
from headrace.types import Chunk, Document

DIMENSION = 16


def vector(text: str, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """The unit vector of a text."""
    seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "little")
    found = np.random.default_rng(seed).standard_normal(dimension, dtype=np.float32)
    return found / np.linalg.norm(found)


class HashEmbedder:
    """Counts what it embeds."""

    window = 64

    def __init__(self, weights: str = "one", dimension: int = DIMENSION) -> None:
        self.identity: Mapping[str, Any] = {"name": f"hash-{weights}", "weights": weights, "precision": "f32"}
        self.dimension = dimension
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += texts
        return np.stack([vector(text, self.dimension) for text in texts])

    def offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return [(i, i + 1) for i in range(len(text))]


class LineSplitter:
    """One chunk per line that has something on it."""

    def __init__(self, name: str = "lines") -> None:
        self.identity: Mapping[str, Any] = {"name": name}

    def split(self, document: Document) -> list[Chunk]:
        chunks: list[Chunk] = []
        at = 0
        for line in document.text.splitlines(keepends=True):
            if line.strip():
                chunks.append(
                    Chunk(
                        document=document.key,
                        ordinal=len(chunks),
                        start=at,
                        end=at + len(line),
                        text=line,
                        tokens=len(line.split()),
                    )
                )
            at += len(line)
        return chunks


class DictWords:
    """A word index in memory; ``fail`` makes its next call die before or after it did its work."""

    def __init__(self) -> None:
        self.rows: dict[int, str] = {}
        self.watermark = 0

    def apply(self, add: Iterable[tuple[int, str, str]], purge: Iterable[int], watermark: int) -> None:
        for seq in purge:
            self.rows.pop(seq, None)
        for seq, text, _ in add:
            self.rows[seq] = text
        self.watermark = watermark

    def rebuild(self, rows: Iterable[tuple[int, str, str]], watermark: int) -> None:
        self.rows = {}
        self.apply(rows, (), watermark)

    def count(self) -> int:
        return len(self.rows)

    def seqs(self) -> Iterable[int]:
        return list(self.rows)


class Base:
    """A knowledge base of a test: one folder, one embedder, one splitter, words that survive."""

    def __init__(self, folder: Path, embedder: HashEmbedder | None = None) -> None:
        self.folder = folder
        self.embedder = embedder or HashEmbedder()
        self.splitter = LineSplitter()
        self.words = DictWords()
        self.store = Store.open(folder, create=True)

    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder)

    def writer(self, **options: Any) -> AbstractContextManager[Writer]:
        given: dict[str, Any] = {
            "embedder": lambda: self.embedder,
            "splitter": lambda: self.splitter,
            "words": self.words,
        }
        return self.store.writer(**{**given, **options})

    def live(self, version: int | None = None) -> dict[str, str]:
        """Text by id, as a reader sees it; every look at it checks chunks and vectors too."""
        with self.store.snapshot(version) as snapshot:
            found = {id: snapshot.get(id) for id in snapshot.ids()}
            texts = {id: document.text for id, document in found.items() if document is not None}
            assert len(texts) == len(found) == snapshot.document_count
            dead = set(snapshot.dead().tolist())
            vectors: dict[int, NDArray[np.float32]] = {}
            for block in snapshot.blocks():
                assert (np.diff(block.seqs) > 0).all()
                for seq, row in zip(block.seqs.tolist(), block.matrix, strict=True):
                    assert seq not in vectors
                    vectors[seq] = row
            seqs = sorted(set(vectors) - dead)
            rows = snapshot.rows(seqs)
            assert sorted(rows) == seqs == snapshot.select("1").tolist()
            assert len(rows) == snapshot.chunk_count
            wanted = sorted((id, c.text) for id, text in texts.items() for c in self.chunks(id, text))
            assert sorted((row.document, row.text) for row in rows.values()) == wanted
            for row in rows.values():
                assert row.text == texts[row.document][row.start : row.end]
            if rows:
                expected = np.stack([vector(row.text) for row in rows.values()])
                np.testing.assert_array_equal(np.stack([vectors[seq] for seq in rows]), expected)
            unindexed = {seq for seq, _, _ in snapshot.unindexed()}
            assert set(seqs) <= unindexed | set(self.words.rows)
            return texts

    def chunks(self, id: str, text: str) -> list[Chunk]:
        return self.splitter.split(Document(text, id=id))


def source(path: str, content: str = "1") -> Source:
    """A file as ingest saw it."""
    return Source(
        path=f"/docs/{path}", given=f"docs/{path}", hash=content, size=len(content), mtime_ns=1, reader="r"
    )
