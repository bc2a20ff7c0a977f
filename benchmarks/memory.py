"""Memory while 100,000 chunks are ingested: does it grow with what has been written?

    python benchmarks/memory.py [--chunks 100000]

The whole way runs for real: files of the PEP texts are read, split by structure (with the real
tokenizer), checked for duplicates, written to SQLite, sealed into segments and indexed by words.
Only the embedding is not: its 100,000 vectors would take half an hour, and its memory does not
depend on how much was written, so each text's vector is drawn from a generator seeded by the
text. The texts come in as many altered copies (every fifth word enciphered) as it takes.

Measured is the resident memory of the process, read ten times a second, against what it was when
everything was loaded and the first documents were in; anonymous memory and mapped files are also
told apart. The goal: it grows by less than the vectors' own size.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import machine
import peps
from headrace.ingest.folder import ingest_paths
from headrace.ingest.split import StructureSplitter
from headrace.models.embedder import SentenceEmbedder, open_embedder
from headrace.search.engine import Engine
from headrace.settings import KnowledgeSettings, home

WIDTH = 384
BYTES_PER_CHUNK = 390  # of the PEP texts, as the default settings split them
FIRST = 2_000  # chunks after which everything is loaded


class Drawn:
    """An embedder without a network: a unit vector drawn from a generator that the text seeds."""

    identity: Mapping[str, Any] = {"name": "drawn", "precision": "float"}
    dimension, window = WIDTH, 256

    def __init__(self, real: SentenceEmbedder) -> None:
        self.real = real
        self.made = 0

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.empty((len(texts), WIDTH), np.float32)
        for row, text in enumerate(texts):
            seed = int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")
            rows[row] = np.random.Generator(np.random.SFC64(seed)).standard_normal(WIDTH, np.float32)
        self.made += len(texts)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    def offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return self.real.offsets(text)


def altered(text: str, copy: int) -> str:
    """A copy whose every fifth word has its letters moved on: as long, and no duplicate."""
    if not copy:
        return text
    small = "abcdefghijklmnopqrstuvwxyz"
    table = str.maketrans(small, small[copy % 26 :] + small[: copy % 26])
    count = 0

    def change(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return found[0].translate(table) if count % 5 == 0 else found[0]

    return re.sub(r"[a-z]{3,}", change, text)


def resident() -> dict[str, float]:
    """Megabytes (10^6) of this process's memory, from /proc."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon", "RssFile"):
            found[name] = int(value.split()[0]) * 1024 / 1e6
    return {"rss": found["VmRSS"], "anonymous": found["RssAnon"], "files": found["RssFile"]}


