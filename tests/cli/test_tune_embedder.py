"""``headrace tune embedder``: the plan, the contract of --json, bad use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.cli.main import run
from tuning.small_encoder import save_encoder, save_subject

pytest.importorskip("torch")


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    save_encoder(tmp_path / "base")
    pairs, passages = save_subject(tmp_path)
    few = "--base ./base --precision f32 --frozen -1 --epochs 2 --batch 8 --rate 0.005 --tokens 16".split()
    return ["tune", "embedder", str(pairs), "--corpus", str(passages), *few]


def test_dry_run_then_the_run(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["steps"] > 0
    assert plan["passages"] == 66
    assert not (tmp_path / "tuned-embedder").exists()
    assert run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"artifact", "baseline", "tuned", "seconds", "parity"} <= set(found)
    for name in ("baseline", "tuned"):
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
    assert found["parity"] >= 0.999
    assert len(found["losses"]) == plan["steps"]
    assert (Path(found["artifact"]) / "model.safetensors").is_file()
    assert run([*words, "--json"]) != 0  # there is one already
    assert "Name another --out" in capsys.readouterr().err


def test_what_people_read(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--dry-run"]) == 0
    assert "passages" in capsys.readouterr().err
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert "Parity with the runtime" in shown
    assert all(len(line) <= 80 or str(Path.cwd()) in line for line in shown.splitlines())


def test_bad_use(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--kb", "kb"]) == 2
    assert run(["tune", "embedder", "./nowhere.jsonl"]) == 2
    (tmp_path / "p.jsonl").write_text('{"text": "a"}', encoding="utf-8")
    assert run(["tune", "embedder", "p.jsonl", "--json"]) == 2
    assert "p.jsonl:1: needs 'question'" in capsys.readouterr().err
    assert run([*words, "--test", words[2]]) == 2
    assert "of the questions in the pairs stand in the test too" in capsys.readouterr().err
    assert run([*words, "--epochs", "0"]) == 2
    assert run(["tune", "--help"]) == 0
    assert "embedder" in capsys.readouterr().out


def test_embedders_are_ranked(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_encoder(tmp_path / "other", seed=1)
    monkeypatch.setenv("HEADRACE_EMBEDDER", str(tmp_path / "base"))
    rank = ["tune", "rank-embedders", words[2], "--corpus", words[4], "--precision", "f32"]
    assert run([*rank, "--model", str(tmp_path / "other"), "--json"]) == 0
    places = json.loads(capsys.readouterr().out)
    assert [p["ndcg"]["value"] for p in places] == sorted((p["ndcg"]["value"] for p in places), reverse=True)
    assert {p["name"] for p in places} == {"base", "other"}
    by_name = {p["name"]: p for p in places}
    assert by_name["base"]["against_first"] is None
    assert by_name["other"]["against_first"]["n"] == 66
    hits = [by_name["base"]["hits"][f"hit@{k}"]["value"] for k in (1, 3, 10)]
    assert hits == sorted(hits)
    assert run([*rank, "--model", str(tmp_path / "other")]) == 0
    assert "other against base: " in capsys.readouterr().out
    assert run([*rank, "--model", "./nowhere"]) == 2
