"""Passages within a budget: nothing beyond the window, nothing cut, nothing lost unseen."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import InputError
from headrace.prompts.context import ANSWER, MESSAGE_OVERHEAD, REFUSAL, build_prompt, seeded
from headrace.prompts.template import Template
from headrace.types import Message, Passage

SHORT = Template.of("{passages}\n{question}", name="short")


def words(text: str) -> int:
    return len(text.split())


def passage(text: str, document: str = "leave.md", heading: str = "") -> Passage:
    return Passage(text=text, score=1.0, relevance=0.9, document=document, heading=heading)


def build(question: str, passages: list[Passage], **options: Any) -> Any:
    given: dict[str, Any] = {"count": words, "window": None, "reserve": 0, "rng": random.Random(0)}
    return build_prompt(question, passages, **{**given, **options})


def test_passages_are_numbered_within_the_fence() -> None:
    prompt = build("How many days?", [passage("25 days.", heading="Leave > Paid"), passage("No.", "b.md")])
    system, user = prompt.messages
    opening, closing = re.findall(r"<<(?:begin|end) passages [0-9a-f]{16}>>", system.content)
    inside = user.content.split(opening)[1].split(closing)[0]
    assert inside == "\n[1] leave.md > Leave > Paid\n25 days.\n\n[2] b.md\nNo.\n"
    assert user.content.index(closing) < user.content.index("How many days?")
    ask, asked = re.findall(r"<<(?:begin|end) question [0-9a-f]{16}>>", system.content)
    assert user.content.split(ask)[1].split(asked)[0] == "\nQuestion: How many days?\n"
    assert user.content.endswith(REFUSAL)  # the last word is ours
    assert (prompt.kept, prompt.dropped) == ((1, 2), ())


def test_the_rules_are_in_the_prompt() -> None:
    prompt = build("How many days?", [passage("25 days.")])
    system = prompt.messages[0].content
    assert REFUSAL in system
    assert REFUSAL in prompt.messages[1].content  # and again after the data
    assert "[1]" in system
    assert "passwords" in system
    assert prompt.canary in system
    assert prompt.template == ANSWER.hash


def test_tokens_are_counted_as_sent() -> None:
    prompt = build("How many days?", [passage("25 days.")])
    assert prompt.tokens == sum(words(m.content) + MESSAGE_OVERHEAD for m in prompt.messages)


def test_what_does_not_fit_is_dropped_whole_and_keeps_the_numbers() -> None:
    passages = [passage("a " * 20), passage("b " * 500), passage("c " * 20), passage("d " * 500)]
    prompt = build("Which?", passages, window=400, reserve=50)
    assert prompt.kept == (1, 3)
    assert prompt.dropped == (2, 4)
    user = prompt.messages[1].content
    assert "[3] leave.md" in user
    assert "[2] leave.md" not in user
    assert user.count("a") >= 20
    assert prompt.tokens <= 350


def test_no_passage_fits_is_told_not_hidden() -> None:
    prompt = build("Which?", [passage("b " * 500)], window=400, reserve=50)
    assert (prompt.kept, prompt.dropped) == ((), (1,))


texts = st.text(alphabet="ab [1]<>\n", max_size=120)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(texts, max_size=8),
    texts.filter(str.strip),
    st.integers(1, 1200),
    st.integers(0, 200),
    st.lists(texts, max_size=2),
)
def test_the_budget_holds(
    contents: list[str], question: str, window: int, reserve: int, earlier: list[str]
) -> None:
    """tokens ≤ window − reserve, every passage is whole or listed, or an error that names the numbers."""
    passages = [passage(text) for text in contents]
    history = [Message("user", text) for text in earlier]
    try:
        prompt = build(
            question, passages, window=window, reserve=reserve, template=SHORT, history=history, count=len
        )
    except InputError as error:
        said, prompt = str(error), None
    if prompt is None:
        assert str(window) in said
        assert str(reserve) in said
        return
    assert sum(len(m.content) + MESSAGE_OVERHEAD for m in prompt.messages) == prompt.tokens
    assert prompt.tokens <= window - reserve
    assert sorted((*prompt.kept, *prompt.dropped)) == list(range(1, len(passages) + 1))
    last = prompt.messages[-1].content
    assert question in last
    for number in prompt.kept:
        assert f"\n[{number}] leave.md\n" in last
    for number in prompt.dropped:
        assert f"\n[{number}] leave.md\n" not in last


@settings(deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=4), st.text().filter(str.strip))
def test_no_text_closes_the_fence(contents: list[str], question: str) -> None:
    prompt = build(question, [passage(text, document=text[:9]) for text in contents])
    system, user = prompt.messages
    opening, closing = re.findall(r"<<(?:begin|end) passages [0-9a-f]{16}>>", system.content)
    assert user.content.count(opening) == user.content.count(closing) == 1


def test_a_question_beyond_the_window_names_the_numbers() -> None:
    with pytest.raises(
        InputError, match=r"question is too long.*1000 tokens.*window of 500 less 50"
    ) as error:
        build("why " * 1000, [passage("x")], window=500, reserve=50)
    assert "Shorten" in error.value.hint


def test_a_history_beyond_the_window_is_refused_not_cut() -> None:
    history = [Message("user", "so " * 400), Message("assistant", "yes")]
    with pytest.raises(InputError, match="2 earlier messages"):
        build("And?", [passage("x")], window=500, reserve=50, history=history)


@pytest.mark.parametrize(("window", "reserve"), [(100, 100), (100, 200), (None, -1)])
def test_a_reserve_that_leaves_nothing_is_refused(window: int | None, reserve: int) -> None:
    with pytest.raises(InputError, match="reserve"):
        build("Which?", [], window=window, reserve=reserve)


def test_an_empty_question_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        build(" \n", [passage("x")])


def test_history_stands_between_rules_and_question() -> None:
    history = [Message("user", "Hello"), Message("assistant", "Hi")]
    prompt = build("And days?", [passage("25")], history=history)
    assert [m.role for m in prompt.messages] == ["system", "user", "assistant", "user"]
    assert prompt.messages[1:3] == tuple(history)


def test_a_template_of_ones_own() -> None:
    prompt = build("Which?", [passage("x")], template=Template.of("{passages} // {question}"))
    assert prompt.messages[0].content.endswith("// Which?")
    assert prompt.canary == ""
    with pytest.raises(InputError, match="'passages'"):
        build("Which?", [], template=Template.of("{question}"))
    with pytest.raises(InputError, match="'tone'"):
        build("Which?", [], template=Template.of("{question} {passages} {tone}"))


def test_the_fence_can_be_drawn_again_for_a_replay() -> None:
    one, same, other = (
        build("Which?", [passage("x")], rng=seeded(key, "Which?")).text for key in ("k", "k", "other")
    )
    assert one == same != other
    assert build("Which?", [passage("x")], rng=None).text != one


def test_the_scripted_quote_reads_this_prompt() -> None:
    from headrace.models.scripted import NOTHING_TO_QUOTE, ScriptedModel, quote
    from headrace.types import Decoding

    model = ScriptedModel(quote)
    prompt = build("Days?", [passage("Staff get 25 days. More later.\n[9] not one"), passage("No.")])
    assert model.complete(prompt.messages, Decoding()).text == "Staff get 25 days. [1]"
    empty = build("Days?", [])
    assert model.complete(empty.messages, Decoding()).text == NOTHING_TO_QUOTE