class Watch:
    """Reads the memory ten times a second, with the number of chunks embedded so far."""

    def __init__(self, embedder: Drawn) -> None:
        self.embedder = embedder
        self.seen: list[dict[str, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def _loop(self) -> None:
        while not self._stop.wait(0.1):
            self.seen.append({"chunks": self.embedder.made, **resident()})

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def copies(folder: Path, wanted: int) -> int:
    """Write altered copies of all texts until there is enough for ``wanted`` chunks; how many files."""
    left, files = wanted * BYTES_PER_CHUNK, 0
    for number in itertools.count():
        (folder / f"copy-{number:02d}").mkdir()
        for path in sorted(peps.FOLDER.glob("*.rst")):
            text = altered(path.read_text(encoding="utf-8"), number)
            (folder / f"copy-{number:02d}" / path.name).write_text(text, encoding="utf-8")
            left, files = left - path.stat().st_size, files + 1
            if left < 0:
                return files
    raise AssertionError


def measure(wanted: int) -> dict[str, Any]:
    """Ingest, watching; the figures."""
    settings = KnowledgeSettings()
    embedder = Drawn(open_embedder(home=home()))
    splitter = StructureSplitter(
        embedder.offsets, limit=settings.chunk_tokens, overlap=settings.chunk_overlap
    )
    with tempfile.TemporaryDirectory(prefix="headrace-memory-") as place:
        files, kb = Path(place) / "files", Path(place) / "kb"
        files.mkdir()
        print(f"{copies(files, wanted)} files", file=sys.stderr)
        before = resident()
        with Engine.open(
            kb, name="kb", create=True, embedder=lambda: embedder, splitter=lambda: splitter
        ) as engine:
            began, cpu = time.monotonic(), time.process_time()
            with Watch(embedder) as watch, engine.writer() as writer:
                report = ingest_paths([files], writer)
            seconds, spent = time.monotonic() - began, time.process_time() - cpu
            chunks = report.chunks
            size = engine.info()
        disk = sum(path.stat().st_size for path in kb.rglob("*") if path.is_file())
        shutil.rmtree(files)
    base = next(s for s in watch.seen if s["chunks"] >= min(FIRST, chunks // 2))
    peak = {key: max(s[key] for s in watch.seen) for key in ("rss", "anonymous", "files")}
    vectors = chunks * WIDTH * 4 / 1e6
    marks = np.linspace(0, len(watch.seen) - 1, min(60, len(watch.seen))).astype(int)
    return {
        "goal": "grows by less than the vectors' own size",
        "embedder": "vectors drawn from a generator seeded by the text; everything else is real",
        "documents": size.documents,
        "chunks": chunks,
        "failed": [list(map(str, item)) for item in report.failed],
        "vectors_mb": round(vectors, 1),
        "disk_mb": round(disk / 1e6, 1),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(spent, 1),
        "mb_before_anything": rounded(before),
        "mb_when_loaded": rounded(base),
        "mb_peak": rounded(peak),
        "grows_mb": rounded({key: peak[key] - base[key] for key in peak}),
        "grows_mb_from_nothing": rounded({key: peak[key] - before[key] for key in peak}),
        "share_of_vectors": round((peak["rss"] - base["rss"]) / vectors, 3),
        "over_chunks": [rounded(watch.seen[mark]) for mark in marks],
    }


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 1) if key != "chunks" else int(value) for key, value in values.items()}


def picture(result: dict[str, Any], path: Path) -> None:
    """Memory over chunks as an SVG, with the vectors' own size for comparison."""
    wide, high, left, low = 640, 300, 60, 40
    points = result["over_chunks"]
    most_x = max(p["chunks"] for p in points) or 1
    base = result["mb_when_loaded"]["rss"]
    most_y = max(result["mb_peak"]["rss"], base + result["vectors_mb"]) * 1.05

    def at(x: float, y: float) -> str:
        return (
            f"{left + x / most_x * (wide - left - 10):.1f},{high - low - y / most_y * (high - low - 10):.1f}"
        )

    lines = [
        ("rss", "#1f6f8b", "resident memory", [at(p["chunks"], p["rss"]) for p in points]),
        ("anonymous", "#999999", "of it anonymous", [at(p["chunks"], p["anonymous"]) for p in points]),
        (
            "vectors",
            "#c0392b",
            "if the vectors were kept",
            [at(0, base), at(most_x, base + result["vectors_mb"])],
        ),
    ]
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif"'
        ' font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<path d="M{at(0, most_y)} L{at(0, 0)} L{at(most_x, 0)}" fill="none" stroke="black"/>',
    ]
    for number, (_, colour, label, found) in enumerate(lines):
        drawn.append(
            f'<polyline points="{" ".join(found)}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{left + 12}" y="{24 + 16 * number}" fill="{colour}">{label}</text>'
        )
    for share in (0, 0.5, 1):
        x, y = at(most_x * share, 0).split(",")
        drawn.append(f'<text x="{x}" y="{float(y) + 16}" text-anchor="middle">{int(most_x * share):,}</text>')
        height = most_y / 1.05 * share
        x, y = at(0, height).split(",")
        drawn.append(f'<text x="{float(x) - 6}" y="{float(y) + 4}" text-anchor="end">{height:.0f}</text>')
    drawn.append(
        f'<text x="{wide / 2}" y="{high - 6}" text-anchor="middle">chunks written (y: MB)</text></svg>'
    )
    path.write_text("\n".join(drawn) + "\n", encoding="utf-8")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--chunks", type=int, default=100_000)
    wanted = arguments.parse_args().chunks
    result = measure(wanted)
    name = "memory" if wanted == 100_000 else f"memory_{wanted}"
    saved = machine.save(name, result, command=f"python benchmarks/memory.py --chunks {wanted}")
    picture(result, saved.with_suffix(".svg"))
    print(saved)
    print({key: value for key, value in result.items() if key != "over_chunks"})


if __name__ == "__main__":
    main()
