"""A line of an audit: one risk, one figure or record, one threshold, one verdict.

``pass`` needs a threshold and an interval that clears it. No threshold, no figure, or an interval on
both sides of the threshold is ``not assessed``, with the reason: never a pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from headrace.settings import AuditSettings

Line = Mapping[str, Any]
Layer = Literal["governance", "model", "application"]
KEYS = ("layer", "id", "risk", "verdict", "value", "low", "high", "threshold", "n", "evidence")
PASS, FAIL, OPEN = "pass", "fail", "not assessed"


def line(
    layer: Layer,
    id: str,
    *,
    risk: str = "",
    verdict: str = OPEN,
    value: float | None = None,
    low: float | None = None,
    high: float | None = None,
    threshold: float | None = None,
    n: int = 0,
    evidence: str = "",
    detector: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A line as it is. ``detector`` holds the checking tool's own errors where they are known
    (``misses``, ``false_alarms``: shares; ``on``: what they were measured on)."""
    found: dict[str, Any] = {
        "layer": layer,
        "id": id,
        "risk": risk,
        "verdict": verdict,
        "value": value,
        "low": low,
        "high": high,
        "threshold": threshold,
        "n": n,
        "evidence": evidence,
    }
    return found | ({"detector": dict(detector)} if detector else {})


def judged(
    layer: Layer,
    id: str,
    settings: AuditSettings,
    *,
    risk: str,
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    n: int = 0,
    evidence: str = "",
    direction: Literal["lower", "higher"] = "lower",
    detector: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A measured line against ``[audit.thresholds] id``: ``direction`` says which side is good.

    >>> judged("application", "x", AuditSettings(), risk="r", value=0.0, low=0.0, high=0.1, n=9)["verdict"]
    'not assessed'
    """
    limit = threshold(settings, id)
    verdict, why = _verdict(value, low, high, limit, direction, id)
    return line(
        layer,
        id,
        risk=risk,
        verdict=verdict,
        value=value,
        low=low,
        high=high,
        threshold=limit,
        n=n,
        evidence="; ".join(part for part in (evidence, why) if part),
        detector=detector,
    )


def threshold(settings: AuditSettings, id: str) -> float | None:
    """The limit of a line; ``attacks.leak`` falls back on ``attacks``, a family on its whole."""
    for name in (id, id.rpartition(".")[0]):
        if name and name in settings.thresholds:
            return float(settings.thresholds[name])
    return None


def recorded(layer: Layer, id: str, *, risk: str, found: str, gap: str, n: int = 0) -> dict[str, Any]:
    """A line that asks for a record: ``found`` is the evidence; "" is a gap, marked and never a pass."""
    if found:
        return line(layer, id, risk=risk, verdict=PASS, value=1.0, threshold=1.0, n=max(1, n), evidence=found)
    return line(layer, id, risk=risk, threshold=1.0, evidence=f"gap: {gap}")


def _verdict(
    value: float | None,
    low: float | None,
    high: float | None,
    limit: float | None,
    direction: str,
    id: str,
) -> tuple[str, str]:
    if value is None:
        return OPEN, ""
    if limit is None:
        return OPEN, f"no threshold: set one under [audit.thresholds], {_key(id)} = …"
    bound, wrong = (high, value > limit) if direction == "lower" else (low, value < limit)
    if wrong:
        return FAIL, ""
    if bound is None:
        return OPEN, "no interval"
    if bound <= limit if direction == "lower" else bound >= limit:
        return PASS, ""
    return OPEN, f"not enough data: it may be {bound:.3f}"


def _key(id: str) -> str:
    return f'"{id}"' if "." in id else id


def worst(verdicts: list[str]) -> str:
    """``fail`` before ``not assessed`` before ``pass``; nothing at all is not assessed."""
    return next((word for word in (FAIL, OPEN) if word in verdicts), PASS if verdicts else OPEN)
