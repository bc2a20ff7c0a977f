"""Models side by side: a measured figure on each of the four axes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.main import run
from headrace.errors import InputError, ModelBusy
from headrace.evaluation import axes
from headrace.evaluation.dataset import of
from headrace.models.cost import Prices
from headrace.models.scripted import ScriptedModel
from headrace.types import to_json
from models.written import model as write_model

EXAMPLES = [
    {"inputs": {"question": f"What is {n} + {n}?"}, "expectations": {"answer": str(2 * n)}} for n in range(30)
]


def knows(right: int, **more: Any) -> ScriptedModel:
    """A double that answers the first ``right`` examples as expected."""
    replies = [str(2 * n) if n < right else "no idea" for n in range(30)]
    return ScriptedModel(replies, **more)


def test_each_axis_has_a_measured_figure(tmp_path: Path) -> None:
    good = knows(28, name="good", prices=Prices(input=1.0, output=2.0))
    poor = knows(6, name="poor")
    poor.folder = write_model(tmp_path / "poor", readme="license: apache-2.0")  # type: ignore[attr-defined]
    ticks = itertools.count()
    found = axes.measure([good, poor], of(EXAMPLES), "exact_match", clock=lambda: next(ticks) * 0.5)
    one, other = found
    assert (one.quality.value, other.quality.value) == (pytest.approx(28 / 30), pytest.approx(6 / 30))
    assert one.quality.low is not None
    assert one.quality.low < 28 / 30
    assert one.seconds.value == 0.5
    # "What is 7 + 7?" has five words; an answer has one, "no idea" two
    assert one.cost == pytest.approx(1000 * (5 * 1.0 + (28 * 1 + 2 * 2) / 30 * 2.0) / 1e6)
    assert other.cost is None
    assert one.against is None
    assert other.against is not None
    assert other.against.verdict == "worse"
    assert to_json(one.changes) == {"score": 0, "here": False, "licensed": False, "trainable": False}
    assert other.changes.score == 3


def test_what_fails_is_counted_and_what_cannot_be_scored_is_refused(tmp_path: Path) -> None:
    failing = knows(30, name="failing", fail=[ModelBusy("no"), None])
    (found,) = axes.measure([failing], of(EXAMPLES), "exact_match")
    assert (found.failed, found.quality.n, found.quality.missing) == (1, 29, 1)
    with pytest.raises(InputError, match="No example can be scored by 'exact_match'"):
        axes.measure([knows(3)], of([{"inputs": {"q": "x"}}]), "exact_match")
    with pytest.raises(InputError, match="example 1 has 2 inputs that are texts"):
        axes.measure([knows(3)], of([{"inputs": {"q": "x", "r": "y"}}]), "exact_match")
    plain = axes.changes(knows(3))
    assert plain.score == 0
    licensed = knows(1)
    licensed.folder = write_model(tmp_path / "nd", readme="license: cc-by-nd-4.0")  # type: ignore[attr-defined]
    assert axes.changes(licensed).licensed is False


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in EXAMPLES[:8]))
    words = ["models", "compare", "scripted:echo", "scripted:quote", "--examples", "own.jsonl"]
    assert run([*words, "--metric", "contains", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found["models"]] == ["scripted:echo", "scripted:quote"]
    assert found["examples"] == 8
    for each in found["models"]:
        assert {"quality", "seconds", "cost", "cpu", "changes", "failed", "against"} <= set(each)
    assert run(words) == 0
    assert "0 of 3" in capsys.readouterr().out
    assert run([*words[:3], "--examples", "gone.jsonl", "--json"]) == 2
