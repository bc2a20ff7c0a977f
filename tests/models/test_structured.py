"""Structured output: read tolerantly, checked strictly, asked again, a typed failure in the end."""

from __future__ import annotations

import json
from typing import Any, Literal

import pydantic
import pytest

from headrace.errors import InputError, InvalidOutput, ModelError
from headrace.models.jsonlike import candidates
from headrace.models.scripted import ScriptedModel
from headrace.models.structured import Form, structured
from headrace.types import Decoding, Message

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "days": {"type": "integer", "minimum": 0}},
    "required": ["name", "days"],
}


class Leave(pydantic.BaseModel):
    name: str
    days: int = pydantic.Field(ge=0)
    kind: Literal["annual", "sick"] = "annual"

    @pydantic.field_validator("name")
    @classmethod
    def _capital(cls, name: str) -> str:
        if name != name.title():
            raise ValueError("begins with a small letter")
        return name


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Ada", "days": 3}',
        '```json\n{"name": "Ada", "days": 3}\n```',
        'Sure! Here it is:\n\n```\n{"name": "Ada", "days": 3}\n```\nAnything else?',
        'The answer is {"name": "Ada", "days": 3}. (I used {} for it.)',
        '{"name": "Ada", "days": 3,}',
        '{"name": "Ada", // her name\n "days": 3}',
        "{'name': 'Ada', 'days': 3}",
        '<think>{"name": "Bob", "days": 9}</think>\n{"name": "Ada", "days": 3}',
        '\ufeff{"name": "Ada", "days": 3.0}',
        'First {"wrong": 1} then {"name": "Ada", "days": 3}',
    ],
)
def test_values_are_found_as_models_write_them(text: str) -> None:
    made = structured(ScriptedModel(text), "Who?", SCHEMA)
    assert made.value == {"name": "Ada", "days": 3}
    assert made.attempts == 1
    assert made.rejected == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the text is empty"),
        ("I cannot say.", "holds no JSON value"),
        ('{"name": "Ada", "days": 3', "broken in line 1, column"),
        ('{"name": "Ada", "days": -1}', "/days: is -1, less than the minimum 0"),
        ('{"name": "Ada"}', "lacks 'days'"),
        ('{"name": "Ada", "days": NaN}', "NaN"),
        ("[" * 50_000, "nested too deeply"),
        ("x" * 2_000_001, "at most 2000000"),
    ],
)
def test_what_does_not_fit_is_said(text: str, why: str) -> None:
    with pytest.raises(InvalidOutput) as caught:
        structured(ScriptedModel(text), "Who?", SCHEMA, attempts=1, decoding=Decoding(max_new_tokens=10**7))
    assert why in " ".join(caught.value.problems)
    assert caught.value.text == text


def test_the_prompt_carries_schema_and_a_worked_example() -> None:
    model = ScriptedModel('{"name": "Ada", "days": 3}')
    structured(model, [Message("system", "Be brief."), Message("user", "Who?")], SCHEMA)
    (call,) = model.calls
    assert [m.role for m in call.messages] == ["system", "user"]
    sent = call.messages[-1].content
    assert sent.startswith("Who?")
    assert json.dumps(SCHEMA) in sent
    shown = json.loads(sent.splitlines()[-1])
    assert Form(SCHEMA).read(json.dumps(shown)) == (shown, [])
    structured(model, "Who?", SCHEMA, example={"name": "Bob", "days": 1})
    assert model.calls[-1].messages[-1].content.endswith('{"name": "Bob", "days": 1}')
    structured(model, "Who?", SCHEMA, ask=False)
    assert model.calls[-1].messages[-1].content == "Who?"


def test_the_model_is_told_what_was_wrong_and_may_correct_it() -> None:
    model = ScriptedModel(["no idea", '{"name": "Ada", "days": "many"}', '{"name": "Ada", "days": 3}'])
    made = structured(model, "Who?", SCHEMA)
    assert made.value["days"] == 3
    assert made.attempts == 3
    assert len(made.rejected) == 2
    last = model.calls[-1].messages
    assert [m.role for m in last] == ["user", "assistant", "user"]  # the last reply only, not all of them
    assert '/days: is "many", not of type integer' in last[-1].content
    assert made.usage.input_tokens == sum(
        model.count(message.content) for call in model.calls for message in call.messages
    )


def test_a_model_that_never_obeys_is_a_typed_failure() -> None:
    model = ScriptedModel("Je ne sais pas 🙂 لا أعرف")
    with pytest.raises(InvalidOutput) as caught:
        structured(model, "Who?", SCHEMA, attempts=4)
    error = caught.value
    assert isinstance(error, ModelError)
    assert (error.attempts, len(model.calls)) == (4, 4)
    assert error.text == "Je ne sais pas 🙂 لا أعرف"
    assert error.problems
    assert "4 attempts" in error.message
    assert error.hint


def test_a_text_that_was_cut_off_says_so() -> None:
    model = ScriptedModel('{"name": "Ada and many more words", "days": 3}')
    with pytest.raises(InvalidOutput) as caught:
        structured(model, "Who?", SCHEMA, attempts=2, decoding=Decoding(max_new_tokens=3))
    assert "cut off after 3 tokens" in caught.value.problems[0]
    assert "max_new_tokens" in caught.value.hint


