"""hr.answer: a model's citations are checked, its refusals abstain, and without one it quotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

import headrace as hr
from headrace import request, tracing
from headrace.errors import Cancelled, InputError, ModelBusy
from headrace.flows.answer import answer
from headrace.models.cost import Prices
from headrace.models.scripted import ScriptedModel
from headrace.prompts.context import REFUSAL
from headrace.types import Decoding, Event, Message, Passage, Passages

LEAVE = "Full-time staff get 28 days of paid leave a year. Requests go to the line manager."
SAFETY = "Visitors wear a helmet. The first-aid room is beside the lock house."


def passage(text: str, document: str, start: int = 0) -> Passage:
    return Passage(
        text=text,
        score=0.9,
        relevance=0.8,
        document=document,
        start=start,
        end=start + len(text),
        heading="H",
    )


PASSAGES = [passage(LEAVE, "leave.md", 100), passage(SAFETY, "safety.md")]


class NoEmbedder:
    """Stands in where a test must not depend on weights: equal vectors say nothing."""

    identity: ClassVar[dict[str, Any]] = {}
    dimension = 2
    window = 256

    def embed(self, texts: Sequence[str]) -> Any:
        import numpy as np

        return np.tile(np.array([1.0, 0.0], dtype=np.float32), (len(texts), 1))

    def offsets(self, text: str) -> list[tuple[int, int]]:
        return []


def test_a_model_answers_and_each_number_points_to_the_sentence_that_supports_it() -> None:
    model = ScriptedModel("You go through your line manager [1]. The first-aid room is by the lock [2].")
    given = answer("Whom do I ask?", PASSAGES, model=model, embedder=NoEmbedder())
    assert not given.abstained
    assert given.answered_by == "scripted:replies"
    assert [c.number for c in given.citations] == [1, 2]
    first, second = given.citations
    assert (first.document, first.text) == ("leave.md", "Requests go to the line manager.")
    assert (first.start, first.end) == (100 + LEAVE.index("Requests"), 100 + len(LEAVE))
    assert first.heading == "H"
    assert second.text == "The first-aid room is beside the lock house."
    assert given.findings == ()


def test_numbers_that_were_not_in_the_prompt_are_removed_and_reported() -> None:
    model = ScriptedModel("There are 28 days of leave [1][7]. Nobody knows the rest of it.")
    given = answer("How many days?", PASSAGES, model=model, embedder=NoEmbedder())
    assert given.text == "There are 28 days of leave [1]. Nobody knows the rest of it."
    assert [c.number for c in given.citations] == [1]
    assert [f.severity for f in given.findings] == ["warning", "note"]


def test_a_refusal_is_an_abstention_without_citations() -> None:
    for text in (REFUSAL, "I don't know."):
        given = answer("How high is it?", PASSAGES, model=ScriptedModel(text))
        assert given.abstained
        assert given.citations == ()
        assert given.answered_by == "scripted:replies"
        assert given.text == text


def test_without_passages_the_model_is_not_asked() -> None:
    model = ScriptedModel("never said")
    for nothing in ([], Passages(outcome="below threshold", fallback=(PASSAGES[0],))):
        given = answer("How many days?", nothing, model=model, embedder=NoEmbedder())
        assert given.abstained
        assert model.calls == []
        assert "scripted:replies was not asked" in given.findings[0].message


def test_without_a_model_it_quotes(embedder: Any) -> None:
    given = hr.answer("How many days of paid leave do staff get?", PASSAGES, embedder=embedder)
    assert given.answered_by == "quotes"
    assert given.citations[0].text == "Full-time staff get 28 days of paid leave a year."


def test_a_handle_behind_which_nothing_is_configured_quotes(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from headrace.resources.handles import ModelHandle

    handle = ModelHandle("auto", root=tmp_path)
    assert not handle.available
    given = answer("How many days of paid leave?", PASSAGES, model=handle, embedder=NoEmbedder())
    assert given.answered_by == "quotes"


def test_what_does_not_fit_the_window_is_listed() -> None:
    long = passage("word " * 4_000, "long.md")
    model = ScriptedModel("There are 28 days of leave [1].", window=2_000)
    given = answer("How many days?", [PASSAGES[0], long], model=model, embedder=NoEmbedder())
    assert given.dropped == ("long.md",)
    assert "word word" not in model.calls[0].messages[-1].content


def test_tokens_and_cost_are_counted() -> None:
    model = ScriptedModel("There are 28 days of leave [1].", prices=Prices(input=1.0, output=2.0))
    given = answer("How many days?", PASSAGES, model=model, embedder=NoEmbedder())
    assert given.usage.output_tokens == 7
    assert given.usage.input_tokens > 50
    assert given.usage.cost is not None
    assert given.usage.cost > 0


def test_a_cut_off_answer_says_so() -> None:
    model = ScriptedModel("There are 28 days of leave in every full year [1].")
    given = answer(
        "How many days?", PASSAGES, model=model, decoding=Decoding(max_new_tokens=4), embedder=NoEmbedder()
    )
    assert any(f.guard == "length" and "4 tokens" in f.message for f in given.findings)


def test_history_and_decoding_reach_the_model() -> None:
    model = ScriptedModel("Yes, 28 of them [1].")
    earlier = [Message("user", "Do I get leave?"), Message("assistant", "Yes [1].")]
    answer(
        "How many?",
        PASSAGES,
        model=model,
        history=earlier,
        decoding=Decoding(max_new_tokens=9, seed=3),
        embedder=NoEmbedder(),
    )
    call = model.calls[0]
    assert [m.content for m in call.messages if m in earlier] == [m.content for m in earlier]
    assert (call.decoding.max_new_tokens, call.decoding.seed) == (9, 3)


def test_the_models_own_error_is_not_hidden() -> None:
    with pytest.raises(ModelBusy):
        answer("How many?", PASSAGES, model=ScriptedModel("x", fail=1))


# --------------------------------------------------------------------------- streaming


def listened(call: Any, **changes: Any) -> tuple[Any, list[Event]]:
    heard: list[Event] = []
    with request.use(replace(request.current(), listener=heard.append, **changes)):
        return call(), heard


def test_a_visible_answer_is_streamed_sentence_by_sentence() -> None:
    model = ScriptedModel("There are 28 days of leave [1][9]. They are paid [1].")

    def ask() -> Any:
        with tracing.collect("app"):
            return answer("How many?", PASSAGES, model=model, embedder=NoEmbedder())

    given, heard = listened(ask)
    assert [e.text for e in heard] == ["There are 28 days of leave [1][9]. ", "They are paid [1]."]
    assert (
        "".join(e.text for e in heard) == "There are 28 days of leave [1][9]. They are paid [1]."
    )  # provisional
    assert given.text == "There are 28 days of leave [1]. They are paid [1]."  # authoritative


@pytest.mark.parametrize(("visible", "expected"), [(None, False), (True, True), (False, False)])
def test_an_answer_within_a_step_is_not_streamed_unless_it_is_marked(visible: Any, expected: bool) -> None:
    model = ScriptedModel("There are 28 days of leave [1].")

    def ask() -> Any:
        with tracing.collect("app"), tracing.span("step"):
            return answer("How many?", PASSAGES, model=model, visible=visible, embedder=NoEmbedder())

    _, heard = listened(ask)
    assert bool(heard) == expected


def test_cancelling_stops_a_stream() -> None:
    token = request.CancelToken()
    heard: list[Event] = []

    def stop(event: Event) -> None:
        heard.append(event)
        token.cancel("the page was closed")

    model = ScriptedModel("one two three four five six seven eight nine ten [1].")
    with (
        pytest.raises(Cancelled, match="the page was closed"),
        request.use(replace(request.current(), listener=stop, cancel=token)),
    ):
        answer("How many?", PASSAGES, model=model, embedder=NoEmbedder())
    assert len(heard) == 1


def test_the_trace_says_what_answered_and_what_was_noticed() -> None:
    model = ScriptedModel("There are 28 days of leave [9].")
    with tracing.collect("app") as run:
        answer("How many?", PASSAGES, model=model, embedder=NoEmbedder())
    assert run.record["answered_by"] == ["scripted:replies"]
    assert len(run.record["findings"]) == 2
    span = next(s for s in run.spans if s.name == "answer")
    assert span.attributes["abstained"] is False
    assert span.attributes["citations"] == 0


# --------------------------------------------------------------------------- bad input


def test_a_question_of_100000_characters_is_refused_with_the_limit() -> None:
    question = "why " * 25_000
    with pytest.raises(InputError, match=r"100,000 characters.*8,192"):
        answer(question, PASSAGES)
    with pytest.raises(InputError, match=r"100,000 characters.*32,768"):
        answer(question, PASSAGES, model=ScriptedModel("x"))


def test_a_question_that_does_not_fit_the_window_is_refused() -> None:
    with pytest.raises(InputError, match="too long"):
        answer("why " * 3_000, PASSAGES, model=ScriptedModel("x", window=2_000))


def test_texts_are_no_passages_and_a_name_is_no_model() -> None:
    with pytest.raises(InputError, match="not a Passage"):
        answer("How many?", [LEAVE], model=ScriptedModel("x"))  # type: ignore[list-item]
    with pytest.raises(InputError, match="not a model"):
        answer("How many?", PASSAGES, model="gpt")  # type: ignore[arg-type]


def test_the_threshold_of_quoting_can_be_set() -> None:
    question = "What is the boiling point of tungsten?"
    assert answer(question, PASSAGES, embedder=NoEmbedder(), threshold=1).abstained
    assert not answer(question, PASSAGES, embedder=NoEmbedder(), threshold=0).abstained
    with pytest.raises(InputError, match="threshold=2 is not between 0 and 1"):
        answer(question, PASSAGES, embedder=NoEmbedder(), threshold=2)
