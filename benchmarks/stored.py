"""The knowledge base of 20,000 chunks that the cold starts are measured on, made once.

    python benchmarks/stored.py       # 20,000 windows of 100 words; minutes of embedding, then cached

Kept under ``.bench/cold/``: ``kb/`` is Headrace's knowledge base (int8, the default), and
``vectors.npy`` the very vectors in it, for the peers to store. Resumes where it was stopped.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

import peps
from embedded import Whole
from headrace.models.embedder import open_embedder
from headrace.search.engine import Engine
from headrace.settings import home
from headrace.types import Document

WORDS, STRIDE = 100, 75
_GROUP = 512


def folder(count: int) -> Path:
    """Where the base of ``count`` chunks lies."""
    return peps.CACHE / ("cold" if count == 20_000 else f"cold-{count}")


def prepare(count: int) -> Path:
    """Make what is missing; returns the folder, with ``kb``, ``chunks.jsonl`` and ``vectors.npy``."""
    base = folder(count)
    base.mkdir(parents=True, exist_ok=True)
    chunks = peps.read(peps.chunk_file(WORDS, count, stride=STRIDE))
    embedder = open_embedder(home=home())
    splitter = Whole()
    with Engine.open(
        base / "kb", name="kb", create=True, embedder=lambda: embedder, splitter=lambda: splitter
    ) as engine:
        began = time.monotonic()
        if engine.count() < count:
            with engine.writer() as writer:
                for at in range(0, count, _GROUP):
                    writer.put([Document(c["text"], {}, c["id"]) for c in chunks[at : at + _GROUP]])
                    print(
                        f"\r{at} of {count} chunks, {time.monotonic() - began:.0f} s ",
                        end="",
                        file=sys.stderr,
                        flush=True,
                    )
                writer.publish()
        path = base / "vectors.npy"
        if not path.is_file():
            with engine.store.snapshot() as snapshot:
                blocks = snapshot.blocks()
                seqs = np.concatenate([block.seqs for block in blocks])
                matrix = np.concatenate([block.matrix for block in blocks])
                rows = snapshot.rows([int(seq) for seq in seqs])
            place = {rows[int(seq)].document: row for row, seq in enumerate(seqs)}
            np.save(path, np.ascontiguousarray(matrix[[place[c["id"]] for c in chunks]], np.float32))
    return base


if __name__ == "__main__":
    print(prepare(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
