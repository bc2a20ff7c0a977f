"""A trace is the same after JSON, whatever it holds."""

from __future__ import annotations

import datetime
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import InputError
from headrace.ledger.records import (
    COLUMNS,
    encode,
    pack,
    settled,
    to_row,
    trace_from_json,
    trace_to_json,
    unpack,
)
from headrace.types import Span, Table, Trace, to_json

from .conftest import make_trace

TEXT = st.text(st.characters(), max_size=30)  # lone surrogates too
NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers()
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
TIME = st.floats(min_value=0, max_value=4e9)
SPAN = st.builds(
    Span,
    id=TEXT,
    parent=st.none() | TEXT,
    name=TEXT,
    kind=TEXT,
    start=TIME,
    seconds=TIME,
    attributes=OBJECT,
    error=st.none() | TEXT,
)
TRACE = st.builds(
    Trace,
    id=TEXT,
    start=TIME,
    seconds=TIME,
    subject=OBJECT,
    context=OBJECT,
    inputs=OBJECT,
    output=JSON,
    error=st.none() | TEXT,
    record=OBJECT,
    spans=st.lists(SPAN, max_size=3).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(TRACE)
def test_a_trace_of_plain_data_survives_json_and_the_row(trace: Trace) -> None:
    assert trace_from_json(json.loads(json.dumps(trace_to_json(trace)))) == trace
    assert unpack(pack(encode(trace))) == trace
    row = dict(zip(COLUMNS.split(", "), to_row(trace), strict=True))
    assert unpack(row["body"]) == trace
    for value in row.values():
        if isinstance(value, str):
            value.encode()  # SQLite takes it
    assert len(row["question"]) <= 200
    assert len(row["answer"]) <= 200


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: int
    where: Path


ODD = [
    float("nan"),
    float("inf"),
    Colour.RED,
    Path("a") / "b",
    datetime.date(2026, 1, 2),
    {"b", "a"},
    b"bytes",
    Point(1, Path("x")),
    Table(("a",), ((1,), (2,))),
    {1: "one", ("t",): float("nan")},
    (Colour.RED, [Point(2, Path("y"))]),
]


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_the_quick_encoding_says_the_same_as_the_nouns(value: Any) -> None:
    trace = make_trace(output=value, inputs={"value": value})
    assert json.loads(encode(trace)) == to_json(trace)
    taken = make_trace(id=trace.id, output=settled(value), inputs=settled({"value": value}))
    assert json.loads(encode(taken)) == to_json(trace)


def test_unknown_fields_are_passed_over_and_missing_ones_are_not() -> None:
    data = trace_to_json(make_trace())
    assert trace_from_json({**data, "tomorrow": 1}) == trace_from_json(data)
    wrong: list[Mapping[str, Any]] = [{}, {"id": "x"}, {**data, "spans": [1]}]
    for one in wrong:
        with pytest.raises(InputError, match="not a trace"):
            trace_from_json(one)


def test_a_conversation_is_listed_by_its_last_turn() -> None:
    turns = [{"role": "user", "content": "first"}, {"role": "user", "content": "second"}]
    row = dict(zip(COLUMNS.split(", "), to_row(make_trace(inputs={"chat": turns})), strict=True))
    assert row["question"] == "second"
