"""Other forms of a value than JSON: a list, a Markdown table, XML. Each is asked for, and read back to data.

Small models often write these more reliably. Cells and elements are text; a schema says which of them
are numbers, and the value is checked against it like any other (``structured.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree

from headrace.errors import InputError
from headrace.schema.values import Schema, is_type, resolve

Form = Literal["json", "list", "table", "xml"]
_ITEM = re.compile(r"^\s*(?:[-*+•]|\(?\d{1,4}[.)])\s+(.*\S)\s*$")
_RULE = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)*\|?\s*$")
_CELLS = re.compile(r"(?<!\\)\|")
_NAME = re.compile(r"[A-Za-z_][\w.-]*\Z")


@dataclass(frozen=True)
class Written:
    """How one form is written and read. ``read`` gives plain data or raises ValueError with the reason."""

    order: str
    write: Callable[[Any], str]
    read: Callable[[str], Any]


def form_of(name: str, schema: Any) -> Written:
    """The form for values of a schema. InputError where the schema has another shape than the form."""
    if name not in _SHAPES:
        raise InputError(f"form={name!r} is not known.", hint=f"Use one of: json, {', '.join(_SHAPES)}.")
    return _SHAPES[name](schema)


# --------------------------------------------------------------------------- lists


def _list(schema: Any) -> Written:
    items = _part(schema, schema, "array", "a list")
    _flat(items, schema, "a list")

    def read(text: str) -> Any:
        found = [match[1] for line in text.splitlines() if (match := _ITEM.match(line))]
        if not found:
            raise ValueError("there is no line that begins with '- '")
        return [coerced(item, items, schema) for item in found]

    return Written(
        "Reply with a list and nothing else: one item a line, each line beginning with '- '.",
        lambda value: "\n".join(f"- {_plain(item)}" for item in value),
        read,
    )


# --------------------------------------------------------------------------- tables


def _table(schema: Any) -> Written:
    row = _part(schema, schema, "array", "a table")
    columns = list(_mapping(row).get("properties", {}))
    if not columns:
        raise InputError(
            "The schema of a table has to name its columns.",
            hint='{"type": "array", "items": {"type": "object", "properties": {"column": …}}}',
        )
    for name in columns:
        _flat(row["properties"][name], schema, f"the column {name!r}")

    def read(text: str) -> Any:
        lines = [line for line in text.splitlines() if "|" in line]
        at = next((i for i, line in enumerate(lines) if i and _RULE.match(line)), None)
        if at is None:
            raise ValueError("there is no table with a heading and a line of dashes below it")
        heads = _cells(lines[at - 1])
        rows = []
        for number, line in enumerate(lines[at + 1 :], 1):
            cells = _cells(line)
            if len(cells) != len(heads):
                raise ValueError(
                    f"row {number} of the table has {len(cells)} cells under {len(heads)} headings"
                )
            known = {_near(head, columns): cell for head, cell in zip(heads, cells, strict=True)}
            rows.append(
                {
                    name: coerced(cell, row["properties"].get(name, True), schema)
                    for name, cell in known.items()
                    if cell or name not in columns or "string" in _types(row["properties"][name], schema)
                }
            )
        return rows

    def write(value: Sequence[Mapping[str, Any]]) -> str:
        lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        for one in value:
            cells = [_plain(one.get(name)).replace("|", "\\|").replace("\n", " ") for name in columns]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    return Written(
        "Reply with a Markdown table and nothing else. Its columns, in this order: "
        f"{', '.join(columns)}. Leave a cell empty where nothing is known.",
        write,
        read,
    )


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    if inner.endswith("|") and not inner.endswith("\\|"):
        inner = inner[:-1]
    return [cell.strip().replace("\\|", "|") for cell in _CELLS.split(inner)]


def _near(head: str, columns: Sequence[str]) -> str:
    """The column that a heading means, whatever its case and marks."""
    plain = head.strip(" *_`").casefold().replace(" ", "_")
    return next((name for name in columns if name.casefold().replace(" ", "_") == plain), head)


# --------------------------------------------------------------------------- XML


def _xml(schema: Any) -> Written:
    root = "answer"

    def read(text: str) -> Any:
        begin, end = text.find(f"<{root}"), text.rfind(f"</{root}>")
        if begin < 0 or end < 0:
            raise ValueError(f"there is no <{root}> … </{root}>")
        if "<!" in text[begin:end].replace("<![CDATA[", "").replace("<!--", ""):
            raise ValueError("a document type or an entity stands in the XML, which is not read")
        try:
            element = ElementTree.fromstring(text[begin : end + len(root) + 3])
        except ElementTree.ParseError as error:
            raise ValueError(f"the XML is broken: {error}") from error
        return _value(element, schema, schema, 0)

    return Written(
        f"Reply with XML and nothing else: one element <{root}>, in it one element for each property, lists "
        "as <item> elements. As data it must satisfy this JSON schema:\n"
        f"{json.dumps(schema, ensure_ascii=False)}",
        lambda value: _tagged(root, value),
        read,
    )


def _value(element: ElementTree.Element, schema: Schema, root: Schema, depth: int) -> Any:
    if depth > 50:
        raise ValueError("the XML lies deeper than 50 levels")
    kinds = _types(schema, root)
    part = _resolved(schema, root)
    if "array" in kinds:
        items = part.get("items", True)
        return [_value(child, items, root, depth + 1) for child in element]
    if "object" in kinds or (not kinds & {"string", "number", "integer", "boolean"} and len(element)):
        made: dict[str, Any] = {}
        for child in element:
            if child.tag in made:
                raise ValueError(f"<{child.tag}> stands twice in <{element.tag}>")
            inner = part.get("properties", {}).get(child.tag, True)
            made[child.tag] = _value(child, inner, root, depth + 1)
        return made
    if len(element):
        raise ValueError(f"<{element.tag}> holds elements instead of a text")
    return coerced((element.text or "").strip(), schema, root)


def _tagged(name: str, value: Any) -> str:
    if not _NAME.match(name):
        raise InputError(f"{name!r} cannot be the name of an XML element.", hint="Use the form json instead.")
    if isinstance(value, Mapping):
        inside = "".join(_tagged(key, item) for key, item in value.items())
    elif isinstance(value, list):
        inside = "".join(_tagged("item", item) for item in value)
    else:
        text = _plain(value)
        inside = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<{name}>{inside}</{name}>"


# --------------------------------------------------------------------------- text and types


def coerced(text: str, schema: Schema, root: Schema) -> Any:
    """A text as the schema's type where it is written like one; else the text, which the check refuses."""
    kinds = _types(schema, root)
    plain = text.strip()
    if ("string" in kinds or not kinds) and (plain or "null" not in kinds):
        return text
    for kind in ("null", "boolean", "integer", "number"):
        if kind not in kinds:
            continue
        if kind == "null" and plain.lower() in ("", "null", "none", "n/a", "–", "-"):
            return None
        if kind == "boolean" and plain.lower() in ("true", "false", "yes", "no"):
            return plain.lower() in ("true", "yes")
        if kind in ("integer", "number"):
            try:
                value = json.loads(re.sub(r"(?<=\d),(?=\d{3}\b)", "", plain).lstrip("+"))
            except ValueError:
                continue
            if is_type(value, kind):
                return value
    return text


