"""The model layer: what stands behind the answers, and how surely that is known.

Weights whose bytes were hashed are known; what a server says about itself is a claim, and a claim is
never a pass. Quality and licence are taken from what was measured and recorded elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.auditing.lines import Layer, Line, line, recorded
from headrace.flows.app import App
from headrace.flows.fingerprint import Fingerprint
from headrace.resources import build
from headrace.settings import Settings

LAYER: Layer = "model"
QUALITY = ("answer_f1", "exact_match", "contains", "abstention", "citation_precision")


def lines(app: App, settings: Settings, made: Fingerprint) -> list[Line]:
    """Identity, weights, licence, embedder and recorded quality of one fingerprint."""
    models = {key: held for key, held in made.resources.items() if key.startswith("model:")}
    found: list[Line] = [
        recorded(
            LAYER,
            "fingerprint",
            risk="nobody knows what was audited",
            found=f"{made.id[:16]}: code {made.code[:12]}, distributions {made.distributions[:12]}",
            gap="",
        )
    ]
    for key, held in models.items():
        found += [_identity(key, held), _licence(key, held)]
    if not models:
        found.append(
            line(
                LAYER,
                "identity",
                risk="another model answers",
                evidence="the application names no language model: answers are quotes or its own code's",
            )
        )
    found += [_embedder(key, held) for key, held in made.resources.items() if key.startswith("knowledge:")]
    found.append(_quality(app, made.id))
    return found


def _identity(key: str, held: Any) -> Line:
    risk, id = "another model answers", f"identity.{key.partition(':')[2]}"
    told = dict(held) if isinstance(held, Mapping) else {}
    name = " ".join(str(told[part]) for part in ("provider", "model", "revision") if told.get(part))
    if told.get("unavailable"):
        return line(LAYER, id, risk=risk, evidence="gap: no model stands behind it here; answers are quotes")
    if told.get("claimed") is True:
        return line(LAYER, id, risk=risk, evidence=f"claimed, not hashed: {name or 'a server says so'}")
    digest = str(told.get("weights") or told.get("hash") or told.get("sha256") or "")
    return recorded(
        LAYER,
        id,
        risk=risk,
        found=f"hashed: {name} {digest[:16]}".strip() if digest else "",
        gap=f"nothing was hashed of {name or 'it'}",
    )


def _licence(key: str, held: Any) -> Line:
    told = dict(held) if isinstance(held, Mapping) else {}
    return recorded(
        LAYER,
        f"licence.{key.partition(':')[2]}",
        risk="used without the right to",
        found=str(told.get("licence") or told.get("license") or ""),
        gap="no licence is on record (headrace models card)",
    )


def _embedder(key: str, held: Any) -> Line:
    embedder = held.get("embedder") if isinstance(held, Mapping) else None
    told = dict(embedder) if isinstance(embedder, Mapping) else {}
    digest = str(told.get("weights") or told.get("hash") or told.get("sha256") or "")
    return recorded(
        LAYER,
        f"embedder.{key.partition(':')[2]}",
        risk="another model searches",
        found=f"hashed: {told.get('name', '')} {told.get('precision', '')} {digest[:16]}" if digest else "",
        gap="no embedder with hashed weights is in use: search by words alone",
    )


def _quality(app: App, subject: str) -> Line:
    """The newest evaluation of exactly this fingerprint; its gates judge it, here it is evidence."""
    risk = "answers are wrong"
    reports = build.reports(app.root).list(kind="evaluation", subject=subject, limit=20)
    for report in reports:
        told = [m for m in report.measurements if m["name"] in QUALITY and m["value"] is not None]
        if told:
            shown = ", ".join(
                f"{m['name']} {m['value']:.3f} [{m['low'] or 0:.3f}, {m['high'] or 1:.3f}]" for m in told
            )
            return recorded(
                LAYER,
                "quality",
                risk=risk,
                found=f"report {report.id[:16]}: {shown}",
                n=int(told[0]["n"]),
                gap="",
            )
    return recorded(
        LAYER, "quality", risk=risk, found="", gap="no evaluation of this fingerprint (headrace eval)"
    )
