"""Gates: they pass on intervals, share their error rate, and read only reports about this fingerprint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.errors import SettingsError
from headrace.ledger.reports import Reports
from headrace.measure.comparing import measurement
from headrace.measure.metrics import get
from headrace.ops.gates import GateResult, judge
from headrace.settings import GateSettings, ReleaseSettings, load
from headrace.types import Release, Report

SUBJECT, OTHER = "a" * 64, "b" * 64


def release(subject: str = SUBJECT, id: str = "r1") -> Release:
    return Release(id=id, name="finder", version=1, manifest={"fingerprint": subject})


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    return Reports(tmp_path / "reports")


def report(
    scores: dict[str, list[float | None]],
    subject: str = SUBJECT,
    *,
    id: str = "rep1",
    created: float = 1.0,
    kind: str = "evaluation",
    examples: str = "set1",
    broken: dict[int, list[str]] | None = None,
) -> Report:
    length = len(next(iter(scores.values())))
    rows = tuple(
        {
            "id": f"q{n}",
            "inputs": {"question": "x"},
            "scores": {name: values[n] for name, values in scores.items()},
            "broken": (broken or {}).get(n, []),
            "error": None,
            "cluster": None,
        }
        for n in range(length)
    )
    return Report(
        id=id,
        kind=kind,
        subject=subject,
        examples=examples,
        settings={"app": "finder", "confidence": 0.95},
        measurements=tuple(measurement(get(name), values) for name, values in scores.items()),
        rows=rows,
        created=created,
    )


def one(reports: Reports, live: Release | None = None, **gate: Any) -> GateResult:
    settings = ReleaseSettings(gates=(GateSettings(**gate),))
    (found,) = judge(settings, release(), reports=reports, live=live)
    return found


def shares(good: int, of: int) -> list[float | None]:
    return [1.0] * good + [0.0] * (of - good)


def test_no_gates_no_verdicts(reports: Reports) -> None:
    assert judge(ReleaseSettings(), release(), reports=reports, live=None) == []


def test_the_whole_interval_must_clear_the_threshold(reports: Reports) -> None:
    reports.save(report({"exact_match": shares(180, 200)}))
    found = one(reports, metric="exact_match", min=0.8)
    assert (found.name, found.demand, found.threshold, found.verdict) == ("exact_match", "min", 0.8, "pass")
    assert found.value == 0.9
    assert found.low is not None
    assert found.low >= 0.8
    assert (found.n, found.report) == (200, "rep1")
    doubtful = one(reports, metric="exact_match", min=0.88)
    assert doubtful.verdict == "not enough data", "0.9 lies above 0.88, its interval does not"
    assert "it may be 0.8506, below 0.88; about 1221 decide" in doubtful.why
    failed = one(reports, metric="exact_match", min=0.95)
    assert failed.verdict == "fail"
    assert "0.9 " in failed.why
    assert "below 0.95" in failed.why


def test_max_is_the_mirror_of_min(reports: Reports) -> None:
    reports.save(report({"latency": [0.1 + n / 1000 for n in range(100)]}))
    assert one(reports, metric="latency", max=1.0).verdict == "pass"
    found = one(reports, metric="latency", max=0.1)
    assert (found.verdict, found.threshold) == ("fail", 0.1)
    assert "above 0.1" in found.why
    assert one(reports, metric="latency", max=0.152).verdict == "not enough data"


def test_a_bound_that_few_rows_do_not_have_passes_nothing(reports: Reports) -> None:
    reports.save(report({"latency_p95": [0.1] * 20}))
    found = one(reports, metric="latency_p95", max=1.0)
    assert (found.value, found.high, found.verdict) == (0.1, None, "not enough data")
    assert "too few" in found.why
    assert one(reports, metric="latency_p95", max=0.05).verdict == "fail"


def test_several_gates_share_the_error_rate_and_say_so(reports: Reports) -> None:
    reports.save(report({"exact_match": shares(170, 200), "latency": [0.1] * 200}))
    (alone,) = judge(
        ReleaseSettings(gates=(GateSettings(metric="exact_match", min=0.5),)),
        release(),
        reports=reports,
        live=None,
    )
    assert alone.confidence == 0.95
    gates = (
        GateSettings(metric="exact_match", min=0.5, max=0.99),
        GateSettings(metric="latency", max=1.0),
        GateSettings(metric="exact_match", relative="not worse"),
    )
    found = judge(ReleaseSettings(gates=gates), release(), reports=reports, live=None)
    assert [g.demand for g in found] == ["min", "max", "max", "not worse"]
    assert all(g.confidence == pytest.approx(1 - 0.05 / 4) for g in found)
    assert found[0].low is not None
    assert alone.low is not None
    assert found[0].low < alone.low
    assert [g.verdict for g in found] == ["pass"] * 4
    assert "nothing is live" in found[3].why


def test_a_report_about_another_fingerprint_is_none(reports: Reports) -> None:
    found = one(reports, metric="exact_match", min=0.5)
    assert (found.verdict, found.value) == ("missing", None)
    assert found.why == f"no report is about this fingerprint ({SUBJECT[:12]})"
    reports.save(report({"exact_match": shares(200, 200)}, OTHER))
    found = one(reports, metric="exact_match", min=0.5)
    assert found.verdict == "missing"
    assert f"rep1, is about another fingerprint ({OTHER[:12]})" in found.why
    named = one(reports, metric="exact_match", min=0.5, report="rep1")
    assert named.verdict == "missing"
    assert f"report rep1 is about another fingerprint ({OTHER[:12]})" in named.why
    assert "no report 'nope'" in one(reports, metric="exact_match", min=0.5, report="nope").why


def test_a_metric_that_no_report_has_is_named(reports: Reports) -> None:
    reports.save(report({"exact_match": shares(200, 200), "latency": [0.1] * 200}))
    found = one(reports, metric="groundedness", min=0.5)
    assert found.verdict == "missing"
    assert found.why == "no report has the metric 'groundedness'; they have: exact_match, latency"


def test_the_newest_report_with_the_metric_counts(reports: Reports) -> None:
    reports.save(report({"exact_match": shares(200, 200)}, id="old", created=1.0))
    reports.save(report({"exact_match": shares(20, 200)}, id="new", created=2.0))
    reports.save(report({"latency": [0.1] * 20}, id="newest", created=3.0, kind="load test"))
    assert one(reports, metric="exact_match", min=0.5).report == "new"
    assert one(reports, metric="exact_match", min=0.5, report="old").verdict == "pass"
    assert one(reports, metric="latency", max=1.0, kind="load test").report == "newest"
    assert one(reports, metric="latency", max=1.0, kind="evaluation").verdict == "missing"


def test_what_was_not_measured_passes_nothing(reports: Reports) -> None:
    reports.save(report({"exact_match": [None] * 20}))
    found = one(reports, metric="exact_match", min=0.5)
    assert (found.verdict, found.value, found.n) == ("not enough data", None, 0)
    reports.save(
        report(
            {"exact_match": [None, *shares(199, 199)]},
            id="broken",
            created=2.0,
            broken={0: ["exact_match"]},
        )
    )
    found = one(reports, metric="exact_match", min=0.5)
    assert found.verdict == "fail"
    assert "failed on 1 of 200 rows" in found.why


def test_not_worse_than_what_is_live(reports: Reports) -> None:
    live = release(OTHER, "live1")
    mine = shares(90, 100) + shares(90, 100)
    reports.save(report({"exact_match": mine}))
    gate = {"metric": "exact_match", "relative": "not worse"}
    assert one(reports, None, **gate).verdict == "pass"
    assert "this is what is live" in one(reports, release(SUBJECT, "live1"), **gate).why
    missing = one(reports, live, **gate)
    assert missing.verdict == "missing"
    assert "headrace eval finder@production" in missing.why
    reports.save(report({"exact_match": mine}, OTHER, id="l0", examples="another set"))
    assert one(reports, live, **gate).verdict == "missing", "other examples are no comparison"
    reports.save(report({"exact_match": mine}, OTHER, id="l1", created=2.0))
    same = one(reports, live, **gate)
    assert (same.verdict, same.value) == ("pass", 0.0)
    assert same.threshold is not None
    assert same.threshold < 0
    better = shares(90, 100) + shares(100, 100)
    reports.save(report({"exact_match": better}, OTHER, id="l2", created=3.0))
    worse = one(reports, live, **gate)
    assert (worse.verdict, worse.value) == ("fail", pytest.approx(-0.05))
    assert "worse" in worse.why
    assert one(reports, live, margin=0.2, **gate).verdict == "pass", "a margin of one's own"
    few = shares(9, 10)
    reports.save(report({"exact_match": few}, id="few", created=9.0, examples="small"))
    reports.save(report({"exact_match": shares(10, 10)}, OTHER, id="lfew", created=9.0, examples="small"))
    doubtful = one(reports, live, **gate)
    assert doubtful.verdict == "not enough data"
    assert "may be worse" in doubtful.why


def test_not_worse_where_lower_is_better(reports: Reports) -> None:
    live = release(OTHER, "live1")
    many, few = [500.0 + n / 10 for n in range(200)], [100.0 + n / 10 for n in range(200)]
    reports.save(report({"tokens": many}))
    reports.save(report({"tokens": few}, OTHER, id="l1"))
    found = one(reports, live, metric="tokens", relative="not worse")
    assert (found.verdict, found.value) == ("fail", pytest.approx(400))
    assert found.threshold is not None
    assert found.threshold > 0
    back = judge(
        ReleaseSettings(gates=(GateSettings(metric="tokens", relative="not worse"),)),
        release(OTHER, "r2"),
        reports=reports,
        live=release(SUBJECT, "r1"),
    )
    assert back[0].verdict == "pass"


def test_times_of_two_moments_are_not_compared(reports: Reports) -> None:
    reports.save(report({"latency": [0.1 + n / 1e4 for n in range(200)]}))
    reports.save(report({"latency": [0.5 + n / 1e4 for n in range(200)]}, OTHER, id="l1"))
    found = one(reports, release(OTHER, "live1"), metric="latency", relative="not worse")
    assert found.verdict == "not enough data"
    assert "different moments" in found.why


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ("[[release.gates]]\nmin = 0.5", "names no metric"),
        ('[[release.gates]]\nmetric = "x"', "demands nothing"),
        ('[[release.gates]]\nmetric = "x"\nmin = "a"', "not of type"),
        ('[[release.gates]]\nmetric = "x"\nmini = 1', "not a setting"),
        ('[[release.gates]]\nmetric = "x"\nrelative = "better"', "not known"),
        ('[[release.gates]]\nmetric = "x"\nrelative = "not worse"\nmin = 1', "absolute and relative"),
        ('[release]\ngates = "x"', "not a list of tables"),
        ('[release]\ninclude = "x"', "no list of globs"),
        ('[release]\nenvironment = "mine"', "not known"),
        ("[release]\nconfidence = 95", "not between"),
        ("release = 3", "not a table"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, toml: str, why: str) -> None:
    (tmp_path / "headrace.toml").write_text(toml)
    with pytest.raises(SettingsError, match=why):
        load(tmp_path)
