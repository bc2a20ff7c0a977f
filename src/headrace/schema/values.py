"""A value against a schema: what does not fit, each with its place.

The validation vocabulary of JSON Schema draft 2020-12 (json-schema.org/draft/2020-12), references within
the schema included. The schema itself has been checked before (``check.py``).
"""

from __future__ import annotations

import datetime
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from headrace.errors import InputError

Schema = Mapping[str, Any] | bool

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
MOST = 20  # problems that are listed of one value
DEEPEST = 100  # references and parts within each other
# Parts of a schema that are held against a value, and against each part of it: alternatives within
# alternatives multiply.
PARTS, PARTS_EACH = 5_000, 100


def problems(value: Any, schema: Schema) -> list[str]:
    """What does not fit, each as ``place: what``; empty where the value fits. At most ``MOST``."""
    found: list[str] = []
    try:
        for problem in _Validator(schema, _size(value)).problems(value, schema, "", 0):
            found.append(problem)
            if len(found) == MOST:
                break
    except _TooMuch:
        found.append("the value: cannot be checked, too many parts of the schema speak of it")
    return found


def fits(value: Any, schema: Schema, root: Schema | None = None) -> bool:
    """Whether a value fits; references start from ``root``."""
    validator = _Validator(schema if root is None else root, _size(value))
    try:
        return next(validator.problems(value, schema, "", 0), None) is None
    except _TooMuch:
        return False


