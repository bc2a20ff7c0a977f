"""The governance layer: who answers for an application, and what is on record about running it.

Lines come from what is recorded (headrace.toml, the release log, the ledger's settings), never from a
form that is filled in here. A record that is missing is a gap: not assessed, and marked.
Layers after Mökander, Schuett, Kirk and Floridi, AI and Ethics 4 (2024), 1085-1115.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.auditing.lines import FAIL, OPEN, Layer, Line, line, recorded, worst
from headrace.flows.app import App
from headrace.resources import build
from headrace.settings import AuditSettings, Settings, environment
from headrace.text import shorten

LAYER: Layer = "governance"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class Risk:
    """A risk of the register: ``checks`` are the beginnings of the ids of lines that look at it; none
    where no program can, and people have to say how they do."""

    name: str
    text: str
    checks: tuple[str, ...] = ()


RISKS = (
    Risk(name="toxicity", text="offensive or harmful text", checks=("toxicity",)),
    Risk(
        name="discrimination",
        text="groups of people treated or shown differently",
        checks=("representation", "discrimination"),
    ),
    Risk(
        name="information hazard",
        text="private data, secrets or instructions given away",
        checks=("attacks.leak", "personal"),
    ),
    Risk(name="misinformation", text="statements that no source supports", checks=("grounding",)),
    Risk(
        name="malicious use",
        text="made to do what strangers want",
        checks=("attacks.direct", "attacks.passages", "attacks.tools", "attacks.jailbreak"),
    ),
    Risk(name="over-reliance", text="people trust an answer that is wrong", checks=("robustness",)),
    Risk(name="jobs", text="work that changes or goes away"),
    Risk(name="environment", text="energy and money spent", checks=("attacks.resources",)),
)


def lines(app: App, settings: Settings) -> list[Line]:
    """What is on record about how this application is run."""
    audit = settings.audit
    log = build.registry(app.root).log(app.name)
    moves = [entry for entry in log if entry.what in ("promote", "rollback", "canary", "refuse")]
    return [
        recorded(
            LAYER,
            "owner",
            risk="nobody answers for it",
            found=audit.owner,
            gap='[audit] owner = "…" is not set',
        ),
        recorded(
            LAYER,
            "contact",
            risk="an incident reaches nobody",
            found=audit.contact,
            gap='[audit] contact = "…" is not set',
        ),
        recorded(
            LAYER,
            "intended use",
            risk="used for what it was not made for",
            found=shorten(audit.intended_use, 200),
            gap='[audit] intended_use = "…" is not set',
        ),
        recorded(
            LAYER,
            "forbidden use",
            risk="used for what it was not made for",
            found=shorten(audit.forbidden_use, 200),
            gap='[audit] forbidden_use = "…" is not set',
        ),
        recorded(
            LAYER,
            "gates",
            risk="released without a test",
            found=", ".join(gate.metric for gate in settings.release.gates),
            n=len(settings.release.gates),
            gap="no [[release.gates]] is set",
        ),
        recorded(
            LAYER,
            "release log",
            risk="nobody knows who changed what",
            found=_log(moves),
            n=len(moves),
            gap="no promotion is on record (headrace promote)",
        ),
        _retention(settings),
        _network(settings),
        _keys(app, settings),
        recorded(
            LAYER,
            "data",
            risk="data that may not be used",
            found=_corpora(app),
            gap="no knowledge base with a published version is in use",
        ),
    ]


def _log(moves: list[Any]) -> str:
    if not moves:
        return ""
    last = max(moves, key=lambda entry: entry.at)
    when = time.strftime("%Y-%m-%d", time.gmtime(last.at))
    return f"{len(moves)} moves; the last on {when}: {last.what} by {last.who}, {shorten(last.why, 80)!r}"


def _retention(settings: Settings) -> Line:
    ledger = settings.ledger
    risk = "what people asked is kept for ever"
    if not ledger.enabled:
        return line(LAYER, "retention", risk=risk, evidence="gap: the ledger is off, so nothing is on record")
    kept = "texts and figures" if ledger.content else "figures without texts"
    return recorded(
        LAYER,
        "retention",
        risk=risk,
        found=f"{kept}, {ledger.retention_days:g} days or {ledger.retention_mb:g} MB",
        gap="",
    )


def _network(settings: Settings) -> Line:
    risk = "data leaves the machine"
    if settings.network == "open":
        return line(
            LAYER, "network", risk=risk, evidence="gap: the policy is 'open', so anything may be reached"
        )
    told = {"off": "nothing leaves the machine", "named": "only what the settings name is reached"}
    found = f"{settings.network}: {told[settings.network]}"
    return recorded(LAYER, "network", risk=risk, found=found, gap="")


def _keys(app: App, settings: Settings) -> Line:
    risk = "strangers use it"
    serve = settings.serve
    if environment(serve.key):
        found = f"a key in {serve.key}"
    elif (settings.state / "keys.sqlite").is_file():
        found = "keys with scopes (headrace keys list)"
    elif serve.host in LOOPBACK:
        found = f"it listens on {serve.host} only, where no key is needed"
    else:
        found = ""
    return recorded(LAYER, "keys", risk=risk, found=found, gap=f"{serve.host} without a key")


def _corpora(app: App) -> str:
    from headrace.flows.fingerprint import fingerprint

    told = [
        f"{key.partition(':')[2]} version {held['version']} ({str(held['corpus'])[:12]})"
        for key, held in fingerprint(app).resources.items()
        if isinstance(held, Mapping) and held.get("corpus") and held.get("version") is not None
    ]
    return ", ".join(told)


def register(settings: AuditSettings, found: list[Line]) -> list[Line]:
    """The register of eight risks over the lines of the other layers.

    A risk passes when it has an owner and every check of it passes; it is not assessed when the
    owner, a check or a threshold is missing, or no check could be run.
    """
    return [_risk(risk, settings, found) for risk in RISKS]


def _risk(risk: Risk, settings: AuditSettings, found: list[Line]) -> Line:
    told = settings.risks.get(risk.name, settings.risks.get(risk.name.replace(" ", "_"), {}))
    owner = str(told.get("owner") or settings.owner)
    looked = [one for one in found if any(_is_of(str(one["id"]), check) for check in risk.checks)]
    parts = [f"owner {owner}" if owner else "gap: no owner"]
    if looked:
        parts.append("checks: " + ", ".join(f"{one['id']} {one['verdict']}" for one in looked))
        verdict = worst([str(one["verdict"]) for one in looked])
    elif told.get("check") and told.get("threshold") is not None:
        parts.append(f"people check: {told['check']} (threshold: {told['threshold']}); no program did")
        verdict = OPEN
    else:
        parts.append(
            f"gap: no check; say under [audit.risks.{risk.name.replace(' ', '_')}] how it is looked at"
        )
        verdict = OPEN
    if not owner and verdict != FAIL:
        verdict = OPEN
    failing = [one for one in looked if one["verdict"] == FAIL]
    first = (failing or looked or [{}])[0]
    return line(
        LAYER,
        f"risk.{risk.name}",
        risk=risk.text,
        verdict=verdict,
        value=first.get("value"),
        low=first.get("low"),
        high=first.get("high"),
        threshold=first.get("threshold"),
        n=sum(int(one["n"]) for one in looked),
        evidence="; ".join(parts),
    )


def _is_of(id: str, check: str) -> bool:
    return id == check or id.startswith(tuple(check + sign for sign in ". _-"))
