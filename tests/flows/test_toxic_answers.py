"""Offensive answers of a model are withheld or noted, where the project says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import SettingsError
from headrace.flows import guarding
from headrace.models.scripted import ScriptedModel
from headrace.settings import load
from headrace.types import Passage

RUDE = "You are a stupid idiot and everybody hates you, you worthless bitch."
KIND = "The desk opens at eight in the morning. [1]"


def test_it_is_off_unless_the_project_says_otherwise(tmp_path: Path) -> None:
    here = guarding.of(load(tmp_path))
    with guarding.use(here):
        assert guarding.said(RUDE) == []
    with guarding.use(replace(here, settings=replace(here.settings, toxicity="flag"))):
        (finding,) = guarding.said(RUDE)
        assert (finding.guard, finding.severity) == ("toxicity", "warning")
        assert guarding.said(KIND) == []
    with guarding.use(replace(here, settings=replace(here.settings, toxicity="withhold"))):
        assert guarding.blocked(guarding.said(RUDE))
        gate = guarding.Gate()
        shown = gate.take(KIND + " ") + gate.take(RUDE + " ") + gate.take("More. ") + gate.rest()
        assert shown.strip() == "The desk opens at eight in the morning."
    strict = replace(here.settings, toxicity="withhold", toxicity_threshold=1.0)
    with guarding.use(replace(here, settings=strict)):
        assert guarding.said(RUDE) == []


def test_what_a_model_writes_is_judged_before_anybody_reads_it(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[guards]\ntoxicity = "withhold"\n', encoding="utf-8")
    passages = [Passage(text=KIND[:-4], score=1.0, relevance=0.9, document="desk.md", end=39)]
    with guarding.use(guarding.of(load(tmp_path))):
        rude = hr.answer("When does the desk open?", passages, model=ScriptedModel([RUDE]))
        kind = hr.answer("When does the desk open?", passages, model=ScriptedModel([KIND]))
    assert rude.text == guarding.WITHHELD
    assert rude.abstained
    assert [finding.severity for finding in rude.findings if finding.guard == "toxicity"] == ["block"]
    assert kind.text == KIND


@pytest.mark.parametrize("line", ['toxicity = "maybe"', "toxicity_threshold = 0", "toxicity_threshold = 1.5"])
def test_settings_that_mean_nothing_are_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "headrace.toml").write_text(f"[guards]\n{line}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=line.split(" = ")[1].strip('"')):
        load(tmp_path)
