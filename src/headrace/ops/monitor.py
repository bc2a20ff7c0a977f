"""Watching an application: its releases side by side, their trend, drift, and the alarm on thumbs.

Everything comes out of the ledger; every rate, mean and quantile has its interval. A number that is
not known is None, never 0. Not here: pictures (``draw/trend.py``), pages and tables (the doors).
"""

from __future__ import annotations

import calendar
import difflib
import math
import re
import time
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import InputError, NotFound
from headrace.ledger.traffic import Moments, Sums, Traffic, Vote
from headrace.measure import normal
from headrace.measure.statistics import Interval, quantile, rate
from headrace.ops import alarm as alarms
from headrace.ops.drift import CONFIDENCE, Drift, drift, variance
from headrace.resources import build
from headrace.settings import load

if TYPE_CHECKING:
    from headrace.ledger.database import Ledger
    from headrace.types import Trace

HOUR, DAY = 3600.0, 86400.0
LONGEST = 3660 * DAY
_UNITS = {"m": 60.0, "h": HOUR, "d": DAY, "w": 7 * DAY}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One release in the window, or all of them together (``release`` is "all").

    ``release`` "" is the working copy. ``role``: what the release is live as, "" where it is not.
    ``share`` of the runs. ``errors``, ``abstained``: rates over runs; ``thumbs``: share of up among
    the votes given in the window. ``p50``, ``p95``: seconds. ``relevance``: mean over the runs of
    their best passage. ``cost``: US dollars of the ``priced`` runs, None where none has a price.
    """

    release: str
    role: str
    first: float
    runs: int
    share: float
    errors: Interval
    problems: Mapping[str, int]
    abstained: Interval
    p50: Interval
    p95: Interval
    input_tokens: int
    output_tokens: int
    cost: float | None
    priced: int
    relevance: Interval
    thumbs: Interval
    up: int
    down: int


@dataclass(frozen=True, kw_only=True)
class Point:
    """One release in one step of time, which begins at ``start`` (seconds since the epoch)."""

    release: str
    start: float
    runs: int
    errors: int
    abstained: int
    up: int
    down: int
    p50: float | None
    p95: float | None
    relevance: float | None


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What monitoring shows of one application in ``[since, until)``.

    ``alarm`` looks at all votes since ``alarm_since``, the beginning of the quarter before this one.
    ``lost``: traces that were never written, of the whole ledger.
    """

    app: str
    since: float
    until: float
    every: float
    whole: Part
    releases: tuple[Part, ...]
    trend: tuple[Point, ...]
    drift: tuple[Drift, ...]
    alarm: alarms.Alarm
    alarm_since: float
    lost: int


