"""Sentences, as splitting and quoting see them: where they end and where they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.text import sentences


def shown(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["The U.S. Army came.", "It left at 5 p.m.", "Then Dr. Smith spoke to J. R. Miller."],
        ["Version 3.11 is out.", "See fig. 2 and example.com for more.", "Was it?", "Yes!", "Well..."],
        ["“Stop.”", "Then he left [1].", "The answer was no.", "It was no. 5 of nine."],
        ['"Is it?" she asked.', '"No."'],
        ["She chose plan B.", "He got an A.", "They make wheels, races etc.", "It is done."],
        ["Pumps (cf. Miller et al. 1990) turn slowly, i.e. once a minute.", "End"],
        ["水車は回る。", "水は流れる！", "はい？"],
    ],
)
def test_where_sentences_end(expected: list[str]) -> None:
    joint = "" if "水" in expected[0] else " "
    assert shown(joint.join(expected)) == expected
    if joint:
        assert shown("\r\n".join(expected)) == expected


def test_lists_headings_and_blank_lines() -> None:
    text = "# Parts\nThe mill has\n\n1. A wheel\n2. A race. It is long.\n\n- one\n- two\n"
    text += "| a | b |\n| c | d |\n\nEnd"
    assert shown(text) == [
        *("# Parts\nThe mill has", "1. A wheel", "2. A race.", "It is long.", "- one", "- two"),
        *("| a | b |", "| c | d |", "End"),
    ]


@given(st.text(alphabet=st.sampled_from("aB1 .!?\n\"'-|。\r#"), max_size=200))
def test_spans_cover_everything_but_white_space(text: str) -> None:
    position = 0
    for start, end in sentences(text):
        assert not text[position:start].strip()
        assert text[start:end] == text[start:end].strip() != ""
        position = end
    assert not text[position:].strip()
