"""The knowledge base of 20,000 chunks that the cold starts are measured on, made once.

    python benchmarks/stored.py       # 20,000 windows of 100 words; minutes of embedding, then cached

Kept under ``.bench/cold/``: ``kb/`` is Headrace's knowledge base (int8, the default), and
``vectors.npy`` the very vectors in it, for the peers to store. Resumes where it was stopped.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import peps
from embedded import Known, Whole
from headrace.search.engine import Engine
from headrace.types import Document

WORDS, STRIDE = 100, 75
_GROUP = 512


def folder(count: int) -> Path:
    """Where the base of ``count`` chunks lies."""
    return peps.CACHE / ("cold" if count == 20_000 else f"cold-{count}")


def prepare(count: int) -> Path:
    """Make what is missing; returns the folder, with ``kb`` and ``vectors.npy``."""
    base = folder(count)
    base.mkdir(parents=True, exist_ok=True)
    chunks = peps.read(peps.chunk_file(WORDS, count, stride=STRIDE))
    texts, path = [chunk["text"] for chunk in chunks], base / "vectors.npy"
    # Vectors made once are used again when the embedder has changed since: the values of what is
    # stored change no timing, and embedding takes minutes.
    known = Known("int8", [(texts, np.load(path))] if path.is_file() else [])
    if not _complete(base / "kb", count, known.identity):
        if path.is_file():
            shutil.rmtree(base / "kb", ignore_errors=True)
        _write(base / "kb", chunks, known)
    if not path.is_file():
        np.save(path, _vectors(base / "kb", chunks))
    return base


def _complete(kb: Path, count: int, identity: Mapping[str, Any]) -> bool:
    """Whether the base is there, whole, and of this embedder."""
    if not (kb / "kb.sqlite").is_file():
        return False
    with Engine.open(kb, name="kb") as engine:
        stored = engine.store.meta().embedder
        return engine.count() == count and stored is not None and dict(stored) == dict(identity)


def _write(kb: Path, chunks: Sequence[Mapping[str, str]], embedder: Known) -> None:
    splitter, began = Whole(), time.monotonic()
    with (
        Engine.open(
            kb, name="kb", create=True, embedder=lambda: embedder, splitter=lambda: splitter
        ) as engine,
        engine.writer() as writer,
    ):
        for at in range(0, len(chunks), _GROUP):
            writer.put([Document(c["text"], {}, c["id"]) for c in chunks[at : at + _GROUP]])
            spent = time.monotonic() - began
            print(f"\r{at} of {len(chunks)} chunks, {spent:.0f} s ", end="", file=sys.stderr, flush=True)
        writer.publish()
    print(file=sys.stderr)


def _vectors(kb: Path, chunks: Sequence[Mapping[str, str]]) -> np.ndarray:
    """(chunks, 384) float32: what the base holds, in the order of the chunks."""
    with Engine.open(kb, name="kb") as engine, engine.store.snapshot() as snapshot:
        blocks = snapshot.blocks()
        seqs = np.concatenate([block.seqs for block in blocks])
        matrix = np.concatenate([block.matrix for block in blocks])
        rows = snapshot.rows([int(seq) for seq in seqs])
        place = {rows[int(seq)].document: row for row, seq in enumerate(seqs)}
        return np.ascontiguousarray(matrix[[place[c["id"]] for c in chunks]], np.float32)


if __name__ == "__main__":
    print(prepare(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
