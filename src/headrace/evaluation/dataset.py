"""Examples out of JSON lines, checked before anything is run.

One object a line: ``{"inputs": {…}, "expectations": {…}, "id": "…"}``. Expectations that are known:
``answer`` (text), ``answers`` (several that are all right), ``documents`` (ids, of which one at
least should be found), ``unanswerable`` (true: the right answer is to abstain). Every problem is
told with its line; nothing is skipped. Not here: running and scoring.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from headrace.errors import InputError, NotFound
from headrace.types import Example, digest

if TYPE_CHECKING:
    from headrace.flows.signature import Signature

FIELDS = ("inputs", "expectations", "id")
EXPECTATIONS: dict[str, str] = {
    "answer": "a text",
    "answers": "a list of texts",
    "documents": "a list of document ids",
    "unanswerable": "true or false",
}
SHOWN = 5  # problems told at once


@dataclass(frozen=True, kw_only=True)
class Examples(Sequence[Example]):
    """Examples in order, where each came from (``lines``, "" for those given in Python), and their hash."""

    items: tuple[Example, ...]
    source: str = ""
    lines: tuple[str, ...] = field(default=(), repr=False)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Example, ...]: ...
    def __getitem__(self, index: int | slice) -> Example | tuple[Example, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def hash(self) -> str:
        """SHA-256 over ids, inputs and expectations, in any order of the lines."""
        return digest(sorted(digest([e.id, e.inputs, e.expectations]) for e in self.items))

    def first(self, count: int | None) -> Examples:
        """The first ``count``; all where it is None."""
        if count is None:
            return self
        return Examples(items=self.items[:count], source=self.source, lines=self.lines[:count])

    def where(self, index: int) -> str:
        """``file.jsonl:12``, or ``example 12``."""
        return self.lines[index] if index < len(self.lines) else f"example {index + 1}"

    def arguments(self, signature: Signature) -> list[dict[str, Any]]:
        """Each example's inputs as the application's arguments; InputError names those that do not fit."""
        found, problems = [], []
        hint = ""
        for index, example in enumerate(self.items):
            try:
                found.append(signature.validate(example.inputs))
            except InputError as error:
                problems.append(f"{self.where(index)}: {error.message}")
                hint = error.hint
        _raise(problems, hint)
        return found


def read(given: str | Path | Sequence[str | Path]) -> Examples:
    """Examples of one file, of several, or of all ``*.jsonl`` of a folder.

    Raises NotFound where there is no such file, InputError for everything that is wrong in one.
    """
    paths = [Path(p) for p in ([given] if isinstance(given, (str, Path)) else given)]
    files: list[Path] = []
    for path in paths:
        files.extend(sorted(path.glob("*.jsonl")) if path.is_dir() else [path])
    if not files:
        raise NotFound(
            f"There are no examples in {', '.join(str(p) for p in paths) or 'the project'}.",
            hint='Write them as JSON lines: {"inputs": {"question": "…"}, "expectations": {"answer": "…"}}',
        )
    records = [item for file in files for item in _lines(file)]
    if not records:
        raise InputError(
            f"{', '.join(str(f) for f in files)} holds no example.", hint="Write one JSON object a line."
        )
    return _checked(records, ", ".join(str(f) for f in files))


def of(examples: Sequence[Example | Mapping[str, Any]]) -> Examples:
    """Examples made in Python: :class:`~headrace.types.Example` objects, or mappings of the same fields."""
    if isinstance(examples, Examples):
        return examples
    if not examples:
        raise InputError("There are no examples to evaluate.", hint="Give at least one.")
    records: list[tuple[str, Any]] = []
    for number, item in enumerate(examples, 1):
        if isinstance(item, Example):
            item = {"inputs": item.inputs, "expectations": item.expectations} | (
                {"id": item.id} if item.id else {}
            )
        records.append((f"example {number}", item))
    return _checked(records, "")


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        near = difflib.get_close_matches(
            path.name, [p.name for p in path.parent.glob("*.jsonl")] if path.parent.is_dir() else [], n=1
        )
        raise NotFound(
            f"There is no file {str(path)!r} with examples.",
            hint=f"Did you mean {str(path.parent / near[0])!r}?" if near else "Give a file of JSON lines.",
        ) from None
    except OSError as error:
        raise InputError(
            f"{str(path)!r} cannot be read: {error.strerror}.", hint="Give a file of JSON lines."
        ) from error
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            yield where, json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise InputError(
                f"{where} is not UTF-8: {error.reason}.", hint="Save the file as UTF-8."
            ) from error
        except ValueError as error:
            raise InputError(
                f"{where} is not JSON: {error}.", hint="Each line is one JSON object; nothing was run."
            ) from error


def _checked(records: Sequence[tuple[str, Any]], source: str) -> Examples:
    problems: list[str] = []
    made: list[Example] = []
    lines: list[str] = []
    seen: dict[str, str] = {}
    for where, record in records:
        found = list(_problems(record))
        problems.extend(f"{where}: {problem}" for problem in found)
        if found:
            continue
        inputs, expectations = record["inputs"], record.get("expectations") or {}
        given = str(record.get("id") or "")
        identity = given or f"sha256:{digest([inputs, expectations])[:16]}"
        if identity in seen:
            what = (
                f"the id {identity!r} is that of {seen[identity]} too"
                if given
                else f"this example is the same as {seen[identity]}"
            )
            problems.append(f"{where}: {what}")
            continue
        seen[identity] = where
        made.append(Example(inputs=inputs, expectations=expectations, id=identity))
        lines.append(where)
    _raise(problems, "Correct the examples; nothing was run.")
    return Examples(items=tuple(made), source=source, lines=tuple(lines))


def _problems(record: Any) -> Iterator[str]:
    if not isinstance(record, Mapping):
        yield f"{record!r:.60} is not an object with inputs and expectations"
        return
    for key in record:
        if key not in FIELDS:
            yield f"{key!r} is not known" + _near(key, FIELDS)
    inputs = record.get("inputs")
    if not isinstance(inputs, Mapping) or not inputs:
        yield "there are no inputs" if inputs in (None, {}) else f"inputs is {inputs!r:.60}, not an object"
    if "id" in record and (not isinstance(record["id"], (str, int)) or isinstance(record["id"], bool)):
        yield f"id is {record['id']!r:.60}, not a text"
    expectations = record.get("expectations")
    if expectations is None:
        return
    if not isinstance(expectations, Mapping):
        yield f"expectations is {expectations!r:.60}, not an object"
        return
    for key, value in expectations.items():
        if key not in EXPECTATIONS:
            yield f"the expectation {key!r} is not known" + _near(key, tuple(EXPECTATIONS))
        elif not _fits(key, value):
            yield f"the expectation {key!r} is {value!r:.60}, not {EXPECTATIONS[key]}"
    answered = [key for key in ("answer", "answers") if expectations.get(key)]
    if expectations.get("unanswerable") is True and answered:
        yield f"it is unanswerable and expects an answer ({expectations[answered[0]]!r:.60})"


def _fits(key: str, value: Any) -> bool:
    if key == "answer":
        return isinstance(value, str) and bool(value.strip())
    if key == "unanswerable":
        return isinstance(value, bool)
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and bool(value)
        and all(isinstance(item, str) and item.strip() for item in value)
    )


def _near(key: Any, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(key), known, n=1)
    return f": did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})"


def _raise(problems: Sequence[str], hint: str) -> None:
    if not problems:
        return
    shown = "\n".join(problems[:SHOWN])
    more = f"\nand {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    raise InputError(shown + more, hint=hint)
