"""Vectors for benchmarks, computed once per precision and kept under ``.bench/`` (not in git).

Embedding SciFact's 5,183 abstracts takes minutes; the searches that are measured take seconds.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headrace.models.embedder import SentenceEmbedder, open_embedder
from headrace.settings import home
from headrace.types import Chunk, Document

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".bench"
_GROUP = 256


def vectors(name: str, texts: Sequence[str], precision: str) -> np.ndarray:
    """(len(texts), 384) float32 unit vectors, from the cache where they are there."""
    opened = open_embedder(precision=precision, home=home())
    mark = hashlib.sha256("\0".join([*texts, opened.identity["weights"]]).encode("utf-8")).hexdigest()[:16]
    path = CACHE / f"{name}-{precision}-{mark}.npy"
    if path.is_file():
        return np.load(path)
    CACHE.mkdir(exist_ok=True)
    began, parts = time.monotonic(), []
    for start in range(0, len(texts), _GROUP):
        parts.append(opened.embed(texts[start : start + _GROUP]))
        done = min(start + _GROUP, len(texts))
        rate = done / (time.monotonic() - began)
        print(f"\r{name} {precision}: {done} of {len(texts)}, {rate:.0f} a second ", end="", file=sys.stderr)
    print(file=sys.stderr)
    found = np.concatenate(parts)
    np.save(path, found)
    return found


class Known:
    """The real embedder with the cached vectors in front: implements ``protocols.Embedder``."""

    def __init__(self, precision: str, known: Iterable[tuple[Sequence[str], np.ndarray]]) -> None:
        self.real: SentenceEmbedder = open_embedder(precision=precision, home=home())
        self.table = {text: row for texts, rows in known for text, row in zip(texts, rows, strict=True)}

    @property
    def identity(self) -> Mapping[str, Any]:
        return self.real.identity

    @property
    def dimension(self) -> int:
        return self.real.dimension

    @property
    def window(self) -> int:
        return self.real.window

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if all(text in self.table for text in texts):
            return np.stack([self.table[text] for text in texts])
        return self.real.embed(texts)

    def offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return self.real.offsets(text)


class Whole:
    """A splitter that does not split: one chunk per document, headings from a callable."""

    identity: Mapping[str, Any] = {"name": "whole"}

    def __init__(self, heading: Callable[[Document], str] = lambda document: "") -> None:
        self.heading = heading

    def split(self, document: Document) -> list[Chunk]:
        return [
            Chunk(
                document=document.key,
                ordinal=0,
                start=0,
                end=len(document.text),
                text=document.text,
                heading=self.heading(document),
            )
        ]
