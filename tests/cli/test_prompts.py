"""``headrace prompts``: one JSON value each, text for people within 80 columns, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.cli.main import run

REVIEW = """\
+++
variables = ["text"]
labels = ["good", "bad"]
+++
[instruction]
Classify the review as good or bad.

[question]
{text}

[example]
text: Fine flour.
→ good

[example]
text: Stale flour.
→ bad
"""
APP = """
import headrace as hr

llm = hr.model("scripted:echo")
review = hr.prompt("review")


@hr.app
def mill(text: str) -> str:
    return llm.complete(review.render(text=text)).text
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "headrace.toml").write_text("", encoding="utf-8")
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "review.md").write_text(REVIEW, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Said:
    """What a command printed, and the JSON value of it."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        self.capsys.readouterr()
        assert run(["prompts", *words]) == code
        out, self.err = self.capsys.readouterr()
        if not {"--json", "show", "diff"} & set(words):  # what a prompt says is not wrapped
            assert all(len(line) <= 80 for line in (out + self.err).splitlines())
        return out

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code))


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


def test_list(project: Path, said: Said) -> None:
    (found,) = said.json()
    assert found == {
        "file": "prompts/review.md",
        "name": "review",
        "version": hr.Template.read("prompts/review.md").version,
        "parts": "four",
        "variables": ["text"],
        "remarks": 0,
    }
    assert found["version"] in said()
    (project / "prompts" / "review.md").write_text("", encoding="utf-8")
    assert said.json()[0]["version"] is None
    assert "broken" in said()


def test_new_passes_the_linter_and_overwrites_nothing(project: Path, said: Said) -> None:
    made = said.json("new", "Classify reviews as good, bad or mixed", "--name", "mood")
    assert made["file"] == "prompts/mood.md"
    assert {remark["severity"] for remark in made["remarks"]} == {"note"}
    assert said.json("lint", "mood", "--strict")["errors"] == 0
    said("new", "Something else to write", "--name", "mood", code=2)
    assert "exists already" in said.err
    assert "prompts/extract-date.md" in said("new", "Extract the date")
    for wrong in (["", "--name", "x"], ["Translate", "--name", "../x"], ["y" * 501]):
        assert said.json("new", *wrong, code=2)["error"]["hint"]


def test_lint(project: Path, said: Said) -> None:
    assert said.json("lint") == {
        "files": [{"file": "prompts/review.md", "remarks": []}],
        "errors": 0,
        "warnings": 0,
        "notes": 0,
    }
    (project / "prompts" / "other.md").write_text(REVIEW.replace("→ bad", "→ good"), encoding="utf-8")
    (project / "prompts" / "torn.md").write_text("+++\nlabels = [\n+++\n", encoding="utf-8")
    found = said.json("lint", code=3)
    assert [(f["file"], [r["code"] for r in f["remarks"]]) for f in found["files"]] == [
        ("prompts/other.md", ["label-without-example"]),
        ("prompts/review.md", []),
        ("prompts/torn.md", ["broken"]),
    ]
    assert (found["errors"], found["warnings"]) == (1, 1)
    assert set(found["files"][0]["remarks"][0]) == {"code", "severity", "message", "line", "hint"}
    said.json("lint", "other")
    said.json("lint", "other", "--strict", code=3)
    (project / "prompts" / "torn.md").write_bytes(b"\xff\xfe\x00")
    assert [len(f["remarks"]) for f in said.json("lint", "prompts", code=3)["files"]] == [1, 0, 1]
    assert said.json()[2]["version"] is None
    text = said("lint", "other")
    assert "warning label-without-example, line 11" in text
    assert "allow" in text
    assert said.json("lint", "reviw", code=2)["error"]["hint"].startswith("Did you mean 'review'?")


def test_show(project: Path, said: Said) -> None:
    found = said.json("show", "review")
    assert {"name", "file", "version", "hash", "variables", "text", "sent"} == set(found)
    assert found["sent"] is None
    sent = said.json("show", "review", "--set", "text=Fine = flour", "--model", "local:tiny")["sent"]
    assert sent["family"] == "completion"
    assert sent["stop"]
    assert "Fine = flour" in sent["messages"][0]["content"]
    assert said.json("show", "review", "--set", "text=x", "--family", "t5")["sent"]["messages"][0][
        "content"
    ].endswith(" x")
    assert "Answer:" in said("show", "prompts/review.md", "--set", "text=x", "--model", "local:tiny")
    for wrong, why in ((["txt=1"], "needs 'text'"), (["text"], "has no value"), (["text=1", "b=2"], "'b'")):
        words = [part for value in wrong for part in ("--set", value)]
        assert why in said.json("show", "review", *words, code=2)["error"]["message"]


def test_history_and_diff_know_releases_and_runs(project: Path, said: Said) -> None:
    app = hr.load("app.py:mill")
    app("Fine flour.")
    released = hr.Template.read("prompts/review.md").version
    hr.release(app)
    changed = REVIEW.replace("the review", "the customer's review")
    (project / "prompts" / "review.md").write_text(changed, encoding="utf-8")
    now, before = said.json("show", "review", "--history")["history"]
    assert (now["working"], now["releases"], now["runs"]) == (True, [], 0)
    assert (before["version"], before["releases"], before["runs"]) == (released, ["mill 1"], 1)
    assert "mill 1" in said("show", "review", "--history")
    found = said.json("diff", "review", "--release", "mill@v1")
    assert found["a"]["version"] == released
    assert found["b"]["version"] == now["version"]
    assert "+Classify the customer's review" in found["diff"]
    assert not found["same"]
    assert said.json("diff", "review", "review")["same"] is True
    assert "say the same" in said("diff", "review", "prompts/review.md")
    said("diff", "review", code=2)
    said("diff", "review", "--release", "mill@none", code=2)


def test_compare(project: Path, said: Said) -> None:
    (project / "prompts" / "other.md").write_text(REVIEW.replace("the review", "it"), encoding="utf-8")
    rows = [{"inputs": {"text": f"Flour {i}"}, "expectations": {"answer": "good"}} for i in range(20)]
    (project / "evals").mkdir()
    (project / "evals" / "reviews.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (project / "replies.json").write_text(json.dumps({"Classify it": "good", ".*": "bad"}), encoding="utf-8")
    words = ["compare", "review", "other", "--metrics", "exact_match", "--model", "scripted:replies.json"]
    found = said.json(*words)
    assert set(found) == {"variants", "metric", "winner", "model", "examples", "confidence", "notes"}
    assert (found["winner"], found["metric"], found["examples"]) == ("other", "exact_match", 20)
    first, second = found["variants"]
    assert set(first) == {"name", "version", "report_id", "metrics", "against_first"}
    assert first["against_first"] == {}
    assert second["against_first"]["exact_match"]["low"] > 0
    assert second["metrics"]["exact_match"]["value"] == 1
    text = said(*words)
    assert "Winner by exact_match: other." in text
    assert "answered by scripted:replies.json" in text
    assert "No winner" in said("compare", "review", "other", "--metrics", "exact_match")
    assert "No model is configured" in said.err
    through = said.json("compare", "review", "other", "--app", "app.py:mill", "--metrics", "contains")
    assert through["model"] == "application mill, prompt:review"
    said("compare", "review", code=2)
    said("compare", "review", "other", "--examples", "none.jsonl", code=2)


@pytest.mark.parametrize("command", ["new", "lint", "show", "diff", "compare"])
def test_help_has_examples(command: str, said: Said) -> None:
    assert "Examples:\n  " in said(command, "--help").replace("  Examples:", "Examples:").replace(
        "    ", "  "
    )
