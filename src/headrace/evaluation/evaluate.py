"""An application on examples → a Report: every row down to its steps, every measurement with an interval.

Rows run side by side, each once, are kept and can be gone on with (``flows.rows``); scoring and
intervals are pure functions (``measure``); the Report is stored by the ledger. Not here: comparing
(``compare.py``) and gates (``ops``).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace import request
from headrace.errors import Conflict
from headrace.evaluation import chosen, dataset
from headrace.evaluation.chosen import Given
from headrace.evaluation.dataset import Examples
from headrace.evaluation.diagnosis import diagnose
from headrace.flows import rows as running
from headrace.flows.app import App
from headrace.flows.fingerprint import fingerprint
from headrace.flows.journal import Journal
from headrace.flows.load import load
from headrace.measure import statistics
from headrace.measure.comparing import measurement
from headrace.measure.metrics import Metric, Observed
from headrace.protocols import Progress
from headrace.resources import build
from headrace.settings import STATE
from headrace.tracing import new_id
from headrace.types import Example, Report, Score, Usage, to_json

# Fewer documents than this are no sample of documents: rows then count as independent of each other.
LEAST_DOCUMENTS = 10

ExamplesGiven = str | Path | Sequence[Example | Mapping[str, Any]]


def evaluate(
    app: App | str | Path,
    examples: ExamplesGiven,
    metrics: Sequence[Given] | str | None = None,
    *,
    workers: int | None = None,
    cache: bool = True,
    limit: int | None = None,
    confidence: float = 0.95,
    progress: Progress | None = None,
    save: bool = True,
    clock: Callable[[], float] = time.time,
) -> Report:
    """Run examples through an application, score them, and store the Report in its project.

    ``app``: an App, ``file.py:function``, a project's folder, or ``NAME@ALIAS``. ``examples``: a file
    of JSON lines, a folder of them, or :class:`~headrace.types.Example` objects. ``metrics``: names,
    ``file.py:function``, functions ``(example, output)``; None takes those that the examples say
    enough for. ``workers`` threads run rows (default: 32 where a model is remote). ``cache`` False
    computes every row anew. ``confidence`` is of the intervals, per metric.

    A row that raises is a failed row, and a metric that raises leaves that score out; the run goes
    on, both are counted in the measurement. Raises InputError (examples, metrics), NotFound, and
    Conflict where the application was changed while it was evaluated.
    """
    subject = app if isinstance(app, App) else load(app)
    read = dataset.read(examples) if isinstance(examples, (str, Path)) else dataset.of(examples)
    return measure(
        subject,
        read.first(limit),
        chosen.choose(metrics, read.first(limit)),
        workers=workers,
        cache=cache,
        confidence=confidence,
        progress=progress,
        save=save,
        clock=clock,
    )


def measure(
    app: App,
    examples: Examples,
    metrics: Sequence[Metric],
    *,
    workers: int | None = None,
    cache: bool = True,
    confidence: float = 0.95,
    progress: Progress | None = None,
    save: bool = True,
    clock: Callable[[], float] = time.time,
    kind: str = "evaluation",
) -> Report:
    """:func:`evaluate` on things that were looked up already."""
    statistics.check_confidence(confidence)
    chosen.require(metrics, examples)
    arguments = examples.arguments(app.signature)
    made = fingerprint(app)
    started = clock()
    report_id = new_id(started)
    root = app.root
    journal = Journal(root / STATE / "evaluations" / "rows.sqlite")
    try:
        done = running.run_rows(
            app,
            arguments,
            made=made,
            journal=journal,
            workers=workers,
            cache=cache,
            progress=progress,
            session=request.EVALUATION,
        )
        if (now := fingerprint(app)).id != made.id:
            journal.forget(made.id, [row.key for row in done.rows if not row.cached])
            raise Conflict(
                f"The application {app.name!r} changed while it was evaluated: {_changed(made, now)}.",
                hint="Evaluate again when nobody writes to it.",
            )
    finally:
        journal.close()
    build.ledger(app.root).flush(5.0)
    clusters = cluster_labels(examples)
    rows = [
        _row(example, row, metrics, cluster)
        for example, row, cluster in zip(examples, done.rows, clusters, strict=True)
    ]
    report = Report(
        id=report_id,
        kind=kind,
        subject=made.id,
        examples=examples.hash,
        settings={
            "app": app.name,
            "release": app.release.id if app.release is not None else None,
            "examples": _shown(examples.source, root),
            "metrics": [metric.name for metric in metrics],
            "own_metrics": {m.name: m.place for m in metrics if isinstance(m, chosen.FileMetric)},
            "handles": [[h.kind, h.name, h.specification, h.root] for h in app.opened],
            "workers": done.workers,
            "confidence": confidence,
            "count": len(rows),
            "computed": done.computed,
            "cached": done.cached,
            "recomputed": done.recomputed,
            "failed": sum(row["error"] is not None for row in rows),
            "clusters": len({label for label in clusters if label is not None}),
            "rows_seconds": round(done.seconds, 3),
            "seconds": round(clock() - started, 3),
        },
        measurements=tuple(
            measurement(
                metric,
                [row["scores"][metric.name] for row in rows],
                clusters=clusters if any(label is not None for label in clusters) else None,
                failed=sum(row["error"] is not None or metric.name in row["broken"] for row in rows),
                confidence=confidence,
            )
            for metric in metrics
        ),
        rows=tuple(rows),
        created=started,
    )
    if save:
        build.reports(root).save(report)
    return report


def cluster_labels(examples: Examples) -> list[str | None]:
    """The first expected document of each example, where rows share documents and there are enough of
    them to be a sample; else None for every row, which then counts as independent of the others."""
    documents = [next(iter(e.expectations.get("documents", ())), None) for e in examples]
    counts = Counter(d for d in documents if d is not None)
    shared = any(count > 1 for count in counts.values())
    return documents if shared and len(counts) >= LEAST_DOCUMENTS else [None] * len(documents)


def _row(
    example: Example, row: running.Row, metrics: Sequence[Metric], cluster: str | None
) -> dict[str, Any]:
    result = row.result
    output = running.revived(result)
    observed = Observed(
        output=output,
        seconds=result["seconds"],
        passages=result["passages"],
        usage=Usage(**result["usage"]) if result["usage"] is not None else None,
        error=result["error"],
    )
    scores: dict[str, float | None] = {}
    why: dict[str, str] = {}
    broken: list[str] = []
    for metric in metrics:
        try:
            score = metric.score(example, observed)
        except Exception as error:  # noqa: BLE001 - a metric that raises on one row; the run goes on
            score = Score(
                name=metric.name, value=None, why=f"the metric failed: {type(error).__name__}: {error}"
            )
            broken.append(metric.name)
        scores[metric.name] = score.value
        if score.why:
            why[metric.name] = score.why
    return {
        "id": example.id,
        "inputs": to_json(example.inputs),
        "expectations": to_json(example.expectations),
        "output": result["output"],
        "scores": scores,
        "why": why,
        "broken": broken,
        "error": result["error"],
        "seconds": result["seconds"],
        "usage": result["usage"],
        "passages": result["passages"],
        "outcome": result["outcome"],
        "steps": result["steps"],
        "cluster": cluster,
        "trace_id": result["trace_id"],
        "cached": row.cached,
        "workers": result["workers"],
        "diagnosis": diagnose(example, output, result),
    }


def _shown(source: str, root: Path) -> str:
    """The examples' file as the project knows it."""
    try:
        return Path(source).absolute().relative_to(root.absolute()).as_posix() if source else ""
    except ValueError:
        return source


def _changed(before: Any, after: Any) -> str:
    parts = [name for name in ("code", "distributions") if getattr(before, name) != getattr(after, name)]
    parts += [key for key, value in after.resources.items() if before.resources.get(key) != value]
    return ", ".join(parts) or "its resources"
