"""Two variants on the same examples: which is better, by how much, and is that known at all?

Each side is a Report, the id of one, an App, a place of one (``file.py:function``, a folder) or
``NAME@ALIAS``; what is not a report yet is evaluated first (rows that are known are not run again).
The verdicts themselves are pure functions of the rows (``measure.comparing``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headrace.errors import InputError, NotFound
from headrace.evaluation import chosen, dataset
from headrace.evaluation.chosen import Given
from headrace.evaluation.dataset import Examples
from headrace.evaluation.evaluate import ExamplesGiven, measure
from headrace.evaluation.timing import side_by_side
from headrace.flows.app import App
from headrace.flows.fingerprint import fingerprint
from headrace.flows.load import load, project_app
from headrace.measure.comparing import Comparison, compare_reports
from headrace.protocols import Progress
from headrace.resources import build
from headrace.settings import FILE, find_root
from headrace.types import Report

Side = Report | App | str | Path


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A against B, metric by metric. ``same_examples``: both reports are about the same examples;
    otherwise rows were paired by id, and ``only_a`` and ``only_b`` of a Comparison count the rest.
    ``notes`` say what else limits the verdicts."""

    a: Report
    b: Report
    comparisons: tuple[Comparison, ...]
    same_examples: bool
    names: tuple[str, str] = field(default=("A", "B"))
    notes: tuple[str, ...] = ()

    def __getitem__(self, metric: str) -> Comparison:
        for found in self.comparisons:
            if found.metric == metric:
                return found
        known = ", ".join(c.metric for c in self.comparisons)
        raise NotFound(f"The reports were not compared by {metric!r}.", hint=f"They were by: {known}.")


def compare(
    a: Side | None = None,
    b: Side | None = None,
    *,
    examples: ExamplesGiven | None = None,
    metrics: Sequence[Given] | str | None = None,
    margin: float | None = None,
    confidence: float = 0.95,
    workers: int | None = None,
    cache: bool = True,
    times: int = 0,
    progress: Progress | None = None,
) -> Compared:
    """A against B on the rows that both have: better, worse, equivalent, or not enough data.

    Without ``a``: the project's working copy; without ``b``: its release in production. An
    application is evaluated on ``examples`` (default: those of the other side's report, else the
    project's ``evals/*.jsonl``) by ``metrics`` (default: those of the other side's report, else
    what the examples say enough for). ``margin`` replaces the metrics' own: differences smaller
    than it do not matter.

    Seconds of two evaluations were taken at different moments, so they get no verdict. With
    ``times`` up to that many examples are run by both applications in turns (``timing``), and
    these times are compared.

    Raises NotFound for a side that does not exist, InputError where no row of A has a partner in B.
    """
    if times < 0:
        raise InputError(f"times={times!r} is below 0.", hint="How many examples to run for times, or 0.")
    if margin is not None and not margin >= 0:
        raise InputError(f"A margin of {margin!r}.", hint="The smallest difference that matters, 0 or more.")
    sides = [_side(a, "A"), _side(b if b is not None else _production(a), "B")]
    root = next((s.root for s in sides if isinstance(s, App)), find_root())
    apps = [s for s in sides if isinstance(s, App)]
    reports = [s for s in sides if isinstance(s, Report)]
    if times and reports:
        raise InputError(
            f"Times of the report {reports[0].id!r} cannot be taken again.",
            hint="Name two applications to have their examples timed side by side.",
        )
    given: Examples | None = None
    if len(reports) < len(sides):
        given = _examples(examples, reports, root)
        names = metrics if metrics is not None else _metrics_of(reports)
        scored = chosen.choose(names, given)
        sides = [
            s if isinstance(s, Report) else _evaluated(s, given, scored, confidence, workers, cache, progress)
            for s in sides
        ]
    left, right = sides
    assert isinstance(left, Report)
    assert isinstance(right, Report)
    only = [m.name for m in chosen.choose(metrics, Examples(items=()))] if metrics is not None else None
    compared = compare_reports(left, right, margin=margin, metrics=only, confidence=confidence)
    notes: tuple[str, ...] = ()
    if timed := [c.metric for c in compared if c.unit == "s"]:
        if times and given is not None:
            taken = side_by_side(apps[0], apps[1], given, most=times, progress=progress)
            fresh = {
                c.metric: c
                for c in compare_reports(
                    _timed(left, taken.a, timed),
                    _timed(right, taken.b, timed),
                    margin=margin,
                    metrics=timed,
                    confidence=confidence,
                )
            }
            compared = [fresh.get(c.metric, c) for c in compared]
            notes = (f"Times: {len(taken.a)} examples, run by both in turns.",)
        else:
            compared = [_untimed(c) if c.unit == "s" else c for c in compared]
            notes = (TIMES,)
    return Compared(
        a=left,
        b=right,
        comparisons=tuple(compared),
        notes=notes,
        same_examples=left.examples == right.examples,
        names=(_label(a, left), _label(b, right)),
    )


