"""eval, compare, reports, examples as a script sees them: keys, exit codes, one JSON value."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

APP = """
import headrace as hr

ANSWERS = {"A?": "alpha", "B?": "beta", "C?": "WRONG"}


@hr.app
def letters(question: str) -> hr.Answer:
    if question not in ANSWERS:
        return hr.Answer(text="Nothing was found.", abstained=True)
    return hr.Answer(text=f"It is {ANSWERS[question]}.")
"""
LINES = [
    {"id": "a", "inputs": {"question": "A?"}, "expectations": {"answer": "alpha"}},
    {"id": "b", "inputs": {"question": "B?"}, "expectations": {"answer": "beta"}},
    {"id": "c", "inputs": {"question": "C?"}, "expectations": {"answer": "gamma"}},
    {"id": "d", "inputs": {"question": "D?"}, "expectations": {"unanswerable": True}},
]


def headrace(*words: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "80"},
        check=False,
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def value(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "worse.py").write_text(APP.replace('"beta"', '"zeta"'))
    (tmp_path / "headrace.toml").write_text('[app]\nentry = "app.py:letters"\n')
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals" / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return tmp_path


def test_eval_json(project: Path) -> None:
    found = value(headrace("eval", "app.py:letters", "evals/questions.jsonl", "--metrics",
                           "contains,latency", "--json", cwd=project))  # fmt: skip
    assert {"report_id", "subject", "metrics", "rows"} <= found.keys()
    contains = found["metrics"]["contains"]
    assert (contains["value"], contains["n"]) == (0.75, 4)
    assert contains["low"] < 0.75 < contains["high"]
    rows = [json.loads(line) for line in Path(found["rows"]).read_text().splitlines()]
    assert [row["id"] for row in rows] == ["a", "b", "c", "d"]
    again = value(headrace("eval", "--json", "--metrics", "contains", cwd=project))
    assert (again["subject"], again["cached"], again["computed"]) == (found["subject"], 4, 0)
    anew = value(headrace("eval", "--json", "--no-cache", "--limit", "2", "--workers", "2", cwd=project))
    assert (anew["count"], anew["cached"], anew["workers"]) == (2, 0, 2)


def test_eval_for_people(project: Path) -> None:
    done = headrace("eval", "--html", "report.html", cwd=project)
    assert "contains" in done.stdout
    assert "1 of 4 rows went wrong" in done.stdout
    assert "does not contain 'gamma'" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    html = (project / "report.html").read_text()
    assert html.startswith("<!doctype html>")
    assert "<svg" in html
    assert "<script" not in html
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")
    assert html.count("<details") == 4


def test_retrieval_is_a_reserved_word(project: Path) -> None:
    (project / "docs").mkdir()
    (project / "docs" / "a.md").write_text("# Cranes\n\nThe crane lifts 40 tonnes.\n")
    (project / "docs" / "b.md").write_text("# Fees\n\nGuests pay 23 euros a night.\n")
    headrace("ingest", "docs", cwd=project)
    lines = [
        {
            "id": "x",
            "inputs": {"q": "How much does the crane lift?"},
            "expectations": {"documents": ["docs/a.md"]},
        },
        {"id": "y", "inputs": {"q": "What do guests pay?"}, "expectations": {"documents": ["docs/b.md"]}},
        {"id": "z", "inputs": {"q": "What is the moon?"}, "expectations": {"unanswerable": True}},
    ]
    (project / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = value(headrace("eval", "retrieval", "r.jsonl", "--kb", "kb", "--metrics", "hit@1,hit@2", "--json",
                           cwd=project))  # fmt: skip
    assert found["app"] == "retrieval"
    assert found["metrics"]["hit@1"] == {**found["metrics"]["hit@1"], "value": 1.0, "n": 2}
    none = headrace("eval", "retrieval", cwd=project, code=2)
    assert "expects a document" in none.stderr
    assert "--kb" in headrace("eval", "app.py", "--kb", "kb", cwd=project, code=2).stderr


def test_compare_json(project: Path) -> None:
    found = value(headrace("compare", "worse.py:letters", "app.py:letters", "--metrics", "contains",
                           "--json", cwd=project))  # fmt: skip
    contains = found["metrics"]["contains"]
    assert {"verdict", "difference", "low", "high", "n", "needed"} <= contains.keys()
    assert contains["verdict"] == "not enough data"
    assert (contains["difference"], contains["n"]) == (-0.25, 4)
    assert contains["needed"] > 4
    ids = found["a"]["report_id"], found["b"]["report_id"]
    wide = value(headrace("compare", *ids, "--margin", "2", "--json", cwd=project))
    assert set(wide["metrics"]) == {"contains"}


def test_compare_for_people(project: Path) -> None:
    done = headrace("compare", "worse.py:letters", "app.py:letters", cwd=project)
    assert "not enough data; about" in done.stdout
    assert "95 % interval" in done.stdout
    assert "better" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_reports_list_and_show(project: Path) -> None:
    assert "No reports yet" in headrace("reports", cwd=project).stdout
    made = value(headrace("eval", "--json", cwd=project))
    listed = value(headrace("reports", "list", "--json", cwd=project))
    assert [r["report_id"] for r in listed] == [made["report_id"]]
    assert listed[0]["metrics"] == made["metrics"]
    shown = value(headrace("reports", "show", made["report_id"][:16], "--json", cwd=project))
    assert shown == listed[0]
    assert shown["count"] == 4
    text = headrace("reports", "show", made["report_id"], "--html", "r.html", cwd=project).stdout
    assert made["subject"] in text
    assert (project / "r.html").is_file()
    assert "no report 'nope'" in headrace("reports", "show", "nope", cwd=project, code=2).stderr


def test_a_run_with_its_correction_becomes_an_example(project: Path) -> None:
    made = value(headrace("eval", "--json", cwd=project))
    row = json.loads(Path(made["rows"]).read_text().splitlines()[2])
    trace = row["trace_id"]
    new = ("examples", "add", trace[:16], "--to", "evals/new.jsonl")
    assert "Nobody has said" in headrace(*new, cwd=project, code=2).stderr
    headrace("traces", "vote", trace, "down", "--correction", "gamma", cwd=project)
    first = value(headrace(*new, "--json", cwd=project))
    assert first["added"] is True
    assert first["example"]["expectations"] == {"answer": "gamma"}
    assert value(headrace(*new, "--json", cwd=project))["added"] is False
    assert "there already: c" in headrace("examples", "add", trace, cwd=project).stdout
    checked = value(headrace("examples", "check", "evals/new.jsonl", "--json", cwd=project))
    assert checked["examples"] == checked["with_answer"] == 1
    assert "no trace" in headrace("examples", "add", "ffff", "--answer", "x", cwd=project, code=2).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("eval", "app.py:letters", "nowhere.jsonl"), "no file 'nowhere.jsonl'"),
        (("eval", "app.py:latters"), "Did you mean 'letters'"),
        (("eval", "--metrics", "contain"), "contains"),
        (("eval", "--metrics", "hit@4"), "no document is expected"),
        (("eval", "--workers", "0"), "--workers"),
        (("eval", "--confidence", "95"), "confidence"),
        (("compare", "nope", "app.py:letters"), "neither a report nor an application"),
        (("compare", "app.py:letters", "worse.py:letters", "--margin", "-1"), "margin"),
        (("compare",), "production"),
    ],
)
def test_bad_use_ends_with_2_and_says_why(project: Path, words: tuple[str, ...], said: str) -> None:
    done = headrace(*words, cwd=project, code=2)
    assert said in done.stderr
    error = json.loads(headrace(*words, "--json", cwd=project, code=2).stdout)["error"]
    assert said in error["message"] + error["hint"]


def test_bad_lines_are_told_with_their_number(project: Path) -> None:
    file = project / "evals" / "questions.jsonl"
    file.write_text(file.read_text() + json.dumps({**LINES[0], "expectations": {"anwser": "x"}}) + "\n")
    done = headrace("eval", cwd=project, code=2)
    assert "questions.jsonl:5" in done.stderr
    assert "did you mean 'answer'" in done.stderr
