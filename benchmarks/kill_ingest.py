"""kill -9 at random moments of an ingest: is everything that was acknowledged there, and sound?

    python benchmarks/kill_ingest.py [--kills 100] [--seed N] [--files 160]

A child process runs the real thing (files, readers, splitter, int8 embedder, SQLite, tantivy) over
a folder of Markdown files and prints every write that returned. It is killed at a random moment,
the knowledge base is examined (every acknowledged document there with exactly its text, `check`
sound), and the next child resumes. When an ingest got through, two thirds of the files are
rewritten and it goes on. At the end a run that nobody kills completes, and every file is there.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
from headrace.ingest.folder import ingest_paths
from headrace.ingest.split import StructureSplitter
from headrace.models.embedder import open_embedder
from headrace.search.check import check
from headrace.search.store import Store
from headrace.search.words import Words
from headrace.search.writer import Writer
from headrace.settings import home
from headrace.storage import PutResult, Source
from headrace.types import Document

_WORDS = (
    "wheel water river mill stone channel gate sluice bucket axle gear grain flour miller weir bank flood "
    "summer winter repair timber iron oak leather rope measure width depth fall speed power turn stop"
).split()


class Telling:
    """The real writer; says what was acknowledged."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def put(self, documents: Sequence[Document], source: Any = None) -> PutResult:
        result = self.writer.put(documents, source)
        print(json.dumps({document.key: document.text.splitlines()[0] for document in documents}), flush=True)
        return result

    def finish(self, source: Source, documents: Sequence[str]) -> int:
        return self.writer.finish(source, documents)

    def finish_all(self, sources: Sequence[tuple[Source, Sequence[str]]]) -> int:
        return self.writer.finish_all(sources)

    def sources(self) -> Any:
        return self.writer.sources()

    def remove(self, path: str) -> int:
        return self.writer.remove(path)

    def publish(self, name: str | None = None) -> int:
        return self.writer.publish(name)


def child(folder: Path, files: Path) -> None:
    """One ingest."""
    embedder = open_embedder(home=home())
    splitter = StructureSplitter(embedder.offsets, limit=64, overlap=8)
    with (
        Store.open(folder, create=True) as store,
        store.writer(
            embedder=lambda: embedder, splitter=lambda: splitter, words=Words(folder / "words")
        ) as writer,
    ):
        print("ready", flush=True)
        ingest_paths([files], Telling(writer), group_characters=4_000)
    print("complete", flush=True)


def write(files: Path, number: int, round: int, chance: random.Random) -> str:
    """(Re)write one file; returns its text."""
    lines = [f"# File {number}, round {round}", ""]
    for _ in range(chance.choice([1, 2, 4, 12])):
        lines += [" ".join(chance.choices(_WORDS, k=40)).capitalize() + ".", ""]
    text = "\n".join(lines)
    (files / f"{number:04d}.md").write_text(text, encoding="utf-8")
    return text


def examine(folder: Path, texts: dict[int, list[str]], acknowledged: dict[str, str]) -> dict[str, int]:
    """What is wrong: lost, torn or older than acknowledged documents, findings of the check."""
    wrong = {"lost": 0, "torn": 0, "older": 0, "findings": 0}
    with Store.open(folder) as store:
        found = check(store, Words(folder / "words"))
        wrong["findings"] = len(found)
        for damage in found:
            print(damage, file=sys.stderr)
        with store.snapshot() as snapshot:
            for id in snapshot.ids():
                document = snapshot.get(id)
                assert document is not None
                wrong["torn"] += document.text not in texts[int(Path(id).stem)]
            for id, head in acknowledged.items():
                document = snapshot.get(id)
                versions = texts[int(Path(id).stem)]
                if document is None:
                    wrong["lost"] += 1
                elif document.text in versions:
                    heads = [text.splitlines()[0] for text in versions]
                    wrong["older"] += versions.index(document.text) < heads.index(head)
    return wrong


def main() -> None:
    """Kill, examine, resume; save what came out."""
    options = argparse.ArgumentParser()
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    options.add_argument("--files", type=int, default=160)
    given = options.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="headrace-kill-") as place:
        result = kill_loop(Path(place), given.kills, given.files, chance)
    machine.save(
        "kill_ingest",
        {"seed": given.seed, "files": given.files, **result},
        command=f"python benchmarks/kill_ingest.py --kills {given.kills} --seed {given.seed}",
    )
    print(json.dumps(result, indent=2))
    if any(result["wrong"].values()) or not result["resumed_run_completed"]:
        sys.exit(1)


def kill_loop(place: Path, kills: int, count: int, chance: random.Random) -> dict[str, Any]:
    """The loop; the moment of a kill is uniform over ``span`` seconds."""
    files, folder = place / "files", place / "kb"
    files.mkdir()
    texts = {number: [write(files, number, 0, chance)] for number in range(count)}
    acknowledged: dict[str, str] = {}
    wrong = dict.fromkeys(("lost", "torn", "older", "findings"), 0)
    killed = early = through = round = writes = 0
    began, span = time.monotonic(), 2.5
    while killed < kills:
        process = start(folder, files)
        assert process.stdout is not None
        first = process.stdout.readline()
        if chance.random() < 0.8:  # else the moment may also lie before the first write
            first += process.stdout.readline()
        time.sleep(chance.random() * span)
        process.kill()
        lines = (first + process.stdout.read()).splitlines(keepends=True)
        process.wait()
        process.stdout.close()
        told = [line for line in lines if line.startswith("{") and line.endswith("\n")]
        writes += len(told)
        for line in told:
            acknowledged |= json.loads(line)
        killed += 1
        early += not told
        for name, number in examine(folder, texts, acknowledged).items():
            wrong[name] += number
        if "complete\n" in lines:
            through += 1
            round += 1
            for number in chance.sample(range(count), count * 2 // 3):
                texts[number].append(write(files, number, round, chance))
        if killed % 10 == 0:
            print(f"{killed} kills, {writes} writes acknowledged, {wrong}", file=sys.stderr)
    process = start(folder, files)
    output = process.communicate()[0]
    for name, number in examine(folder, texts, acknowledged).items():
        wrong[name] += number
    with Store.open(folder) as store, store.snapshot() as snapshot:
        stored = [snapshot.get(id) for id in snapshot.ids()]
        complete = sorted(d.text for d in stored if d) == sorted(versions[-1] for versions in texts.values())
        chunks = snapshot.chunk_count
    shutil.rmtree(folder)
    return {
        "kills": killed,
        "kills_before_the_first_write": early,
        "kills_after_the_end": through,
        "writes_acknowledged": writes,
        "documents_acknowledged": len(acknowledged),
        "chunks": chunks,
        "wrong": wrong,
        "resumed_run_completed": output.endswith("complete\n") and complete,
        "seconds": round_to(time.monotonic() - began),
    }


def round_to(seconds: float) -> float:
    """One decimal."""
    return float(f"{seconds:.1f}")


def start(folder: Path, files: Path) -> subprocess.Popen[str]:
    """A child that ingests."""
    command = [sys.executable, __file__, "--child", str(folder), str(files)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
