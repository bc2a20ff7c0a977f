"""Erasure through a whole project: knowledge base, traces, reports, caches, releases, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import headrace as hr
from headrace.cli.main import run
from headrace.errors import InputError, NotFound
from headrace.ops.forget import forget_document, forget_user
from headrace.resources import build
from headrace.types import Report
from released import write_project

TEXT = "Fire burns upward"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path)


def asked(project: Path, user: str = "") -> None:
    app = hr.load("app.py")
    with hr.context(user=user):
        app("burns upward")
        app("downhill water")
    assert build.ledger(project).flush(20)


def left(project: Path, text: str) -> list[str]:
    """Files of the project's state in which the text stands as it is."""
    needles = (text.encode(), text.upper().encode())
    return [
        path.relative_to(project).as_posix()
        for path in (project / ".headrace").rglob("*")
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    ]


def test_a_document_leaves_everything(project: Path) -> None:
    asked(project)
    old = hr.release("app.py")
    (project / "helpers.py").write_text("def shouted(text: str) -> str:\n    return text\n")
    live = hr.release("app.py")
    build.registry(project).promote("finder", "production", live.id, who="test")
    reports = build.reports(project)
    row = {"id": "1", "inputs": {"question": "?"}, "output": TEXT, "scores": {"hit@1": 1.0}, "error": None}
    other = {"id": "2", "inputs": {}, "output": "Water", "scores": {"hit@1": 0.0}, "passages": []}
    held = Report(
        id="r" * 32, kind="evaluation", subject="s", rows=({**row, "passages": [{"document": "d1"}]}, other)
    )
    reports.save(held)
    cache = project / ".headrace" / "evaluations"
    cache.mkdir()
    (cache / "rows.sqlite").write_bytes(TEXT.encode())
    build.ledger(project).close()
    assert left(project, TEXT)

    done = forget_document(project, "d1")
    assert done.traces == 1
    assert [(base.name, base.documents, base.versions) for base in done.knowledge] == [("kb", 1, (1,))]
    assert (done.reports, done.caches) == (("r" * 32,), 1)
    assert (done.releases, done.live) == ((old.id,), (live.id,))
    assert done.gone["releases"] == [old.id]
    with pytest.raises(NotFound, match="bundle"):
        build.bundles(project).path(old.id)
    first, second = reports.load("r" * 32).rows
    assert (first["output"], first["scores"], first["forgotten"]) == (None, {"hit@1": 1.0}, done.tombstone)
    assert second["output"] == "Water"
    assert hr.KnowledgeBase("kb", root=project).check() == []
    assert all(name.startswith(".headrace/releases/") for name in left(project, TEXT))  # the live one's

    # Another release takes its place; then nothing is left at all.
    fresh = hr.release("app.py")
    registry = build.registry(project)
    registry.promote("finder", "production", fresh.id, who="test")
    again = forget_document(project, "d1")
    assert (again.releases, again.live, again.tombstone) == ((live.id,), (), done.tombstone)
    assert left(project, TEXT) == []
    assert hr.load("finder@production")("burns upward") == "nothing"
    assert [entry.what for entry in registry.log("finder")].count("forget") == 2


def test_a_release_from_between_deletion_and_erasure_goes_too(project: Path) -> None:
    """Its knowledge base masks the document, but shares files in which its vectors and words stand."""
    kb = hr.KnowledgeBase("kb", root=project)
    kb.engine()
    kb.delete("d1")
    between = hr.release("app.py")
    done = forget_document(project, "d1")
    base = between.manifest["knowledge"]["knowledge:kb"]
    assert base["documents"] == 2
    assert done.releases == (between.id,)
    assert left(project, TEXT) == []


def test_a_user_leaves_with_runs_and_votes(project: Path) -> None:
    asked(project, "ana")
    asked(project, "bo")
    ledger = build.ledger(project)
    (bos,) = (row for row in ledger.traces(user="bo", limit=1))
    ledger.add_feedback(hr.Feedback(trace_id=bos.id, value="down", user="ana", comment="mine"))
    done = forget_user(project, "ana")
    assert (done.kind, done.traces, done.feedback) == ("user", 2, 1)
    assert ledger.traces(user="ana") == []
    assert len(ledger.traces(user="bo")) == 2


def test_bad_use(project: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        forget_document(project, " ")
    with pytest.raises(NotFound, match="'kbb'"):
        forget_document(project, "d1", kb="kbb")
    done = forget_document(project, "never there")
    assert (done.traces, done.knowledge, done.releases) == (0, (), ())


def test_the_command(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["forget"]) == 2
    assert run(["forget", "--user", "a", "--document", "b"]) == 2
    assert run(["forget", "--user", "a", "--kb", "b", "--yes"]) == 2
    assert run(["forget", "--document", "d1"]) == 2  # nobody to ask
    assert "--yes" in capsys.readouterr().err
    assert hr.KnowledgeBase("kb", root=project).get("d1") is not None
    assert run(["forget", "--document", "d1", "--yes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["knowledge"][0]["chunks"] == 1
    assert hr.KnowledgeBase("kb", root=project).get("d1") is None
    assert run(["forget", "--document", "d1", "--yes"]) == 0
    assert "tombstone  " + found["tombstone"] in capsys.readouterr().out
