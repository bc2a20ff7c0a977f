"""The model layer: what stands behind the answers, and how surely that is known.

Weights whose bytes were hashed are known; what a server says about itself is a claim, and a claim is
never a pass. Quality and licence are taken from what was measured and recorded elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.auditing.lines import FAIL, Layer, Line, line, recorded
from headrace.flows.app import App
from headrace.flows.fingerprint import Fingerprint
from headrace.models import licence as licences
from headrace.models.card import stated_in
from headrace.resources import bindings, build
from headrace.resources.handles import ModelHandle
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
        found += [_identity(key, held), _licence(key, app, settings)]
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


def _licence(key: str, app: App, settings: Settings) -> Line:
    """What the README of a local model states, against ``[release] licence``; a claim of its author."""
    id, risk = f"licence.{key.partition(':')[2]}", "used without the right to"
    handle = next((one for one in app.handles if one.key == key and isinstance(one, ModelHandle)), None)
    folder = None
    if handle is not None:
        with bindings.use(app.bindings()), bindings.within(app.root):
            folder = getattr(handle.open(), "folder", None) if handle.available else None
    if not isinstance(folder, Path):
        gap = "no model on this machine stands behind it: a server's terms, or nothing, hold"
        return recorded(LAYER, id, risk=risk, found="", gap=gap)
    found = stated_in(folder / "README.md")[0].licence
    reason = licences.why_not(found, licences.demanded(settings.release.licence))
    if found.kind == "unknown":
        return recorded(LAYER, id, risk=risk, found="", gap=f"its README states none ({found.said})")
    if reason is not None:
        return line(LAYER, id, risk=risk, verdict=FAIL, value=0.0, threshold=1.0, n=1, evidence=reason)
    return recorded(LAYER, id, risk=risk, found=f"{found.id}: {found.said}", gap="")


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
