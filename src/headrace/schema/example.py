"""A value that fits a schema: the worked example of a prompt where nobody wrote a better one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.errors import InputError
from headrace.schema.values import Schema, problems, resolve

_DEEPEST = 8
_PARTS = 500  # of a schema that an example follows
_MOST = 50  # items of a list in an example
_LONGEST = 2_000  # characters of a text in an example
_TEXTS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T09:30:00Z",
    "time": "09:30:00",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "name@example.org",
}


def example(schema: Schema) -> Any:
    """A value that fits: the schema's own ``examples``, ``default`` or ``enum`` where it has them, else a
    plain one of its type, with all properties that it names.

    Raises InputError where none that fits was found (a pattern, say): then write one.
    """
    for depth in (_DEEPEST, 2, 1):  # the shorter ones leave optional parts of parts out
        made = _Maker(schema).made(schema, "value", depth)
        wrong = problems(made, schema)
        if not wrong:
            return made
    raise InputError(
        f"No example of the schema could be made: {wrong[0]}.",
        hint='Write one yourself: "examples": [...] in the schema, or the argument example=.',
    )


class _Maker:
    """Makes one value; ``left`` parts of the schema may still be followed."""

    def __init__(self, root: Schema) -> None:
        self.root = root
        self.left = _PARTS

    def made(self, schema: Schema, name: str, depth: int) -> Any:
        self.left -= 1
        if isinstance(schema, bool) or depth < -_DEEPEST or self.left < 0:
            return name
        for key in ("examples", "enum"):
            if schema.get(key):
                return schema[key][0]
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        if "$ref" in schema:
            return self.made(resolve(self.root, schema["$ref"]), name, depth - 1)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                parts = [part for part in schema[key] if part is not False]
                plain = [p for p in parts if isinstance(p, Mapping) and p.get("type") != "null"]
                return self.made({**_base(schema), **_mapping((plain or parts)[0])}, name, depth - 1)
        if "allOf" in schema:
            return self.made(_merged(schema, self.root), name, depth - 1)
        kind = schema.get("type") or _guessed(schema)
        kind = kind if isinstance(kind, str) else next((k for k in kind if k != "null"), kind[0])
        if kind == "object":
            needed = schema.get("required", ())
            return {
                key: self.made(part, key, depth - 1)
                for key, part in schema.get("properties", {}).items()
                if part is not False and (key in needed or depth > 0)
            }
        if kind == "array":
            first = list(schema.get("prefixItems", ()))
            least = max(schema.get("minItems", 0), 1 if depth > 0 and schema.get("maxItems", 1) else 0)
            return [
                self.made(first[i] if i < len(first) else schema.get("items", True), name, depth - 1)
                for i in range(min(_MOST, max(int(least), len(first))))
            ]
        if kind in ("integer", "number"):
            return _number(schema, kind)
        if kind == "string":
            text = _TEXTS.get(schema.get("format", ""), name)
            return text.ljust(min(_LONGEST, int(schema.get("minLength", 0))), "x")[
                : int(schema.get("maxLength", 10**7))
            ]
        return {"boolean": True, "null": None}.get(kind)


def _base(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}


def _mapping(part: Schema) -> Mapping[str, Any]:
    return part if isinstance(part, Mapping) else {}


def _merged(schema: Mapping[str, Any], root: Schema) -> dict[str, Any]:
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        one = dict(_mapping(resolve(root, part["$ref"]) if "$ref" in _mapping(part) else part))
        one["properties"] = {**merged.get("properties", {}), **one.get("properties", {})}
        one["required"] = [*merged.get("required", ()), *one.get("required", ())]
        merged.update(one)
    return merged


def _guessed(schema: Mapping[str, Any]) -> str:
    for kind, keys in (
        ("object", ("properties", "required", "additionalProperties")),
        ("array", ("items", "prefixItems", "minItems")),
        ("number", ("minimum", "maximum", "multipleOf")),
    ):
        if any(key in schema for key in keys):
            return kind
    return "string"


def _number(schema: Mapping[str, Any], kind: str) -> Any:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None and high is None:
        return int(step) if kind == "integer" and float(step).is_integer() else step
    if low is not None and high is not None and "multipleOf" not in schema and kind == "number":
        return low if "minimum" in schema else (low + high) / 2
    near = -(-low // step) * step if low is not None else high // step * step
    if near == schema.get("exclusiveMinimum"):
        near += step
    if near == schema.get("exclusiveMaximum"):
        near -= step
    return int(near) if float(near).is_integer() else near
