"""Comparing: rows paired by id, verdicts with their evidence, sides of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.errors import InputError, NotFound
from headrace.evaluation.compare import compare
from headrace.evaluation.evaluate import evaluate
from headrace.resources import build

from .conftest import example, write_jsonl

Project = Callable[..., Path]
COUNT = 60
QUESTIONS = [example(n, answer=f"answer {n}") for n in range(COUNT)]
GOOD = {f"question {n}": f"answer {n}" for n in range(COUNT)}
BAD = {f"question {n}": f"answer {n}" if n % 3 == 0 else "no idea" for n in range(COUNT)}


@pytest.fixture
def variants(project: Project) -> Path:
    root = project(GOOD)
    text = (root / "app.py").read_text()
    (root / "worse.py").write_text(text.replace(repr(GOOD), repr(BAD)))
    write_jsonl(root / "evals" / "questions.jsonl", QUESTIONS)
    return root


def test_worse_and_better_have_their_evidence(variants: Path) -> None:
    found = compare("worse.py:table", "app.py:table", metrics="contains,answer_f1")
    worse = found["contains"]
    assert worse.verdict == "worse"
    assert worse.difference == pytest.approx(-2 / 3)
    assert worse.low is not None
    assert worse.high is not None
    assert worse.low < worse.difference < worse.high < -0.05
    assert worse.n == COUNT
    turned = compare("app.py:table", "worse.py:table", metrics="contains")["contains"]
    assert turned.verdict == "better"
    assert turned.difference == pytest.approx(2 / 3)


def test_the_same_thing_is_never_better_or_worse(variants: Path) -> None:
    found = compare("app.py:table", ".", metrics="contains,answer_f1")
    assert {c.verdict for c in found.comparisons} <= {"equivalent", "not enough data"}
    wide = compare("app.py:table", ".", metrics="contains", margin=0.5)
    assert wide["contains"].verdict == "equivalent"
    narrow = compare("app.py:table", ".", metrics="contains", margin=0.01)["contains"]
    assert narrow.verdict == "not enough data"
    assert narrow.needed is not None
    assert narrow.needed > COUNT


def test_sides_are_report_ids_their_beginnings_reports_and_applications(variants: Path) -> None:
    one = evaluate("app.py:table", QUESTIONS, ["contains"])
    two = evaluate("worse.py:table", QUESTIONS, ["contains"])
    same = [
        compare(one.id, two.id),
        compare(one.id[:16], two.id[:16]),
        compare(one, two),
        compare(hr.load("app.py:table"), two),
        compare("app.py:table", two.id),
    ]
    assert {(c["contains"].verdict, c["contains"].n) for c in same} == {("better", COUNT)}
    assert all(c.same_examples for c in same)


def test_what_was_evaluated_already_is_not_evaluated_again(variants: Path) -> None:
    compare("worse.py:table", "app.py:table", metrics="contains")
    compare("worse.py:table", "app.py:table", metrics="contains")
    assert len(build.reports(variants).list()) == 2
    compare("worse.py:table", "app.py:table", metrics="contains", cache=False)
    assert len(build.reports(variants).list()) == 4


def test_reports_over_different_examples_are_paired_by_id_and_refused_where_nothing_pairs(
    variants: Path,
) -> None:
    one = evaluate("app.py:table", QUESTIONS[:40], ["contains"])
    two = evaluate("worse.py:table", QUESTIONS[20:], ["contains"])
    found = compare(one, two)
    assert not found.same_examples
    assert (found["contains"].n, found["contains"].only_a, found["contains"].only_b) == (20, 20, 20)
    with pytest.raises(InputError, match="No row of A has its example in B"):
        compare(evaluate("app.py:table", QUESTIONS[:20], ["contains"]), two)
    with pytest.raises(InputError, match="share no metric"):
        compare(evaluate("app.py:table", QUESTIONS[20:], ["latency"]), two)


def test_times_of_different_moments_get_no_verdict(variants: Path) -> None:
    one = evaluate("app.py:table", QUESTIONS, ["contains", "latency"])
    two = evaluate("worse.py:table", QUESTIONS, ["contains", "latency"])
    found = compare(one, two)
    assert found["latency"].verdict == "not enough data"
    assert (found["latency"].needed, found["latency"].low) == (None, None)
    assert "--times" in found.notes[0]
    assert found["contains"].verdict == "better"
    with pytest.raises(InputError, match="cannot be taken again"):
        compare(one, "worse.py:table", times=5)


def test_times_are_taken_side_by_side(variants: Path) -> None:
    text = (variants / "app.py").read_text()
    wait = "    import time\n\n    time.sleep(0.02)\n    text = ANSWERS"
    assert "    text = ANSWERS" in text
    (variants / "slow.py").write_text(text.replace("    text = ANSWERS", wait))
    found = compare("app.py:table", "slow.py:table", examples=QUESTIONS, metrics=["latency"], times=12)
    assert found["latency"].n == 12
    assert found["latency"].verdict == "better"
    assert "12 examples" in found.notes[0]
    (variants / "same.py").write_text(text + "# nothing\n")
    same = compare("app.py:table", "same.py:table", examples=QUESTIONS, metrics=["contains"], times=12)
    assert [c.metric for c in same.comparisons] == ["contains"]


def test_own_metrics_are_found_again(variants: Path) -> None:
    (variants / "metrics.py").write_text("def short(example, output):\n    return len(output.text) < 9\n")
    one = evaluate("app.py:table", QUESTIONS, "metrics.py:short")
    assert compare(one.id, "worse.py:table")["short"].n == COUNT


def test_sides_that_do_not_exist(variants: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="A = '0123' is neither a report nor an application"):
        compare("0123", "app.py:table")
    with pytest.raises(NotFound, match="production"):
        compare()
    with pytest.raises(NotFound):
        compare("nowhere.py:table", "app.py:table")
    with pytest.raises(NotFound):
        compare("app.py:table", ".")["answer_f2"]
    with pytest.raises(InputError, match="margin"):
        compare("app.py:table", ".", margin=-1)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with pytest.raises(NotFound, match="no project here"):
        compare()


def test_without_examples_the_other_report_says_which(variants: Path) -> None:
    other = write_jsonl(variants / "other.jsonl", QUESTIONS[:15])
    report: Any = evaluate("app.py:table", other, ["contains"])
    assert compare(report.id, "worse.py:table")["contains"].n == 15
