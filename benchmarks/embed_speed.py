"""Embedding speed beside sentence-transformers: chunks per CPU second, in one process, in turns.

The same weights, the same texts, as many threads on both sides. CPU seconds are those of the whole
process, so threads that wait actively count. Run: ``python benchmarks/embed_speed.py``
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headrace.models import runtime
from headrace.models.embedder import open_embedder
from headrace.models.weights import find_weights
from headrace.settings import home
from machine import describe

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
GOALS = {"int8": 3.2, "bf16": 2.5}


def windows(words: Sequence[str], size: int, count: int) -> list[str]:
    """``count`` disjoint windows of ``size`` words."""
    return [" ".join(words[at * size : (at + 1) * size]) for at in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=96, help="long chunks per round; short ones: twice")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    paths = sorted((SHARED / "data" / "python_peps").glob("pep-0[0-4]*.rst"))
    words = " ".join(path.read_text(encoding="utf-8", errors="replace") for path in paths).split()
    texts = {"short": windows(words, 38, 2 * options.chunks), "long": windows(words, 125, options.chunks)}

    from sentence_transformers import SentenceTransformer

    torch_model = SentenceTransformer(
        str(find_weights("", home=home(), policy="named", originals=True).folder), device="cpu"
    )
    torch_model.max_seq_length = 256

    def with_torch(batch: list[str]) -> Any:
        return torch_model.encode(batch, normalize_embeddings=True, show_progress_bar=False)

    sides: dict[str, Callable[[list[str]], Any]] = {"sentence-transformers": with_torch}
    has_bf16 = "BF16" in runtime.light().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for precision in ("f32", "bf16", "int8"):
        if precision != "bf16" or has_bf16:
            sides[precision] = open_embedder("", precision, home=home()).embed

    figures: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in texts} for name in sides}
    for embed in sides.values():
        embed(texts["short"][:4])
    for _ in range(options.rounds):
        for kind, batch in texts.items():
            for name, embed in sides.items():
                began = time.process_time()
                embed(batch)
                figures[name][kind].append(len(batch) / (time.process_time() - began))
    reference = with_torch(texts["long"])
    embedder = open_embedder("", "f32", home=home())
    lengths = {
        kind: statistics.mean(len(embedder.offsets(t)) + 2 for t in batch) for kind, batch in texts.items()
    }
    result: dict[str, Any] = {
        "benchmark": "embed_speed",
        "date": time.strftime("%Y-%m-%d"),
        "command": f"python benchmarks/embed_speed.py --chunks {options.chunks} --rounds {options.rounds}",
        "machine": describe(),
        "goals, times sentence-transformers": GOALS,
        "bf16": "computed natively"
        if has_bf16
        else "this processor has no bf16: the setting computes in f32",
        "mean tokens": {kind: round(value, 1) for kind, value in lengths.items()},
        "chunks per cpu second": {},
        "times sentence-transformers": {},
        "cosine to sentence-transformers": {},
    }
    for name, kinds in figures.items():
        result["chunks per cpu second"][name] = {k: round(statistics.median(v), 1) for k, v in kinds.items()}
        result["times sentence-transformers"][name] = {
            kind: [
                round(f(a / b for a, b in zip(v, figures["sentence-transformers"][kind], strict=True)), 2)
                for f in (min, statistics.median, max)
            ]
            for kind, v in kinds.items()
        }
        cosine = (np.asarray(sides[name](texts["long"])) * reference).sum(axis=1)
        result["cosine to sentence-transformers"][name] = {
            "least": round(float(cosine.min()), 5),
            "mean": round(float(cosine.mean()), 5),
        }
    path = ROOT / "benchmarks" / "results" / "embed_speed.json"
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
