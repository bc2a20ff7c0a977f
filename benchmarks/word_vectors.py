"""Are words near their own inflections? Vectors learned from a corpus, by a test that nobody judges.

For every word of the vocabulary whose plural or -ing form is in it too: is that form among the ten nearest
of all 3,000 words? The vectors know no letters, only who stands near whom. Beside it: the same by raw
counts of neighbours (cosine of the rows), and what chance gives.

    python benchmarks/word_vectors.py
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import machine
from headrace import text as plain
from headrace.measure.statistics import rate
from headrace.models import wordvectors
from headrace.models.terms import Bag
from headrace.models.wordvectors import WordVectors

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CORPORA = {"peps": ("python_peps", "*.rst"), "shakespeare": ("shakespeare", "*.txt")}
NEAREST = 10
SEEDS = {"peps": ("unicode", "thread", "async"), "shakespeare": ("father", "night", "king")}


def pairs(words: list[str]) -> list[tuple[str, str]]:
    """(word, its plural or -ing form), both in the vocabulary."""
    known = set(words)
    return [(word, word + ending) for word in words for ending in ("s", "ing") if word + ending in known]


def found(vectors: WordVectors, wanted: list[tuple[str, str]]) -> Any:
    """How often the form is among the nearest, with its interval."""
    hits = [form in {near.word for near in vectors.near(word, NEAREST)} for word, form in wanted]
    return rate(sum(hits), len(hits))


def main() -> None:
    """Measure, print, save."""
    result: dict[str, Any] = {"nearest": NEAREST}
    for name, (folder, pattern) in CORPORA.items():
        texts = {
            path.name: path.read_text("utf-8", "replace") for path in sorted((DATA / folder).glob(pattern))
        }
        begun = time.process_time()
        vectors = wordvectors.train(texts.values())
        seconds = time.process_time() - begun
        wanted = pairs(vectors.words)
        ours = found(vectors, wanted)
        ids = {word: row for row, word in enumerate(vectors.words)}
        rows = [[ids[word] for word in plain.words(text) if word in ids] for text in texts.values()]
        counts = wordvectors._together(rows, len(ids), wordvectors.WINDOW)
        unit = counts / np.linalg.norm(counts, axis=1, keepdims=True)
        raw = found(WordVectors(vectors.words, vectors.counts, unit), wanted)
        bag = Bag(texts)
        result[name] = {
            "texts": len(texts),
            "words": sum(len(row) for row in rows),
            "cpu_seconds": round(seconds, 1),
            "pairs": len(wanted),
            "found": [ours.value, ours.low, ours.high],
            "raw_counts": [raw.value, raw.low, raw.high],
            "chance": NEAREST / (len(vectors.words) - 1),
            "sparsity": bag.sparsity,
            "near": {word: [near.word for near in vectors.near(word, 5)] for word in SEEDS[name]},
        }
        print(f"{name}: {result[name]}")
    machine.save("word_vectors", result, command="python benchmarks/word_vectors.py")


if __name__ == "__main__":
    main()