def test_a_pydantic_model_gives_its_instance() -> None:
    model = ScriptedModel(['{"name": "ada", "days": 3}', '{"name": "Ada", "days": 3}'])
    made = structured(model, "Who?", Leave, example=Leave(name="Bob", days=1))
    assert made.value == Leave(name="Ada", days=3)
    assert made.attempts == 2
    assert "begins with a small letter" in model.calls[1].messages[-1].content


@pytest.mark.parametrize(
    ("schema", "arguments", "said"),
    [
        ({"type": "integer", "minimum": 5, "maximum": 3}, {}, "No value can satisfy"),
        (SCHEMA, {"example": {"name": "Ada"}}, "The example does not fit"),
        (SCHEMA, {"attempts": 0}, "attempts=0"),
        ({"type": "thing"}, {}, "#/type"),
        (pydantic.create_model("Odd", n=(int, pydantic.Field(ge=5, le=3))), {}, "No value can satisfy"),
    ],
)
def test_what_cannot_work_is_refused_before_the_model_is_asked(
    schema: Any, arguments: dict[str, Any], said: str
) -> None:
    model = ScriptedModel("{}")
    with pytest.raises(InputError) as caught:
        structured(model, "Who?", schema, **arguments)
    assert said in caught.value.message
    assert model.calls == []


@pytest.mark.parametrize(
    "text",
    ["{" * 100_000, "[1," * 100_000, '"' * 1_000_001, "/*" * 500_000, "```\n" * 200_000, "<think>" * 140_000],
)
def test_a_megabyte_of_brackets_ends(text: str) -> None:
    assert all(found.problem for found in candidates(text))  # in seconds: nothing here is quadratic


ROWS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "kind": {"type": "string"},
            "bags": {"type": "integer"},
            "note": {"type": ["string", "null"]},
        },
        "required": ["kind", "bags"],
    },
}
ORDER = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["rye", "wheat"]},
        "bags": {"type": "integer"},
        "dry": {"type": "boolean"},
        "days": {"type": "array", "items": {"type": "number"}},
    },
    "required": ["kind", "bags"],
}


@pytest.mark.parametrize(
    ("form", "schema", "text", "value"),
    [
        (
            "list",
            {"type": "array", "items": {"type": "string"}},
            "Sure:\n- rye\n* wheat | oat\n",
            ["rye", "wheat | oat"],
        ),
        ("list", {"type": "array", "items": {"type": "number"}}, "1. 2.5\n2) 1,000", [2.5, 1000]),
        (
            "table",
            ROWS,
            "Here:\n\n| Kind | **Bags** | note |\n|:--|--:|---|\n| rye \\| oat | 1,200 | |\n"
            "| wheat | 3 | old |\n",
            [{"kind": "rye | oat", "bags": 1200, "note": None}, {"kind": "wheat", "bags": 3, "note": "old"}],
        ),
        (
            "xml",
            ORDER,
            "```xml\n<answer><kind>rye</kind><bags> 3 </bags><dry>yes</dry>"
            "<days><item>1</item><item>2.5</item></days></answer>\n```",
            {"kind": "rye", "bags": 3, "dry": True, "days": [1, 2.5]},
        ),
    ],
)
def test_other_forms_give_the_same_kind_of_value(form: Any, schema: Any, text: str, value: Any) -> None:
    model = ScriptedModel(["no", text])
    made = structured(model, "What?", schema, form=form)
    assert made.value == value
    assert made.attempts == 2
    shown = Form(schema, form=form)
    assert shown.read(shown.instruction.partition("invented:\n")[2])[1] == []  # its own example fits


@pytest.mark.parametrize(
    ("form", "schema", "text", "why"),
    [
        ("list", {"type": "array", "items": {"type": "integer"}}, "- many", "not of type integer"),
        ("table", ROWS, "| kind | bags |\n|---|---|\n| rye |", "1 cells under 2 headings"),
        ("table", ROWS, "| kind |\n|---|\n| rye |", "lacks 'bags'"),
        ("table", ROWS, "| kind | bags |", "no table with a heading"),
        ("xml", ORDER, "<answer><kind>rye</answer>", "the XML is broken"),
        ("xml", ORDER, "<kind>rye</kind>", "there is no <answer>"),
        ("xml", ORDER, '<answer><!DOCTYPE a [<!ENTITY b "c">]><kind>&b;</kind></answer>', "not read"),
        ("xml", ORDER, "<answer><kind>rye</kind><kind>rye</kind></answer>", "stands twice"),
        ("xml", ORDER, "<answer>" + "<a>" * 5000 + "</a>" * 5000 + "</answer>", "deeper than 50"),
    ],
)
def test_other_forms_say_what_is_wrong(form: Any, schema: Any, text: str, why: str) -> None:
    with pytest.raises(InvalidOutput) as caught:
        structured(
            ScriptedModel(text),
            "What?",
            schema,
            form=form,
            attempts=1,
            decoding=Decoding(max_new_tokens=10**6),
        )
    assert why in caught.value.problems[0]


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        ("list", ORDER),
        ("list", {"type": "array", "items": ORDER}),
        ("table", {"type": "array", "items": {"type": "string"}}),
        ("table", {"type": "array", "items": ORDER}),
        ("yaml", ORDER),
    ],
)
def test_a_form_needs_its_shape(form: Any, schema: Any) -> None:
    with pytest.raises(InputError) as caught:
        structured(ScriptedModel(""), "What?", schema, form=form)
    assert caught.value.hint
