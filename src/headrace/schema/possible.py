"""Whether any value could satisfy a schema: contradictions that can be seen before a model is asked.

Sound, not complete: where a reason is given no value exists; where none is given one may. ``not``, ``if``
and patterns are hardly looked into.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from headrace.schema.values import TYPES, Schema, fits, parts_of, resolve

_PARTS = 2_000  # that are looked into
_DEEPEST = 24  # parts within each other that are followed; beyond it nothing is claimed


def contradiction(schema: Schema) -> str | None:
    """Why no value can satisfy a schema; None where one may."""
    return _Possible(schema).why_not([schema], "the schema", ())


class _Possible:
    def __init__(self, root: Schema) -> None:
        self.root = root
        self.left = _PARTS

    def why_not(self, given: Sequence[Schema], at: str, needing: tuple[str, ...]) -> str | None:
        """Why nothing satisfies all of ``given``. ``needing``: the references on the way here."""
        self.left -= 1
        if len(needing) > _DEEPEST or self.left < 0:
            return None
        together: list[Mapping[str, Any]] = []
        alternatives: list[list[Schema]] = []
        waiting, seen = list(given), list(needing)
        while waiting:
            one = waiting.pop()
            if one is True:
                continue
            if one is False:
                return f"{at} allows nothing (false)"
            assert isinstance(one, Mapping)
            together.append(one)
            waiting += one.get("allOf", ())
            if "$ref" in one:
                name = one["$ref"]
                if name in seen:
                    # The smallest value would have to hold another one of its own kind.
                    return f"{at} needs itself ({name}), so it could never end"
                seen.append(name)
                waiting.append(resolve(self.root, name))
            alternatives += [list(one[key]) for key in ("anyOf", "oneOf") if key in one]
            if one.get("not") in (True, {}):
                return f"{at} excludes everything (not)"
        path = tuple(seen) or ("",)
        listed = [(key, one[key]) for one in together for key in ("enum", "const") if key in one]
        if listed:
            values = listed[0][1] if listed[0][0] == "enum" else [listed[0][1]]
            if not values:
                return f"{at} has an empty enum"
            if not any(all(fits(value, one, self.root) for one in together) for value in values):
                return f"{at}: none of the values of its {listed[0][0]} fits the rest of it"
            return None
        reasons = []
        for kind in TYPES:
            reason = self._of_type(kind, together, at, path)
            if reason is None:
                break
            reasons.append(reason)
        else:
            told = [reason for reason in reasons if reason]
            return told[0] if told else f"{at} asks for types that exclude each other"
        for parts in alternatives:
            why = [self.why_not([*together_without(together), part], at, (*path, "")) for part in parts]
            if all(reason is not None for reason in why):
                return f"{at}: none of its alternatives is possible; {why[0]}"
        return None

    def _of_type(
        self, kind: str, together: Sequence[Mapping[str, Any]], at: str, path: tuple[str, ...]
    ) -> str | None:
        """Why no value of this type will do: "" where the type itself is not allowed."""
        for one in together:
            allowed = one.get("type")
            if allowed is not None:
                names = [allowed] if isinstance(allowed, str) else allowed
                if kind not in names and not (kind == "integer" and "number" in names):
                    return ""
        if kind in ("integer", "number"):
            return _numbers(kind, together, at)
        if kind == "string":
            return _bounds("characters", "minLength", "maxLength", together, at)
        if kind == "array":
            return self._array(together, at, path)
        if kind == "object":
            return self._object(together, at, path)
        return None

    def _array(self, together: Sequence[Mapping[str, Any]], at: str, path: tuple[str, ...]) -> str | None:
        if reason := _bounds("items", "minItems", "maxItems", together, at):
            return reason
        least = max((one.get("minItems", 0) for one in together), default=0)
        for one in together:
            if "contains" in one and one.get("minContains", 1) > 0:
                if reason := self.why_not([one["contains"]], f"{at}/contains", (*path, "")):
                    return reason
                if one.get("minContains", 1) > one.get("maxContains", math.inf):
                    return f"{at} must contain at least {one['minContains']} and at most {one['maxContains']}"
        for index in range(min(least, 16)):
            item = [_item(one, index) for one in together]
            if reason := self.why_not(item, f"{at}/items/{index}", (*path, "")):
                return reason
        for one in together:
            choice = one.get("items")
            if one.get("uniqueItems") is True and isinstance(choice, Mapping) and "prefixItems" not in one:
                count = len(choice.get("enum", ())) if "enum" in choice else math.inf
                if least > count:
                    return f"{at} needs {least} different items and only {count} are possible"
        return None

    def _object(self, together: Sequence[Mapping[str, Any]], at: str, path: tuple[str, ...]) -> str | None:
        if reason := _bounds("properties", "minProperties", "maxProperties", together, at):
            return reason
        needed = dict.fromkeys(name for one in together for name in one.get("required", ()))
        most = min((one.get("maxProperties", math.inf) for one in together), default=math.inf)
        if len(needed) > most:
            return f"{at} requires {len(needed)} properties and allows at most {most}"
        for name in needed:
            parts = [part for one in together for part in parts_of(one, name)]
            if any(part is False for part in parts):
                return f"{at} requires {name!r} and forbids it"
            for one in together:
                if "propertyNames" in one and not fits(name, one["propertyNames"], self.root):
                    return f"{at} requires {name!r}, a name that it does not allow"
            if reason := self.why_not(parts, f"{at}/{name}", (*path, "")):
                return reason
        return None


def together_without(together: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The same parts without what was spread out already."""
    for one in together:
        yield {key: value for key, value in one.items() if key not in ("allOf", "anyOf", "oneOf", "$ref")}


def _item(one: Mapping[str, Any], index: int) -> Schema:
    first = one.get("prefixItems", ())
    found: Schema = first[index] if index < len(first) else one.get("items", True)
    return found


def _bounds(what: str, low: str, high: str, together: Sequence[Mapping[str, Any]], at: str) -> str | None:
    least = max((one[low] for one in together if low in one), default=0)
    most = min((one[high] for one in together if high in one), default=math.inf)
    if least > most:
        return f"{at} needs at least {least} {what} and at most {most} ({low}, {high})"
    return None


def _numbers(kind: str, together: Sequence[Mapping[str, Any]], at: str) -> str | None:
    """Bounds that leave no number, or between which no multiple lies."""
    low, above = -math.inf, False  # above: the bound itself is excluded
    high, below = math.inf, False
    for one in together:
        for key, outside in (("minimum", False), ("exclusiveMinimum", True)):
            if key in one and (one[key], outside) > (low, above):
                low, above = one[key], outside
        for key, outside in (("maximum", False), ("exclusiveMaximum", True)):
            if key in one and (one[key], not outside) < (high, not below):
                high, below = one[key], outside
    if low > high or (low == high and (above or below)):
        lower, upper = "above" if above else "at least", "below" if below else "at most"
        return f"{at} must be {lower} {low} and {upper} {high}"
    steps = [Fraction(repr(one["multipleOf"])) for one in together if "multipleOf" in one]
    if kind == "integer" and (not steps or all(step.denominator != 1 for step in steps)):
        steps.append(Fraction(1))
    if math.isinf(low) or math.isinf(high):
        return None
    for step in steps:
        first = math.ceil(Fraction(repr(low)) / step) * step
        if above and first == Fraction(repr(low)):
            first += step
        if first > Fraction(repr(high)) or (below and first == Fraction(repr(high))):
            return f"{at} must be a multiple of {step} between {low} and {high}, and there is none"
    return None
