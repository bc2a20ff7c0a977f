"""Ingest: chunks per CPU second, beside the peers; and where our own time goes.

    python benchmarks/ingest_speed.py [--chunks 2000] [--peer-chunks 500] [--rounds 3]

2,000 chunks of 200 words of the PEP texts, given ready to every side, are embedded and stored on
disk; the model is loaded before the clock starts. Peers go their default way (torch f32 through
sentence-transformers; txtai through transformers) on the same weights and window of 256 tokens.
Headrace runs in int8 (its default), bf16 (the exact setting) and f32. Sides take turns; CPU
seconds are of the whole process, all threads; medians are reported. Peers may be given the first
500 chunks only, to save time: the rate per chunk does not depend on how many there are.

Then, for Headrace alone: what an ingest of real files (read, split, deduplicated, embedded,
stored, indexed) spends beside the embedding; and what the limit is: the network alone on ready
token ids, and the processor's own rate of f32 multiplication.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import peers
import peps

WORDS = 200
PRECISIONS = ("int8", "bf16", "f32")
GOALS = {"int8 against each peer": 3.2, "bf16 against each peer": 2.5, "share beside the embedding": 0.15}


def precisions() -> tuple[str, ...]:
    """The settings worth measuring: bf16 only where the processor has it.

    OpenVINO emulates it elsewhere, more than ten times slower than f32.
    """
    has = {"avx512_bf16", "amx_bf16"} & set(machine.describe()["flags"])
    return PRECISIONS if has else tuple(p for p in PRECISIONS if p != "bf16")


def turns(chunks: int, peer_chunks: int, rounds: int) -> dict[str, Any]:
    """All sides, taking turns: chunks per CPU second."""
    installed = peers.about()
    failed = {p: about["not_installed"] for p, about in installed.items() if "not_installed" in about}
    model = peers.model_folder()
    ours = [("headrace", precision) for precision in precisions()]
    seen: dict[str, list[dict[str, Any]]] = {}
    for turn in range(rounds):
        for name, precision in [*ours, *((p, "") for p in peers.PEERS if p not in failed)]:
            label = f"{name} {precision}".strip()
            file = peps.chunk_file(WORDS, chunks if precision else peer_chunks)
            with tempfile.TemporaryDirectory(prefix="headrace-ingest-") as place:
                folder = str(Path(place) / "store")
                ran = peers.side(name, "ingest", folder, precision or model, str(file), limit=1200)
            if not ran.finished:
                failed[label] = ran.err.strip()[-1000:] or f"stopped after {ran.wall:.0f} s"
                continue
            one = ran.value()
            seen.setdefault(label, []).append(one)
            rate = one["chunks"] / one["cpu"]
            print(f"round {turn + 1}: {label} {rate:.1f} chunks per CPU second", file=sys.stderr)
    sides: dict[str, Any] = {}
    for label, found in seen.items():
        rates = [one["chunks"] / one["cpu"] for one in found]
        sides[label] = {
            "chunks_per_cpu_second": round(statistics.median(rates), 2),
            "all": [round(rate, 2) for rate in rates],
            "chunks_per_second": round(statistics.median(o["chunks"] / o["wall"] for o in found), 2),
            "chunks": found[0]["chunks"],
            "peak_mb": max(one["peak_mb"] for one in found),
        }
        if "embed_cpu" in found[0]:
            sides[label]["share_beside_embedding"] = round(
                statistics.median(1 - one["embed_cpu"] / one["cpu"] for one in found), 4
            )
    ratios = {
        label: {
            other: round(sides[label]["chunks_per_cpu_second"] / found["chunks_per_cpu_second"], 2)
            for other, found in sides.items()
            if other in installed
        }
        for label in sides
        if label not in installed
    }
    return {
        "sides": sides,
        "times_faster_per_cpu_second": ratios,
        "did_not_finish": failed,
        "installed": installed,
    }


def whole_way(precision: str, megabytes: float) -> dict[str, Any]:
    """An ingest of real files, by this process: what is spent beside the embedding."""
    from headrace.ingest.folder import ingest_paths
    from headrace.ingest.split import StructureSplitter
    from headrace.models.embedder import open_embedder
    from headrace.search.engine import Engine
    from headrace.settings import KnowledgeSettings, home

    embedder = open_embedder(precision=precision, home=home())
    embedder.warm()
    plain, spent = embedder.embed, {"cpu": 0.0, "wall": 0.0}

    def embed(texts: Any, progress: Any = None) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        found = plain(texts, progress)
        spent["cpu"] += time.process_time() - cpu
        spent["wall"] += time.perf_counter() - wall
        return found

    embedder.embed = embed  # type: ignore[method-assign]
    settings = KnowledgeSettings()
    files: list[Path] = []
    size = 0
    splitter = StructureSplitter(
        embedder.offsets, limit=settings.chunk_tokens, overlap=settings.chunk_overlap
    )
    for path in sorted(peps.FOLDER.glob("*.rst"))[::4]:
        files.append(path)
        size += path.stat().st_size
        if size > megabytes * 1e6:
            break
    with (
        tempfile.TemporaryDirectory(prefix="headrace-ingest-") as place,
        Engine.open(
            Path(place) / "kb", name="kb", create=True, embedder=lambda: embedder, splitter=lambda: splitter
        ) as engine,
    ):
        cpu, wall = time.process_time(), time.perf_counter()
        with engine.writer() as writer:
            report = ingest_paths(files, writer)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "files": len(files),
        "megabytes": round(size / 1e6, 2),
        "chunks": report.chunks,
        "chunks_per_cpu_second": round(report.chunks / cpu, 2),
        "share_beside_embedding_cpu": round(1 - spent["cpu"] / cpu, 4),
        "share_beside_embedding_wall": round(1 - spent["wall"] / wall, 4),
    }


def limit(precision: str, count: int) -> dict[str, Any]:
    """The network alone, on ready ids in the batches that ``embed`` makes; and plain f32 products."""
    import numpy as np

    from headrace.models import embedder as inside
    from headrace.settings import home

    opened = inside.open_embedder(precision=precision, home=home())
    opened.warm()
    tokens = opened.tokenizer.ids([c["text"] for c in peps.read(peps.chunk_file(WORDS, count))])
    batches = list(inside._inputs(tokens, inside._batches([len(t) for t in tokens])))
    for _ in opened.bulk_graph.map(batches[:2]):
        pass
    cpu = time.process_time()
    for _ in opened.bulk_graph.map(batches):
        pass
    network = (time.process_time() - cpu) / count
    mean = sum(len(t) for t in tokens) / count
    squares = sum(len(t) ** 2 for t in tokens) / count
    layers, width = 6, opened.dimension
    work = layers * (24 * width**2 * mean + 4 * width * squares)  # multiplications and additions a chunk
    left, right = np.ones((2048, 384), np.float32), np.ones((384, 1536), np.float32)
    left @ right
    cpu = time.process_time()
    for _ in range(100):
        left @ right
    products = 100 * 2 * 2048 * 384 * 1536 / (time.process_time() - cpu)
    return {
        "tokens_per_chunk": round(mean, 1),
        "gflop_per_chunk": round(work / 1e9, 2),
        "network_alone_chunks_per_cpu_second": round(1 / network, 2),
        "network_gflop_per_cpu_second": round(work / network / 1e9, 1),
        "numpy_f32_product_gflop_per_cpu_second": round(products / 1e9, 1),
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--chunks", type=int, default=2000)
    arguments.add_argument("--peer-chunks", type=int, default=500)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--megabytes", type=float, default=1.5)
    arguments.add_argument("--part", choices=("whole_way", "limit"))
    arguments.add_argument("--precision", default="int8")
    given = arguments.parse_args()
    if given.part == "whole_way":
        print(json.dumps(whole_way(given.precision, given.megabytes)))
        return
    if given.part == "limit":
        print(json.dumps(limit(given.precision, min(given.chunks, 400))))
        return
    load = os.getloadavg()[0]
    result: dict[str, Any] = {"whole_way": {}, "limit": {}}
    for part in ("whole_way", "limit"):  # the short ones first: what breaks, breaks early
        for precision in precisions():
            child = [sys.executable, __file__, "--part", part, "--precision", precision]
            ran = peers.run([*child, "--chunks", str(given.chunks), "--megabytes", str(given.megabytes)])
            assert ran.finished, ran.err
            result[part][precision] = ran.value()
    result = {**turns(given.chunks, given.peer_chunks, given.rounds), **result}
    if "bf16" not in precisions():
        result["bf16"] = "not measured: this processor has no bf16, and its emulation is very slow"
    quality = machine.RESULTS / "scifact.json"
    if quality.is_file():
        result["quality"] = "SciFact nDCG@10 per precision: see scifact.json"
    command = (
        f"python benchmarks/ingest_speed.py --chunks {given.chunks} --peer-chunks {given.peer_chunks} "
        f"--rounds {given.rounds} --megabytes {given.megabytes}"
    )
    name = "ingest_speed" if given.chunks == 2000 else f"ingest_speed_{given.chunks}"
    whole = {"goals": GOALS, "words_per_chunk": WORDS, "load_at_start": round(load, 2), **result}
    print(machine.save(name, whole, command=command))
    print(json.dumps({key: whole[key] for key in ("sides", "times_faster_per_cpu_second")}, indent=2))
    print(json.dumps({key: whole[key] for key in ("whole_way", "limit", "did_not_finish")}, indent=2))


if __name__ == "__main__":
    main()
