"""JSON Schema: what fits, what does not and where, and what no value could satisfy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InputError
from headrace.schema.check import check
from headrace.schema.example import example
from headrace.schema.possible import contradiction
from headrace.schema.values import fits, problems, same

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "born": {"type": "string", "format": "date"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True, "maxItems": 2},
        "boss": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"name": "Ada", "age": 36}, []),
        ({"name": "Ada", "age": 36.0, "tags": ["a", "b"], "boss": {"name": "B", "age": 1}}, []),
        ([], ["the value: is [], not of type object"]),
        ({"name": "", "age": 151}, ["/name: has 0 characters", "/age: is 151, more than the maximum 150"]),
        ({"age": True, "name": "x"}, ["/age: is true, not of type integer"]),
        ({"name": "x"}, ["the value: lacks 'age'"]),
        ({"name": "x", "age": 1, "nme": 2}, ["has 'nme', which is not allowed (known: 'name'"]),
        ({"name": "x", "age": 1, "born": "31.1.2026"}, ['/born: is "31.1.2026", which is no date']),
        (
            {"name": "x", "age": 1, "tags": ["a", "a", "c"]},
            ["more than 2", "more than once", '/tags/2: is "c"'],
        ),
        ({"name": "x", "age": 1, "boss": {"name": 3}}, ["/boss: fits none of the 2 alternatives (nearest: "]),
    ],
)
def test_problems_name_the_place(value: Any, said: list[str]) -> None:
    check(PERSON)
    found = problems(value, PERSON)
    assert len(found) == len(said), found
    for text, part in zip(found, said, strict=True):
        assert part in text


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"multipleOf": 0.1}, 0.3, 0.35),
        ({"const": 1}, 1.0, True),
        ({"oneOf": [{"type": "number"}, {"minimum": 3}]}, 1, 4),
        ({"not": {"type": "string"}}, 1, "x"),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"b": 1}, {"a": 1}),
        ({"prefixItems": [{"type": "string"}], "items": False}, ["x"], ["x", 1]),
        ({"contains": {"const": 1}, "maxContains": 1}, [1, 2], [1, 1]),
        (
            {"patternProperties": {"^x": {"type": "null"}}, "additionalProperties": False},
            {"xy": None},
            {"y": 1},
        ),
        ({"dependentRequired": {"a": ["b"]}}, {"b": 1}, {"a": 1}),
        ({"propertyNames": {"maxLength": 2}}, {"ab": 1}, {"abc": 1}),
        ({"type": "string", "format": "uuid"}, "12345678-1234-5678-1234-567812345678", "1234"),
        ({"type": "string", "format": "date-time"}, "2026-01-31T10:00:00Z", "2026-01-31"),
        ({"pattern": "^\\d+$"}, "12", "a"),
        (True, {}, None),
    ],
)
def test_keywords(schema: Any, good: Any, bad: Any) -> None:
    check(schema)
    assert fits(good, schema)
    if bad is not None:
        assert not fits(bad, schema)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "integer", "minimum": 5, "maximum": 3}, "at least 5 and at most 3"),
        ({"type": "number", "exclusiveMinimum": 2, "maximum": 2}, "above 2 and at most 2"),
        ({"type": "integer", "minimum": 1.2, "maximum": 1.8}, "there is none"),
        ({"enum": []}, "empty enum"),
        ({"enum": ["a"], "type": "integer"}, "none of the values of its enum"),
        ({"const": "long text", "maxLength": 3}, "none of the values of its const"),
        ({"type": "object", "required": ["a"], "properties": {"a": False}}, "requires 'a' and forbids it"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "requires 'a' and forbids it"),
        ({"type": "object", "required": ["a", "b"], "maxProperties": 1}, "requires 2 properties"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "at least 3 characters and at most 2"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "at least 3 items"),
        ({"type": "array", "minItems": 3, "uniqueItems": True, "items": {"enum": [1, 2]}}, "only 2"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "exclude each other"),
        ({"type": "object", "properties": {"me": {"$ref": "#"}}, "required": ["me"]}, "needs itself"),
        ({"$ref": "#"}, "needs itself"),
        ({"anyOf": [{"enum": []}, False]}, "none of its alternatives"),
        ({"type": "object", "properties": {"a": {"enum": []}}, "required": ["a"]}, "/a has an empty enum"),
        (False, "allows nothing"),
        ({"not": {}}, "excludes everything"),
    ],
)
def test_a_schema_that_nothing_satisfies_is_refused(schema: Any, why: str) -> None:
    with pytest.raises(InputError, match="No value can satisfy") as caught:
        check(schema)
    assert why in caught.value.message


@pytest.mark.parametrize(
    "schema",
    [
        {"minimum": 5, "maximum": 3},  # no number, but a text
        {"type": "object", "properties": {"a": {"enum": []}}},  # without a
        {"type": "array", "items": False},  # the empty one
        {
            "type": "object",
            "properties": {"me": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "required": ["me"],
        },
        {"type": "array", "items": {"$ref": "#"}, "maxItems": 3},
    ],
)
def test_what_may_be_satisfied_is_not_refused(schema: Any) -> None:
    check(schema)
    assert contradiction(schema) is None


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "text"}, "#/type is 'text'"),
        ({"properties": {"a": 3}}, "#/properties/a is 3"),
        ({"unevaluatedProperties": False}, "not known here"),
        ({"$ref": "#/$defs/none"}, "which is not there"),
        ({"$ref": "https://example.org/x"}, "outside"),
        ({"pattern": "("}, "no regular expression"),
        ({"minLength": -1}, "#/minLength is -1"),
        ({"required": "a"}, "#/required is 'a'"),
        ({"enum": 3}, "#/enum is 3"),
        ({"format": []}, "#/format is []"),
        ({"examples": "a"}, "#/examples is 'a'"),
        ("text", "# is 'text'"),
        ({"$schema": "https://example.org/mine"}, "a dialect that is not known"),
    ],
)
def test_what_is_no_schema_is_refused_with_its_place(schema: Any, why: str) -> None:
    with pytest.raises(InputError) as caught:
        check(schema)
    assert why in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "schema",
    [
        PERSON,
        {"type": "array", "minItems": 3, "items": {"type": "number", "minimum": 0, "maximum": 1}},
        {"type": "integer", "exclusiveMinimum": 10, "multipleOf": 4},
        {"type": "string", "minLength": 20},
        {"allOf": [{"properties": {"a": {"type": "boolean"}}, "required": ["a"]}, {"type": "object"}]},
        {"oneOf": [{"type": "null"}, {"const": 7}]},
        {"type": ["null", "string"], "format": "date"},
    ],
)
def test_an_example_fits(schema: Any) -> None:
    assert problems(example(schema), schema) == []


def test_no_example_is_made_up_for_a_pattern() -> None:
    with pytest.raises(InputError, match="No example"):
        example({"type": "string", "pattern": "^[0-9]{12}$"})
    assert example({"type": "string", "pattern": "^[0-9]{3}$", "examples": ["123"]}) == "123"


def test_alternatives_that_multiply_end() -> None:
    twice: Any = {"$defs": {"a": {"oneOf": [{"items": {"$ref": "#/$defs/a"}}] * 6}}, "$ref": "#/$defs/a"}
    check(twice)
    value: Any = "x"
    for _ in range(30):
        value = [value]
    assert "cannot be checked" in problems(value, twice)[-1]
    assert not fits(value, twice)
    big = {"type": "array", "items": {"anyOf": [{"maxLength": 0}, {"type": "integer"}, {"type": "string"}]}}
    assert fits([1, "a"] * 5_000, big)
    with pytest.raises(InputError):
        example({"type": "array", "minItems": 10**30})
    with pytest.raises(InputError):
        example({"type": "string", "minLength": 1e308})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
    max_leaves=8,
)


@given(JSON)
def test_every_value_is_its_own_constant(value: Any) -> None:
    assert same(value, value)
    assert fits(value, {"const": value})
    assert not fits(value, {"not": {"enum": [value]}})
