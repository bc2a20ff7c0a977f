"""``headrace models`` and ``headrace data``: in process, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.main import run
from models.hub_server import HubServer, row
from models.written import model


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, a folder per user and a cache of its own."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "headrace.toml").write_text("")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def value(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert run([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_find_looks_in_project_home_and_cache(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model(here / "mine", readme="license: mit", parameters=10)
    model(here.parent / "home" / "models" / "theirs", readme="license: cc-by-nc-4.0", parameters=20)
    model(here.parent / "hub" / "models--a--b" / "snapshots" / "1", readme=None, parameters=30)
    found = value(capsys, "models", "find")
    assert [each["candidate"]["name"] for each in found["models"]] == ["mine", "theirs", "a/b"]
    assert all(each["why"] for each in found["models"])
    assert "rejected" not in found
    found = value(capsys, "models", "find", "--permissive", "--why")
    assert [each["candidate"]["name"] for each in found["models"]] == ["mine"]
    assert {each["candidate"]["name"] for each in found["rejected"]} == {"theirs", "a/b"}
    assert all(each["why"] for each in found["rejected"])
    assert run(["models", "find", "--max-parameters", "0.01k", "--why"]) == 0
    out = capsys.readouterr().out
    assert "mine" in out
    assert "theirs: 20 parameters, over 10" in out


def test_the_hub_stays_unasked_by_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer([row("acme/good"), row("acme/nc", tags=["safetensors", "license:cc-by-nc-4.0"])]) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert value(capsys, "models", "find")["models"] == []
        assert hub.asked == []
        monkeypatch.setenv("HEADRACE_NETWORK", "open")
        assert value(capsys, "models", "find", "--no-hub")["models"] == []
        assert hub.asked == []
        found = value(capsys, "models", "find", "--permissive")
        assert [each["candidate"]["name"] for each in found["models"]] == ["acme/good"]
        assert len(hub.asked) == 1
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    monkeypatch.setenv("HEADRACE_NETWORK", "named")
    assert value(capsys, "models", "find", "--hub", code=2)["error"]["code"] == "network-refused"


def test_card(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model(here / "mine", readme="license: apache-2.0\ndatasets: [acme/letters]")
    found = value(capsys, "models", "card", "mine")
    assert {
        "name", "parameters", "dtype", "memory", "licence", "base_model", "training_data", "context",
        "tokenizer", "chat_template", "files",
    } <= set(found)  # fmt: skip
    assert all(len(file["sha256"]) == 64 for file in found["files"])
    assert run(["models", "card", "./mine", "--no-hashes"]) == 0
    out = capsys.readouterr().out
    assert "acme/letters" in out
    assert "Commercial use: yes" in out
    assert max(map(len, out.splitlines())) <= 80
    (here / "mine" / "tokenizer.json").unlink()
    said = value(capsys, "models", "card", "mine", code=2)["error"]["message"]
    assert "'tokenizer.json'" in said


def test_licences(capsys: pytest.CaptureFixture[str]) -> None:
    found = value(capsys, "models", "licences", "mit", "cc-by-nc-4.0", "made-up")["licences"]
    assert [each["commercial"] for each in found] == ["yes", "no", "unknown"]
    assert run(["models", "licences"]) == 0
    assert "apache-2.0" in capsys.readouterr().out


def test_data_is_pinned_checked_and_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "sub").mkdir()
    notes = here / "sub" / "notes.jsonl"
    notes.write_text('{"text": "one"}\n')
    made = value(capsys, "data", "pin", "notes", "sub/notes.jsonl", "--revision", "v1")
    assert (made["source"], made["revision"]) == ("sub/notes.jsonl", "v1")
    assert value(capsys, "data", "check")["data"][0]["hash"] == made["hash"]
    assert value(capsys, "data", "show", "notes")["rows"] == [{"text": "one"}]
    notes.write_text('{"text": "two"}\n')
    changed = value(capsys, "data", "check", code=1)["data"][0]
    assert changed["ok"] is False
    assert made["files"]["notes.jsonl"] in changed["said"]
    error = value(capsys, "data", "show", "notes", code=1)["error"]
    assert error["code"] == "corrupt"
    assert run(["data", "check"]) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["models", "find", "./gone"],
        ["models", "find", "--licence", "nice"],
        ["models", "find", "--permissive", "--licence", "mit"],
        ["models", "find", "--max-parameters", "many"],
        ["models", "find", "--max-mb", "0"],
        ["models", "card", "nobody"],
        ["models", "card", ""],
        ["data", "pin", "x", "./gone"],
        ["data", "show", "x"],
    ],
)
def test_bad_use(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert value(capsys, *words, code=2)["error"]["message"]
