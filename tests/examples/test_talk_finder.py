"""Talks by meaning: the judge set, filters that hold, and nothing where nothing is about a topic."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType

import pytest

import headrace as hr


@pytest.fixture
def finder(example: Callable[[str], ModuleType], embedder: object) -> ModuleType:
    module = example("talk_finder")
    assert module.shelve() == 40
    return module


def test_the_judge_set_is_mostly_met(finder: ModuleType) -> None:
    judged = finder.DATA / "talks-judged.jsonl"
    report = hr.evaluate(finder.talks, judged, ["hit@1", "hit@4"], save=False)
    first, four = (found["value"] for found in report.measurements)
    assert first >= 0.5
    assert four >= 0.85
    assert report.measurements[0]["n"] == 20


def test_the_judge_set_names_sessions_that_exist(finder: ModuleType) -> None:
    known = {json.loads(line)["id"] for line in (finder.DATA / "talks.jsonl").read_text("utf-8").splitlines()}
    for line in (finder.DATA / "talks-judged.jsonl").read_text("utf-8").splitlines():
        assert set(json.loads(line)["expectations"]["documents"]) <= known


def test_a_topic_without_a_common_word_and_one_without_a_session(finder: ModuleType) -> None:
    assert finder.talks("apiculture and honey production")[0]["session"] == "bees"
    assert finder.talks("medieval pottery") == []


def test_a_filter_holds(finder: ModuleType) -> None:
    found = finder.talks("learning from data", "day == 2 and level != 'advanced'")
    assert found
    assert all(row["day"] == 2 and row["level"] != "advanced" for row in found)
    with pytest.raises(hr.errors.InputError):
        finder.talks("learning", "day = = 2")


def test_reading_the_sessions_again_changes_nothing(finder: ModuleType) -> None:
    before = finder.kb.version().commit
    assert finder.shelve() == 40
    assert finder.kb.version().commit == before
