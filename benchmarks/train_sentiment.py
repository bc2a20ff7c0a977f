"""Makes the sentiment head that ships: src/headrace/models/sentiment.npz.

Trains on all 10,662 sentences of rotten_tomatoes (Pang and Lee 2005, CC BY 4.0); how good the same
training is on sentences it has not seen is what ``sentiment.py`` measures. No word of the data goes
into the file: hashed weights, rounded, and a few numbers. The same data, embedder and numpy give
the same file.

    python benchmarks/train_sentiment.py
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import numpy as np

from embedded import vectors
from headrace.models import polarity
from headrace.models.embedder import peek_identity
from headrace.settings import home

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "rotten_tomatoes" / "rt_polarity.jsonl"


def read() -> tuple[list[str], np.ndarray]:
    """The sentences, and which of them are positive."""
    rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows], np.array([row["label"] == 1 for row in rows])


def main() -> None:
    """Train, write, and print what was written."""
    texts, positive = read()
    made = vectors("rotten-tomatoes", texts, "int8")
    began = time.monotonic()
    head = polarity.fit(texts, positive, made, embedder=str(peek_identity(home=home())["weights"]))
    head.save(polarity.FILE)
    size = polarity.FILE.stat().st_size
    mark = hashlib.sha256(polarity.FILE.read_bytes()).hexdigest()
    print(f"{polarity.FILE.name}: {size:,} bytes, sha256 {mark[:16]}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
