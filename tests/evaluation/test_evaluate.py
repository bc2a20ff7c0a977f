"""Evaluation: rows scored and explained, failures counted and never in the way, nothing run twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.errors import Conflict, InputError, NotFound, UserError
from headrace.evaluation import dataset
from headrace.evaluation.evaluate import LEAST_DOCUMENTS, cluster_labels, evaluate
from headrace.resources import build
from headrace.types import Answer, Example

from .conftest import example, write_jsonl

Project = Callable[..., Path]
ANSWERS = {"question 1": "It is 16 weeks.", "question 2": "Blue.", "question 3": "Ten."}
EXAMPLES = [
    example(1, answer="16 weeks", documents=["docs/10.md"]),
    example(2, answer="red", documents=["docs/21.md"]),
    example(3, unanswerable=True),
    example(4, answer="forty", documents=["docs/99.md"]),
    example(5, unanswerable=True),
    example(6, question="boom 6", answer="six"),
]


def measured(report: hr.Report, name: str) -> Any:
    return next(m for m in report.measurements if m["name"] == name)


def test_a_report_tells_what_was_measured_about_what(project: Project) -> None:
    root = project(ANSWERS)
    file = write_jsonl(root / "evals" / "questions.jsonl", EXAMPLES)
    report = evaluate("app.py:table", file, ["contains", "hit@1", "latency"])
    app = hr.load("app.py:table")
    assert report.subject == hr.fingerprint(app).id
    assert report.kind == "evaluation"
    assert report.settings["app"] == "table"
    assert report.settings["release"] is None
    assert report.settings["examples"] == "evals/questions.jsonl"
    assert report.settings["failed"] == 1
    assert report.examples == dataset.read(file).hash
    contains = measured(report, "contains")
    assert (contains["value"], contains["n"], contains["failed"]) == (2 / 6, 6, 1)
    assert 0 < contains["low"] < contains["value"] < contains["high"] < 1
    assert measured(report, "latency")["n"] == 5, "the failed row has no latency"
    assert [row["id"] for row in report.rows] == ["q1", "q2", "q3", "q4", "q5", "q6"]
    assert build.reports(root).load(report.id) == json_twin(report)


def json_twin(report: hr.Report) -> hr.Report:
    from dataclasses import replace

    plain = json.loads(json.dumps(hr.to_json(report)))
    return replace(
        report,
        settings=plain["settings"],
        measurements=tuple(plain["measurements"]),
        rows=tuple(plain["rows"]),
    )


def test_rows_tell_a_failure_of_search_from_one_of_answering(project: Project) -> None:
    project(ANSWERS)
    report = evaluate("app.py:table", EXAMPLES, ["contains"])
    assert [row["diagnosis"] for row in report.rows] == [
        "",
        "found at rank 2 but the answer does not contain 'red'",
        "answered although unanswerable",
        "abstained; the expected document was not found; first was 'docs/40.md'",
        "",
        "failed: ValueError: no table for boom 6",
    ]
    row = report.rows[0]
    assert row["output"]["text"] == "It is 16 weeks."
    assert [p["document"] for p in row["passages"]] == ["docs/10.md", "docs/11.md"]
    assert [(s["name"], s["depth"]) for s in row["steps"]] == [("table", 0), ("retrieve", 1)]
    assert row["outcome"] == "ok"
    broken = report.rows[5]
    assert broken["error"] == "ValueError: no table for boom 6"
    assert broken["output"] is None
    assert broken["passages"], "what was found before it failed is kept"


def test_every_row_leads_to_its_trace(project: Project) -> None:
    root = project(ANSWERS)
    report = evaluate("app.py:table", EXAMPLES, ["contains"])
    ledger = build.ledger(root)
    for row in report.rows:
        trace = ledger.trace(row["trace_id"])
        assert trace is not None
        assert trace.inputs == row["inputs"]
        assert trace.context["session"] == "evaluation"
        assert trace.subject["fingerprint"] == report.subject
    assert ledger.trace(report.rows[5]["trace_id"]).error == "ValueError: no table for boom 6"  # type: ignore[union-attr]


def test_it_works_without_a_ledger(project: Project) -> None:
    root = project(ANSWERS)
    with (root / "headrace.toml").open("a") as file:
        file.write("[ledger]\nenabled = false\n")
    report = evaluate("app.py:table", EXAMPLES, ["contains"])
    assert {row["trace_id"] for row in report.rows} == {None}
    assert report.rows[0]["steps"]


def test_known_rows_are_not_run_again(project: Project) -> None:
    project(ANSWERS)
    calls: list[str] = []

    @hr.app
    def counting(question: str) -> hr.Answer:
        calls.append(question)
        return Answer(text=question, citations=())

    first = evaluate(counting, EXAMPLES, ["contains"])
    assert len(calls) == 6
    again = evaluate(counting, EXAMPLES, ["contains", "answer_f1"])
    assert len(calls) == 6
    assert (again.settings["cached"], again.settings["computed"]) == (6, 0)
    assert [r["output"] for r in again.rows] == [r["output"] for r in first.rows]
    assert [r["scores"]["contains"] for r in again.rows] == [r["scores"]["contains"] for r in first.rows]
    anew = evaluate(counting, EXAMPLES, ["contains"], cache=False)
    assert len(calls) == 12
    assert anew.settings["cached"] == 0


def test_a_failed_row_is_tried_again(project: Project) -> None:
    project(ANSWERS)
    fail = [True]

    @hr.app
    def moody(question: str) -> str:
        if fail[0]:
            raise RuntimeError("not now")
        return "16 weeks"

    assert evaluate(moody, EXAMPLES[:2], ["contains"]).settings["failed"] == 2
    fail[0] = False
    report = evaluate(moody, EXAMPLES[:2], ["contains"])
    assert report.settings["failed"] == 0
    assert report.settings["recomputed"] == 0, "they had not been in flight"


def test_the_same_inputs_are_computed_once(project: Project) -> None:
    project(ANSWERS)
    calls: list[str] = []

    @hr.app
    def once(question: str) -> str:
        calls.append(question)
        return "red"

    twice = [example(1, "Which?", "red"), example(2, "Which?", "blue")]
    report = evaluate(once, twice, ["contains"])
    assert calls == ["Which?"]
    assert [row["scores"]["contains"] for row in report.rows] == [1.0, 0.0]
    assert report.settings["computed"] == 1


def test_a_metric_that_raises_on_one_row_fails_there_alone(project: Project) -> None:
    project(ANSWERS)

    def picky(example: Example, output: Answer) -> float:
        if example.id == "q2":
            raise ZeroDivisionError("nothing to divide")
        return float("weeks" in output.text)

    report = evaluate("app.py:table", EXAMPLES[:3], [picky, "contains"])
    found = measured(report, "picky")
    assert (found["value"], found["n"], found["failed"], found["not_assessed"]) == (0.5, 2, 1, 1)
    assert report.rows[1]["scores"]["picky"] is None
    assert report.rows[1]["why"]["picky"] == "the metric failed: ZeroDivisionError: nothing to divide"
    assert measured(report, "contains")["n"] == 3


def test_metrics_of_a_file(project: Project) -> None:
    root = project(ANSWERS)
    (root / "metrics.py").write_text(
        "import headrace as hr\n\n"
        "@hr.metric(direction='lower', margin=2, unit='words')\n"
        "def length(example, output):\n"
        "    return len(output.text.split())\n",
        encoding="utf-8",
    )
    before = hr.fingerprint(hr.load("app.py:table")).id
    report = evaluate("app.py:table", EXAMPLES[:3], "contains,metrics.py:length")
    assert measured(report, "length")["value"] == 2.0
    assert measured(report, "length")["direction"] == "lower"
    assert report.settings["own_metrics"] == {"length": "metrics.py:length"}
    assert hr.fingerprint(hr.load("app.py:table")).id == before, "metrics are no part of the application"
    (root / "broken.py").write_text("1 / 0\n")
    with pytest.raises(UserError, match="ZeroDivisionError"):
        evaluate("app.py:table", EXAMPLES, "broken.py:length")
    with pytest.raises(NotFound, match="no function 'width'"):
        evaluate("app.py:table", EXAMPLES, "metrics.py:width")
    with pytest.raises(NotFound, match="no file 'nowhere.py'"):
        evaluate("app.py:table", EXAMPLES, "nowhere.py:width")


def test_a_metric_that_does_not_exist_names_the_nearest(project: Project) -> None:
    project(ANSWERS)
    with pytest.raises(NotFound) as caught:
        evaluate("app.py:table", EXAMPLES, ["answer_f2"])
    assert "answer_f1" in caught.value.hint
    with pytest.raises(InputError, match="No metric"):
        evaluate("app.py:table", EXAMPLES, ",")


def test_examples_that_do_not_say_what_a_metric_needs(project: Project) -> None:
    project(ANSWERS)
    bare = [example(1, answer="x"), {"id": "q2", "inputs": {"question": "B?"}}]
    with pytest.raises(InputError, match="without expectations: example 2") as caught:
        evaluate("app.py:table", bare, ["contains"])
    assert "latency" in caught.value.hint
    with pytest.raises(InputError, match="hit@4 cannot be scored on any of the 1 examples: no document"):
        evaluate("app.py:table", [example(1, answer="x")], ["hit@4"])
    report = evaluate("app.py:table", bare, ["latency"])
    assert measured(report, "latency")["n"] == 2


def test_default_metrics_are_those_that_the_examples_allow(project: Project) -> None:
    project(ANSWERS)
    assert evaluate("app.py:table", [{"inputs": {"question": "A?"}}]).settings["metrics"] == ["latency"]
    assert "abstention" in evaluate("app.py:table", EXAMPLES).settings["metrics"]
    assert "hit@4" not in evaluate("app.py:table", [example(1, answer="x")]).settings["metrics"]


def test_an_application_that_changes_meanwhile_is_refused(project: Project) -> None:
    root = project(ANSWERS)
    source = (root / "app.py").read_text()

    def spoil(done: int, total: int | None, what: str) -> None:
        (root / "app.py").write_text(source + f"\n# edited {done}\n")

    with pytest.raises(Conflict, match="changed while it was evaluated: code"):
        evaluate("app.py:table", EXAMPLES, ["contains"], progress=spoil)
    (root / "app.py").write_text(source)
    assert build.reports(root).list() == []
    assert evaluate("app.py:table", EXAMPLES, ["contains"]).settings["cached"] == 0


def test_rows_that_share_a_document_form_clusters_where_there_are_enough_documents() -> None:
    def labels(documents: list[str | None]) -> list[str | None]:
        return cluster_labels(
            dataset.of(
                [
                    {"inputs": {"q": i}, "expectations": {"documents": [d]} if d else {"unanswerable": True}}
                    for i, d in enumerate(documents)
                ]
            )
        )

    many = [f"d{i}" for i in range(LEAST_DOCUMENTS)]
    assert labels([*many, "d0", None]) == [*many, "d0", None]
    assert labels(many) == [None] * LEAST_DOCUMENTS, "no document is shared"
    assert labels(["a", "a", "b"]) == [None] * 3, "two documents are no sample of documents"


def test_the_command_line_settings_are_checked(project: Project) -> None:
    project(ANSWERS)
    with pytest.raises(InputError, match="workers=0"):
        evaluate("app.py:table", EXAMPLES, ["contains"], workers=0)
    with pytest.raises(InputError, match="confidence"):
        evaluate("app.py:table", EXAMPLES, ["contains"], confidence=95)
