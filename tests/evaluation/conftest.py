"""A project whose application answers from a table, so that evaluations take milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

APP = '''
import time
import headrace as hr
from headrace import tracing

ANSWERS = {answers!r}


@hr.app
def table(question: str) -> hr.Answer:
    """Answer from a table."""
    with tracing.span("retrieve", kind="retrieve", outcome="ok"):
        for n in range(2):
            place = {{"heading": "", "start": 0, "end": 4, "score": 1.0, "relevance": 0.5, "text": "text"}}
            tracing.note("passages", {{"document": f"docs/{{question[-1]}}{{n}}.md", **place}})
    if question.startswith("boom"):
        raise ValueError("no table for " + question)
    text = ANSWERS.get(question)
    if text is None:
        return hr.Answer(text="Nothing was found.", abstained=True)
    return hr.Answer(text=text)
'''


def example(
    number: int, question: str | None = None, answer: str | None = None, **expectations: Any
) -> dict[str, Any]:
    expected = {**expectations, **({"answer": answer} if answer is not None else {})}
    return {
        "id": f"q{number}",
        "inputs": {"question": question or f"question {number}"},
        "expectations": expected,
    }


def write_jsonl(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a project that gives these answers; the working folder is in it."""

    def make(answers: Mapping[str, str], name: str = "project") -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        (root / "app.py").write_text(APP.format(answers=dict(answers)), encoding="utf-8")
        (root / "headrace.toml").write_text('[app]\nentry = "app.py:table"\n', encoding="utf-8")
        monkeypatch.chdir(root)
        return root

    return make
