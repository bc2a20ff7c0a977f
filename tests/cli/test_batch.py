"""batch as others script it: keys, their order, exit codes, streams, what people read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.main import run
from headrace.ops import batch_rows

APP = '''
import headrace as hr


@hr.app
def shout(text: str) -> str:
    """Loud."""
    if text == "boom":
        raise ValueError("no")
    if text == "stop":
        raise KeyboardInterrupt
    return text.upper()
'''
LAST = ["rows", "done", "failed", "resumed", "cost", "seconds"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "headrace.toml").write_text('[app]\nentry = "app.py:shout"\n')
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "in.csv").write_text("id,text\n1,ä\n2,b\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def value(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert run(["batch", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_the_contract(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = value(capsys, "in.csv", "out.jsonl")
    assert list(found)[-6:] == LAST
    assert {key: found[key] for key in LAST[:5]} == {
        "rows": 2,
        "done": 2,
        "failed": 0,
        "resumed": 0,
        "cost": 0.0,
    }
    assert found["stopped"] is None
    lines = (project / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["answer"] for line in lines] == ["Ä", "B"]
    assert value(capsys, "in.csv", "out.jsonl")["resumed"] == 2


def test_exit_codes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "bad.csv").write_text("text\nboom\na\n")
    failed = value(capsys, "bad.csv", "out.jsonl", code=5)
    assert (failed["done"], failed["failed"], failed["dead_letters"]) == (1, 1, "out.jsonl.failed.jsonl")
    again = value(capsys, "bad.csv", "out.jsonl", "--retry-failed", code=5)
    assert again["resumed"] == 1
    stopped = value(capsys, "bad.csv", "other.jsonl", "--max-failures", "0", "--workers", "1", code=3)
    assert stopped["stopped"]["code"] == "max-failures"
    assert not (project / "other.jsonl").exists()
    refused = value(capsys, "in.csv", "out.jsonl", code=1)
    assert refused["error"]["code"] == "conflict"
    missing = value(capsys, "in.csv", "out2.jsonl", "--map", "text=body", code=2)
    assert "Its columns: id, text." in missing["error"]["hint"]
    assert value(capsys, "in.csv", "out2.jsonl", "--map", "text", code=2)["error"]["code"] == "input-error"


def test_stopped_by_a_person(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "stop.csv").write_text("text\na\nb\nstop\nc\n")
    assert run(["batch", "stop.csv", "out.csv", "--workers", "1"]) == 130
    shown = capsys.readouterr()
    assert "the same command goes on with it" in shown.err
    assert shown.out == ""
    (project / "app.py").write_text(APP.replace('"stop"', '"never"'))
    assert run(["batch", "stop.csv", "out.csv"]) == 1
    assert "the application has changed (code)" in capsys.readouterr().err
    (project / "app.py").write_text(APP)


def test_a_dry_run_runs_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = value(capsys, "in.csv", "out.parquet", "--dry-run")
    assert found["mapping"] == {"text": "text"}
    assert [column["name"] for column in found["columns"]][:3] == ["id", "text", "answer"]
    assert (found["rows"], found["input_tokens"], found["cost_low"]) == (2, 2, None)
    assert sorted(path.name for path in project.iterdir() if path.suffix != ".pyc") == sorted(
        name for name in ("app.py", "headrace.toml", "in.csv", "__pycache__") if (project / name).exists()
    )
    assert run(["batch", "in.csv", "out.csv", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "2 rows of in.csv through shout." in shown
    assert "→ text" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_what_people_read(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "bad.csv").write_text("text\nboom\na\n")
    assert run(["batch", "bad.csv", "out.csv"]) == 5
    shown = capsys.readouterr().out
    assert shown.startswith("2 rows · 1 done · 1 failed · $0.0000 · ")
    assert "shout → out.csv\n" in shown
    assert "out.csv.failed.jsonl; once more with --retry-failed" in shown


def test_a_limit_of_money(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_rows, "TICK_SECONDS", 0.01)
    (project / "headrace.toml").write_text(
        '[app]\nentry = "paid.py:paid"\n[models]\ndefault = "m"\n[models.m]\nprovider = "scripted"\n'
        'model = "replies.json"\noptions = {cycle = true}\ninput_price = 0\noutput_price = 1000000\n'
    )
    (project / "replies.json").write_text('["x"]')
    (project / "paid.py").write_text(
        "import headrace as hr\n\nllm = hr.model('auto')\n\n\n@hr.app\ndef paid(text: str) -> str:\n"
        "    return llm.complete(text, hr.Decoding(max_new_tokens=1)).text\n"
    )
    stopped = value(capsys, "in.csv", "out.csv", "--max-cost", "1.5", "--workers", "1", code=3)
    assert (stopped["done"], stopped["cost"], stopped["stopped"]["code"]) == (1, 1.0, "max-cost")
    assert run(["batch", "in.csv", "out.csv", "--max-cost", "1.5"]) == 3
    shown = capsys.readouterr().out
    assert "The limit of 1.5 US dollars is reached" in shown
    assert "higher --max-cost" in shown
    assert value(capsys, "in.csv", "out.csv", "--max-cost", "3")["cost"] == 2.0