def seconds_of(text: str) -> float:
    """``30m``, ``12h``, ``7d``, ``4w`` in seconds. InputError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text.strip().lower())
    if not match or not 0 < float(match[1]) * _UNITS[match[2]] <= LONGEST:
        raise InputError(f"{text!r} is not a length of time.", hint="Write 30m, 12h, 7d or 4w.")
    return float(match[1]) * _UNITS[match[2]]


def watch(
    ledger: Ledger,
    app: str,
    *,
    since: float,
    until: float | None = None,
    every: float | None = None,
    live: Mapping[str, str] | None = None,
) -> Watched:
    """What the ledger says about an application between two times (seconds since the epoch).

    ``every``: the step of the trend in seconds; None takes hours up to two days, else days.
    ``live``: release id → what it is live as. An application without runs gives an empty view.
    """
    # The end is exclusive, and what was voted a moment ago belongs to the window.
    until = time.time() + 1.0 if until is None else until
    if since >= until:
        raise InputError(f"The window from {since!r} to {until!r} is empty.", hint="Begin it earlier.")
    step = every or (HOUR if until - since <= 2 * DAY else DAY)
    traffic = ledger.traffic(app, since=since, until=until, every=step)
    begin = quarter_before(until)
    votes = ledger.votes(app, since=min(begin, since), until=until)
    inside = [vote for vote in votes if vote.at >= since]
    roles = live or {}
    names = sorted(
        {release for release, _ in traffic.sums} | {vote.release for vote in inside},
        key=lambda name: (roles.get(name) != "production", -traffic.first.get(name, 0.0), name),
    )
    before = ledger.traffic(app, since=since - (until - since), until=since, every=step, with_seconds=False)
    stream = [vote for vote in votes if vote.at >= begin]
    return Watched(
        app=app,
        since=since,
        until=until,
        every=step,
        whole=_part("all", names, traffic, inside, ""),
        releases=tuple(_part(name, [name], traffic, inside, roles.get(name, "")) for name in names),
        trend=tuple(_trend(traffic, inside)),
        drift=drift(_sum(before.sums.values()), _sum(traffic.sums.values())),
        alarm=alarms.watch([vote.up for vote in stream], [vote.release for vote in stream]),
        alarm_since=begin,
        lost=ledger.dropped,
    )


def application(root: Path, name: str | None) -> str:
    """The application that is meant: ``name``, or the one that has runs or releases in this project.

    NotFound, with those there are, where that is none.
    """
    known = sorted({*build.ledger(root).apps(), *build.registry(root).names()})
    if name is None:
        name = known[0] if len(known) == 1 else load(root).app.entry.partition(":")[2]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise NotFound(
            f"Nothing is known of an application {name!r}." if name else "Which application?",
            hint=(f"Did you mean {near[0]!r}? " if near else "")
            + (f"Known here: {', '.join(known)}." if known else "It has no runs yet: ask it something."),
        )
    return name


def observe(root: Path, name: str, window: float = 7 * DAY) -> Watched:
    """The last ``window`` seconds of an application of the project at ``root``, live releases marked."""
    live = build.registry(root).live(name)
    now = time.time() + 1.0
    roles = {
        release: role
        for role, release in (
            ("staging", live.staging),
            ("previous", live.previous),
            ("canary", live.canary),
            ("production", live.production),
        )
        if release is not None
    }
    return watch(build.ledger(root), name, since=now - window, until=now, live=roles)


USUAL_FEWEST = 20


def usual_seconds(ledger: Ledger, trace: Trace) -> float | None:
    """What 95 % of the runs of this trace's application and release took at most, in the week before it.

    None where fewer than ``USUAL_FEWEST`` runs are there to say it.
    """
    app, release = str(trace.subject.get("app") or ""), str(trace.subject.get("release") or "")
    found = ledger.traffic(app, since=trace.start - 7 * DAY, until=trace.start, every=8 * DAY)
    seconds = sorted(
        took for (name, _), values in found.seconds.items() if name == release for took in values
    )
    return _at(seconds, 0.95) if len(seconds) >= USUAL_FEWEST else None


def quarter_before(now: float) -> float:
    """The beginning (UTC) of the quarter before the one that ``now`` lies in.

    The alarm's stream begins at a moment that no vote has an influence on; one quarter of votes
    or more stands before whatever happens in this one.
    """
    year, month = time.gmtime(now)[:2]
    first = (month - 1) // 3 * 3 + 1 - 3
    year, first = (year - 1, first + 12) if first < 1 else (year, first)
    return float(calendar.timegm((year, first, 1, 0, 0, 0, 0, 0, 0)))


# --------------------------------------------------------------------------- parts


def _part(name: str, of: Sequence[str], traffic: Traffic, votes: Sequence[Vote], role: str) -> Part:
    chosen = set(of)
    keys = [key for key in traffic.sums if key[0] in chosen]
    found = _sum(traffic.sums[key] for key in keys)
    seconds = array("d")
    for key in keys:
        seconds.extend(traffic.seconds[key])
    problems: dict[str, int] = {}
    for release in of:
        for problem, runs in traffic.problems.get(release, {}).items():
            problems[problem] = problems.get(problem, 0) + runs
    all_runs = sum(item.runs for item in traffic.sums.values())
    mine = [vote.up for vote in votes if vote.release in chosen]
    return Part(
        release=name,
        role=role,
        first=min((traffic.first[r] for r in of if r in traffic.first), default=traffic.since),
        runs=found.runs,
        share=found.runs / all_runs if all_runs else 0.0,
        errors=rate(found.errors, found.runs),
        problems=dict(sorted(problems.items(), key=lambda item: (-item[1], item[0]))),
        abstained=rate(found.abstained, found.runs),
        p50=quantile(seconds, 0.5),
        p95=quantile(seconds, 0.95),
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        cost=found.cost if found.priced else None,
        priced=found.priced,
        relevance=_mean(found.relevance),
        thumbs=rate(sum(mine), len(mine)),
        up=sum(mine),
        down=len(mine) - sum(mine),
    )


def _sum(items: Iterable[Sums]) -> Sums:
    found = Sums()
    for item in items:
        found += item
    return found


def _mean(m: Moments) -> Interval:
    """A mean with Student's interval; no bounds below five values."""
    if not m.n:
        return Interval(value=None, low=None, high=None, n=0, method="Student")
    value = m.total / m.n
    low = high = None
    if m.n >= 5:
        half = normal.t(0.5 + CONFIDENCE / 2, m.n - 1) * math.sqrt(variance(m) / m.n)
        low, high = max(0.0, value - half), min(1.0, value + half)
    return Interval(value=value, low=low, high=high, n=m.n, method="Student")