def _size(value: Any) -> int:
    """How many values lie in a value, itself included."""
    waiting, count = [value], 0
    while waiting:
        one = waiting.pop()
        count += 1
        waiting.extend(one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
    return count


class _TooMuch(Exception):
    """The parts that may be looked at for one value are used up."""


class _Validator:
    """Checks values against parts of one schema, whose root references start from."""

    def __init__(self, root: Schema, size: int) -> None:
        self.root = root
        self.left = PARTS + PARTS_EACH * size

    def problems(self, value: Any, schema: Schema, at: str, depth: int) -> Iterator[str]:
        self.left -= 1
        if self.left < 0:
            raise _TooMuch
        if isinstance(schema, bool):
            if not schema:
                yield f"{_place(at)} must not be there"
            return
        if depth > DEEPEST:
            yield f"{_place(at)} lies too deep (more than {DEEPEST} levels)"
            return
        if "$ref" in schema:
            yield from self.problems(value, resolve(self.root, schema["$ref"]), at, depth + 1)
        wanted = schema.get("type")
        if wanted is not None:
            names = [wanted] if isinstance(wanted, str) else list(wanted)
            if not any(is_type(value, name) for name in names):
                yield f"{_place(at)} is {_shown(value)}, not of type {' or '.join(names)}"
                return  # everything else would only repeat this
        if "enum" in schema and not any(same(value, one) for one in schema["enum"]):
            yield f"{_place(at)} is {_shown(value)}, not one of {_shown(schema['enum'], 200)}"
        if "const" in schema and not same(value, schema["const"]):
            yield f"{_place(at)} is {_shown(value)}, not {_shown(schema['const'])}"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield from _number_problems(value, schema, at)
        elif isinstance(value, str):
            yield from _text_problems(value, schema, at)
        elif isinstance(value, list):
            yield from self._array(value, schema, at, depth)
        elif isinstance(value, dict):
            yield from self._object(value, schema, at, depth)
        yield from self._combined(value, schema, at, depth)

    def _fits(self, value: Any, schema: Schema, at: str, depth: int) -> bool:
        return next(self.problems(value, schema, at, depth + 1), None) is None

    def _combined(self, value: Any, schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
        for part in schema.get("allOf", ()):
            yield from self.problems(value, part, at, depth + 1)
        if "anyOf" in schema and not any(self._fits(value, part, at, depth) for part in schema["anyOf"]):
            yield f"{_place(at)} fits none of the {len(schema['anyOf'])} alternatives" + self._nearest(
                value, schema["anyOf"], at, depth
            )
        if "oneOf" in schema:
            fitting = sum(self._fits(value, part, at, depth) for part in schema["oneOf"])
            if fitting != 1:
                yield (
                    f"{_place(at)} fits {fitting or 'none'} of the {len(schema['oneOf'])} alternatives, "
                    "and must fit exactly one"
                ) + (self._nearest(value, schema["oneOf"], at, depth) if not fitting else "")
        if "not" in schema and self._fits(value, schema["not"], at, depth):
            yield f"{_place(at)} is {_shown(value)}, which is excluded"
        if "if" in schema:
            branch = "then" if self._fits(value, schema["if"], at, depth) else "else"
            if branch in schema:
                yield from self.problems(value, schema[branch], at, depth + 1)

    def _nearest(self, value: Any, parts: list[Schema], at: str, depth: int) -> str:
        """Why the alternative with the fewest problems does not fit."""
        listed = [list(self.problems(value, part, at, depth + 1)) for part in parts]
        fewest: list[str] = min(listed, key=lambda found: len(found))
        return f" (nearest: {fewest[0]})" if fewest else ""

    def _array(self, value: list[Any], schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
        if len(value) < schema.get("minItems", 0):
            yield f"{_place(at)} has {len(value)} items, fewer than {schema['minItems']}"
        if len(value) > schema.get("maxItems", len(value)):
            yield f"{_place(at)} has {len(value)} items, more than {schema['maxItems']}"
        if schema.get("uniqueItems") is True:
            keys = [_key(item) for item in value]
            if len(set(keys)) < len(keys):
                twice = next(item for item, key in zip(value, keys, strict=True) if keys.count(key) > 1)
                yield f"{_place(at)} has {_shown(twice)} more than once"
        first = schema.get("prefixItems", ())
        for index, item in enumerate(value):
            part = first[index] if index < len(first) else schema.get("items", True)
            yield from self.problems(item, part, f"{at}/{index}", depth + 1)
        if "contains" in schema:
            count = sum(self._fits(item, schema["contains"], at, depth) for item in value)
            least, most = schema.get("minContains", 1), schema.get("maxContains", len(value))
            if not least <= count <= most:
                yield f"{_place(at)} has {count} items of the kind that it must contain"

    def _object(self, value: dict[str, Any], schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{_place(at)} lacks {name!r}"
        for name, needs in schema.get("dependentRequired", {}).items():
            for other in needs if name in value else ():
                if other not in value:
                    yield f"{_place(at)} has {name!r} and therefore needs {other!r}"
        for name, part in schema.get("dependentSchemas", {}).items():
            if name in value:
                yield from self.problems(value, part, at, depth + 1)
        if len(value) < schema.get("minProperties", 0):
            yield f"{_place(at)} has {len(value)} properties, fewer than {schema['minProperties']}"
        if len(value) > schema.get("maxProperties", len(value)):
            yield f"{_place(at)} has {len(value)} properties, more than {schema['maxProperties']}"
        for name, item in value.items():
            if "propertyNames" in schema:
                yield from self.problems(name, schema["propertyNames"], f"{at}/{name} (its name)", depth + 1)
            listed = list(parts_of(schema, name))
            for part in listed:
                if part is False:
                    known = ", ".join(map(repr, schema.get("properties", ()))) or "none"
                    yield f"{_place(at)} has {name!r}, which is not allowed (known: {known})"
                else:
                    yield from self.problems(item, part, f"{at}/{_escaped(name)}", depth + 1)


def parts_of(schema: Mapping[str, Any], name: str) -> Iterator[Schema]:
    """The schemas that hold for the property ``name`` of an object."""
    found = False
    if name in schema.get("properties", {}):
        found = True
        yield schema["properties"][name]
    for pattern, part in schema.get("patternProperties", {}).items():
        if re.search(pattern, name):
            found = True
            yield part
    if not found and "additionalProperties" in schema:
        yield schema["additionalProperties"]


_BOUNDS = {
    "minimum": "less than the minimum",
    "maximum": "more than the maximum",
    "exclusiveMinimum": "not above",
    "exclusiveMaximum": "not below",
}


def _number_problems(value: float, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    for key, word in _BOUNDS.items():
        if key not in schema:
            continue
        bound = schema[key]
        outside = value < bound if "inimum" in key else value > bound
        if outside or (key.startswith("exclusive") and value == bound):
            yield f"{_place(at)} is {_shown(value)}, {word} {_shown(bound)}"
    step = schema.get("multipleOf")
    if step is not None and not _is_multiple(value, step):
        yield f"{_place(at)} is {_shown(value)}, no multiple of {_shown(step)}"


def _is_multiple(value: float, step: float) -> bool:
    """In decimal arithmetic: 0.3 is a multiple of 0.1."""
    if value != value or value in (float("inf"), float("-inf")):
        return False
    return (Fraction(repr(value)) / Fraction(repr(step))).denominator == 1


def _text_problems(value: str, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    if len(value) < schema.get("minLength", 0):
        yield f"{_place(at)} has {len(value)} characters, fewer than {schema['minLength']}"
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{_place(at)} has {len(value)} characters, more than {schema['maxLength']}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{_place(at)} is {_shown(value)}, which does not match {schema['pattern']!r}"
    known = FORMATS.get(schema.get("format", ""))
    if known is not None and not known(value):
        yield f"{_place(at)} is {_shown(value)}, which is no {schema['format']}"


def _parses(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def known(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return known


_DATE = re.compile(r"\d{4}-\d\d-\d\d\Z")
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")
FORMATS: Mapping[str, Callable[[str], bool]] = {
    "date": lambda text: bool(_DATE.match(text)) and _parses(datetime.date.fromisoformat)(text),
    "date-time": lambda text: (
        bool(_DATE_TIME.match(text)) and _parses(datetime.datetime.fromisoformat)(text.upper())
    ),
    "time": _parses(lambda text: datetime.time.fromisoformat(text.upper())),
    "uuid": lambda text: len(text) == 36 and _parses(uuid.UUID)(text),
    "email": lambda text: re.fullmatch(r"[^@\s]+@[^@\s]+", text) is not None,
}


def is_type(value: Any, name: str) -> bool:
    """Whether a JSON value is of this type: 1.0 is an integer, true is no number."""
    if isinstance(value, bool):
        return name == "boolean"
    if isinstance(value, int):
        return name in ("integer", "number")
    if isinstance(value, float):
        return name == "number" or (name == "integer" and value.is_integer())
    kinds: dict[str, type] = {"null": type(None), "string": str, "array": list, "object": dict}
    return name in kinds and isinstance(value, kinds[name])


def same(a: Any, b: Any) -> bool:
    """Equal as JSON: 1 and 1.0 are, 1 and true are not."""
    return _key(a) == _key(b)


def _key(value: Any) -> str:
    def plain(part: Any) -> Any:
        if isinstance(part, float) and part.is_integer():
            return int(part)
        if isinstance(part, list):
            return [plain(item) for item in part]
        if isinstance(part, dict):
            return {key: plain(item) for key, item in part.items()}
        return part

    return json.dumps(plain(value), sort_keys=True)


def resolve(root: Schema, reference: str) -> Schema:
    """The part that a reference within the schema points to. InputError where there is none."""
    found: Any = root
    if reference not in ("#", ""):
        if not reference.startswith("#/"):
            raise InputError(
                f"The schema refers to {reference!r}, which lies outside of it.",
                hint="Write it into the schema's $defs and refer to '#/$defs/NAME'.",
            )
        for part in reference[2:].split("/"):
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdigit() and int(name) < len(found):
                found = found[int(name)]
            else:
                raise InputError(
                    f"The schema refers to {reference!r}, which is not there.",
                    hint="Correct the reference, or add that definition under $defs.",
                )
    if not isinstance(found, (bool, Mapping)):
        raise InputError(f"The schema refers to {reference!r}, which is no schema.", hint="Correct it.")
    return found


def _place(at: str) -> str:
    return f"{at}:" if at else "the value:"


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _shown(value: Any, most: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= most else text[: most - 1] + "…"
