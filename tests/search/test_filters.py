"""Filters: what they mean (against an evaluator in Python), what is refused, and that nothing leaks in."""

from __future__ import annotations

import datetime
import json
import re
import sqlite3
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import InputError
from headrace.search.expression import Group, Key, Node, Not, Test
from headrace.search.filters import Filters, condition, parse

# ------------------------------------------------------------------ the meaning, a second time


def look_up(metadata: Any, key: Key, id: str) -> Any:
    if not key.steps:
        return id
    for step in key.steps:
        if not isinstance(metadata, Mapping) or step not in metadata:
            return None
        metadata = metadata[step]
    return metadata


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def like(text: str, pattern: str) -> bool:
    fold = str.maketrans({chr(c): chr(c + 32) for c in range(65, 91)})
    parts = [".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern.translate(fold)]
    return re.fullmatch("".join(parts), text.translate(fold), re.S) is not None


def holds(node: Node, metadata: Mapping[str, Any], id: str = "id") -> bool:
    if isinstance(node, Not):
        return not holds(node.item, metadata, id)
    if isinstance(node, Group):
        found = [holds(item, metadata, id) for item in node.items]
        return all(found) if node.word == "and" else any(found)
    value = look_up(metadata, node.key, id)
    if node.operator == "null":
        return (value is None) != node.negated
    if value is None:
        return False
    return _test(node, value) != node.negated


def _test(node: Test, value: Any) -> bool:
    same = lambda item: kind(item) == kind(value) and item == value  # noqa: E731
    if node.operator == "in":
        return any(same(item) for item in node.value)
    if node.operator == "like":
        return isinstance(value, str) and like(value, node.value)
    if node.operator == "contains":
        if isinstance(value, list):
            return any(kind(item) == kind(node.value) and item == node.value for item in value)
        return isinstance(value, str) and isinstance(node.value, str) and node.value in value
    if kind(value) != kind(node.value):
        return False
    return {
        "=": lambda a, b: a == b,
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
    }[node.operator](value, node.value)


def select(documents: Mapping[str, Mapping[str, Any]], *filters: Filters | None) -> list[str]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE documents (id TEXT, metadata TEXT)")
    connection.executemany(
        "INSERT INTO documents VALUES (?, ?)",
        [(id, json.dumps(m, ensure_ascii=False)) for id, m in documents.items()],
    )
    found = condition(*filters)
    where, params = (found.where, found.params) if found else ("1", ())
    rows = connection.execute(f"SELECT d.id FROM documents d WHERE {where} ORDER BY d.rowid", params)
    return [row[0] for row in rows]


# ------------------------------------------------------------------ any filter, any metadata

_texts = st.text(alphabet="aAbBéß'\"%_\\` 1", max_size=4)
_numbers = st.one_of(
    st.integers(-3, 3), st.integers(-(2**70), 2**70), st.sampled_from([0.5, -1.5, 2.0, 1e300, 0.1])
)
_scalars = st.one_of(_texts, _numbers, st.booleans())
_names = st.sampled_from(["year", "topic", "größe", "a b", "in", "document", "x-y"])
_keys = st.one_of(st.lists(_names, min_size=1, max_size=2).map(lambda s: Key(tuple(s))), st.just(Key(())))
_metadata = st.dictionaries(
    _names,
    st.one_of(
        st.none(),
        _scalars,
        st.lists(st.one_of(_scalars, st.none()), max_size=3),
        st.dictionaries(_names, _scalars),
    ),
)
_tests = st.one_of(
    st.builds(Test, _keys, st.sampled_from(["=", "contains"]), _scalars, st.booleans()),
    st.builds(Test, _keys, st.sampled_from(["<", "<=", ">", ">="]), _scalars),
    st.builds(Test, _keys, st.just("in"), st.lists(_scalars, max_size=3).map(tuple), st.booleans()),
    st.builds(Test, _keys, st.just("like"), st.text(alphabet="aAbé%_'", max_size=4), st.booleans()),
    st.builds(Test, _keys, st.just("null"), st.none(), st.booleans()),
)
_nodes = st.recursive(
    _tests,
    lambda inner: st.one_of(
        inner.map(Not),
        st.builds(Group, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=400)
@given(node=_nodes, documents=st.lists(_metadata, min_size=1, max_size=4))
def test_sql_and_python_agree_on_every_filter(node: Node, documents: list[dict[str, Any]]) -> None:
    if any("`" in step for test in leaves(node) for step in test.key.steps):
        return
    named = {f"id{i}": metadata for i, metadata in enumerate(documents)}
    text = str(node)
    assert parse(text) == node, text
    expected = [id for id, metadata in named.items() if holds(node, metadata, id)]
    assert select(named, text) == expected, text


def leaves(node: Node) -> list[Test]:
    if isinstance(node, Test):
        return [node]
    items = (node.item,) if isinstance(node, Not) else node.items
    return [test for item in items for test in leaves(item)]


# ------------------------------------------------------------------ examples that people write

LIBRARY: dict[str, dict[str, Any]] = {
    "docs/a.md": {"year": 2024, "topic": "law", "tags": ["new", "long"], "author": {"name": "Mei Lin"}},
    "docs/b.md": {"year": 2019, "topic": "tax", "draft": True, "expires": "2026-01-31"},
    "notes/c.md": {"topic": "music", "draft": False, "tags": []},
    "notes/d.md": {"year": "2024", "topic": None, "x.y": 1, "last name": "Ng"},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("year >= 2020 and topic in ('law', 'tax')", "a"),
        ("year = 2024", "a"),
        ("year = '2024'", "d"),
        ("year != 2024", "bd"),
        ("not year = 2024", "bcd"),
        ("NOT (year = 2024 OR topic == 'tax')", "cd"),
        ("year is null", "c"),
        ("topic is not null", "abc"),
        ("topic <> 'law'", "bc"),
        ("topic not in ['law', 'tax']", "c"),
        ("draft = true", "b"),
        ("draft = 1", ""),
        ("!(draft = true) && year >= 2000", "a"),
        ("author.name like 'mei%'", "a"),
        ("author.name contains 'Lin' || topic = 'music'", "ac"),
        ("tags contains 'new'", "a"),
        ("'new' in tags", "a"),
        ("'new' not in tags", "c"),
        ("2018 <= year < 2024", "b"),
        ("expires > 2025-12-31", "b"),
        ("expires <= 2025-12-31", ""),
        ("document like 'notes/%'", "cd"),
        ("document = 'docs/a.md'", "a"),
        ("`x.y` = 1", "d"),
        ("x.y = 1", ""),
        ('`last name` = "Ng"', "d"),
        ("topic in ()", ""),
        ("topic not in ()", "abc"),
        ("", "abcd"),
        ("  \n ", "abcd"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    assert [id.split("/")[1][0] for id in select(LIBRARY, text)] == list(expected)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"topic": "law"}, "a"),
        ({"topic": ["law", "music"]}, "ac"),
        ({"topic": "law", "year": 2019}, ""),
        ({"topic": None}, "d"),
        ({"author.name": "Mei Lin"}, "a"),
        ({"last name": "Ng"}, "d"),
        ({"`x.y`": 1}, "d"),
        ({"expires": datetime.date(2026, 1, 31)}, "b"),
        ({"document": "docs/a.md"}, "a"),
        ({}, "abcd"),
    ],
)
def test_a_dict_means_equality(filters: dict[str, Any], expected: str) -> None:
    assert [id.split("/")[1][0] for id in select(LIBRARY, filters)] == list(expected)


def test_several_filters_narrow_each_other() -> None:
    assert select(LIBRARY, "year is not null", {"topic": "law"}, None, "") == ["docs/a.md"]
    assert condition(None, {}, "") is None


def test_quotation_marks_are_written_twice_or_with_a_backslash() -> None:
    odd = {"a": {"name": "it's"}, "b": {"name": 'a "b" \\'}}
    assert (
        select(odd, "name = 'it''s'")
        == select(odd, r"name = 'it\'s'")
        == select(odd, 'name = "it\'s"')
        == ["a"]
    )
    assert select(odd, r"""name = 'a "b" \\'""") == ["b"]


@pytest.mark.parametrize(
    "evil",
    [
        "x' OR '1'='1",
        "'); DROP TABLE documents; --",
        '"."topic',
        "$[0]",
        "?1",
    ],
)
def test_values_and_keys_never_become_sql(evil: str) -> None:
    assert select(LIBRARY, {"topic": evil}) == []
    assert select(LIBRARY, {"topic": [evil, "law"]}) == ["docs/a.md"]
    quoted = evil.replace("'", "''")
    assert select(LIBRARY, f"topic = '{quoted}' or document like '{quoted}'") == []
    if set(evil) & set('"\\'):
        with pytest.raises(InputError, match="key"):
            select(LIBRARY, {evil: 1})
    else:
        assert select(LIBRARY, {evil: 1}) == []


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("year >= and topic = 'a'", 9, "a value"),
        ("year 2020", 6, "a comparison"),
        ("(year = 1", 10, "')'"),
        ("year = 1)", 9, "the end"),
        ("topic = 'law", 9, "never closed"),
        ("topic in ('a' 'b')", 15, "','"),
        ("topic = null", 9, "is null"),
        ("topic ; drop", 7, "means nothing"),
        ("year = 2024-13-01", 8, "no date"),
        ("year is 3", 9, "'null'"),
        ("not", 4, "a metadata key"),
        ("topic like 3", 12, "a text"),
        ("year = 1e999", 8, "too large"),
        ("in = 3", 1, "a metadata key"),
    ],
)
def test_an_error_points_at_the_place_and_says_what_was_expected(text: str, at: int, what: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    first, shown, caret = caught.value.message.split("\n")
    assert f"character {at}:" in first
    assert what in first
    assert shown[2:] == text
    assert caret.index("^") == 2 + at - 1


def test_the_caret_stands_right_far_into_a_long_filter() -> None:
    text = "year = 1 and " * 40 + "topic ="
    with pytest.raises(InputError) as caught:
        parse(text)
    _, shown, caret = caught.value.message.split("\n")
    assert shown[: caret.index("^")].endswith("topic =")


@pytest.mark.parametrize(
    "filters",
    [
        "(" * 100 + "a = 1" + ")" * 100,
        "not " * 100 + "a = 1",
        " or ".join("a = 1" for _ in range(3_000)),
        "a = '" + "x" * 200_000 + "'",
        "a = 'nul\0'",
        "a = '\ud800'",
        {"a": object()},
        {"a": float("nan")},
        {"a": {"b": 1}},
        {"": 1},
        {3: 1},
        5,
        ["a"],
        "a like '" + "%a" * 600 + "'",
    ],
)
def test_what_cannot_be_asked_is_refused(filters: Any) -> None:
    with pytest.raises(InputError) as caught:
        condition(filters)
    assert len(caught.value.message) < 500


def test_broad_and_long_filters_stay_within_sqlites_limits() -> None:
    documents = {str(i): {"n": i} for i in range(5)}
    assert select(documents, " or ".join(f"n = {i}" for i in range(2, 1_500))) == ["2", "3", "4"]
    assert select(documents, {"n": list(range(3, 50_000))}) == ["3", "4"]
    assert select(documents, "not (" * 30 + "n = 1" + ")" * 30) == ["1"]


def test_the_text_of_a_condition_can_be_read_again() -> None:
    found = condition("year>=2020 && topic in ['a']", {"author.name": "O'Hara"})
    assert found is not None
    assert found.text == "(year >= 2020 and topic in ('a')) and author.name = 'O''Hara'"
    assert condition(found.text) == found
