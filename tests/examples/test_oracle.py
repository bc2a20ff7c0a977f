"""The oracle: gold answers from a document of one's own and from a play, and four strategies side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import headrace as hr
from headrace.models.scripted import ScriptedModel

CALLS = {"stuff": 1, "map_reduce": 5, "refine": 4, "map_rerank": 4}


@pytest.fixture
def oracle(example: Callable[[str], ModuleType], embedder: object) -> ModuleType:
    module = example("oracle")
    report = module.kb.add_files(module.HERE)
    assert (report.documents, report.failed) == (2, ())
    return module


def test_each_strategy_finds_the_gold_answer_with_its_number_of_calls(oracle: ModuleType) -> None:
    for strategy, calls in CALLS.items():
        model = ScriptedModel(oracle.doubles.scholar)
        app = oracle.oracle.using({oracle.llm: model})
        answer = app("What did the Duke give for the chapel?", strategy=strategy)
        assert "a door of oak" in answer.text, strategy
        assert Path(answer.citations[0].document).name == "lantern.txt"
        assert len(model.calls) == calls, strategy
        assert (answer.confidence is not None) == (strategy == "map_rerank")


def test_a_document_of_ones_own(oracle: ModuleType) -> None:
    review = (oracle.HERE / "laptop.md").read_text(encoding="utf-8")
    gold = {
        "What is the laptop's full name?": "Brackwater Merlin 14 Gen 3",
        "What are the laptop's features?": "a battery that lasts 13 hours",
        "What does the laptop cost?": "1,190 crowns",
    }
    for question, wanted in gold.items():
        quoted = hr.answer(question, oracle.kb.search(question))
        assert wanted in " ".join(quoted.text.split()), question
        assert all(citation.text in review for citation in quoted.citations)
    said = review.partition("## How it was")[2]
    assert hr.tasks.sentiment(said)[0]["label"] == "positive"


def test_reading_again_reads_nothing(oracle: ModuleType) -> None:
    again = oracle.kb.add_files(oracle.HERE)
    assert (again.documents, again.skipped) == (0, 2)


SHAKESPEARE = {
    "What did the soothsayer tell Caesar to beware?": ("j_caesar.txt", "ides of March"),
    "Whose skull does Hamlet hold?": ("hamlet.txt", "Yorick"),
    "Who was from his mother's womb untimely ripp'd?": ("macbeth.txt", "Macduff"),
}


def ask(kb: hr.KnowledgeBase, question: str) -> None:
    play, wanted = SHAKESPEARE[question]
    answer = hr.answer(question, kb.search(question))
    assert wanted in answer.text
    assert Path(answer.citations[0].document).name == play
    assert answer.citations[0].heading.startswith("ACT"), "the scene is known"


def test_an_act_of_shakespeare(
    oracle: ModuleType, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play = (shared / "data" / "shakespeare" / "j_caesar.txt").read_text(encoding="utf-8")
    act = tmp_path / "j_caesar.txt"
    act.write_text(play.partition("ACT II\n")[0], encoding="utf-8")
    assert len(act.read_text(encoding="utf-8")) < len(play) / 2
    oracle.main(["--docs", str(act)])
    assert "1 documents" in capsys.readouterr().out
    ask(hr.KnowledgeBase("j_caesar"), next(iter(SHAKESPEARE)))


@pytest.mark.slow
def test_eight_plays_of_shakespeare(oracle: ModuleType, shared: Path) -> None:
    kb = hr.KnowledgeBase("shakespeare")
    report = kb.add_files(shared / "data" / "shakespeare")
    assert report.chunks > 1500
    for question in SHAKESPEARE:
        ask(kb, question)
