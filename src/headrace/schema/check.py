"""Whether a schema is one, and whether any value could satisfy it: said before a model is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headrace.errors import InputError
from headrace.schema.possible import contradiction
from headrace.schema.values import DEEPEST, TYPES, is_type, resolve


def check(schema: Any) -> None:
    """Raise InputError, with the place, for a schema that is broken, unknown or fits no value at all."""
    _Checker(schema).check()
    reason = contradiction(schema)
    if reason is not None:
        raise InputError(
            f"No value can satisfy the schema: {reason}.",
            hint="Correct the schema; asking a model for such a value would only cost tokens.",
        )


_OURS = "https://json-schema.org/draft/2020-12/schema"
_SAY = (  # say something about a value without forbidding any
    "$schema $id $comment $defs definitions title description default examples deprecated readOnly writeOnly "
    "contentEncoding contentMediaType contentSchema discriminator"
).split()
_COUNTS = "minLength maxLength minItems maxItems minProperties maxProperties minContains maxContains".split()
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_ONE = ("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "dependentSchemas")
_REST = ("type", "enum", "const", "required", "uniqueItems", "pattern", "format", "dependentRequired", "$ref")
KNOWN = frozenset((*_SAY, *_COUNTS, *_NUMBERS, *_ONE, *_LISTS, *_NAMED, *_REST))


class _Checker:
    """Whether a schema is one, keyword by keyword."""

    def __init__(self, schema: Any) -> None:
        self.root = schema

    def check(self) -> None:
        named = self.root.get("$schema", _OURS) if isinstance(self.root, Mapping) else _OURS
        if not isinstance(named, str) or not re.match(r"https?://json-schema\.org/draft", named):
            raise self._wrong(
                "#/$schema",
                f"is {named!r:.80}, a dialect that is not known here",
                f"Write it for {_OURS}, or leave the key out.",
            )
        self._part(self.root, "#", 0)

    def _wrong(self, at: str, what: str, hint: str = "") -> InputError:
        return InputError(
            f"The schema is not one: {at} {what}.",
            hint=hint or "See json-schema.org for what a keyword takes.",
        )

    def _part(self, schema: Any, at: str, depth: int) -> None:
        if isinstance(schema, bool):
            return
        if not isinstance(schema, Mapping):
            raise self._wrong(at, f"is {schema!r:.60}, not an object or true or false")
        if depth > DEEPEST:
            raise self._wrong(at, f"lies deeper than {DEEPEST} levels")
        for key, value in schema.items():
            here = f"{at}/{key}"
            if key == "examples" and not isinstance(value, list):
                raise self._wrong(here, f"is {value!r:.60}, not a list")
            if key not in KNOWN:
                if not str(key).startswith("x-"):
                    raise self._wrong(
                        here,
                        "is a keyword that is not known here",
                        "Leave it out; names beginning with x- are for remarks.",
                    )
            elif key in _COUNTS:
                if not is_type(value, "integer") or value < 0:
                    raise self._wrong(here, f"is {value!r}, not a whole number of 0 or more")
            elif key in _NUMBERS:
                if not is_type(value, "number") or (key == "multipleOf" and value <= 0):
                    raise self._wrong(here, f"is {value!r}, not a number that fits")
            elif key in _ONE:
                self._part(value, here, depth + 1)
            elif key in _LISTS:
                if not isinstance(value, list) or not value:
                    raise self._wrong(here, f"is {value!r:.60}, not a list of schemas")
                for index, part in enumerate(value):
                    self._part(part, f"{here}/{index}", depth + 1)
            elif key in _NAMED or key in ("$defs", "definitions"):
                if not isinstance(value, Mapping):
                    raise self._wrong(here, f"is {value!r:.60}, not an object of schemas")
                for name, part in value.items():
                    if key == "patternProperties":
                        self._pattern(name, here)
                    self._part(part, f"{here}/{name}", depth + 1)
            else:
                self._rest(key, value, here)

    def _rest(self, key: str, value: Any, here: str) -> None:
        if key == "type":
            names = [value] if isinstance(value, str) else value
            if not isinstance(names, list) or not names or any(name not in TYPES for name in names):
                raise self._wrong(here, f"is {value!r}, not of {', '.join(TYPES)}")
        elif key == "enum" and not isinstance(value, list):
            raise self._wrong(here, f"is {value!r:.60}, not a list")
        elif key == "required" and not _are_names(value):
            raise self._wrong(here, f"is {value!r:.60}, not a list of names")
        elif key == "dependentRequired" and not (
            isinstance(value, Mapping) and all(_are_names(names) for names in value.values())
        ):
            raise self._wrong(here, f"is {value!r:.60}, not an object of lists of names")
        elif key == "format" and not isinstance(value, str):
            raise self._wrong(here, f"is {value!r:.60}, not a text")
        elif key == "uniqueItems" and not isinstance(value, bool):
            raise self._wrong(here, f"is {value!r}, not true or false")
        elif key == "pattern":
            self._pattern(value, here)
        elif key == "$ref":
            if not isinstance(value, str):
                raise self._wrong(here, f"is {value!r:.60}, not a text")
            resolve(self.root, value)

    def _pattern(self, value: Any, here: str) -> None:
        if not isinstance(value, str):
            raise self._wrong(here, f"is {value!r:.60}, not a text")
        try:
            re.compile(value)
        except re.error as error:
            raise self._wrong(here, f"is {value!r}, no regular expression of Python: {error}") from error


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
