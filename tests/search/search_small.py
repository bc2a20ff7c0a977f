"""A small knowledge base for the tests of search: our own sentences, a quick embedder, no weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headrace.search.engine import Engine
from headrace.text import words
from headrace.types import Chunk, Document


class BagEmbedder:
    """Words hashed into a few dimensions: equal words make texts near. Implements Embedder."""

    def __init__(self, name: str = "bag-of-words", dimension: int = 48) -> None:
        self.identity: Mapping[str, Any] = {"name": name, "weights": name, "precision": "float"}
        self.dimension = dimension
        self.window = 1_000
        self.asked = 0

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += len(texts)
        rows = np.full((len(texts), self.dimension), 1e-3, np.float32)
        for row, text in zip(rows, texts):
            for word in words(text):
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
                row += np.random.default_rng(seed).standard_normal(self.dimension).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return [(i, i + 1) for i in range(len(text))]


class LineSplitter:
    """Every non-empty line is a chunk; a line that begins with ``#`` is the heading of what follows."""

    identity: Mapping[str, Any] = {"name": "lines"}

    def split(self, document: Document) -> list[Chunk]:
        chunks: list[Chunk] = []
        heading, at = "", 0
        for line in document.text.splitlines(keepends=True):
            text = line.rstrip("\n")
            if text.startswith("#"):
                heading = text.lstrip("# ")
            elif text.strip():
                chunks.append(
                    Chunk(
                        document=document.key,
                        ordinal=len(chunks),
                        start=at,
                        end=at + len(text),
                        text=text,
                        heading=heading,
                    )
                )
            at += len(line)
        return chunks


DOCUMENTS = (
    Document(
        "# Leave\nEverybody has thirty days of paid leave a year.\nUnused days lapse at the end of March.\n"
        "# Parental leave\nParents can stay at home for twelve months after a birth.",
        {"year": 2024, "topic": "people", "tags": ["leave", "family"], "author": {"name": "Mei"}},
        "handbook/leave.md",
    ),
    Document(
        "# Expenses\nTrain tickets are paid back within two weeks.\nHotels may cost up to 140 euros a night.",
        {"year": 2022, "topic": "money", "tags": ["travel"], "draft": True},
        "handbook/expenses.md",
    ),
    Document(
        "The kiln must cool below sixty degrees before it is opened.\nGlaze is stored on the upper shelf.",
        {"year": 2019, "topic": "workshop", "draft": False},
        "workshop/kiln.md",
    ),
)


def open_engine(
    folder: Path, embedder: BagEmbedder | None = None, *, dense: bool = True, **more: Any
) -> Engine:
    """An engine over ``folder``, made where it is not there."""
    embedder = embedder or BagEmbedder()
    given: dict[str, Any] = {
        "name": "kb",
        "create": True,
        "embedder": (lambda: embedder) if dense else None,
        "splitter": LineSplitter,
        "identity": (lambda: embedder.identity) if dense else None,
        **more,
    }
    return Engine.open(folder, **given)


def filled(folder: Path, **more: Any) -> Engine:
    """The three documents above, added and published."""
    engine = open_engine(folder, **more)
    engine.add(DOCUMENTS)
    return engine
