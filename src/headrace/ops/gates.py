"""Gates: what a report must show before a release may go to production.

A gate is a line of headrace.toml about one metric. It reads reports about exactly the fingerprint
that is being released, and passes only when the metric's whole interval clears the threshold: a
value that happens to lie above it on twelve examples proves nothing. Several gates share one error
rate (Bonferroni: each interval is taken at 1 − (1 − confidence) / number of gates), so that adding
gates does not make a wrong pass likelier. Nothing here runs an application or moves an alias.

Bonferroni: C. E. Bonferroni, Teoria statistica delle classi e calcolo delle probabilità, 1936.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from headrace.errors import NotFound
from headrace.measure.comparing import compare_reports
from headrace.measure.statistics import summary
from headrace.settings import GateSettings, ReleaseSettings
from headrace.types import Release, Report

Word = Literal["pass", "fail", "not enough data", "missing"]


class ReportShelf(Protocol):
    """The part of the ledger's reports that gates read."""

    def load(self, given: str) -> Report:
        """One report with its rows, by id or an unambiguous beginning."""
        ...

    def list(
        self,
        app: str | None = None,
        kind: str | None = None,
        subject: str | None = None,
        limit: int = 50,
    ) -> list[Report]:
        """The newest reports, without rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """What one gate says. ``name`` is the metric; ``value`` what was measured (for a relative gate the
    difference to the live release), ``low`` and ``high`` its interval at ``confidence``, ``threshold``
    what it had to clear, ``why`` the sentence for people."""

    name: str
    demand: str  # "min", "max" or "not worse"
    threshold: float | None
    verdict: Word
    why: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    confidence: float = 0.95
    report: str | None = None


def judge(
    settings: ReleaseSettings,
    release: Release,
    *,
    reports: ReportShelf,
    live: Release | None,
) -> list[GateResult]:
    """Every gate of the settings on a release; [] where none is set. ``live`` is what runs now."""
    demands = [
        (gate, demand)
        for gate in settings.gates
        for demand in ("min", "max", "not worse")
        if (gate.relative == demand if demand == "not worse" else getattr(gate, demand) is not None)
    ]
    if not demands:
        return []
    each = 1 - (1 - settings.confidence) / len(demands)
    bench = _Bench(release, reports, each)
    return [
        bench.relative(gate, live) if demand == "not worse" else bench.absolute(gate, demand)
        for gate, demand in demands
    ]


class _Bench:
    """The reports about one release, each read once."""

    def __init__(self, release: Release, reports: ReportShelf, confidence: float) -> None:
        self.release = release
        self.subject = str(release.manifest["fingerprint"])
        self.reports = reports
        self.confidence = confidence
        self._read: dict[str, Report] = {}

    # ------------------------------------------------------------------ the two kinds of gate

    def absolute(self, gate: GateSettings, demand: str) -> GateResult:
        """``min`` or ``max`` on the metric's interval."""
        threshold = float(gate.min if demand == "min" else gate.max)  # type: ignore[arg-type]
        found = self._about(gate, self.subject)
        if isinstance(found, str):
            return self._missing(gate, demand, threshold, found)
        report, measured = found
        value, low, high, n = self._interval(report, measured)
        broken = sum(gate.metric in row.get("broken", ()) for row in report.rows)
        shown = f"{_number(value)} [{_number(low)}, {_number(high)}] on {n} examples"
        if broken:
            verdict: Word = "fail"
            why = f"the metric itself failed on {broken} of {len(report.rows)} rows"
        elif value is None:
            verdict, why = "not enough data", f"nothing could be measured on {len(report.rows)} examples"
        else:
            side = "below" if demand == "min" else "above"
            bound = low if demand == "min" else high
            misses = value < threshold if demand == "min" else value > threshold
            if misses:
                verdict, why = "fail", f"{shown} is {side} {_number(threshold)}"
            elif bound is None:  # a high quantile of few rows
                verdict, why = "not enough data", f"{shown}: too few for that bound"
            elif bound >= threshold if demand == "min" else bound <= threshold:
                verdict, why = "pass", shown
            else:
                verdict = "not enough data"
                gap = abs(value - threshold)  # an interval narrows with the square root of the examples
                needed = f"about {math.ceil(n * ((value - bound) / gap) ** 2)}" if gap else "many more"
                why = f"{shown}: it may be {_number(bound)}, {side} {_number(threshold)}; {needed} decide"
        return GateResult(
            name=gate.metric,
            demand=demand,
            threshold=threshold,
            verdict=verdict,
            why=why,
            value=value,
            low=low,
            high=high,
            n=n,
            confidence=self.confidence,
            report=report.id,
        )

    def relative(self, gate: GateSettings, live: Release | None) -> GateResult:
        """Not worse than what is live, on the same examples, by more than the metric's margin."""
        demand = "not worse"
        found = self._about(gate, self.subject)
        if isinstance(found, str):
            return self._missing(gate, demand, None, found)
        report, measured = found
        nothing = None
        if live is None:
            nothing = "nothing is live yet to be compared with"
        elif live.id == self.release.id or live.manifest["fingerprint"] == self.subject:
            nothing = "this is what is live"
        if nothing is not None or live is None:
            return GateResult(
                name=gate.metric,
                demand=demand,
                threshold=gate.margin,
                verdict="pass",
                why=nothing or "",
                n=int(measured.get("n", 0)),
                confidence=self.confidence,
                report=report.id,
            )
        theirs = self._about(gate, str(live.manifest["fingerprint"]), examples=report.examples, live=live)
        if isinstance(theirs, str):
            return self._missing(gate, demand, gate.margin, theirs)
        (compared,) = compare_reports(
            report, theirs[0], margin=gate.margin, metrics=[gate.metric], confidence=self.confidence
        )
        sign = 1.0 if compared.direction == "higher" else -1.0
        if compared.unit == "s":
            # Two evaluations of the same thing differ by what else the machine did meanwhile.
            verdict: Word = "not enough data"
            why = "times of two reports were taken at different moments; give the gate a max instead"
        elif compared.low is None or compared.high is None or compared.difference is None:
            verdict = "not enough data"
            why = f"no difference could be measured on {compared.n} pairs"
        else:
            worst, best = sorted((sign * compared.low, sign * compared.high))
            shown = (
                f"{compared.difference:+.4g} [{compared.low:+.4g}, {compared.high:+.4g}] against the live"
                f" release on {compared.n} examples"
            )
            if worst > -compared.margin or compared.verdict in ("better", "equivalent"):
                verdict, why = "pass", shown
            elif compared.verdict == "worse" or best < -compared.margin:
                verdict, why = "fail", f"{shown}: worse"
            else:
                verdict = "not enough data"
                more = f"; about {compared.needed} would decide" if compared.needed else ""
                why = f"{shown}: it may be worse by more than {_number(compared.margin)}{more}"
        return GateResult(
            name=gate.metric,
            demand=demand,
            threshold=-sign * compared.margin,
            verdict=verdict,
            why=why,
            value=compared.difference,
            low=compared.low,
            high=compared.high,
            n=compared.n,
            confidence=self.confidence,
            report=report.id,
        )

    def _missing(self, gate: GateSettings, demand: str, threshold: float | None, why: str) -> GateResult:
        return GateResult(
            name=gate.metric,
            demand=demand,
            threshold=threshold,
            verdict="missing",
            why=why,
            confidence=self.confidence,
        )

    # ------------------------------------------------------------------ finding the report

    def _about(
        self, gate: GateSettings, subject: str, *, examples: str | None = None, live: Release | None = None
    ) -> tuple[Report, Mapping[str, Any]] | str:
        """The newest report about a fingerprint with the gate's metric, or why there is none."""
        name = self.release.name
        if gate.report and live is None:
            try:
                report = self._load(gate.report)
            except NotFound:
                return f"there is no report {gate.report!r}"
            if report.subject != subject:
                return f"report {report.id[:16]} is about another fingerprint ({report.subject[:12]})"
            listed = [report]
        else:
            listed = self.reports.list(kind=gate.kind or None, subject=subject, limit=1000)
        if examples is not None:
            listed = [report for report in listed if report.examples == examples]
        if not listed and live is not None:
            return (
                f"no report about the live release {live.id[:12]} on the same examples:"
                f" headrace eval {name}@production EXAMPLES"
            )
        if not listed:
            others = self.reports.list(app=name, kind=gate.kind or None, limit=1)
            newest = (
                f"; the newest one, {others[0].id[:16]}, is about another fingerprint"
                f" ({others[0].subject[:12]})"
                if others
                else ""
            )
            return f"no report is about this fingerprint ({subject[:12]}){newest}"
        for report in listed:
            for measured in report.measurements:
                if measured["name"] == gate.metric:
                    return self._load(report.id), measured
        known = sorted({str(m["name"]) for report in listed for m in report.measurements})
        return f"no report has the metric {gate.metric!r}; they have: {', '.join(known) or 'none'}"

    def _load(self, id: str) -> Report:
        if id not in self._read:
            self._read[id] = self.reports.load(id)
        return self._read[id]

    def _interval(
        self, report: Report, measured: Mapping[str, Any]
    ) -> tuple[float | None, float | None, float | None, int]:
        """(value, low, high, n) at this bench's confidence, from the report's own rows."""
        if report.settings.get("confidence") == self.confidence:
            return measured["value"], measured["low"], measured["high"], int(measured["n"])
        name = measured["name"]
        values = [row["scores"].get(name) for row in report.rows]
        known = [value for value in values if value is not None]
        if not known:
            return None, None, None, 0
        shares = measured.get("unit") == "share" or (
            not measured.get("unit") and 0 <= min(known) <= max(known) <= 1
        )
        clusters = [row.get("cluster") for row in report.rows]
        found = summary(
            values,
            measured.get("kind", "mean"),
            clusters=clusters if any(label is not None for label in clusters) else None,
            bounds=(0.0, 1.0) if shares else None,
            q=float(measured.get("q", 0.5)),
            confidence=self.confidence,
        )
        return found.value, found.low, found.high, found.n


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.4g}"
