"""Auditors of what an application answered: grounding, personal data, toxicity, robustness.

They read the newest evaluation of the application as it is now (``headrace eval``) and ask no model
again, except for robustness, which runs the application on questions written worse. Without such an
evaluation a line is not assessed, and says what to run. The table in ``audit.py`` names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.auditing import grounding, robustness, toxicity
from headrace.auditing.lines import Layer, Line, judged, line
from headrace.flows.app import App
from headrace.flows.fingerprint import Fingerprint, fingerprint
from headrace.flows.rows import run_rows
from headrace.guards import personal
from headrace.guards.grounding import Sources, check
from headrace.measure.metrics import abstained, text_of
from headrace.measure.statistics import rate
from headrace.resources import bindings, build
from headrace.resources.handles import KnowledgeBase
from headrace.settings import AuditSettings

LAYER: Layer = "application"
QUESTIONS = 20  # that robustness writes worse
ROBUSTNESS = "robustness"
NOTHING = "no evaluation of this application as it is now: run headrace eval"


def kept(app: App) -> list[Mapping[str, Any]]:
    """Rows of the newest evaluation with the application's fingerprint; [] where there is none."""
    reports = build.reports(app.root)
    found = reports.list(app=app.name, kind="evaluation", subject=fingerprint(app).id, limit=1)
    rows = reports.load(found[0].id).rows if found else ()
    return [row for row in rows if row["error"] is None]


def _answered(app: App) -> list[Mapping[str, Any]]:
    return [row for row in kept(app) if not abstained(row["output"]) and text_of(row["output"]).strip()]


def _share(
    id: str, risk: str, settings: AuditSettings, bad: int, n: int, evidence: str, detector: Mapping[str, Any]
) -> list[Line]:
    if n == 0:
        return [line(LAYER, id, risk=risk, evidence=NOTHING, detector=detector)]
    found = rate(bad, n)
    return [
        judged(
            LAYER,
            id,
            settings,
            risk=risk,
            value=found.value,
            low=found.low,
            high=found.high,
            n=n,
            evidence=evidence,
            detector=detector,
        )
    ]


def audit_grounding(app: App, settings: AuditSettings) -> list[Line]:
    """Share of sentences of answers that their passages contradict or do not hold."""
    similar = grounding.similarity()
    verdicts = []
    for row in _answered(app):
        passages = [str(passage.get("text", "")) for passage in row["passages"]]
        if passages:
            verdicts += [s for s in check(text_of(row["output"]), Sources(passages), similar) if s.claims]
    wrong = [s for s in verdicts if s.verdict == "contradicted"]
    open_ = [s for s in verdicts if s.verdict == "not verifiable"]
    evidence = f"{len(wrong)} contradicted, {len(open_)} not verifiable, of {len(verdicts)} sentences"
    if wrong:
        evidence += f"; {wrong[0].why}"
    bad = len(wrong) + len(open_)
    return _share("grounding", "hallucination", settings, bad, len(verdicts), evidence, grounding.DETECTOR)


def audit_personal(app: App, settings: AuditSettings) -> list[Line]:
    """Share of answers that hold personal data or secrets, or ask for them."""
    rows = _answered(app)
    kinds: dict[str, int] = {}
    bad = asked = 0
    for row in rows:
        text = text_of(row["output"])
        found = {one.kind for one in personal.locate(text)}
        asks = bool(personal.requests(text))
        for kind in found:
            kinds[kind] = kinds.get(kind, 0) + 1
        bad += bool(found) or asks
        asked += asks
    told = ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items())) or "none found"
    evidence = f"{told}; {asked} answers ask for personal data"
    detector = {
        "misses": 0.0,
        "false_alarms": 0.0,
        "on": "labelled sentences written together with the rules; strangers' names are not looked for",
    }
    return _share("personal-data", "privacy", settings, bad, len(rows), evidence, detector)


def audit_toxicity(app: App, settings: AuditSettings) -> list[Line]:
    """Share of answers whose toxicity reaches 0.5."""
    rows = _answered(app)
    found = toxicity.measure([text_of(row["output"]) for row in rows])
    worst = f"{found.worst[1]:.2f}" if found.worst else "-"
    bad = sum(score >= found.threshold for score in found.scores)
    evidence = f"threshold of the detector {found.threshold}; highest {worst}, mean {found.mean:.3f}"
    return _share("toxicity", "offence", settings, bad, len(rows), evidence, toxicity.DETECTOR)


def audit_robustness(app: App, settings: AuditSettings) -> list[Line]:
    """Share of questions whose answer stays, for each way to write them worse."""
    found: list[Line] = []
    rows = [row for row in kept(app) if _question(row["inputs"])][:QUESTIONS]
    if not rows:
        return [line(LAYER, "robustness", risk=ROBUSTNESS, evidence=NOTHING)]
    made = fingerprint(app)
    for kind in robustness.KINDS:
        items, before = [], []
        for row in rows:
            key = _question(row["inputs"])
            worse = robustness.variant(row["inputs"][key], kind)
            if worse != row["inputs"][key]:
                items.append({**row["inputs"], key: worse})
                before.append(row["output"])
        found.append(_stays(app, items, before, kind, settings, made))
    found.append(_order(app, rows, settings, made))
    return found


def _order(app: App, rows: Sequence[Mapping[str, Any]], settings: AuditSettings, made: Fingerprint) -> Line:
    """The line about passages that come in another order than the one in which they were found."""
    rows = [row for row in rows if len(row["passages"]) > 1]
    shelves = [handle for handle in (*app.handles, *app.opened) if isinstance(handle, KnowledgeBase)]
    why = (
        "a release is sealed: audit the working copy"
        if app.release is not None
        else "no answer had two passages of a knowledge base"
        if not (rows and shelves)
        else ""
    )
    if why:
        return line(LAYER, _id(robustness.ORDER), risk=ROBUSTNESS, evidence=why)
    with bindings.use(app.bindings()), bindings.within(app.root):
        other = app.using({shelf: robustness.Turned(shelf.engine()) for shelf in dict.fromkeys(shelves)})
    items = [row["inputs"] for row in rows]
    return _stays(other, items, [row["output"] for row in rows], robustness.ORDER, settings, made)


def _stays(
    app: App,
    items: Sequence[Mapping[str, Any]],
    before: Sequence[Any],
    kind: str,
    settings: AuditSettings,
    made: Fingerprint,
) -> Line:
    """The share of these inputs whose answer is what it was before."""
    done = run_rows(app, items, made=made, journal=None, cache=False)
    stays = [
        row.result["error"] is None and robustness.same_answer(old, row.result["output"])
        for old, row in zip(before, done.rows, strict=True)
    ]
    share = rate(sum(stays), len(stays))
    changed = next((item for item, ok in zip(items, stays, strict=True) if not ok), None)
    return judged(
        LAYER,
        _id(kind),
        settings,
        risk=ROBUSTNESS,
        value=share.value,
        low=share.low,
        high=share.high,
        n=share.n,
        evidence=f"changed for example by {_first(changed)!r}" if changed else "",
        direction="higher",
    )


def _id(kind: str) -> str:
    return f"robustness.{kind.replace(' ', '-')}"


def _question(inputs: Mapping[str, Any]) -> str:
    """The name of the one text among the inputs, else "" (nothing to write worse)."""
    texts = [key for key, value in inputs.items() if isinstance(value, str) and value.strip()]
    return texts[0] if len(texts) == 1 else ""


def _first(item: Mapping[str, Any]) -> str:
    return str(item[_question(item)])[:60]
