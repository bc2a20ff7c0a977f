"""Signatures: one schema for every door, and validation of strangers' values."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydantic
import pytest

import headrace as hr
from headrace.errors import InputError
from headrace.flows.signature import Signature
from headrace.types import Message, Table


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Address:
    street: str
    number: int = 1


class Person(pydantic.BaseModel):
    name: str
    age: int


def everything(
    question: str,
    count: int,
    share: float,
    loud: bool,
    tone: Literal["plain", "formal"],
    colour: Colour,
    when: datetime.datetime,
    where: Path,
    tags: list[str],
    address: Address,
    person: Person,
    history: list[Message],
    rows: Table,
    note: str | None = None,
) -> str:
    return question


VALUES = {
    "question": "q",
    "count": 3,
    "share": 0.5,
    "loud": True,
    "tone": "formal",
    "colour": "blue",
    "when": "2026-01-02T03:04:05",
    "where": "a/b",
    "tags": ["x", "y"],
    "address": {"street": "Elm", "number": 4},
    "person": {"name": "Ana", "age": 40},
    "history": [{"role": "user", "content": "hi"}],
    "rows": [{"a": 1}, {"a": 2, "b": 3}],
}


def test_every_type_of_the_contract_has_a_schema_and_is_validated() -> None:
    signature = Signature(everything, "everything")
    schema = signature.schema()
    assert set(schema["properties"]) == {*VALUES, "note"}
    assert set(schema["required"]) == set(VALUES)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["tone"]["enum"] == ["plain", "formal"]
    assert schema["properties"]["rows"]["format"] == "table"
    got = signature.validate(VALUES)
    assert got["colour"] is Colour.BLUE
    assert got["when"] == datetime.datetime(2026, 1, 2, 3, 4, 5)
    assert got["where"] == Path("a/b")
    assert got["address"] == Address("Elm", 4)
    assert got["person"] == Person(name="Ana", age=40)
    assert got["history"] == [Message("user", "hi")]
    assert got["rows"] == Table(("a", "b"), ((1, None), (2, 3)))
    assert got["note"] is None
    assert signature.history == "history"


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        Signature(everything, "everything").validate({**VALUES, "count": "many", "tone": "rude", "extra": 1})
    message = str(caught.value)
    assert "count:" in message
    assert "tone:" in message
    assert "extra:" in message
    assert caught.value.status == 422


def test_the_question_is_the_one_required_string() -> None:
    def one(question: str, top: int = 3) -> str:
        return question

    def two(question: str, style: str) -> str:
        return question

    assert Signature(one, "one").question == "question"
    assert Signature(two, "two").question is None
    assert Signature(one, "one").history is None


def test_values_from_the_command_line_are_strings() -> None:
    def mixed(question: str, top: int = 3, tags: list[str] = [], loud: bool = False) -> str:  # noqa: B006
        return question

    signature = Signature(mixed, "mixed")
    got = signature.from_strings({"question": "12", "top": "5", "tags": '["a"]', "loud": "true"})
    assert got == {"question": "12", "top": 5, "tags": ["a"], "loud": True}
    with pytest.raises(InputError, match="tags='a' is not JSON"):
        signature.from_strings({"question": "q", "tags": "a"})


def test_a_type_without_a_json_form_is_refused_with_the_list() -> None:
    class Odd:
        pass

    def odd(thing: Odd) -> str:
        return ""

    # Local classes cannot be resolved by name, so the hint is put in place.
    odd.__annotations__["thing"] = Odd
    with pytest.raises(hr.HeadraceError, match="has no JSON form"):
        Signature(odd, "odd").schema()


def test_output_schema() -> None:
    def answer(question: str) -> hr.Answer:
        raise NotImplementedError

    answer.__annotations__["return"] = hr.Answer
    schema = Signature(answer, "answer").output_schema()
    assert {"text", "abstained", "citations"} <= set(schema["properties"])
