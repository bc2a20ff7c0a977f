"""A JSON schema as a form, and back."""

from __future__ import annotations

from typing import Literal

import pytest

from headrace.errors import InputError
from headrace.flows.signature import Signature
from headrace.types import Message
from headrace.web import forms


def signature(function) -> Signature:
    return Signature(function, function.__name__)


def everything(
    question: str,
    count: int,
    path: str = "here",
    weight: float | None = None,
    loud: bool = False,
    tags: list[str] | None = None,
    more: dict[str, int] | None = None,
    history: list[Message] | None = None,
) -> str:
    return question


def test_kinds_defaults_and_what_is_required():
    found = forms.fields(signature(everything).schema(), without="history")
    assert [(f.name, f.kind, f.required, f.value) for f in found] == [
        ("question", "text", True, ""),
        ("count", "integer", True, ""),
        ("path", "line", False, "here"),
        ("weight", "number", False, ""),
        ("loud", "checkbox", False, ""),
        ("tags", "lines", False, ""),
        ("more", "json", False, ""),
    ]


def test_a_form_comes_back_as_inputs_that_validate():
    made = signature(everything)
    sent = {
        "question": ["two\r\nlines"],
        "count": ["3"],
        "path": [""],
        "weight": ["2.5"],
        "loud": ["on"],
        "tags": ["a\r\n\r\nb"],
        "more": ['{"x": 1}'],
    }
    inputs = forms.inputs(made.schema(), sent)
    assert inputs == {
        "question": "two\nlines",
        "count": 3,
        "weight": 2.5,
        "loud": True,
        "tags": ["a", "b"],
        "more": {"x": 1},
    }
    assert made.validate(inputs)["path"] == "here"


@pytest.mark.parametrize(
    ("field", "text"), [("count", "three"), ("count", ""), ("weight", "heavy"), ("more", "{")]
)
def test_what_does_not_fit_is_named(field, text):
    sent = {"question": ["x"], "count": ["1"], field: [text]}
    with pytest.raises(InputError, match=field):
        forms.inputs(signature(everything).schema(), sent)


def test_choices_are_closed():
    def pick(mode: Literal["a", "b"], only: Literal["x"] = "x") -> str:
        return mode

    schema = signature(pick).schema()
    assert [field.choices for field in forms.fields(schema)] == [("a", "b"), ("x",)]
    assert forms.inputs(schema, {"mode": ["b"], "only": ["x"]}) == {"mode": "b", "only": "x"}
    with pytest.raises(InputError, match="mode"):
        forms.inputs(schema, {"mode": ["c"]})
