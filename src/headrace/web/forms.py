"""An application's JSON schema → the fields of a form, and a sent form → its inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headrace.errors import InputError

Kind = Literal["text", "line", "integer", "number", "checkbox", "choice", "datetime", "date", "lines", "json"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One input of a form. ``value`` is what it shows, always a text; a checkbox is "on" or ""."""

    name: str
    label: str
    kind: Kind
    required: bool
    value: str = ""
    choices: tuple[str, ...] = ()
    help: str = ""


def fields(
    schema: Mapping[str, Any],
    values: Mapping[str, Sequence[str]] | None = None,
    *,
    without: str | None = None,
) -> list[Field]:
    """The form of a schema, filled with ``values`` (as sent before) or with the defaults.

    ``without`` leaves an optional parameter out (the history of a chat: the page has none).
    """
    made = []
    required = schema.get("required", ())
    for name, raw in schema.get("properties", {}).items():
        if name == without and name not in required:
            continue
        part = _plain(raw, schema)
        kind = _kind(part, name in required)
        default = _as_text(raw.get("default", part.get("default")), kind)
        if values is None:
            value = default
        else:
            value = values[name][-1] if values.get(name) else ""
        made.append(
            Field(
                name=name,
                label=name.replace("_", " ").capitalize(),
                kind=kind,
                required=name in required and kind != "checkbox",
                value=value,
                choices=tuple(str(choice) for choice in _choices(part)),
                help=raw.get("description", ""),
            )
        )
    return made


def inputs(
    schema: Mapping[str, Any], sent: Mapping[str, Sequence[str]], *, without: str | None = None
) -> dict[str, Any]:
    """What a form sent → inputs for the signature. Empty optional fields keep their default."""
    made: dict[str, Any] = {}
    for field in fields(schema, sent, without=without):
        if field.kind == "checkbox":
            made[field.name] = field.value == "on"
        elif field.value.strip() or (field.required and field.kind in ("text", "line")):
            made[field.name] = _value(field)
        elif field.required:
            raise InputError(f"{field.name}: nothing was given.", hint=f"Fill in {field.label!r}.")
    return made


def _value(field: Field) -> Any:
    text = field.value.replace("\r\n", "\n")  # forms send CR LF
    try:
        if field.kind == "integer":
            return int(text)
        if field.kind == "number":
            return float(text)
        if field.kind == "json":
            return json.loads(text)
    except ValueError as error:
        wanted = {"integer": "a whole number", "number": "a number", "json": "JSON"}[field.kind]
        raise InputError(
            f"{field.name}: {text!r:.60} is not {wanted}.", hint=f"Correct {field.label!r}."
        ) from error
    if field.kind == "lines":
        return [line for line in text.split("\n") if line.strip()]
    if field.kind == "choice" and text not in field.choices:
        raise InputError(
            f"{field.name}: {text!r} is not a choice.", hint=f"Known: {', '.join(field.choices)}."
        )
    return text


def _plain(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference, and take the one alternative of an optional."""
    if "$ref" in part:
        return _plain(schema.get("$defs", {}).get(part["$ref"].rpartition("/")[2], {}), schema)
    alternatives = [a for a in part.get("anyOf", ()) if a.get("type") != "null"]
    if len(alternatives) == 1:
        return _plain(alternatives[0], schema)
    return part


def _choices(part: Mapping[str, Any]) -> Sequence[Any]:
    """A Literal of one value is a ``const`` in the schema."""
    return [part["const"]] if "const" in part else part.get("enum", ())


def _kind(part: Mapping[str, Any], required: bool) -> Kind:
    kind, form = part.get("type"), part.get("format")
    if _choices(part) and all(isinstance(choice, str) for choice in _choices(part)):
        return "choice"
    if kind == "string":
        if form == "date-time":
            return "datetime"
        if form == "date":
            return "date"
        return "text" if required and form is None else "line"
    if kind == "integer":
        return "integer"
    if kind == "number":
        return "number"
    if kind == "boolean":
        return "checkbox"
    if kind == "array" and part.get("items", {}).get("type") == "string":
        return "lines"
    return "json"


def _as_text(default: Any, kind: Kind) -> str:
    if default is None:
        return ""
    if kind == "checkbox":
        return "on" if default else ""
    if kind == "lines":
        return "\n".join(str(item) for item in default)
    if kind == "json":
        return json.dumps(default, ensure_ascii=False)
    return str(default)
