"""From a table's columns to an application's parameters, and from its output to columns again.

Parameters take the column of their own name, or the one that is mapped to them; cells are brought to
the type of the parameter. Outputs become one typed column, an Answer several. Knows no files.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.errors import InputError
from headrace.flows.signature import Signature
from headrace.ops.tables import BOOLEAN, INTEGER, JSON, NUMBER, TEXT, Column, Source, as_text, plain
from headrace.types import Answer, to_json

_TYPES: dict[Any, str] = {str: TEXT, int: INTEGER, float: NUMBER, bool: BOOLEAN}
_FITS: dict[str, tuple[type, ...]] = {
    TEXT: (str,),
    INTEGER: (int,),
    NUMBER: (int, float),
    BOOLEAN: (bool,),
}
# Behind the output itself; for a Delta table, whose rows have no order, also which row it was.
ABOUT = (
    Column(name="error", type=TEXT),
    Column(name="cost", type=NUMBER),
    Column(name="seconds", type=NUMBER),
    Column(name="trace_id", type=TEXT),
    Column(name="release", type=TEXT),
)
PLACE = (Column(name="job", type=TEXT), Column(name="row", type=INTEGER))
ANSWER = (
    Column(name="answer", type=TEXT),
    Column(name="abstained", type=BOOLEAN),
    Column(name="answered_by", type=TEXT),
    Column(name="citations", type=JSON),
)


def parse_map(given: Sequence[str]) -> dict[str, str]:
    """``question=text`` → {"question": "text"}; commas between several are fine."""
    found: dict[str, str] = {}
    for item in [part for text in given for part in text.split(",") if part.strip()]:
        parameter, equals, column = item.partition("=")
        if not equals or not parameter.strip() or not column.strip():
            raise InputError(
                f"--map {item!r} is not PARAMETER=COLUMN.", hint="Write for example --map question=text."
            )
        found[parameter.strip()] = column.strip()
    return found


def mapping_of(signature: Signature, source: Source, given: Mapping[str, str]) -> dict[str, str]:
    """Parameter → column. InputError names what is missing and what the table has."""
    there = [column.name for column in source.columns]
    if not there and not source.count:
        return {}
    for parameter, column in given.items():
        if parameter not in signature.parameters:
            raise InputError(
                f"{signature.name} has no parameter {parameter!r}.{_near(parameter, signature.parameters)}",
                hint=f"It takes: {', '.join(signature.parameters)}.",
            )
        if column not in there:
            raise InputError(
                f"{source.name!r} has no column {column!r}.{_near(column, there)}",
                hint=f"Its columns: {', '.join(there)}.",
            )
    found = {name: given.get(name, name) for name in signature.parameters}
    missing = [name for name in signature.required if found[name] not in there]
    if missing:
        example = there[0] if there else "COLUMN"
        raise InputError(
            f"{source.name!r} has no column for {', '.join(repr(name) for name in missing)} of "
            f"{signature.name}.",
            hint=f"Its columns: {', '.join(there)}. Name the one that is meant: --map {missing[0]}={example}",
        )
    return {name: column for name, column in found.items() if column in there}


def _near(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


class Arguments:
    """Cells of a row → validated arguments, by name. Cells of csv are texts and are read as what the
    parameter is; an empty one leaves a parameter with a default at that."""

    def __init__(self, signature: Signature, mapping: Mapping[str, str], *, texts: bool) -> None:
        self._signature, self._mapping, self._texts = signature, dict(mapping), texts
        self._optional = {n for n in signature.parameters if n not in signature.required}

    def __call__(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        """Raises InputError, which names the parameters that do not fit."""
        found: dict[str, Any] = {}
        for name, column in self._mapping.items():
            value = cells.get(column)
            nothing = value is None or (value == "" and (self._texts or not self._wants_text(name, value)))
            if nothing and (name in self._optional or column not in cells):
                continue
            found[name] = as_text(value) if self._wants_text(name, value) else plain(value)
        return self._signature.from_strings(found) if self._texts else self._signature.validate(found)

    def _wants_text(self, name: str, value: Any) -> bool:
        return value is not None and self._signature.hints.get(name) is str


class Shape:
    """What the output of an application becomes: its columns, and the cells of one output."""

    def __init__(self, signature: Signature, *, prefix: str = "", placed: bool = False) -> None:
        hint = signature.hints.get("return", Any)
        self.prefix, self.placed = prefix, placed
        self._answers = hint is Answer or Answer in typing.get_args(hint)
        self._type = TEXT if self._answers else _TYPES.get(hint, JSON)
        own = ANSWER if self._answers else (Column(name="answer", type=self._type),)
        listed = (*own, *ABOUT, *(PLACE if placed else ()))
        self.columns = tuple(Column(name=prefix + c.name, type=c.type) for c in listed)
        self._names = [(prefix + c.name, c.name) for c in listed]

    @property
    def identity(self) -> list[str]:
        return [str(column) for column in self.columns]

    def cells(self, output: Any) -> dict[str, Any]:
        """Plain data of an output. InputError where it is not of the type that the application declares."""
        if isinstance(output, Answer):
            if not self._answers:
                return {"answer": output.text if self._type == TEXT else to_json(output)}
            return {
                "answer": output.text,
                "abstained": output.abstained,
                "answered_by": output.answered_by,
                "citations": to_json(output.citations),
            }
        found = to_json(output)
        if self._type != JSON and found is not None:
            fits = isinstance(found, _FITS[self._type])
            if not fits or (isinstance(found, bool) and self._type != BOOLEAN):
                raise InputError(
                    f"The output is {type(found).__name__} {str(found)[:60]!r}, and the application declares "
                    f"{self._type}.",
                    hint="Correct the return type of the application.",
                )
        return {"answer": found}

    def row(self, record: Mapping[str, Any], *, release: str | None, job: str) -> dict[str, Any]:
        """The output columns of one record, as they stand in the table."""
        error = record["error"]
        cells = dict(record["output"])
        cells["error"] = None if error is None else f"{error['code']}: {error['message']}"
        cells["cost"], cells["seconds"] = record["cost"], record["seconds"]
        cells["trace_id"], cells["release"] = record["trace_id"], release
        cells["job"], cells["row"] = job, record["row"]
        return {name: cells.get(own) for name, own in self._names}

    def require_free(self, source: Source) -> None:
        """InputError where the input has columns of the same names."""
        there = {column.name for column in source.columns}
        taken = [column.name for column in self.columns if column.name in there]
        if taken:
            raise InputError(
                f"{source.name!r} has columns of its own that the output adds: {', '.join(taken)}.",
                hint="Give the added ones a prefix, for example --prefix out_",
            )
