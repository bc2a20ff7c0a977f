"""Follow-up questions made stand-alone, with a scripted double and without a model."""

from __future__ import annotations

from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import InputError
from headrace.flows.condense import condense, depends
from headrace.models.scripted import ScriptedModel
from headrace.types import Message

HISTORY = [
    Message("user", "Which kayak is the fastest?"),
    Message("assistant", "The Heron is the fastest kayak."),
]


def test_without_a_model_the_question_before_is_put_in_front() -> None:
    assert condense("And its price?", HISTORY) == "Which kayak is the fastest? And its price?"
    assert condense("When does the harbour office close?", HISTORY) == "When does the harbour office close?"
    assert condense("And its price?", []) == "And its price?"
    assert condense("And its price?", HISTORY, hr.model("auto")).endswith("And its price?")


def test_a_model_rewrites_it() -> None:
    model = ScriptedModel('"What is the price of the Heron?"')
    assert condense("And its price?", HISTORY, model) == "What is the price of the Heron?"
    sent = model.calls[0].messages
    assert "Do not answer" in sent[0].content
    assert "The Heron is the fastest kayak." in sent[1].content


@pytest.mark.parametrize("written", ["", "word " * 2000])
def test_what_is_no_question_is_not_taken(written: str) -> None:
    assert condense("And its price?", HISTORY, ScriptedModel(written)).startswith("Which kayak")


def test_the_follow_up_finds_the_right_passage(tmp_path: Path) -> None:
    kb = hr.KnowledgeBase(tmp_path / "kb")
    kb.add(
        [
            hr.Document(
                "The Heron is the fastest kayak of the club. Renting it costs nine francs.", id="heron"
            ),
            hr.Document("The price of a coffee in the harbour is four francs.", id="coffee"),
            hr.Document("The rowing boat Pike carries six people and is slow.", id="pike"),
        ]
    )
    alone = kb.search("And its price?", top_k=1, mode="lexical")
    assert [p.document for p in alone] != ["heron"]
    found = kb.search(condense("And its price?", HISTORY), top_k=1, mode="lexical")
    assert [p.document for p in found] == ["heron"]


@pytest.mark.parametrize(
    ("question", "follows"),
    [
        ("And its price?", True),
        ("Why?", True),
        ("What about children?", True),
        ("Who wrote that?", True),
        ("When does the harbour office close on Sundays?", False),
    ],
)
def test_what_depends_on_its_history(question: str, follows: bool) -> None:
    assert depends(question) is follows


def test_an_empty_question_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        condense(" ", HISTORY)
