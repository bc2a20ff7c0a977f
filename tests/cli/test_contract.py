"""What others script against: the exact keys, exit codes and streams of the command line.

Each command runs as a real process, as a stranger's script would run it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.main import VERBS

DOCS = {
    "leave.md": "# Leave\n\n## Annual leave\n\nEvery employee has 27 days of paid leave a year.\n\n"
    "## Parental leave\n\nParents have 16 weeks of paid leave after the birth of a child.\n",
    "travel.txt": "Trips outside Europe are approved by the finance team. Trains may be in first class.\n",
}


def headrace(
    *words: str, cwd: Path, code: int | None = 0, stdin: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        input=stdin,
        timeout=120,
        env={**os.environ, **env},
        check=False,
    )
    if code is not None:
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def value(done: subprocess.CompletedProcess[str]) -> Any:
    """The one JSON value on standard output."""
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "docs").mkdir()
    for name, text in DOCS.items():
        (folder / "docs" / name).write_text(text, encoding="utf-8")
    headrace("ingest", "docs", "--kb", "./kb", cwd=folder)
    return folder


def test_ingest_json(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name, text in DOCS.items():
        (tmp_path / "docs" / name).write_text(text, encoding="utf-8")
    (tmp_path / "docs" / "broken.pdf").write_bytes(b"%PDF-1.4 this is none")
    got = value(headrace("ingest", "docs", "--kb", "./kb", "--json", cwd=tmp_path))
    assert {"documents", "chunks", "skipped", "replaced", "removed", "failed", "seconds"} <= set(got)
    assert (got["documents"], got["skipped"], got["replaced"], got["removed"]) == (2, 0, 0, 0)
    assert got["chunks"] >= 2
    assert [f["document"] for f in got["failed"]] == ["docs/broken.pdf"]
    assert got["failed"][0]["reason"]

    again = value(headrace("ingest", "docs", "--kb", "./kb", "--json", cwd=tmp_path))
    assert (again["documents"], again["skipped"]) == (0, 2)

    (tmp_path / "docs" / "leave.md").write_text("# Leave\n\nEveryone has 30 days.\n", encoding="utf-8")
    (tmp_path / "docs" / "travel.txt").unlink()
    third = value(headrace("ingest", "docs", "--kb", "./kb", "--prune", "--json", cwd=tmp_path))
    assert (third["documents"], third["replaced"], third["removed"]) == (1, 1, 1)
    info = value(headrace("kb", "info", "./kb", "--json", cwd=tmp_path))
    assert info["documents"] == 1


def test_ingest_exit_code_is_4_when_everything_failed(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"nothing of the kind")
    got = value(headrace("ingest", "a.pdf", "--kb", "./kb", "--json", cwd=tmp_path, code=4))
    assert got["documents"] == 0
    assert got["failed"][0]["document"] == "a.pdf"


def test_ask_json(project: Path) -> None:
    got = value(
        headrace(
            "ask", "How many days of paid leave does an employee have?", "--kb", "./kb", "--json", cwd=project
        )
    )
    assert {"answer", "abstained", "answered_by", "citations", "trace_id", "seconds"} <= set(got)
    assert got["abstained"] is False
    assert got["answered_by"] == "quotes"
    assert "27 days" in got["answer"]
    for citation in got["citations"]:
        assert {"document", "heading", "start", "end", "text", "score", "relevance"} <= set(citation)
        source = (project / citation["document"]).read_text(encoding="utf-8")
        assert source[citation["start"] : citation["end"]] == citation["text"]
    assert got["citations"][0]["document"] == "docs/leave.md"
    shown = value(headrace("traces", "show", got["trace_id"], "--json", cwd=project))
    assert shown["id"] == got["trace_id"]
    assert shown["output"]["text"] == got["answer"]


def test_ask_abstains_and_says_what_it_looked_for(project: Path) -> None:
    got = value(
        headrace("ask", "Who won the chess tournament in Reykjavik?", "--kb", "./kb", "--json", cwd=project)
    )
    assert got["abstained"] is True
    assert got["citations"] == []
    assert "chess" in got["answer"].lower()


def test_ask_without_tracing_has_no_trace_id(project: Path) -> None:
    got = value(
        headrace("ask", "Who approves trips?", "--kb", "./kb", "--json", cwd=project, HEADRACE_LEDGER="off")
    )
    assert got["trace_id"] is None


def test_ask_with_a_model_names_it(project: Path) -> None:
    got = value(
        headrace(
            "ask",
            "Who approves trips outside Europe?",
            "--kb",
            "./kb",
            "--model",
            "scripted:echo",
            "--json",
            cwd=project,
        )
    )
    assert got["answered_by"] == "scripted:echo"


def test_search_json(project: Path) -> None:
    for mode in ("hybrid", "dense", "lexical"):
        got = value(
            headrace(
                "search",
                "parental leave",
                "--kb",
                "./kb",
                "--top-k",
                "1",
                "--mode",
                mode,
                "--json",
                cwd=project,
            )
        )
        assert got["outcome"] == "ok"
        (hit,) = got["hits"]
        assert {"document", "text", "score", "relevance", "start", "end", "metadata"} <= set(hit)
        assert hit["document"] == "docs/leave.md"
        source = (project / hit["document"]).read_text(encoding="utf-8")
        assert source[hit["start"] : hit["end"]] == hit["text"]
    filtered = value(
        headrace("search", "leave", "--kb", "./kb", "--filter", "type = 'nothing'", "--json", cwd=project)
    )
    assert filtered["hits"] == []


def test_doctor_json(tmp_path: Path) -> None:
    got = value(headrace("doctor", "--json", cwd=tmp_path))
    assert {
        *("version", "python", "distributions", "import_seconds", "sockets_at_import", "embedder"),
        *("embedder_source", "network", "problems"),
    } <= set(got)
    assert isinstance(got["distributions"], int)
    assert got["sockets_at_import"] == 0


def test_kb_check_and_info(project: Path) -> None:
    assert value(headrace("kb", "check", "./kb", "--json", cwd=project))["sound"] is True
    got = value(headrace("kb", "info", "./kb", "--json", cwd=project))
    assert {"documents", "chunks", "version", "embedder", "bytes"} <= set(got)
    assert got["documents"] == 2


def test_new_makes_a_project_that_runs(tmp_path: Path) -> None:
    headrace("new", "handbook", cwd=tmp_path)
    folder = tmp_path / "handbook"
    assert (folder / "docs").is_dir()
    assert (folder / "evals").is_dir()
    headrace("ingest", "docs/", cwd=folder)
    got = value(headrace("ask", "How many days of leave do I get?", "--json", cwd=folder))
    assert "27 days" in got["answer"]
    listed = value(headrace("traces", "list", "--json", cwd=folder))
    assert listed[0]["app"] == "handbook", "the project's own application answered"
    done = subprocess.run([sys.executable, "app.py"], cwd=folder, capture_output=True, text=True, check=True)
    assert "27 days" in done.stdout


def test_demo_reads_asks_and_is_quick_the_second_time(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name, text in DOCS.items():
        (tmp_path / "docs" / name).write_text(text, encoding="utf-8")
    (tmp_path / "asked.txt").write_text("# ours\nHow long is parental leave?\n\n", encoding="utf-8")
    got = value(headrace("demo", "docs", "--questions", "asked.txt", "--json", cwd=tmp_path))
    assert {"ingest", "questions"} <= set(got["phases"])
    assert got["report"]["documents"] == 2
    (asked,) = got["answers"]
    assert asked["question"] == "How long is parental leave?"
    assert "16 weeks" in asked["answer"]["text"]
    shown = headrace("demo", "docs", "--questions", "asked.txt", cwd=tmp_path).stdout
    assert "0 documents read, 2 unchanged" in shown
    assert "answered by quotes" in shown
    assert "characters" in shown
    assert "Seconds: " in shown
    assert "headrace serve --kb demo" in shown
    assert "headrace ingest YOUR-FOLDER" in shown
    own = value(headrace("demo", "docs", "--json", cwd=tmp_path))
    assert [a["question"] for a in own["answers"]], "without a file, questions come from the documents"


def test_chat_reads_lines_from_a_pipe(project: Path) -> None:
    done = headrace(
        "chat", "--kb", "./kb", "--json", cwd=project, stdin="Who approves trips?\nHow many weeks?\n"
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["question"] for line in lines] == ["Who approves trips?", "How many weeks?"]


def test_ask_from_standard_input_and_plain_output(project: Path) -> None:
    done = headrace(
        "ask", "-", "--kb", "./kb", cwd=project, stdin="How many days of paid leave does an employee have?"
    )
    assert "27 days" in done.stdout
    assert "[1] docs/leave.md" in done.stdout
    assert "answered by quotes" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_export(project: Path) -> None:
    headrace("ask", "Who approves trips?", "--kb", "./kb", cwd=project)
    lines = headrace("traces", "export", cwd=project).stdout.splitlines()
    assert all(json.loads(line)["id"] for line in lines)
    otlp = value(headrace("traces", "export", "--format", "otlp", "--no-content", cwd=project))
    assert otlp["resourceSpans"]
    assert "Who approves trips" not in json.dumps(otlp)


def test_traces_for_machines(project: Path, tmp_path: Path) -> None:
    headrace("ask", "Who approves trips?", "--kb", "./kb", cwd=project)
    listed = value(headrace("traces", "--json", cwd=project))
    assert listed[0]["app"] == "ask"
    headrace("traces", "vote", listed[0]["id"], "down", "--comment", "Too short.", cwd=project)
    (newest,) = value(headrace("traces", "export", "--limit", "1", "--json", cwd=project))
    assert newest["id"] == listed[0]["id"]
    assert newest["feedback"][0]["comment"] == "Too short."
    out = tmp_path / "traces.jsonl"
    done = value(headrace("traces", "export", "--out", str(out), "--json", cwd=project))
    assert done["lines"] == len(out.read_text(encoding="utf-8").splitlines()) >= 1
    refused = value(headrace("traces", "--json", "prune", cwd=project, code=2))
    assert "prune --json" in refused["error"]["message"]


def test_an_application_that_gives_a_text_has_a_trace_too(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[app]\nentry = 'app.py:shout'\n", encoding="utf-8")
    (tmp_path / "app.py").write_text(
        "import headrace as hr\n\n@hr.app\ndef shout(text: str) -> str:\n    return text.upper()\n",
        encoding="utf-8",
    )
    got = value(headrace("ask", "hello", "--json", cwd=tmp_path))
    assert (got["answer"], got["answered_by"]) == ("HELLO", "shout")
    assert value(headrace("traces", "show", got["trace_id"], "--json", cwd=tmp_path))["output"] == "HELLO"


def test_kb_commands_mean_the_project_s_own_knowledge_base(project: Path, tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[kb]\ndefault = 'hours'\n", encoding="utf-8")
    (tmp_path / "a.md").write_text("# Hours\n\nWe open at nine.\n", encoding="utf-8")
    headrace("ingest", "a.md", cwd=tmp_path)
    assert value(headrace("kb", "info", "--json", cwd=tmp_path))["documents"] == 1
    assert value(headrace("kb", "check", "--json", cwd=tmp_path))["sound"] is True
    database = tmp_path / ".headrace" / "kb" / "hours" / "kb.sqlite"
    for extra in ("-wal", "-shm"):
        Path(f"{database}{extra}").unlink(missing_ok=True)
    database.write_bytes(b"\0" * 64 + database.read_bytes()[64:])
    got = value(headrace("kb", "check", "--json", cwd=tmp_path, code=1))
    assert got["sound"] is False
    assert "kb.sqlite" in got["findings"][0]["message"]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Hours\n\nWe open at nine.\n", encoding="utf-8")
    (tmp_path / ".headrace").write_text("a file where a folder has to be", encoding="utf-8")
    done = headrace("ingest", "a.md", "--json", cwd=tmp_path, code=1)
    assert ".headrace" in value(done)["error"]["message"]
    assert "Traceback" not in done.stderr


def test_json_in_a_pipe_that_is_not_utf_8(project: Path) -> None:
    done = headrace(
        *("search", "x", "--kb", "./kb", "--filter", "topic = 'café'", "--json"),
        cwd=project,
        PYTHONIOENCODING="ascii",
    )
    assert "caf" in value(done)["plan"]["filter"]
    headrace("ask", "Who approves trips?", "--kb", "./kb", cwd=project, PYTHONIOENCODING="ascii")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("ingest", "nowhere"), 2, "nowhere"),
        (("ask", "x", "--kb", "nothing-here"), 2, "no knowledge base 'nothing-here'"),
        (("search", "x", "--kb", "./kb", "--top-k", "0"), 2, "top_k"),
        (("search", "x", "--kb", "./kb", "--filter", "year >"), 2, "year >"),
        (("search", "x", "--kb", "./kb", "--mode", "fuzzy"), 2, "fuzzy"),
        (("ask", "x" * 100_000, "--kb", "./kb"), 2, "100,000"),
        (("ask", "", "--kb", "./kb"), 2, "empty"),
        (("ask", "x", "--kb", "./kb", "--model", "nobody:x"), 2, "nobody"),
        (("traces", "show", "ffff"), 2, "ffff"),
        (("frobnicate",), 2, "no command 'frobnicate'"),
        (("new", "9"), 2, "cannot be the name"),
    ],
)
def test_bad_input_is_one_clear_error(project: Path, words: tuple[str, ...], code: int, says: str) -> None:
    done = headrace(*words, cwd=project, code=code)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    if words[0] not in ("frobnicate",):
        machine = headrace(*words, "--json", cwd=project, code=code)
        assert (
            says
            in json.loads(machine.stdout)["error"]["message"] + json.loads(machine.stdout)["error"]["hint"]
        )


@pytest.mark.parametrize("words", [(), *((verb,) for verb in VERBS)], ids=" ".join)
def test_help_has_examples_and_fits_80_columns(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = headrace(*words, "--help", cwd=tmp_path)
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    if words not in (("kb",), ("doctor",)):
        assert "Example" in done.stdout
