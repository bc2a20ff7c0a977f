"""An audit: everything that looks for what can go wrong, in three layers, as one Report.

Governance and model lines come from records, application lines from attacks and from the auditors
of :data:`AUDITORS`. Each line has its threshold from ``[audit.thresholds]`` and the checking tool's own
error where that is known; without a threshold a line is not assessed. Not here: how a check works.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from headrace.auditing import answers, governance, model_layer
from headrace.auditing.lines import KEYS, Line, line
from headrace.errors import Cancelled, HeadraceError, InputError
from headrace.flows.app import App
from headrace.flows.fingerprint import fingerprint
from headrace.flows.load import load
from headrace.measure import statistics
from headrace.protocols import Model, Progress
from headrace.resources import build
from headrace.settings import AuditSettings
from headrace.settings import load as load_settings
from headrace.tracing import new_id
from headrace.types import Report

KIND = "audit"
Auditor = Callable[[App, AuditSettings], list[Line]]
AUDITORS: dict[str, Auditor] = {
    "grounding": answers.audit_grounding,
    "personal data": answers.audit_personal,
    "toxicity": answers.audit_toxicity,
    "robustness": answers.audit_robustness,
}

Defended = Literal["on", "off", "both"]


def audit(
    app: App | str | Path,
    *,
    suites: Sequence[str | Path] | str | Path | None = None,
    model: Model | Literal["auto", "own", "double"] = "auto",
    defences: Defended = "both",
    trials: int | None = None,
    seconds: float = 30.0,
    only: Sequence[str] | None = None,
    gullible: bool = False,
    confidence: float = 0.95,
    progress: Progress | None = None,
    save: bool = True,
    clock: Callable[[], float] = time.time,
) -> Report:
    """Audit an application; the Report, of the kind ``audit``, is stored in its project.

    ``suites``: names of suites of ours, or folders and files of your own (None: all of ours). ``model``:
    ``own`` attacks the application with its own models, ``double`` puts the obedient double in their
    place, ``auto`` takes its own where there are any; or a Model. ``defences`` ``both`` runs every case
    with them on (as the settings say) and off. ``trials``: how often each case is run (default: 5 with
    the double, whose obedience is drawn, 1 otherwise). ``seconds``: the limit of one run. ``only``: names
    of auditors, ``attacks`` among them (None: all). ``gullible``: the double obeys whatever it reads, so
    that only what removes, limits or withholds helps.

    ``report.settings["lines"]`` holds the lines; measurements can be gated. A check that fails by itself
    gives a line that is not assessed. Raises InputError (a wrong suite, an application whose inputs
    cannot be filled), NotFound.
    """
    statistics.check_confidence(confidence)
    if defences not in ("on", "off", "both"):
        raise InputError(f"defences={defences!r} is not known.", hint="Use 'on', 'off' or 'both'.")
    subject = app if isinstance(app, App) else load(app)
    settings = load_settings(subject.root)
    wanted = _wanted(only)
    started = clock()
    made = fingerprint(subject)
    application: list[Line] = []
    measurements: list[Mapping[str, Any]] = []
    rows: list[Mapping[str, Any]] = []
    told: dict[str, Any] = {}
    if "attacks" in wanted:
        from headrace.auditing.attacks import run as attack
        from headrace.auditing.rates import lines as lines_of

        ran = attack(
            subject,
            suites,
            model=model,
            defences=defences,
            trials=trials,
            seconds=seconds,
            gullible=gullible,
            confidence=confidence,
            progress=progress,
        )
        application += lines_of(ran, settings.audit)
        measurements += ran.measurements
        rows += ran.rows
        told = dict(ran.settings)
    for name in wanted:
        if name != "attacks":
            application += _audited(name, AUDITORS[name], subject, settings.audit)
    shown = [dict(one) for one in application]
    for one in shown:
        one.pop("values", None)
    measurements += [_measurement(one) for one in application if _is_new(one, measurements)]
    rows += [row for one in application for row in _rows(one)]
    found = [
        *governance.lines(subject, settings),
        *model_layer.lines(subject, settings, made),
        *shown,
    ]
    found += governance.register(settings.audit, found)
    order = ("governance", "model", "application")
    found.sort(key=lambda one: order.index(str(one["layer"])))
    report = Report(
        id=new_id(started),
        kind=KIND,
        subject=made.id,
        examples=str(told.get("suites_hash", "")),
        settings={
            "app": subject.name,
            "release": subject.release.id if subject.release is not None else None,
            "examples": ", ".join(told.get("suites", {})) or "no attacks",
            "confidence": confidence,
            "count": len(rows),
            "lines": [dict(one) for one in found],
            "verdicts": counts(found),
            "seconds": round(clock() - started, 3),
            **told,
        },
        measurements=tuple(measurements),
        rows=tuple(rows),
        created=started,
    )
    if save:
        build.reports(subject.root).save(report)
    return report


def counts(found: Sequence[Line]) -> dict[str, int]:
    """How many lines pass, fail and are not assessed."""
    told = [str(one["verdict"]) for one in found]
    return {word: told.count(word) for word in ("pass", "fail", "not assessed")}


def _wanted(only: Sequence[str] | None) -> list[str]:
    known = ["attacks", *AUDITORS]
    for name in only or ():
        if name not in known:
            raise InputError(f"There is no auditor {name!r}.", hint=f"Known: {', '.join(known)}.")
    return list(dict.fromkeys(only)) if only is not None else known


def _audited(name: str, auditor: Auditor, app: App, settings: AuditSettings) -> list[Line]:
    """The lines of one auditor; one that raises gives a line that is not assessed and says why."""
    try:
        found = list(auditor(app, settings))
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - a check that breaks is a gap of the audit, not its end
        message = error.message if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
        return [line("application", name, evidence=f"the check failed: {message}")]
    for one in found:
        missing = [key for key in KEYS if key not in one]
        assert not missing, f"the auditor {name} gives lines without {missing}"
    return found


def _is_new(one: Line, measurements: Sequence[Mapping[str, Any]]) -> bool:
    return one["value"] is not None and all(one["id"] != measured["name"] for measured in measurements)


def _measurement(one: Line) -> dict[str, Any]:
    """A line as a measurement, so that gates can ask for it by its id."""
    return {
        "name": one["id"],
        "value": one["value"],
        "low": one["low"],
        "high": one["high"],
        "n": one["n"],
        "direction": one.get("direction", "lower"),
        "margin": 0.0,
        "relative": False,
        "kind": one.get("kind", "mean"),
        "q": 0.5,
        "unit": one.get("unit", "share"),
        "method": one.get("method", ""),
        "failed": 0,
        "not_assessed": 0,
        "source": "headrace audit",
    }


def _rows(one: Line) -> list[dict[str, Any]]:
    """A row for each of the ``values`` that an auditor hands over with its line."""
    return [
        {
            "id": f"{one['id']}:{number}",
            "inputs": {},
            "expectations": {},
            "output": None,
            "scores": {one["id"]: value},
            "why": {},
            "error": None,
            "seconds": None,
            "usage": None,
            "passages": [],
            "steps": [],
            "cluster": None,
            "trace_id": None,
        }
        for number, value in enumerate(one.get("values", ()), 1)
    ]
