"""Fingerprints: the same for the same thing, another for another."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import headrace as hr
from headrace.flows.fingerprint import distributions

FILE = """
import headrace as hr

kb = hr.KnowledgeBase("kb")

@hr.app
def ask(question: str) -> str:
    return kb.search(question)[0].text
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headrace.toml").write_text("")
    (tmp_path / "app.py").write_text(FILE)
    return tmp_path


def test_stable_and_sensitive(project: Path) -> None:
    app = hr.load("app.py")
    first = hr.fingerprint(app)
    assert first.id == hr.fingerprint(hr.load("app.py")).id
    assert first.resources == {"knowledge:kb": {"missing": True}}
    assert list(first.files) == ["app.py"]

    hr.KnowledgeBase("kb").add(hr.Document("Water runs downhill.", id="a"))
    second = hr.fingerprint(app)
    assert second.id != first.id
    hr.KnowledgeBase("kb").add(hr.Document("Water runs downhill.", id="a"))
    assert hr.fingerprint(app).id == second.id, "adding the same again changes nothing"

    time.sleep(0.01)
    (project / "app.py").write_text(FILE + "\n# another\n")
    third = hr.fingerprint(hr.load("app.py"))
    assert third.code != second.code
    (project / "prompts").mkdir()
    (project / "prompts" / "answer.md").write_text("Answer briefly.")
    assert hr.fingerprint(hr.load("app.py")).code != third.code


def test_a_replaced_resource_is_another_fingerprint(project: Path) -> None:
    app = hr.load("app.py")
    (kb,) = app.handles
    other = hr.KnowledgeBase("other")
    other.add(hr.Document("Fire burns.", id="b"))
    assert hr.fingerprint(app.using({kb: other})).id != hr.fingerprint(app).id


def test_distributions_are_exact() -> None:
    found = distributions()
    assert any(name.startswith("numpy-") for name in found)
    assert found == sorted(found)
