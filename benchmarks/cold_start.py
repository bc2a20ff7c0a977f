"""The first answer from a cold process over 20,000 stored chunks of 100 words, beside the peers.

    python benchmarks/cold_start.py [--chunks 20000] [--rounds 5]

A process starts, opens its store, embeds one question, finds the top 4 and prints their texts.
All sides hold the same texts and the same vectors (Headrace's own, from its int8 default; the
peers embed the question in torch f32, which changes no timing here) and load the same weights.
Sides take turns; files are in the system's cache for all of them; medians are reported. A peer
that needs more than 120 seconds 'did not finish'. ``headrace search`` and ``headrace ask`` (which
also splits the passages into sentences, embeds those and writes a trace) stand beside it.
Afterwards each side answers 50 other questions in one process: the median of those, and its peak
memory.

The environments, stores and vectors are made on the first call (the vectors take minutes) and
kept under ``.bench/``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import machine
import peers
import peps
import stored

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from common import QUESTION  # type: ignore[import-not-found]

GOAL = 8.0
HEADRACE = str(Path(sys.executable).with_name("headrace"))


def fill(peer: str, base: Path, chunks: Path) -> str:
    """Store the texts and vectors with a peer, once; "" or why it could not."""
    folder, done = base / peer, base / f"{peer}.json"
    if done.is_file():
        return ""
    shutil.rmtree(folder, ignore_errors=True)
    print(f"storing with {peer}", file=sys.stderr)
    ran = peers.side(peer, "store", str(folder), str(chunks), str(base / "vectors.npy"), limit=1800)
    if not ran.finished:
        return ran.err.strip()[-1000:] or f"stopped after {ran.wall:.0f} s"
    done.write_text(json.dumps({**ran.value(), "process_wall": ran.wall}))
    return ""


def measure(count: int, rounds: int) -> dict[str, Any]:
    """Prepare, take turns, and put the figures together."""
    installed = peers.about()
    base = stored.prepare(count)
    chunks = peps.chunk_file(stored.WORDS, count, stride=stored.STRIDE)
    (base / "headrace.toml").touch()  # the command line's project: its ledger is written beside the base
    model, kb = peers.model_folder(), str(base / "kb")
    failed = {p: about["not_installed"] for p, about in installed.items() if "not_installed" in about}
    for peer in (p for p in peers.PEERS if p not in failed):
        if problem := fill(peer, base, chunks):
            failed[peer] = problem

    def first(name: str) -> peers.Ran:
        if name == "headrace search":
            return peers.run([HEADRACE, "search", QUESTION, "--kb", kb, "--top-k", "4"], folder=base)
        if name == "headrace ask":
            return peers.run([HEADRACE, "ask", QUESTION, "--kb", kb], folder=base)
        folder = kb if name == "headrace" else str(base / name)
        return peers.side(name, "first", folder, model, limit=peers.LIMIT)

    ours = ("headrace", "headrace search", "headrace ask")
    seen: dict[str, list[peers.Ran]] = {n: [] for n in (*ours, *(p for p in peers.PEERS if p not in failed))}
    texts: dict[str, set[str]] = {}
    load = os.getloadavg()[0]
    for turn in range(rounds + 1):  # the first round fills the system's caches and compiles modules
        for name, found in seen.items():
            if name in failed:
                continue
            ran = first(name)
            if not ran.finished:
                slow = ran.wall >= peers.LIMIT
                why = f"did not finish within {peers.LIMIT:.0f} s" if slow else ran.err.strip()[-1000:]
                if name in ours:
                    raise SystemExit(f"{name}: {why}")
                if turn:  # the first round also compiles: only later ones count against a peer
                    failed[name] = why
                continue
            if name not in ours[1:]:
                texts[name] = set(ran.value()["texts"])
            if turn:
                found.append(ran)
            print(f"round {turn}: {name} {ran.wall:.2f} s, CPU {ran.cpu:.2f} s", file=sys.stderr)
    sides: dict[str, Any] = {}
    for name, found in seen.items():
        if name in failed or not found:
            continue
        sides[name] = {
            "wall": round(statistics.median(r.wall for r in found), 3),
            "wall_all": [round(r.wall, 3) for r in found],
            "cpu": round(statistics.median(r.cpu for r in found), 3),
            "peak_mb": round(statistics.median(r.peak_mb for r in found)),
        }
        if name in ours[1:]:
            continue
        sides[name]["same_texts_as_headrace"] = len(texts[name] & texts["headrace"])
        folder = kb if name == "headrace" else str(base / name)
        warm = peers.side(name, "warm", folder, model, limit=600)
        sides[name]["warm"] = warm.value() if warm.finished else "did not finish"
        if name in installed:
            sides[name]["stored"] = json.loads((base / f"{name}.json").read_text())
    ratio = {
        name: {key: round(found[key] / sides["headrace"][key], 2) for key in ("wall", "cpu")}
        for name, found in sides.items()
        if name in installed
    }
    return {
        "goal": f"at least {GOAL:g} times faster than every peer",
        "chunks": count,
        "words_per_chunk": stored.WORDS,
        "rounds": rounds,
        "load_at_start": round(load, 2),
        "sides": sides,
        "times_slower_than_headrace": ratio,
        "smallest_ratio": min((found["wall"] for found in ratio.values()), default=None),
        "did_not_finish": failed,
        "installed": installed,
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--chunks", type=int, default=20_000)
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    result = measure(given.chunks, given.rounds)
    name = "cold_start" if given.chunks == 20_000 else f"cold_start_{given.chunks}"
    command = f"python benchmarks/cold_start.py --chunks {given.chunks} --rounds {given.rounds}"
    print(machine.save(name, result, command=command))
    for side, found in result["sides"].items():
        times = f"{found['wall']:7.2f} s  CPU {found['cpu']:7.2f} s  {found['peak_mb']:5} MB"
        print(f"{side:20} {times}  {found.get('warm', '')}")
    print("slower than Headrace:", result["times_slower_than_headrace"])
    print("not finished:", result["did_not_finish"])


if __name__ == "__main__":
    main()
