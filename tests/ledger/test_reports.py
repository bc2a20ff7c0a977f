"""Reports on disk: whole or not at all, found by their beginning, damage and newer formats named."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.errors import Conflict, Corrupt, InputError, NewerVersion, NotFound
from headrace.ledger import reports as module
from headrace.ledger.reports import Reports
from headrace.tracing import new_id
from headrace.types import Report


def make(id: str = "", *, created: float = 1.0, subject: str = "f1", app: str = "handbook") -> Report:
    return Report(
        id=id or new_id(created),
        kind="evaluation",
        subject=subject,
        examples="abc",
        settings={"app": app, "metrics": ["exact_match"]},
        measurements=({"name": "exact_match", "value": 0.5, "low": 0.1, "high": 0.9, "n": 2},),
        rows=(
            {"id": "a", "inputs": {"question": "Wie groß\u2028ist es?"}, "scores": {"exact_match": 1.0}},
            {"id": "b", "inputs": {"question": "broken \ud83d half"}, "scores": {"exact_match": None}},
        ),
        created=created,
    )


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    store = Reports(tmp_path / "reports")
    report = make()
    folder = store.save(report)
    assert folder == tmp_path / "reports" / report.id
    assert store.load(report.id) == report
    assert store.load(report.id[:14]) == report
    assert store.head(report.id).rows == ()
    assert len(store.rows_path(report.id).read_bytes().splitlines()) == 2
    assert sorted(os.listdir(tmp_path / "reports")) == [report.id], "nothing unfinished is left"


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    folder = Reports(tmp_path).save(make("r1"))
    assert [oct((folder / name).stat().st_mode & 0o777) for name in ("report.json", "rows.jsonl")] == [
        "0o600",
        "0o600",
    ]


def test_a_report_is_never_changed(tmp_path: Path) -> None:
    store = Reports(tmp_path)
    report = make("r1")
    assert store.save(report) == store.save(report)
    with pytest.raises(Conflict, match="'r1'"):
        store.save(replace(report, subject="f2"))
    with pytest.raises(Conflict):
        store.save(replace(report, rows=()))
    assert store.load("r1") == report


def test_rows_that_are_not_plain_are_written_as_plain_data(tmp_path: Path) -> None:
    store = Reports(tmp_path)
    rows = (
        {"id": "a", "scores": {"x": float("nan")}},
        {"id": "b", "at": Path("docs")},
        {"id": "c", 1: {2, 3}},
    )
    store.save(replace(make("r1"), rows=rows))
    assert store.load("r1").rows == (
        {"id": "a", "scores": {"x": None}},
        {"id": "b", "at": "docs"},
        {"id": "c", "1": [2, 3]},
    )


def test_the_newest_first_and_filters(tmp_path: Path) -> None:
    store = Reports(tmp_path)
    assert store.list() == []
    for id, at, subject, app in (("a", 1.0, "f1", "x"), ("b", 3.0, "f2", "x"), ("c", 2.0, "f1", "y")):
        store.save(make(id, created=at, subject=subject, app=app))
    assert [r.id for r in store.list()] == ["b", "c", "a"]
    assert [r.id for r in store.list(limit=1)] == ["b"]
    assert [r.id for r in store.list(subject="f1")] == ["c", "a"]
    assert [r.id for r in store.list(app="x")] == ["b", "a"]
    assert store.list(kind="audit") == []


def test_a_name_that_does_not_exist_lists_those_that_do(tmp_path: Path) -> None:
    store = Reports(tmp_path)
    with pytest.raises(NotFound) as nothing:
        store.load("r1")
    assert "headrace eval" in nothing.value.hint
    store.save(make("r1a"))
    store.save(make("r1b"))
    with pytest.raises(NotFound) as missing:
        store.load("x")
    assert "r1a" in missing.value.hint
    with pytest.raises(InputError, match="Several reports"):
        store.load("r1")
    with pytest.raises(NotFound):
        store.load("")
    with pytest.raises(NotFound):
        store.load("../r1a")
    assert store.exists("r1a")
    assert not store.exists("r1")


@pytest.mark.parametrize("id", ["", "../x", "a/b", ".hidden"])
def test_an_id_cannot_leave_the_folder(tmp_path: Path, id: str) -> None:
    with pytest.raises(InputError, match="cannot be the id"):
        Reports(tmp_path / "reports").save(replace(make(), id=id))
    assert list(tmp_path.rglob("*.json")) == []


def test_damage_is_named_and_hides_no_other_report(tmp_path: Path) -> None:
    store = Reports(tmp_path)
    for id in ("a", "b", "c", "d"):
        store.save(make(id))
    rows = store.rows_path("a")
    rows.write_bytes(rows.read_bytes().replace(b"1.0", b"0.0"))
    (tmp_path / "b" / "report.json").write_text("{not json")
    head = json.loads((tmp_path / "c" / "report.json").read_text())
    (tmp_path / "c" / "report.json").write_text(json.dumps({**head, "format": module.FORMAT + 1}))
    with pytest.raises(Corrupt, match=r"rows\.jsonl"):
        store.load("a")
    with pytest.raises(Corrupt, match="not JSON"):
        store.load("b")
    with pytest.raises(NewerVersion, match=f"format {module.FORMAT + 1}.*up to {module.FORMAT}"):
        store.load("c")
    (tmp_path / "d" / "rows.jsonl").unlink()
    with pytest.raises(Corrupt, match="missing"):
        store.load("d")
    assert [r.id for r in store.list()] == ["d", "a"]
    assert [name for name, _ in store.damaged()] == ["b", "c"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Reports(tmp_path)

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(OSError, match="No space"):
        store.save(make("r1"))
    assert list(tmp_path.iterdir()) == []