def _trend(traffic: Traffic, votes: Sequence[Vote]) -> list[Point]:
    thumbs: dict[tuple[str, int], list[int]] = {}
    for vote in votes:
        thumbs.setdefault((vote.release, int(vote.at // traffic.every)), [0, 0])[not vote.up] += 1
    made = []
    for key in sorted({*traffic.sums, *thumbs}, key=lambda key: (key[1], key[0])):
        found = traffic.sums.get(key, Sums())
        seconds = sorted(traffic.seconds.get(key, ()))
        up, down = thumbs.get(key, (0, 0))
        made.append(
            Point(
                release=key[0],
                start=key[1] * traffic.every,
                runs=found.runs,
                errors=found.errors,
                abstained=found.abstained,
                up=up,
                down=down,
                p50=_at(seconds, 0.5),
                p95=_at(seconds, 0.95),
                relevance=found.relevance.total / found.relevance.n if found.relevance.n else None,
            )
        )
    return made


def _at(ordered: Sequence[float], q: float) -> float | None:
    """The quantile as the smallest value that a share ``q`` does not exceed."""
    return ordered[math.ceil(q * len(ordered)) - 1] if ordered else None


# --------------------------------------------------------------------------- in words


def told(alarm: alarms.Alarm) -> str:
    """The alarm in one or two sentences."""
    false = f"{alarm.false_alarms:.0%}"
    if alarm.raised is None:
        return (
            f"No alarm after {alarm.votes} votes (evidence {alarm.evidence:.2g} of {alarm.limit:.0f}; "
            f"of streams with steady thumbs at most {false} ever raise one)."
        )
    text = f"Thumbs have fallen: raised with vote {alarm.raised} of {alarm.votes}"
    if alarm.worse is not None and alarm.rest is not None:
        where = f"from vote {(alarm.fell_after or 0) + 1} on" if alarm.release is None else "on "
        if alarm.release is not None:
            where += f"release {alarm.release[:12]}" if alarm.release else "the working copy"
        text += (
            f", most likely {where}: {alarm.worse[0]} of {alarm.worse[1]} up, against {alarm.rest[0]} of "
            f"{alarm.rest[1]}"
        )
    return f"{text}. Of streams with steady thumbs at most {false} ever raise this alarm."
