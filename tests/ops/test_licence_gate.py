"""The licence gate: a local model whose licence forbids commercial use does not reach production."""

from __future__ import annotations

from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import InputError
from headrace.ops import licences
from headrace.types import Release
from models.tiny_models import save_gpt2

APP = """
import headrace as hr

llm = hr.model("local:./model")


@hr.app
def teller(beginning: str) -> str:
    \"\"\"Go on with a story.\"\"\"
    return llm.complete(beginning).text
"""


def test_a_non_commercial_model_is_refused_at_production_unless_overridden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headrace.toml").write_text('[app]\nentry = "app.py:teller"\n')
    (tmp_path / "app.py").write_text(APP)
    save_gpt2(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Tiny\n")
    made = hr.release("app.py")
    assert made.manifest["models"]["model:local:./model"]["licence"] == "cc-by-nc-4.0"
    refused = hr.promote("teller@production")
    assert refused.refused
    (gate,) = refused.gates
    assert (gate.name, gate.demand, gate.verdict) == ("licence", "commercial", "fail")
    assert "not for commercial use" in gate.why


def released(*ids: str) -> Release:
    models = {f"model:{n}": {"assurance": "hashed", "licence": id} for n, id in enumerate(ids)}
    manifest = {"models": {**models, "model:far": {"assurance": "claimed"}}}
    return Release(id="1" * 64, name="teller", version=1, manifest=manifest)


@pytest.mark.parametrize(
    ("ids", "demand", "verdicts"),
    [
        (["mit"], "commercial", []),
        ([""], "commercial", []),
        (["mit", "cc-by-nc-4.0"], "commercial", ["fail"]),
        (["cc-by-nc-4.0"], "any", []),
        (["mit"], "permissive", ["pass"]),
        ([""], "permissive", ["fail"]),
        (["gpl-3.0"], "permissive", ["fail"]),
        (["apache-2.0"], "apache-2.0,mit", ["pass"]),
        ([], "permissive", []),
    ],
)
def test_what_each_demand_says(ids: list[str], demand: str, verdicts: list[str]) -> None:
    assert [found.verdict for found in licences.gate(released(*ids), demand)] == verdicts


def test_a_demand_that_means_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match="names no licence"):
        licences.gate(released("mit"), "nice")
