"""Watching an application: its releases side by side, their trend, drift, and the alarm on thumbs.

Everything comes out of the ledger; every rate, mean and quantile has its interval. A number that is
not known is None, never 0. Not here: pictures (``draw/trend.py``), pages and tables (the doors).
"""

from __future__ import annotations

import calendar
import math
import re
import time
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from headrace.errors import InputError
from headrace.ledger.traffic import Moments, Sums, Traffic, Vote
from headrace.measure import normal
from headrace.measure.statistics import Interval, quantile, rate
from headrace.ops import alarm as alarms

if TYPE_CHECKING:
    from headrace.ledger.database import Ledger

HOUR, DAY = 3600.0, 86400.0
CONFIDENCE = 0.95
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


Change = Literal["risen", "fallen", "no change shown", "not enough data"]


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A quantity in this window against the window of the same length before it.

    ``difference`` = ``now`` − ``before``, with an interval. ``confidence`` is that of each interval;
    all of them together hold with 95 % (Bonferroni).
    """

    name: str
    unit: str
    before: float | None
    now: float | None
    difference: float | None
    low: float | None
    high: float | None
    n_before: int
    n_now: int
    change: Change
    confidence: float


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
    if not match or float(match[1]) <= 0:
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
    before = ledger.traffic(app, since=since - (until - since), until=since, every=step)
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
        alarm=alarms.watch([vote.up for vote in stream], marks(stream)),
        alarm_since=begin,
        lost=ledger.dropped,
    )


def quarter_before(now: float) -> float:
    """The beginning (UTC) of the quarter before the one that ``now`` lies in.

    The alarm's stream begins at a moment that no vote has an influence on; one quarter of votes
    or more stands before whatever happens in this one.
    """
    year, month = time.gmtime(now)[:2]
    first = (month - 1) // 3 * 3 + 1 - 3
    year, first = (year - 1, first + 12) if first < 1 else (year, first)
    return float(calendar.timegm((year, first, 1, 0, 0, 0, 0, 0, 0)))


def marks(stream: Sequence[Vote]) -> list[int]:
    """The numbers of votes before which a release answered for the first time in this stream."""
    seen: set[str] = set()
    found = []
    for number, vote in enumerate(stream):
        if vote.release not in seen:
            seen.add(vote.release)
            found.append(number)
    return found[1:]  # nothing changed before the first


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


# --------------------------------------------------------------------------- drift


def drift(before: Sums, now: Sums) -> tuple[Drift, ...]:
    """Length of the question, abstention and relevance: this window against the one before.

    Means by Welch's interval, rates by Newcombe's (1998, method 10: from two Wilson intervals).
    """
    each = 1 - (1 - CONFIDENCE) / 3
    return (
        _of_means("question length", "characters", before.asked, now.asked, each),
        _of_rates("abstained", (before.abstained, before.runs), (now.abstained, now.runs), each),
        _of_means("relevance", "", before.relevance, now.relevance, each),
    )


def _of_means(name: str, unit: str, a: Moments, b: Moments, confidence: float) -> Drift:
    first = a.total / a.n if a.n else None
    second = b.total / b.n if b.n else None
    low = high = None
    if first is not None and second is not None and min(a.n, b.n) >= 5:
        va, vb = _variance(a) / a.n, _variance(b) / b.n
        spread = va + vb
        if spread > 0:
            freedom = spread**2 / (va**2 / (a.n - 1) + vb**2 / (b.n - 1))
            half = normal.t(0.5 + confidence / 2, freedom) * math.sqrt(spread)
            low, high = second - first - half, second - first + half
        else:  # every run the same, in both windows
            low = high = second - first
    return _drift(name, unit, first, second, low, high, a.n, b.n, confidence)


def _of_rates(name: str, a: tuple[int, int], b: tuple[int, int], confidence: float) -> Drift:
    one, two = rate(*a, confidence), rate(*b, confidence)
    low = high = None
    if one.value is not None and two.value is not None:
        assert one.low is not None
        assert one.high is not None
        assert two.low is not None
        assert two.high is not None
        gap = two.value - one.value
        low = gap - math.hypot(two.value - two.low, one.high - one.value)
        high = gap + math.hypot(two.high - two.value, one.value - one.low)
    return _drift(name, "share", one.value, two.value, low, high, one.n, two.n, confidence)


def _drift(
    name: str,
    unit: str,
    before: float | None,
    now: float | None,
    low: float | None,
    high: float | None,
    n_before: int,
    n_now: int,
    confidence: float,
) -> Drift:
    change: Change
    if low is None or high is None:
        change = "not enough data"
    elif low > 0:
        change = "risen"
    elif high < 0:
        change = "fallen"
    else:
        change = "no change shown"
    return Drift(
        name=name,
        unit=unit,
        before=before,
        now=now,
        difference=now - before if now is not None and before is not None else None,
        low=low,
        high=high,
        n_before=n_before,
        n_now=n_now,
        change=change,
        confidence=confidence,
    )


def _variance(m: Moments) -> float:
    return max(0.0, (m.squares - m.total**2 / m.n) / (m.n - 1)) if m.n > 1 else 0.0


def _mean(m: Moments) -> Interval:
    """A mean with Student's interval; no bounds below five values."""
    if not m.n:
        return Interval(value=None, low=None, high=None, n=0, method="Student")
    value = m.total / m.n
    low = high = None
    if m.n >= 5:
        half = normal.t(0.5 + CONFIDENCE / 2, m.n - 1) * math.sqrt(_variance(m) / m.n)
        low, high = max(0.0, value - half), min(1.0, value + half)
    return Interval(value=value, low=low, high=high, n=m.n, method="Student")


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
    if alarm.before is not None and alarm.after is not None:
        text += (
            f", most likely after vote {alarm.fell_after}: {alarm.before[0]} of {alarm.before[1]} up "
            f"before, {alarm.after[0]} of {alarm.after[1]} since"
        )
    return f"{text}. Of streams with steady thumbs at most {false} ever raise this alarm."
