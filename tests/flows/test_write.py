"""Answers that a model writes: what it is sent, what is checked, what is said to be left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import InputError
from headrace.models.cost import Prices
from headrace.models.scripted import ScriptedModel
from headrace.prompts.context import REFUSAL
from headrace.types import Message, Passage, Passages

TEXTS = {
    "tides.md": "# Tides\n\nThe tide turns every six hours. Boats leave at high water.",
    "light.md": "# Light\n\nThe lighthouse was built in 1871. Its keeper lives in the tower.",
    "fish.md": "# Fish\n\nThe fish market opens at five in the morning.",
}


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def passages(names: Sequence[str] = tuple(TEXTS)) -> list[Passage]:
    return [
        Passage(
            text=TEXTS[name], document=name, score=1.0, relevance=0.9, start=100, end=100 + len(TEXTS[name])
        )
        for name in names
    ]


def test_citations_are_checked_and_point_to_the_sentence_that_says_so() -> None:
    model = ScriptedModel(
        "It was built in 1871 [2]. The moon is full [7].", prices=Prices(input=1.0, output=2.0)
    )
    answer = hr.answer("When was the lighthouse built?", passages(), model=model)
    assert answer.answered_by == "scripted:replies"
    assert answer.text == "It was built in 1871 [2]. The moon is full."
    (cited,) = answer.citations
    assert (cited.number, cited.document) == (2, "light.md")
    assert cited.text == "The lighthouse was built in 1871."
    assert cited.text == TEXTS["light.md"][cited.start - 100 : cited.end - 100]
    warnings = [f.message for f in answer.findings if f.severity == "warning"]
    assert len(warnings) == 1
    assert "[7] was cited" in warnings[0]
    assert answer.usage.input_tokens > 0
    assert answer.usage.cost == pytest.approx(
        (answer.usage.input_tokens + 2 * answer.usage.output_tokens) / 1_000_000
    )


def test_a_refusal_is_an_abstention() -> None:
    answer = hr.answer("Who won the chess tournament?", passages(), ScriptedModel(REFUSAL))
    assert answer.abstained
    assert answer.citations == ()
    assert answer.answered_by == "scripted:replies"


def test_what_does_not_fit_is_listed_and_never_cut() -> None:
    whole = ScriptedModel("Six hours [1].")
    hr.answer("How often does the tide turn?", passages(), model=whole)
    full = sum(len(m.content.split()) for m in whole.calls[0].messages)
    tight = ScriptedModel("Six hours [1].", window=full + 20)
    answer = hr.answer(
        "How often does the tide turn?", passages(), model=tight, decoding=hr.Decoding(max_new_tokens=24)
    )
    assert answer.dropped
    sent = "\n".join(m.content for m in tight.calls[0].messages)
    for name, text in TEXTS.items():
        body = text.split("\n\n")[1]
        assert (body in sent) == (name not in answer.dropped), "whole or not at all"


def test_a_model_is_not_asked_where_nothing_fits() -> None:
    long = Passage(
        text="The tide turns every six hours. " * 400, document="long.md", score=1.0, relevance=0.9
    )
    model = ScriptedModel("I know anyway.", window=600)
    answer = hr.answer("How often does the tide turn?", [long], model=model)
    assert model.calls == []
    assert answer.answered_by == "quotes"
    assert answer.dropped == ("long.md",)
    assert any("was not asked" in f.message for f in answer.findings)


def test_a_model_is_not_asked_without_passages() -> None:
    model = ScriptedModel("I know anyway.")
    answer = hr.answer("How often does the tide turn?", Passages(outcome="below threshold"), model=model)
    assert model.calls == []
    assert answer.abstained
    assert any("no passage is relevant enough" in f.message for f in answer.findings)


def test_history_is_sent_and_a_question_that_fits_no_window_is_refused() -> None:
    model = ScriptedModel("Six hours [1].")
    earlier = [Message("user", "Is there a harbour?"), Message("assistant", "Yes.")]
    hr.answer("How often does the tide turn?", passages(), model=model, history=earlier)
    assert [m for m in model.calls[0].messages if m in earlier] == earlier
    with pytest.raises(InputError, match="too long"):
        hr.answer("why " * 5000, passages(), model=ScriptedModel("x", window=1000))


def test_an_answer_that_was_cut_off_says_so() -> None:
    answer = hr.answer(
        "How often does the tide turn?",
        passages(),
        model=ScriptedModel("Every six hours [1] as the table in the harbour says."),
        decoding=hr.Decoding(max_new_tokens=3),
    )
    assert any(f.guard == "length" for f in answer.findings)


def test_the_pieces_of_the_visible_answer_are_streamed_and_inner_calls_are_not() -> None:
    model = ScriptedModel("The tide turns every six hours [1].")

    @hr.step
    def inner(question: str) -> str:
        return hr.answer(question, passages(), model=model).text

    @hr.app
    def ask(question: str) -> hr.Answer:
        inner(question)
        return hr.answer(question, passages(), model=model)

    events = list(ask.stream("How often does the tide turn?"))
    assert "".join(e.text for e in events if e.kind == "delta") == "The tide turns every six hours [1]."
    assert events[-1].kind == "answer"
    assert events[-1].value.text == "The tide turns every six hours [1]."


def test_what_is_no_model_or_no_passage_is_refused() -> None:
    with pytest.raises(InputError, match="is not a model"):
        hr.answer("Why?", passages(), model="openai:gpt")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not a Passage"):
        hr.answer("Why?", ["a text"])  # type: ignore[list-item]


def test_nothing_private_leaves_while_it_is_written() -> None:
    def telling(messages: Sequence[Message]) -> str:
        canary = re.search(r"canary-\w+", messages[0].content)
        assert canary is not None
        return f"The tide turns every six hours [1]. The word is {canary[0]}. More follows [1]."

    @hr.app
    def tides(question: str) -> hr.Answer:
        return hr.answer(question, passages(), model=ScriptedModel(telling))

    events = list(tides.stream("When does the tide turn?"))
    shown = "".join(event.text for event in events if event.kind == "delta")
    assert shown.strip() == "The tide turns every six hours [1]."
    assert events[-1].value.abstained
    assert "canary-" not in events[-1].value.text
