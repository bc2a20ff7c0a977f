"""Riddles that do not name their answer, can be solved, and four routes that can be compared."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType

import pytest

from headrace.models.scripted import ScriptedModel


@pytest.fixture
def riddles(example: Callable[[str], ModuleType], embedder: object) -> ModuleType:
    return example("riddles")


def test_no_riddle_names_its_answer(riddles: ModuleType) -> None:
    model = ScriptedModel(riddles.doubles.riddler)
    app = riddles.riddle.using({riddles.llm: model})
    for row in riddles.NEWS:
        text = app(row["text"], row["subject"])
        assert text
        assert row["subject"] not in text.lower()
    again = [call for call in model.calls if "That names the answer" in call.messages[0].content]
    assert len(again) == len(riddles.doubles.FORGETFUL)
    assert len(model.calls) == len(riddles.NEWS) + len(again)


@pytest.mark.parametrize("given_away", ["Such clocks tick.", "A CLOCK!", "Clockwork? It is a clock."])
def test_a_model_that_names_the_answer_each_time_gets_no_riddle_out(
    riddles: ModuleType, given_away: str
) -> None:
    model = ScriptedModel(given_away)
    assert riddles.riddle.using({riddles.llm: model})(riddles.NEWS[4]["text"], "clock") == ""
    assert len(model.calls) == riddles.TRIES


def test_the_routes_stand_side_by_side(riddles: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    riddles.main([])
    said = " ".join(capsys.readouterr().out.split())
    for route in riddles.PROMPTS:
        assert f"{route}: scripted double" in said
    solved = [int(n) for n in re.findall(r"(\d) of 8 solved", said)]
    assert len(solved) == 4
    assert min(solved) >= 5
    assert len(re.findall(r"prompts of \d+ tokens on average, window 4096", said)) == 4
    assert len(re.findall(r"1,000 riddles cost 0\.\d+ US dollars", said)) == 4


def test_a_route_without_a_model_is_not_assessed_and_a_service_is_warned_of(
    riddles: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    riddles.main(["--model", "scripted:echo"])
    said = capsys.readouterr().out
    assert "C service: not assessed" in said
    assert "D tuned: not assessed" in said
    assert "(each try named it)" in said, "an echo repeats the answer that its prompt holds"
    riddles.main(["--model", "scripted:quote", "--service", "scripted:echo"])
    assert "leave this machine" in capsys.readouterr().out
