"""Reports to verdicts: pairing, counting, margins."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from headrace.errors import InputError, NotFound
from headrace.measure.comparing import compare_reports, measurement
from headrace.measure.metrics import get, metric, of
from headrace.types import Report, to_json


def report(scores: dict[str, list[float | None]], *, ids: list[str] | None = None, **row: Any) -> Report:
    """A report with these scores, one list a metric."""
    length = len(next(iter(scores.values())))
    names = ids or [f"e{i}" for i in range(length)]
    rows = [
        {"id": names[i], "scores": {name: values[i] for name, values in scores.items()}}
        | {key: values[i] for key, values in row.items()}
        for i in range(length)
    ]
    measured = [measurement(get(name), values) for name, values in scores.items()]
    return Report(id="r", kind="evaluation", subject="s", measurements=tuple(measured), rows=tuple(rows))


GOOD, BAD = [1.0] * 90 + [0.0] * 10, [1.0] * 60 + [0.0] * 40


def test_a_measurement_has_what_a_report_holds() -> None:
    found = measurement(get("exact_match"), [1.0, 0.0, None, 1.0], failed=1)
    assert found["value"] == pytest.approx(2 / 3)
    assert (found["n"], found["failed"], found["not_assessed"]) == (3, 1, 1)
    assert (found["kind"], found["unit"], found["direction"], found["method"]) == (
        "rate",
        "share",
        "higher",
        "Wilson",
    )
    assert json.loads(json.dumps(to_json(found)))["low"] < 0.3
    empty = measurement(get("latency"), [None, None])
    assert (empty["value"], empty["low"], empty["n"], empty["not_assessed"]) == (None, None, 0, 2)


def test_a_users_shares_are_bounded_and_other_numbers_are_not() -> None:
    def share(example: Any, output: Any) -> float:
        return 1.0

    @metric(unit="words")
    def words(example: Any, output: Any) -> float:
        return 1.0

    assert measurement(of(share), [1.0] * 20)["low"] == pytest.approx(0.8389, abs=1e-3)
    assert measurement(of(share), [1.0, 7.0] * 20)["method"] == "bootstrap-t"
    assert measurement(of(words), [1.0] * 20)["low"] == 1.0


def test_better_worse_and_the_same() -> None:
    (found,) = compare_reports(report({"exact_match": GOOD}), report({"exact_match": BAD}))
    assert (found.metric, found.verdict, found.n, found.needed) == ("exact_match", "better", 100, 100)
    assert found.difference == pytest.approx(0.3)
    assert (found.a, found.b, found.margin) == (0.9, 0.6, 0.05)
    (found,) = compare_reports(report({"exact_match": BAD}), report({"exact_match": GOOD}))
    assert found.verdict == "worse"
    (found,) = compare_reports(report({"exact_match": GOOD}), report({"exact_match": GOOD}))
    assert found.verdict == "equivalent"
    (found,) = compare_reports(report({"exact_match": GOOD}), report({"exact_match": GOOD}), margin=0.001)
    assert found.verdict == "not enough data"
    assert found.needed is not None
    assert found.needed > 100


def test_rows_are_paired_by_id_not_by_place() -> None:
    ids = [f"e{i}" for i in range(100)]
    turned = report({"exact_match": GOOD[::-1]}, ids=ids[::-1])
    (found,) = compare_reports(report({"exact_match": GOOD}, ids=ids), turned)
    assert found.low == pytest.approx(-found.high)
    assert found.verdict == "equivalent"
    fewer = report({"exact_match": GOOD[:80]}, ids=[*ids[:70], *[f"x{i}" for i in range(10)]])
    (found,) = compare_reports(report({"exact_match": GOOD}, ids=ids), fewer)
    assert (found.n, found.only_a, found.only_b) == (70, 30, 10)


def test_rows_without_a_score_are_counted_and_more_are_asked_for() -> None:
    half: list[float | None] = [value if i % 2 else None for i, value in enumerate(GOOD)]
    (found,) = compare_reports(report({"exact_match": half}), report({"exact_match": [*GOOD]}), margin=0.01)
    assert (found.n, found.not_assessed, found.verdict) == (50, 50, "not enough data")
    (full,) = compare_reports(
        report({"exact_match": GOOD[:50]}), report({"exact_match": GOOD[:50]}), margin=0.01
    )
    assert found.needed == pytest.approx(2 * full.needed, abs=2)
    nothing = report({"exact_match": [None] * 100})
    (found,) = compare_reports(nothing, report({"exact_match": GOOD}))
    assert (found.verdict, found.n, found.needed, found.difference) == ("not enough data", 0, None, None)


def test_latency_has_a_relative_margin() -> None:
    seconds = [float(x) for x in np.random.default_rng(0).lognormal(-2, 0.3, 200)]
    base = report({"latency": [*seconds]})
    (found,) = compare_reports(report({"latency": [x * 1.01 for x in seconds]}), base)
    assert found.verdict == "equivalent"
    assert found.margin == pytest.approx(0.1 * float(np.median(seconds)))
    (found,) = compare_reports(report({"latency": [x * 1.5 for x in seconds]}), base)
    assert found.verdict == "worse"
    (found,) = compare_reports(report({"latency": [x * 1.5 for x in seconds]}), base, margin=0.9)
    assert found.verdict == "equivalent"
    (found,) = compare_reports(report({"tokens": [0.0] * 30}), report({"tokens": [0.0] * 30}))
    assert found.verdict == "equivalent"


def test_rows_of_one_document_count_as_connected() -> None:
    labels = [f"d{i // 20}" for i in range(100)]
    (alone,) = compare_reports(report({"exact_match": GOOD}), report({"exact_match": BAD}))
    (both,) = compare_reports(
        report({"exact_match": GOOD}, cluster=labels), report({"exact_match": BAD}, cluster=labels)
    )
    assert alone.verdict == "better"
    assert both.verdict == "not enough data"
    assert "clustered" in both.method


def test_what_cannot_be_compared() -> None:
    a, b = report({"exact_match": GOOD}), report({"answer_f1": GOOD})
    with pytest.raises(InputError, match="share no metric"):
        compare_reports(a, b)
    with pytest.raises(NotFound, match="'latency'"):
        compare_reports(a, a, metrics=["latency"])
    with pytest.raises(InputError, match="has its example"):
        compare_reports(a, report({"exact_match": GOOD}, ids=[f"o{i}" for i in range(100)]))
    with pytest.raises(InputError, match="twice"):
        compare_reports(a, report({"exact_match": GOOD}, ids=["e1"] * 100))
    two = report({"exact_match": GOOD, "answer_f1": BAD})
    assert [c.metric for c in compare_reports(two, two)] == ["exact_match", "answer_f1"]
    assert [c.metric for c in compare_reports(two, two, metrics=["answer_f1"])] == ["answer_f1"]