def _types(schema: Schema, root: Schema, depth: int = 0) -> set[str]:
    part = _resolved(schema, root) if depth < 4 else {}
    found = part.get("type", [])
    kinds = {found} if isinstance(found, str) else set(found)
    for key in ("anyOf", "oneOf"):
        for one in part.get(key, ()):
            kinds |= _types(one, root, depth + 1)
    values = [*part.get("enum", ()), *([part["const"]] if "const" in part else [])]
    if not kinds:
        kinds |= {
            kind for kind in ("null", "boolean", "integer", "string") for v in values if is_type(v, kind)
        }
        kinds |= {"object"} if "properties" in part else set()
        kinds |= {"array"} if "items" in part else set()
    return kinds


def _resolved(schema: Schema, root: Schema) -> Mapping[str, Any]:
    for _ in range(20):
        if not isinstance(schema, Mapping):
            return {}
        if "$ref" not in schema:
            return schema
        schema = resolve(root, schema["$ref"])
    return {}


def _mapping(schema: Any) -> Mapping[str, Any]:
    return schema if isinstance(schema, Mapping) else {}


def _part(schema: Any, root: Any, kind: str, what: str) -> Any:
    found = _resolved(schema, root)
    if kind not in _types(schema, root):
        raise InputError(
            f"The schema of {what} is of type {found.get('type')!r}.", hint=f'Give "type": "{kind}".'
        )
    items = found.get("items", True)
    return _resolved(items, root) if isinstance(items, Mapping) else items


def _flat(schema: Any, root: Any, what: str) -> None:
    if _types(schema, root) & {"object", "array"}:
        raise InputError(f"{what[0].upper()}{what[1:]} holds objects or lists.", hint="Use json or xml.")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


_SHAPES: Mapping[str, Callable[[Any], Written]] = {"list": _list, "table": _table, "xml": _xml}
