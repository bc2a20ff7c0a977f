"""Ingesting again when nothing changed: how much faster than the first time.

    python benchmarks/reingest.py [--files 150] [--again 5]

``headrace ingest`` is run on a copy of the PEP texts (the first ``--files`` of them; 0: all), then
again and again. Both are reported: the seconds of the ingest itself, as the command says them, and
the whole process with Python's start. A last run has every file's time changed and its contents
left alone, so that all are read and hashed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import peers
import peps

HEADRACE = str(Path(sys.executable).with_name("headrace"))


def ingest(files: Path, kb: Path) -> dict[str, Any]:
    """One ``headrace ingest``."""
    ran = peers.run([HEADRACE, "ingest", str(files), "--kb", str(kb), "--json"], folder=kb.parent)
    assert ran.finished, ran.err
    report = ran.value()
    assert not report["failed"], report
    return {
        "documents": report["documents"],
        "chunks": report["chunks"],
        "skipped": report["skipped"],
        "seconds": report["seconds"],
        "process_wall": round(ran.wall, 3),
        "process_cpu": round(ran.cpu, 3),
    }


def measure(count: int, again: int) -> dict[str, Any]:
    """First time, again, and with new times of files."""
    with tempfile.TemporaryDirectory(prefix="headrace-again-") as place:
        files, kb = Path(place) / "files", Path(place) / "kb"
        files.mkdir()
        chosen = sorted(peps.FOLDER.glob("*.rst"))[: count or None]
        for path in chosen:
            shutil.copy(path, files / path.name)
        past = time.time() - 3600
        for path in files.iterdir():
            os.utime(path, (past, past))
        first = ingest(files, kb)
        runs = [ingest(files, kb) for _ in range(again + 1)][1:]
        assert all(run["documents"] == 0 and run["skipped"] == len(chosen) for run in runs), runs
        for path in files.iterdir():
            os.utime(path, (past + 60, past + 60))
        touched = ingest(files, kb)
    middle = {
        key: statistics.median(run[key] for run in runs) for key in ("seconds", "process_wall", "process_cpu")
    }
    return {
        "goal": "at least 100 times faster",
        "files": len(chosen),
        "first": first,
        "again": {**middle, "runs": runs},
        "touched": touched,
        "times_faster": {key: round(first[key] / middle[key], 1) for key in middle},
        "touched_times_faster": {key: round(first[key] / touched[key], 1) for key in middle},
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--files", type=int, default=150)
    arguments.add_argument("--again", type=int, default=5)
    given = arguments.parse_args()
    load = os.getloadavg()[0]
    result = {**measure(given.files, given.again), "load_at_start": round(load, 2)}
    command = f"python benchmarks/reingest.py --files {given.files} --again {given.again}"
    print(machine.save("reingest", result, command=command))
    print(json.dumps({k: v for k, v in result.items() if k != "again"}, indent=2))
    print(json.dumps({k: v for k, v in result["again"].items() if k != "runs"}))


if __name__ == "__main__":
    main()
