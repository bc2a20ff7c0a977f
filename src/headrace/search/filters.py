"""Filters: which documents may be found. A text or a dict → a tree → parametrised SQL.

    year >= 2020 and topic in ('law', 'tax') and not draft = true
    author.name like 'Mei%' or tags contains 'urgent'
    expires is null or expires > 2026-01-31

Values go to SQLite as parameters, never as SQL text. What holds where something is missing:

- A key that a document does not have is null, like one whose value is null. Every comparison
  with null is false: ``year != 2020`` does not find documents without a year. ``not`` turns the
  result round and nothing else, so ``not year = 2020`` does find them. ``is null`` asks directly.
- Values compare only with their own kind: a number is never equal to a string (so ``=`` is false
  and ``!=`` true), and ``<`` between kinds is false. Dates are text in ISO form, which sorts
  rightly: write them bare (``2026-01-31``) or quoted.
- ``contains`` looks into a list for an element, into a text for a part of it (case matters).
  ``like`` takes ``%`` and ``_`` and ignores the case of a to z, as SQLite's does.
- A dotted key descends (``author.name``). A key with other characters stands in backticks; one
  pair of backticks is one step. ``document`` is the document's id; a metadata key of that name is
  reached as `` `document` ``.

Planning (which way is cheapest) is not done here; see ``engine.py``.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.errors import InputError
from headrace.request import Filters
from headrace.search.expression import Group, Key, Node, Not, Parser, Test, Value, sound


@dataclass(frozen=True, kw_only=True)
class Condition:
    """SQL over the documents table under the alias ``d``; ``text`` is the filter in plain form."""

    where: str
    params: tuple[Any, ...]
    text: str


def condition(*filters: Filters | None) -> Condition | None:
    """All of these filters together as SQL; None where there is nothing to filter by.

    Raises InputError that points at what was not understood.
    """
    nodes = [parse(item) for item in filters if item is not None]
    nodes = [node for node in nodes if node != Group("and", ())]
    if not nodes:
        return None
    node = nodes[0] if len(nodes) == 1 else Group("and", tuple(nodes))
    where, params = _sql(node)
    return Condition(where=where, params=tuple(params), text=str(node))


def parse(filters: Filters) -> Node:
    """A filter as a tree. A dict means equality on every key; a list in it, one of its items."""
    if isinstance(filters, str):
        return Parser(filters).whole()
    if not isinstance(filters, Mapping):
        raise InputError(
            f"filters={filters!r:.80} is neither a text nor a dict.",
            hint="Write filters=\"year >= 2020 and topic in ('a', 'b')\" or filters={'topic': 'a'}.",
        )
    items = tuple(_equality(name, value) for name, value in filters.items())
    return items[0] if len(items) == 1 else Group("and", items)


def _equality(name: Any, value: Any) -> Node:
    if not isinstance(name, str) or not name:
        raise InputError(f"{name!r} is not a metadata key.", hint="Keys of a filter are non-empty texts.")
    key = Parser(name).only_key()
    if value is None:
        return Test(key, "null")
    if isinstance(value, (list, tuple, set, frozenset)):
        return Test(key, "in", tuple(_plain(item, name) for item in value))
    return Test(key, "=", _plain(value, name))


def _plain(value: Any, name: str) -> Value:
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, str):
        return sound(value)
    if isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise InputError(
        f"The filter on {name!r} has the value {value!r:.80}, which cannot be compared.",
        hint="Use a text, a number, true or false, a date, None, or a list of those.",
    )


# --------------------------------------------------------------------------- SQL

_Sql = tuple[str, list[Any]]


def _sql(node: Node) -> _Sql:
    if isinstance(node, Not):
        text, params = _sql(node.item)
        return f"(NOT {text})", params
    if isinstance(node, Group):
        if not node.items:
            return ("1" if node.word == "and" else "0"), []
        return _balanced([_sql(item) for item in node.items], node.word.upper())
    there, there_params = _kind(node.key)
    if node.operator == "null":
        return f"(ifnull({there}, 'null') {'<>' if node.negated else '='} 'null')", there_params
    # ifnull: two values of truth, so that NOT means what it says
    text, params = _test(node)
    text = f"ifnull({text}, 0)"
    if node.negated:
        return f"ifnull({there} <> 'null' AND NOT {text}, 0)", there_params + params
    return text, params


def _balanced(parts: list[_Sql], word: str) -> _Sql:
    """A tree of halves: SQLite limits the depth of an expression, not its breadth."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    left, right = _balanced(parts[:middle], word), _balanced(parts[middle:], word)
    return f"({left[0]} {word} {right[0]})", left[1] + right[1]


def _path(key: Key) -> str:
    return "$" + "".join(f'."{step}"' for step in key.steps)


def _value(key: Key) -> _Sql:
    return ("json_extract(d.metadata, ?)", [_path(key)]) if key.steps else ("d.id", [])


def _kind(key: Key) -> _Sql:
    return ("json_type(d.metadata, ?)", [_path(key)]) if key.steps else ("'text'", [])


_TEXT, _NUMBER, _TRUTH = "('text')", "('integer', 'real')", "('true', 'false')"


def _kinds(value: Value) -> str:
    """The JSON types that a value can be compared with."""
    if isinstance(value, bool):
        return _TRUTH
    return _TEXT if isinstance(value, str) else _NUMBER


def _bound(value: Value) -> Value:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)  # as SQLite reads such a number out of JSON
    return value


def _test(node: Test) -> _Sql:
    (kind, kind_params), (value, value_params) = _kind(node.key), _value(node.key)
    if node.operator == "in":
        parts, params = ["0"], []
        for kinds in (_TEXT, _NUMBER, _TRUTH):
            if chosen := [_bound(item) for item in node.value if _kinds(item) == kinds]:
                parts.append(f"({kind} IN {kinds} AND {value} IN (SELECT value FROM json_each(?)))")
                params += [*kind_params, *value_params, json.dumps(chosen)]
        return f"({' OR '.join(parts)})", params
    if node.operator == "like":
        return f"({kind} = 'text' AND {value} LIKE ?)", [*kind_params, *value_params, node.value]
    if node.operator == "contains":
        return _contains(node)
    test = f"({kind} IN {_kinds(node.value)} AND {value} {node.operator} ?)"
    return test, [*kind_params, *value_params, _bound(node.value)]


def _contains(node: Test) -> _Sql:
    (kind, kind_params), (value, value_params) = _kind(node.key), _value(node.key)
    parts, params = ["0"], []
    if isinstance(node.value, str):
        parts.append(f"({kind} = 'text' AND instr({value}, ?) > 0)")
        params += [*kind_params, *value_params, node.value]
    if node.key.steps:
        parts.append(
            f"({kind} = 'array' AND EXISTS (SELECT 1 FROM json_each(d.metadata, ?) e"
            f" WHERE e.type IN {_kinds(node.value)} AND e.value = ?))"
        )
        params += [*kind_params, _path(node.key), _bound(node.value)]
    return f"({' OR '.join(parts)})", params
