"""monitor, why and mlflow on the command line: one JSON value, exit codes, texts for 80 columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.cli.main import run
from headrace.resources import build
from released import write_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path)


def asked(project: Path) -> list[str]:
    app = hr.load("app.py")
    ids = [app.run({"question": text}).trace_id for text in ("burns upward", "downhill", "moves about")]
    ledger = build.ledger(project)
    ledger.add_feedback(hr.Feedback(trace_id=ids[0], value="up", user="a"))
    ledger.add_feedback(hr.Feedback(trace_id=ids[1], value="down", user="a", comment="too short"))
    return [str(id) for id in ids]


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_monitor(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["monitor", "--json"]) == 2  # nothing was asked yet
    assert "no runs yet" in printed(capsys)["error"]["hint"]
    asked(project)
    assert run(["monitor", "--json"]) == 0
    found = printed(capsys)
    assert (found["app"], found["whole"]["runs"], found["whole"]["up"], found["whole"]["down"]) == (
        "finder",
        3,
        1,
        1,
    )
    assert run(["monitor", "finder", "--since", "24h"]) == 0
    text = capsys.readouterr().out
    assert "thumbs up  50.0%" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert run(["monitor", "findr", "--json"]) == 2
    assert "'finder'" in printed(capsys)["error"]["hint"]
    assert run(["monitor", "--since", "soon"]) == 2


def test_monitor_names_what_is_live(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = hr.release("app.py")
    build.registry(project).promote("finder", "production", release.id, who="test")
    hr.load("finder@production")("burns upward")
    asked(project)
    assert run(["monitor", "finder", "--json"]) == 0
    parts = printed(capsys)["releases"]
    assert [(part["release"], part["role"], part["runs"]) for part in parts] == [
        (release.id, "production", 1),
        ("", "", 3),
    ]
    assert run(["monitor"]) == 0
    assert f"{release.id[:12]} (production)" in capsys.readouterr().out


def test_why(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = asked(project)
    assert run(["why", ids[1][:20], "--json"]) == 0
    found = printed(capsys)
    assert (found["trace_id"], found["wrong"], len(found["votes"])) == (ids[1], None, 1)
    assert "voted down" in found["said"]
    assert found["found"][0]["document"] == "d0"
    assert run(["why", ids[1]]) == 0
    text = capsys.readouterr().out
    assert "too short" in text
    assert "1 passage was found in 'kb'" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert run(["why", "f" * 32, "--json"]) == 2
    assert printed(capsys)["error"]["code"] == "not-found"


def test_mlflow_without_an_address(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = hr.release("app.py")
    assert run(["mlflow", "push", f"finder@{release.id}", "--json"]) == 2
    assert printed(capsys)["error"]["code"] == "settings-error"
