"""Trace ⇄ JSON ⇄ row: how a run is written down, and what a list of runs shows of it.

Pure functions; the database is in ``database.py``.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from headrace.errors import InputError
from headrace.text import normalise, shorten
from headrace.types import Span, Trace, to_json

Status = Literal["ok", "error", "abstained"]
STATUSES: tuple[Status, ...] = ("ok", "error", "abstained")
PREVIEW = 200  # code points of question and answer in a list
SEARCHED = 20_000  # code points of a run's inputs and output that a text search looks at
_ATOMS = (str, int, float, bool, type(None), bytes)


@dataclass(frozen=True, kw_only=True)
class TraceRow:
    """A line in a list of runs. ``question`` and ``answer`` are cut at 200 code points.

    Where the run failed, ``answer`` is the error. ``feedback``: ``up``, ``down``, ``mixed``, or
    "" where nobody voted.
    """

    id: str
    start: float
    seconds: float
    app: str
    release: str
    user: str
    status: Status
    question: str
    answer: str
    feedback: str = ""


def settled(value: Any) -> Any:
    """``value`` as it is now, at the price of a shallow walk: a caller may change it afterwards.

    Frozen nouns are taken as they are, containers copied, other objects written as JSON at once.
    An iterator is named, never consumed: it is the caller's.
    """
    if isinstance(value, _ATOMS):
        return value
    kind = type(value)
    if kind is dict:
        return {key: settled(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [settled(item) for item in value]
    params = getattr(kind, "__dataclass_params__", None)
    if params is not None and params.frozen:
        return value
    if isinstance(value, Iterator):
        return f"<{kind.__name__}>"
    return to_json(value)


def trace_to_json(trace: Trace) -> dict[str, Any]:
    """Plain JSON data with the fields of :class:`~headrace.types.Trace`."""
    data: dict[str, Any] = to_json(trace)
    return data


def trace_from_json(data: Mapping[str, Any]) -> Trace:
    """The Trace behind JSON data; ``output`` stays plain data. InputError where it is none."""
    try:
        spans = tuple(_made(Span, span) for span in data.get("spans", ()))
        trace: Trace = _made(Trace, {**data, "spans": spans})
        return trace
    except (TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"This is not a trace: {error}.", hint="Give a line that `headrace traces` exported as JSONL."
        ) from error


def _made(kind: Any, data: Mapping[str, Any]) -> Any:
    """Only fields that are known: what a newer Headrace adds to a line is no obstacle."""
    return kind(**{f.name: data[f.name] for f in dataclasses.fields(kind) if f.name in data})


def encode(trace: Trace) -> str:
    """The JSON of :func:`trace_to_json`, made by the C encoder where it can: a third of the time."""
    try:
        return json.dumps(trace, default=_fields, allow_nan=False, **_COMPACT)
    except (ValueError, TypeError):  # not a number, or a key that is no string
        return json.dumps(trace_to_json(trace), **_COMPACT)


_COMPACT: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":")}


_names: dict[type, tuple[str, ...] | None] = {}  # fields per class; None: to_json knows better


def _fields(value: Any) -> Any:
    kind = type(value)
    if kind not in _names:
        plain = dataclasses.is_dataclass(kind) and not hasattr(kind, "__json__")
        _names[kind] = tuple(f.name for f in dataclasses.fields(kind)) if plain else None
    names = _names[kind]
    return to_json(value) if names is None else {name: getattr(value, name) for name in names}


def pack(text: str) -> bytes:
    """UTF-8, deflated. Lone surrogates, which broken input can hold, survive."""
    return zlib.compress(text.encode("utf-8", "surrogatepass"), 1)


def unpack(body: bytes) -> Trace:
    """The Trace in a row's body."""
    return trace_from_json(json.loads(zlib.decompress(body).decode("utf-8", "surrogatepass")))


COLUMNS = "id, start, seconds, app, release, user, session, status, question, answer, bytes, words, body"


def to_row(trace: Trace, *, content: bool = True) -> tuple[Any, ...]:
    """The values of ``COLUMNS``. ``content`` False: the trace holds no texts to list or search."""
    return row_and_data(trace, content=content)[0]


def row_and_data(trace: Trace, *, content: bool = True) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """:func:`to_row`, and the plain data that it was made from."""
    text = encode(trace)
    data, body = json.loads(text), pack(text)
    question = question_of(data["inputs"]) if content else ""
    answer = _answer(data) if content else (trace.error or "")
    words = normalise(" ".join(_strings([data["inputs"], answer]))[:SEARCHED]) if content else ""
    subject, context = data["subject"], data["context"]
    row = (
        trace.id,
        float(trace.start),
        float(trace.seconds),
        _clean(subject.get("app")),
        _clean(subject.get("release")),
        _clean(context.get("user")),
        _clean(context.get("session")),
        status_of(data),
        _clean(shorten(question, PREVIEW)),
        _clean(shorten(answer, PREVIEW)),
        len(body),
        _clean(words),
        body,
    )
    return row, data


def status_of(data: Mapping[str, Any]) -> Status:
    """``error`` where the run raised, ``abstained`` where its Answer did, else ``ok``."""
    if data["error"] is not None:
        return "error"
    output = data["output"]
    return "abstained" if isinstance(output, dict) and output.get("abstained") is True else "ok"


def question_of(inputs: Mapping[str, Any]) -> str:
    """The first text among the inputs; of a conversation, its last turn."""
    for value in inputs.values():
        if isinstance(value, list) and value and isinstance(value[-1], dict) and "content" in value[-1]:
            value = value[-1]["content"]
        if found := next(_strings(value), ""):
            return found
    return ""


def _answer(data: Mapping[str, Any]) -> str:
    if data["error"] is not None:
        return str(data["error"])
    output = data["output"]
    if isinstance(output, dict) and isinstance(output.get("text"), str):
        return str(output["text"])
    if isinstance(output, str):
        return output
    return "" if output is None else json.dumps(output, ensure_ascii=False)[:SEARCHED]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _clean(value: Any) -> str:
    """A string that SQLite takes: no lone surrogates; None is empty."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()


def with_settled(trace: Trace, inputs: Any, output: Any) -> Trace:
    """The trace with the inputs and output that :func:`settled` took at the time of the call."""
    return replace(trace, inputs=inputs, output=output)
