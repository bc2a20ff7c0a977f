"""Answers as paragraphs: links to sources, and nothing that a stranger wrote as markup."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from headrace.web.text import duration, paragraphs


def test_only_known_numbers_become_links():
    (first, second) = paragraphs("One [1], two [7].\n\nThree [2][1]", {1, 2})
    assert 'href="#source-1"' in first
    assert "[7]" in first
    assert second.count("<a ") == 2


def test_code_and_strong():
    assert paragraphs("use `a < b` **now**") == ["use <code>a &lt; b</code> <strong>now</strong>"]
    assert paragraphs("*one* of 2 * 3 * 4, a*b*c") == ["<em>one</em> of 2 * 3 * 4, a*b*c"]


@given(st.text(alphabet="<>&\"'`*[]12 a\n/=()", max_size=80))
def test_no_text_makes_other_elements(text):
    for part in paragraphs(text, {1, 2}):
        tree = html.fragment_fromstring(str(part), create_parent="div")
        assert {node.tag for node in tree.iterdescendants()} <= {"a", "code", "strong", "em"}
        assert all(set(node.attrib) <= {"class", "href", "aria-label"} for node in tree.iterdescendants())


def test_durations():
    assert [duration(s) for s in (0.0001, 0.0384, 0.9999, 2.44, 200)] == [
        "< 1 ms",
        "38 ms",
        "1.0 s",
        "2.4 s",
        "3 min 20 s",
    ]
