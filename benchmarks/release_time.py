"""Releasing an application over 100,000 chunks: how long, and what a second release adds.

    python benchmarks/release_time.py [--chunks 100000]

The knowledge base is made for real (SQLite, sealed vectors, word index) from drawn words; only the
vectors come from a generator, because their values change no timing. Measured, each in a fresh
process as a person would run it: the first release, a second one after a change of the code, one
after a change of the knowledge base, `promote` (which reads every byte again and runs the release
in a process of its own), and `rollback`. Bytes on the disk are those of distinct files.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import machine
from headrace.models.embedder import peek_identity
from headrace.search.engine import Engine
from headrace.settings import home
from headrace.types import Chunk, Document

WIDTH, WORDS, PER_DOCUMENT, GROUP = 384, 90, 20, 100

APP = """import headrace as hr

kb = hr.KnowledgeBase("kb")


@hr.app
def handbook(question: str) -> hr.Answer:
    passages = kb.search(question, top_k=4)
    return hr.answer(question, passages)
"""


class Drawn:
    """An embedder that draws unit vectors, under the real one's identity."""

    dimension, window = WIDTH, 256

    def __init__(self) -> None:
        self.identity: Mapping[str, Any] = peek_identity("", "int8", home=home(), policy="off")
        self._draw = np.random.default_rng(1)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = self._draw.standard_normal((len(texts), WIDTH), np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    def offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return [(0, len(text))]


class Paragraphs:
    """One chunk per paragraph."""

    identity: Mapping[str, Any] = {"name": "paragraphs"}

    def split(self, document: Document) -> list[Chunk]:
        found, at = [], 0
        for number, text in enumerate(document.text.split("\n\n")):
            found.append(
                Chunk(
                    document=document.key,
                    ordinal=number,
                    start=at,
                    end=at + len(text),
                    text=text,
                    tokens=len(text) // 5,
                )
            )
            at += len(text) + 2
        return found


def documents(count: int) -> list[Document]:
    """``count`` documents of twenty paragraphs of drawn words each, about 550 characters a paragraph."""
    draw = np.random.default_rng(2)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    known = ["".join(draw.choice(letters, int(draw.integers(3, 9)))) for _ in range(20_000)]
    ranks = np.minimum(draw.zipf(1.2, (count, PER_DOCUMENT, WORDS)), len(known)) - 1
    return [
        Document(
            "\n\n".join(" ".join(known[i] for i in paragraph) for paragraph in ranks[n]),
            {"number": n},
            f"d{n}",
        )
        for n in range(count)
    ]


def make(project: Path, chunks: int) -> None:
    """The project with its knowledge base."""
    (project / "headrace.toml").write_text('[app]\nentry = "app.py:handbook"\n', encoding="utf-8")
    (project / "app.py").write_text(APP, encoding="utf-8")
    embedder, splitter = Drawn(), Paragraphs()
    with (
        Engine.open(
            project / ".headrace" / "kb" / "kb",
            name="kb",
            create=True,
            embedder=lambda: embedder,
            splitter=lambda: splitter,
        ) as engine,
        engine.writer() as writer,
    ):
        listed = documents(chunks // PER_DOCUMENT)
        for at in range(0, len(listed), GROUP):
            writer.put(listed[at : at + GROUP])
        writer.publish()


def more(project: Path) -> None:
    """One more document: a new version of the knowledge base."""
    embedder, splitter = Drawn(), Paragraphs()
    with Engine.open(
        project / ".headrace" / "kb" / "kb",
        name="kb",
        embedder=lambda: embedder,
        splitter=lambda: splitter,
    ) as engine:
        engine.add([Document(f"One more paragraph, at {time.time()}.", {}, "more")])


def used(folder: Path) -> int:
    """Bytes of the distinct files below a folder: linked ones count once."""
    found = {(s.st_dev, s.st_ino): s.st_size for p in folder.rglob("*") if p.is_file() for s in [p.stat()]}
    return sum(found.values())


def spent() -> float:
    """CPU seconds of all children so far."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def run(project: Path, *words: str) -> tuple[dict[str, float], Any]:
    """What a whole ``headrace`` process took (wall, CPU, how busy the machine was), and what it printed."""
    began, cpu, load = time.perf_counter(), spent(), os.getloadavg()[0]
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *words, "--json"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    took = {"seconds": round(seconds, 2), "cpu_seconds": round(spent() - cpu, 2), "load": round(load, 1)}
    return took, json.loads(done.stdout)


def measure(project: Path, chunks: int) -> dict[str, Any]:
    """All figures, in seconds and bytes."""
    figures: dict[str, Any] = {"chunks": chunks, "knowledge_base_bytes": used(project / ".headrace" / "kb")}
    ids = []
    for name, change in (
        ("first", lambda: None),
        ("second, other code", lambda: (project / "app.py").write_text(APP + "\n# another\n")),
        ("third, one document more", lambda: more(project)),
    ):
        change()
        os.sync()
        before = used(project)
        took, said = run(project, "release", "app.py:handbook")
        ids.append(said["release_id"])
        figures[name] = {**took, "bytes_added": used(project) - before}
        print(f"{name:28} {took}  {figures[name]['bytes_added'] / 1e6:8.1f} MB", flush=True)
    for id in ids[:2]:
        figures["promote"] = run(project, "promote", "handbook@production", "--release", id)[0]
    figures["rollback"] = run(project, "rollback", "handbook")[0]
    print(f"promote {figures['promote']}\nrollback {figures['rollback']}")
    assert len(set(ids)) == 3
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--project", type=Path, help="keep the project here, and use it again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-release-") as place:
        project = given.project or Path(place)
        if not (project / "app.py").is_file():
            project.mkdir(parents=True, exist_ok=True)
            make(project, given.chunks)
        figures = measure(project, given.chunks)
        command = f"python benchmarks/release_time.py --chunks {given.chunks}"
        print(machine.save("release_time", figures, command=command))


if __name__ == "__main__":
    main()