TIMES = (
    "Times were taken at different moments and get no verdict; --times 20 runs up to 20 examples by "
    "both in turns."
)


def _timed(report: Report, seconds: Mapping[str, float], metrics: Sequence[str]) -> Report:
    """The report with these seconds as the scores of its timed metrics, on the rows that have them."""
    rows = [
        {**row, "scores": {**row["scores"], **dict.fromkeys(metrics, seconds[row["id"]])}}
        for row in report.rows
        if row["id"] in seconds
    ]
    return replace(report, rows=tuple(rows))


def _production(a: Side | None) -> str:
    app = a if isinstance(a, App) else project_app()
    if app is None:
        raise NotFound(
            "There is no project here, so there is nothing in production to compare with.",
            hint="Name both sides: headrace compare A B (report ids, applications, NAME@ALIAS).",
        )
    return f"{app.name}@production"


def _side(given: Side | None, which: str) -> Report | App:
    if isinstance(given, (Report, App)):
        return given
    if given is None:
        app = project_app()
        if app is None:
            raise NotFound(
                "There is no project here, so there is no working copy to compare.",
                hint="Name both sides: headrace compare A B (report ids, applications, NAME@ALIAS).",
            )
        return app
    text = str(given)
    reports = build.reports(find_root())
    if "@" in text or ".py" in text or "/" in text or (Path(text) / FILE).is_file():
        return load(text)
    if Path(text).is_dir() and not reports.exists(text):
        return load(text)
    try:
        return reports.load(text)
    except NotFound as error:
        raise NotFound(
            f"{which} = {text!r} is neither a report nor an application.",
            hint=f"{error.hint} Or give file.py:function, a project's folder, or NAME@ALIAS.",
        ) from None


def _examples(given: ExamplesGiven | None, reports: Sequence[Report], root: Path) -> Examples:
    if given is not None:
        return dataset.read(given) if isinstance(given, (str, Path)) else dataset.of(given)
    for report in reports:
        source = str(report.settings.get("examples") or "")
        files = [root / part for part in source.split(", ")] if source else []
        if files and all(file.is_file() for file in files):
            return dataset.read(files)
    return default_examples(root)


def default_examples(root: Path) -> Examples:
    """The examples of a project: every ``evals/*.jsonl``."""
    return dataset.read(root / "evals")


def _metrics_of(reports: Sequence[Report]) -> list[Given] | None:
    if not reports:
        return None
    own = dict(reports[0].settings.get("own_metrics") or {})
    return [own.get(m["name"], m["name"]) for m in reports[0].measurements]


def _evaluated(
    app: App,
    examples: Examples,
    metrics: Sequence[Any],
    confidence: float,
    workers: int | None,
    cache: bool,
    progress: Progress | None,
) -> Report:
    """The application's report on these examples: one that is there, else a new one."""
    wanted = sorted(metric.name for metric in metrics)
    if cache and all(chosen.is_built_in(metric) for metric in metrics):
        store = build.reports(app.root)
        for known in store.list(app=app.name, kind="evaluation", subject=fingerprint(app).id):
            same = known.examples == examples.hash and known.settings.get("confidence") == confidence
            if same and sorted(known.settings["metrics"]) == wanted and not known.settings["failed"]:
                return store.load(known.id)
    return measure(
        app,
        examples,
        metrics,
        workers=workers,
        cache=cache,
        confidence=confidence,
        progress=progress,
    )


def _untimed(found: Comparison) -> Comparison:
    return replace(
        found, verdict="not enough data", needed=None, low=None, high=None, method="not comparable"
    )


def _label(given: Side | None, report: Report) -> str:
    app = str(report.settings.get("app", "?"))
    if given is None:
        return f"{app} ({'working copy' if report.settings.get('release') is None else 'production'})"
    if isinstance(given, (str, Path)) and not report.id.startswith(str(given)):
        return str(given) if "@" in str(given) else f"{app} of {given}"
    return f"{app}, report {report.id[:16]}"
