"""Traces → examples: a run that somebody corrected becomes a question that is asked from now on.

Adding the same run again changes nothing; the file is written whole or not at all, and checked
before and after. Not here: finding the traces (``ledger``).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import Conflict, InputError
from headrace.evaluation import dataset
from headrace.ledger.content import is_summary
from headrace.types import Example, Feedback, Trace, digest


@dataclass(frozen=True, kw_only=True)
class Added:
    """``added`` False: the file had this example already. ``source``: where the expectation is from."""

    example: Example
    added: bool
    file: str
    source: str


def example_of(
    trace: Trace,
    votes: Sequence[Feedback] = (),
    *,
    answer: str | None = None,
    unanswerable: bool = False,
    documents: Sequence[str] = (),
) -> tuple[Example, str]:
    """The example that a run makes, and where its expectation is from (``given`` or ``correction``).

    The expected answer is ``answer``, else the latest correction that a person wrote. Documents are
    ``documents``, else none: what was found then need not be right. InputError where nothing says
    what would have been right, or where the ledger kept no texts.
    """
    if any(is_summary(value) for value in trace.inputs.values()):
        raise InputError(
            f"The trace {trace.id[:16]!r} holds no texts ([ledger] content is off).",
            hint="Write the example by hand.",
        )
    corrections = [vote.correction.strip() for vote in votes if vote.correction.strip()]
    if unanswerable and answer is not None:
        raise InputError("An unanswerable question has no answer.", hint="Give one of the two.")
    expected: dict[str, Any]
    if unanswerable:
        expected, source = {"unanswerable": True}, "given"
    elif answer is not None:
        expected, source = {"answer": answer}, "given"
    elif corrections:
        expected, source = {"answer": corrections[-1]}, "correction"
    else:
        raise InputError(
            f"Nobody has said what the right answer to {trace.id[:16]!r} is.",
            hint="Add --answer 'what it should say', or --unanswerable.",
        )
    if documents and not unanswerable:
        expected["documents"] = list(documents)
    return Example(id=f"trace-{trace.id[:16]}", inputs=dict(trace.inputs), expectations=expected), source


def add(file: Path, example: Example, source: str = "given") -> Added:
    """Append an example to a file of JSON lines, once.

    The same inputs with the same expectations, under whatever id, are there already. InputError where
    the file is damaged or expects something else of the same inputs (which to keep is a person's
    decision), Conflict where the file changed meanwhile.
    """
    made = dataset.of([example])[0]
    data = b""
    if file.exists():
        data = file.read_bytes()
        for index, known in enumerate(
            existing := dataset.read(file) if data.strip() else dataset.Examples(items=())
        ):
            if digest(known.inputs) == digest(made.inputs):
                if _same(known.expectations, made.expectations):
                    return Added(example=known, added=False, file=str(file), source=source)
                raise InputError(
                    f"{existing.where(index)} asks the same and expects something else: "
                    f"{json.dumps(known.expectations, ensure_ascii=False)}.",
                    hint="Change that line, or remove it first.",
                )
    line = {"id": made.id, "inputs": made.inputs, "expectations": made.expectations}
    before = data if not data or data.endswith(b"\n") else data + b"\n"
    text = json.dumps(line, ensure_ascii=False) + "\n"
    _replace(file, data, before + text.encode("utf-8", "surrogatepass"))
    dataset.read(file)
    return Added(example=made, added=True, file=str(file), source=source)


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether what is newly expected is known: documents that the known example adds do not matter."""
    return all(one.get(key) == value for key, value in other.items())


def _replace(file: Path, before: bytes, after: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(after)
            out.flush()
            os.fsync(out.fileno())
        if file.exists():
            os.chmod(name, file.stat().st_mode & 0o777)
            if file.read_bytes() != before:
                raise Conflict(f"{str(file)!r} was changed meanwhile.", hint="Run the command again.")
        else:
            os.chmod(name, 0o644)
        os.replace(name, file)
    finally:
        Path(name).unlink(missing_ok=True)
