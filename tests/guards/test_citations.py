"""Numbers that were not in the prompt go, sentences that cite nothing are noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.guards.citations import check, claims, is_refusal, references, without_references


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Leave is 25 days [1].", [(1,)]),
        ("Both say so [1][3].", [(1,), (3,)]),
        ("Both say so [1, 3; 4 and 5].", [(1, 3, 4, 5)]),
        ("All of them [2-4], [5–6].", [(2, 3, 4), (5, 6)]),
        ("Wide brackets 【2】 and words [passage 3] [Source 4].", [(2,), (3,), (4,)]),
        ("Backwards [4-2] is two numbers.", [(4, 2)]),
        ("Code is not cited: `a[1]` and\n```\nb[2]\n```\nbut this is [3].", [(3,)]),
        ("[a] [] [1a] (1) [12345] [-1]", []),
    ],
)
def test_references_as_models_write_them(text: str, numbers: list[tuple[int, ...]]) -> None:
    assert [reference.numbers for reference in references(text)] == numbers


def test_unknown_numbers_are_removed_and_reported_at_their_place() -> None:
    checked = check("Leave is 25 days [1, 9]. It ends in March [7].", {1, 2})
    assert checked.text == "Leave is 25 days [1]. It ends in March."
    assert checked.numbers == (1,)
    warnings = [f for f in checked.findings if f.severity == "warning"]
    assert ["[9]" in warnings[0].message, "[7]" in warnings[1].message] == [True, True]
    assert checked.text[warnings[0].start : warnings[0].end] == "[1]"
    assert warnings[1].start == warnings[1].end == len("Leave is 25 days [1]. It ends in March")
    assert "[1] to [2]" in warnings[0].message


def test_a_sentence_without_a_citation_is_noted_with_its_place() -> None:
    checked = check("Leave is 25 days a year [1]. The moon is made of cheese. Is that so?", {1})
    notes = [f for f in checked.findings if f.severity == "note"]
    assert [checked.text[n.start : n.end] for n in notes] == ["The moon is made of cheese."]


def test_a_sentence_whose_only_number_was_unknown_becomes_one_without() -> None:
    checked = check("The office closes at six o'clock [4].", {1})
    assert [f.severity for f in checked.findings] == ["warning", "note"]


def test_short_and_announcing_sentences_need_no_citation() -> None:
    assert check("Yes. The rules are these:\n\n# Leave\n\nTwenty-five days in all [1].", {1}).findings == ()


def test_a_citation_after_the_full_stop_belongs_to_what_stands_before() -> None:
    found = claims("Leave is 25 days. [1] Parents get 14 weeks more. [2][3]")
    assert [c.numbers for c in found] == [(1,), (2, 3)]
    assert found[0].text == "Leave is 25 days. [1]"
    assert found[1].text == "Parents get 14 weeks more. [2][3]"


def test_a_citation_that_begins_a_paragraph_belongs_to_that_paragraph() -> None:
    found = claims("Leave is 25 days [1].\n\n[2] Parents get 14 weeks more.")
    assert [c.numbers for c in found] == [(1,), (2,)]


def test_no_passage_in_the_prompt_leaves_no_citation() -> None:
    checked = check("It is so [1].", ())
    assert checked.text == "It is so."
    assert "no passage" in checked.findings[0].message


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "I don't know.",
        "I cannot answer that from these passages.",
        "The passages don’t mention it.",
        "There is no information about parking.",
        "**Not in the passages.**",
    ],
)
def test_refusals(text: str) -> None:
    assert is_refusal(text, "Not in the passages")


@pytest.mark.parametrize(
    "text",
    [
        "Leave is 25 days [1].",
        "The first passage does not mention it, the second gives 25 days [2].",
        "Leave is 25 days.",
        "Visitors do not need a pass. "
        + "They are met at the gate. " * 20
        + "The plan does not mention why.",
    ],
)
def test_answers_are_no_refusals(text: str) -> None:
    assert not is_refusal(text, "Not in the passages")


def test_text_without_its_references() -> None:
    assert without_references("Leave is [1] 25 days [2].") == "Leave is 25 days ."


@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                ["[1]", "[2]", "[9]", "[1,9]", "[2-4]", "`[9]`", " ", ". ", "\n\n", "The cat sat"]
            ),
            st.text(alphabet="ab [].,19\n`", max_size=6),
        ),
        max_size=14,
    ),
    st.frozensets(st.integers(1, 4)),
)
def test_what_is_left_cites_only_what_was_in_the_prompt(pieces: list[str], allowed: frozenset[int]) -> None:
    checked = check("".join(pieces), allowed)
    assert set(checked.numbers) <= allowed
    for finding in checked.findings:
        assert finding.start is not None
        assert finding.end is not None
        assert 0 <= finding.start <= finding.end <= len(checked.text)
    for claim in checked.claims:
        assert checked.text[claim.start : claim.end] == claim.text
    assert check(checked.text, allowed).text == checked.text
