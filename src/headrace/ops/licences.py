"""The licence gate: what a release is made of may be used for what the project does.

A release notes the licence of each model that lies on this machine, as its README states it. Promoting to
production asks the demand of ``[release] licence`` (``commercial`` unless something else is set). What is
not stated blocks nothing but a strict demand; a model behind a server is licensed by its server's terms.
"""

from __future__ import annotations

from pathlib import Path

from headrace.models import licence as licences
from headrace.models.card import stated_in
from headrace.ops.gates import GateResult
from headrace.resources import bindings, build
from headrace.resources.handles import Handle, ModelHandle
from headrace.types import Release


def stated(handle: Handle) -> str | None:
    """The licence id that the README of a local model states, "" where none; None for other resources."""
    if not isinstance(handle, ModelHandle) or not handle.available:
        return None
    with bindings.use(bindings.Bindings()):
        folder = getattr(build.model(handle), "folder", None)
    return stated_in(folder / "README.md")[0].licence.id if isinstance(folder, Path) else None


def gate(release: Release, demand: str) -> list[GateResult]:
    """What the demand says of a release; [] where it has no local model, or nothing to object to.

    With ``commercial`` an unknown licence is no objection; stricter demands need one that is stated.
    """
    models = release.manifest.get("models", {})
    parts = [
        licences.Used(name=key, licence=licences.read(about["licence"]))
        for key, about in models.items()
        if "licence" in about
    ]
    wanted = licences.demanded(demand)
    reasons = [
        f"{part.name}: {reason}"
        for part in parts
        if (part.licence.kind != "unknown" or wanted != "commercial")
        and (reason := licences.why_not(part.licence, wanted)) is not None
    ]
    strict = bool(parts) and wanted not in ("commercial", "any")
    if not reasons and not strict:
        return []
    return [
        GateResult(
            name="licence",
            demand=demand,
            threshold=None,
            verdict="fail" if reasons else "pass",
            why="; ".join(reasons) or ", ".join(f"{part.name}: {part.licence.id}" for part in parts),
            n=len(parts),
        )
    ]
