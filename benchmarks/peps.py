"""Chunks for the measurements beside peers: windows of N words of the shared PEP texts.

All sides are given the same chunks, so nobody's splitter is measured. 20,000 windows of 100
words need more text than there is: windows begin every ``STRIDE`` words where they are short.
"""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT.parent / "shared" / "data" / "python_peps"
CACHE = ROOT / ".bench"


def windows(words: int, count: int, *, stride: int = 0) -> list[tuple[str, str]]:
    """(id, text) of the first ``count`` windows, in the order of the files; words keep their spacing lost."""
    step = stride or words
    found: list[tuple[str, str]] = []
    for path in sorted(FOLDER.glob("*.rst")):
        tokens = path.read_text(encoding="utf-8").split()
        for at in range(0, max(1, len(tokens) - words + 1), step):
            found.append((f"{path.stem}-{at}", " ".join(tokens[at : at + words])))
            if len(found) == count:
                return found
    raise SystemExit(f"{FOLDER} has only {len(found)} windows of {words} words every {step}.")


def chunk_file(words: int, count: int, *, stride: int = 0) -> Path:
    """The same as JSON lines of {"id", "text"}, for sides that run in another environment."""
    path = CACHE / f"peps-{words}-{count}.jsonl"
    if not path.is_file():
        CACHE.mkdir(exist_ok=True)
        lines = [json.dumps({"id": id, "text": text}) for id, text in windows(words, count, stride=stride)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, str]]:
    """The chunks of a file made by :func:`chunk_file`."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
