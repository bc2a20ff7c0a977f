"""An answer that asks for a social security number does not reach anybody, unless the project says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.errors import SettingsError
from headrace.flows import guarding
from headrace.settings import load

ASKS = "You get 25 days of leave. Please tell me your social security number."


def test_such_an_answer_is_withheld_by_default(tmp_path: Path) -> None:
    with guarding.use(guarding.of(load(tmp_path))):
        assert guarding.blocked(guarding.said(ASKS))
        assert not guarding.said("You get 25 days of leave. Enter your password in the portal.")
        gate = guarding.Gate()
        shown = "".join([gate.take(ASKS[:30]), gate.take(ASKS[30:]), gate.rest()])
        assert shown.strip() == "You get 25 days of leave."


def test_it_can_be_noted_only_or_switched_off(tmp_path: Path) -> None:
    here = guarding.of(load(tmp_path))
    with guarding.use(replace(here, settings=replace(here.settings, personal="flag"))):
        (finding,) = guarding.said(ASKS)
        assert finding.severity == "warning"
    with guarding.use(replace(here, settings=replace(here.settings, personal="off"))):
        assert guarding.said(ASKS) == []
    (tmp_path / "headrace.toml").write_text('[guards]\npersonal = "maybe"\n', encoding="utf-8")
    with pytest.raises(SettingsError, match="'maybe'"):
        load(tmp_path)
