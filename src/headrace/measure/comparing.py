"""From rows to a report's measurements, and from two reports to verdicts.

Reads and writes the plain mappings of a Report (``measurements``, ``rows``); runs nothing and stores
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.errors import InputError, NotFound
from headrace.measure.metrics import Direction, Metric
from headrace.measure.statistics import Kind, quantile, summary
from headrace.measure.verdict import Word, paired
from headrace.types import Report


def measurement(
    metric: Metric,
    values: Sequence[float | None],
    *,
    clusters: Sequence[Hashable] | None = None,
    failed: int = 0,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """A report's measurement from the scores of its rows, one value a row, None: not assessed.

    ``failed`` is how many of the rows failed (their scores are in ``values``, as the metric decided).
    A user's metric whose values all lie between 0 and 1 is taken as a share. The result has ``name,
    value, low, high, n, direction, margin, relative, kind, q, unit, method, failed, not_assessed,
    source``.
    """
    bounds = _bounds(metric.unit, values)
    found = summary(
        values, metric.kind, clusters=clusters, bounds=bounds, q=metric.q, confidence=confidence, seed=seed
    )
    return {
        "name": metric.name,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "direction": metric.direction,
        "margin": metric.margin,
        "relative": metric.relative,
        "kind": metric.kind,
        "q": metric.q,
        "unit": metric.unit,
        "method": found.method,
        "failed": failed,
        "not_assessed": found.missing,
        "source": metric.source,
    }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One metric of A against B. The fields of a Verdict, and what was compared.

    ``a`` and ``b`` are the values over the pairs that were used; ``margin`` is in the metric's unit,
    a relative one already multiplied. ``only_a`` and ``only_b`` rows have no partner of the same id;
    ``not_assessed`` pairs have no score on one side or both.
    """

    metric: str
    verdict: Word
    difference: float | None
    low: float | None
    high: float | None
    n: int
    needed: int | None
    method: str
    a: float | None
    b: float | None
    margin: float
    direction: Direction
    unit: str
    only_a: int
    only_b: int
    not_assessed: int


def compare_reports(
    a: Report,
    b: Report,
    *,
    margin: float | None = None,
    metrics: Sequence[str] | None = None,
    confidence: float = 0.95,
) -> list[Comparison]:
    """The verdict on A against B for every metric that both have, in A's order.

    Rows are paired by ``id``; a row of one side alone is counted and not used. ``margin`` replaces
    the metrics' own, in the unit of each (where the metric's margin is relative, as a share of B's
    value). Rows of one ``cluster`` (A's, else B's) count as connected.

    Raises InputError where no row has a partner, an id stands twice or no metric is shared, NotFound
    for a name in ``metrics`` that one of the reports lacks.
    """
    of_a, of_b = _by_name(a), _by_name(b)
    wanted = [name for name in of_a if name in of_b] if metrics is None else list(metrics)
    for name in wanted:
        for which, there in (("A", of_a), ("B", of_b)):
            if name not in there:
                known = ", ".join(there) or "none"
                raise NotFound(f"Report {which} has no metric {name!r}.", hint=f"It has: {known}.")
    if not wanted:
        raise InputError(
            f"The reports share no metric: A has {list(of_a)!r}, B has {list(of_b)!r}.",
            hint="Evaluate both with the same metrics.",
        )
    rows_a, rows_b = _by_id(a, "A"), _by_id(b, "B")
    shared = [key for key in rows_a if key in rows_b]
    if not shared:
        raise InputError(
            f"No row of A has its example in B ({len(rows_a)} and {len(rows_b)} rows).",
            hint="Evaluate both on the same examples.",
        )
    return [
        _compared(
            of_a[name],
            [(rows_a[key], rows_b[key]) for key in shared],
            margin=margin,
            confidence=confidence,
            alone=(len(rows_a) - len(shared), len(rows_b) - len(shared)),
        )
        for name in wanted
    ]


def _compared(
    measured: Mapping[str, Any],
    pairs: list[tuple[Mapping[str, Any], Mapping[str, Any]]],
    *,
    margin: float | None,
    confidence: float,
    alone: tuple[int, int],
) -> Comparison:
    name = str(measured["name"])
    kind: Kind = measured.get("kind", "mean")
    q = float(measured.get("q", 0.5))
    used = [
        (one, other, _cluster_of(row) if _cluster_of(row) is not None else _cluster_of(other_row))
        for row, other_row in pairs
        if (one := _score(row, name)) is not None and (other := _score(other_row, name)) is not None
    ]
    a, b = [u[0] for u in used], [u[1] for u in used]
    value_a, value_b = _value(a, kind, q), _value(b, kind, q)
    matters = float(measured["margin"] if margin is None else margin)
    if measured.get("relative", False):
        matters *= abs(value_b or 0.0)
    direction: Direction = measured["direction"]
    found = paired(
        a,
        b,
        direction=direction,
        margin=matters,
        kind=kind,
        clusters=[u[2] for u in used],
        bounds=_bounds(str(measured.get("unit", "")), [*a, *b]),
        q=q,
        confidence=confidence,
    )
    needed = found.needed
    if needed is not None and used and found.verdict == "not enough data":
        # Where a part of the examples cannot be assessed, more of them are needed in all.
        needed = math.ceil(needed * len(pairs) / len(used))
    return Comparison(
        metric=name,
        verdict=found.verdict,
        difference=found.difference,
        low=found.low,
        high=found.high,
        n=found.n,
        needed=needed,
        method=found.method,
        a=value_a,
        b=value_b,
        margin=matters,
        direction=direction,
        unit=str(measured.get("unit", "")),
        only_a=alone[0],
        only_b=alone[1],
        not_assessed=len(pairs) - len(used),
    )


def _bounds(unit: str, values: Sequence[float | None]) -> tuple[float, float] | None:
    """0 and 1 for shares; for numbers without a unit too, where all of them lie there."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    if unit == "share" or (not unit and known and 0 <= min(known) <= max(known) <= 1):
        return 0.0, 1.0
    return None


def _value(values: list[float], kind: Kind, q: float) -> float | None:
    if not values:
        return None
    return quantile(values, q).value if kind == "quantile" else sum(values) / len(values)


def _score(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get("scores", {}).get(name)
    return None if value is None or math.isnan(value) else float(value)


def _cluster_of(row: Mapping[str, Any]) -> Hashable:
    found: Hashable = row.get("cluster")
    return found


def _by_name(report: Report) -> dict[str, Mapping[str, Any]]:
    return {str(measured["name"]): measured for measured in report.measurements}


def _by_id(report: Report, which: str) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for row in report.rows:
        key = str(row["id"])
        if key in found:
            raise InputError(
                f"The id {key!r} stands twice in report {which}.", hint="Give every example its own id."
            )
        found[key] = row
    return found
