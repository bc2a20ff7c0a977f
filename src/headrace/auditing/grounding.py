"""Answers against their passages, many at a time: for files, for an application, as a line of an audit.

What a verdict means is ``guards/grounding``'s; here the embedder is found, files are read, and an
application's kept runs are judged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.errors import InputError, NotFound
from headrace.guards import grounding as guard
from headrace.guards.grounding import Similarity, Sources
from headrace.protocols import Embedder, Progress

# benchmarks/results/grounding.json: SQuAD, articles that nothing was fitted on.
DETECTOR: Mapping[str, Any] = {
    "misses": 0.039,
    "false_alarms": 0.013,
    "on": "planted wrong numbers, dates and names in answers over SQuAD paragraphs",
}


def read(path: Path) -> list[dict[str, Any]]:
    """Lines with ``answer`` and ``passages``. InputError names the line that lacks one."""
    if not path.is_file():
        raise NotFound(f"There is no file {str(path)!r}.", hint="Name a file of JSON lines.")
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} is not UTF-8 text.", hint="Give JSON lines in UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            rows.append(_row(line, f"{path}:{number}"))
    if not rows:
        raise InputError(f"{str(path)!r} has no lines.", hint="Write one answer a line.")
    return rows


def _row(line: str, where: str) -> dict[str, Any]:
    shape = '{"answer": "It opened in 1987.", "passages": ["The library opened on 3 May 1987."]}'
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is no JSON: {error.msg}.", hint=f"Write {shape}") from error
    if not isinstance(value, dict):
        raise InputError(f"{where} is {type(value).__name__}, not an object.", hint=f"Write {shape}")
    answer, passages = value.get("answer"), value.get("passages")
    if not isinstance(answer, str):
        raise InputError(f"{where}: answer is {answer!r}, not a text.", hint=f"Write {shape}")
    if isinstance(passages, str) or not isinstance(passages, list):
        raise InputError(f"{where}: passages is {passages!r}, not a list.", hint=f"Write {shape}")
    texts = [p.get("text") if isinstance(p, dict) else p for p in passages]
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"{where}: passage {place} is {passages[place]!r}.", hint=f"Write {shape}")
    return {"answer": answer, "passages": texts}


def similarity(*, by_words: bool = False, embedder: Embedder | None = None) -> Similarity | None:
    """Cosines by the project's embedder; None where there are no weights, or by words alone."""
    if by_words:
        return None
    if embedder is None:
        from headrace.tasks.given import project_embedder

        embedder = project_embedder()
    if embedder is None:
        return None
    used = embedder

    def cosines(said: str, others: Sequence[str]) -> list[float]:
        vectors = used.embed([said, *others])
        return [float(value) for value in vectors[1:] @ vectors[0]]

    return cosines


def judged(
    rows: Sequence[Mapping[str, Any]], similar: Similarity | None = None, *, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """For each row ``sentences`` (``text, verdict, score, passage, start, end, why, claims``) and ``score``
    (share of sentences that are supported, None where none claims anything)."""
    found = []
    for number, row in enumerate(rows, start=1):
        verdicts = guard.check(row["answer"], Sources(row["passages"]), similar)
        found.append({"sentences": [vars(v) for v in verdicts], "score": guard.score(verdicts)})
        if progress is not None:
            progress(number, len(rows), "")
    return found
