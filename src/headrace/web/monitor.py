"""The monitor page: releases side by side, their trend as pictures, drift, the alarm on thumbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from headrace.draw.trend import Dot, Series, trend
from headrace.measure.statistics import rate
from headrace.ops.alarm import Alarm
from headrace.ops.drift import Drift
from headrace.ops.monitor import Part, Point, Watched, observe, seconds_of, told
from headrace.web.pages import render
from headrace.web.site import Site, site

WINDOWS = ("24h", "7d", "30d", "90d")
MOST = 5  # series in a picture


@dataclass(frozen=True, kw_only=True)
class MonitorPage:
    """``pictures`` are SVG, (title, picture) each; ``lost`` traces were never written."""

    app: str
    window: str
    windows: tuple[str, ...]
    since: float
    until: float
    every: float
    whole: Part
    releases: tuple[Part, ...]
    trend: tuple[Point, ...]
    drift: tuple[Drift, ...]
    alarm: Alarm
    alarm_said: str
    alarm_since: float
    lost: int
    pictures: tuple[tuple[str, str], ...]


async def monitor(request: Request) -> Response:
    """GET /monitor and /monitor.json; ?since=24h, 7d, 30d, …"""
    return await run_in_threadpool(_monitor, request)


def _monitor(request: Request) -> Response:
    where = site(request)
    window = request.query_params.get("since", "7d")
    found = _observed(where, window)
    page = MonitorPage(
        app=where.name,
        window=window,
        windows=WINDOWS,
        since=found.since,
        until=found.until,
        every=found.every,
        whole=found.whole,
        releases=found.releases,
        trend=found.trend,
        drift=found.drift,
        alarm=found.alarm,
        alarm_said=told(found.alarm),
        alarm_since=found.alarm_since,
        lost=found.lost,
        pictures=() if request.url.path.endswith(".json") else pictures(found),
    )
    return render(request, "monitor.html", page)


def _observed(where: Site, window: str) -> Watched:
    return observe(where.root, where.name, seconds_of(window))


def pictures(found: Watched) -> tuple[tuple[str, Markup], ...]:
    """Runs, thumbs, 95th percentile and relevance over time, a series per release."""

    def drawn(
        title: str,
        dot: Callable[[Point], Dot | None],
        top: float | None,
        shown: Callable[[float], str],
    ) -> tuple[str, Markup]:
        # The end of the window is a second ahead, and a step can begin before the window does.
        begin = min([found.since, *(point.start for point in found.trend)])
        picture = trend(title, series(found, dot), since=begin, until=found.until, top=top, shown=shown)
        return title, Markup(picture)  # our own; names in it are escaped there

    def thumbs(point: Point) -> Dot | None:
        share = rate(point.up, point.up + point.down)
        if share.value is None:
            return None
        return Dot(at=point.start, value=share.value, low=share.low, high=share.high)

    def runs(point: Point) -> Dot | None:
        return Dot(at=point.start, value=point.runs)

    def slowest(point: Point) -> Dot | None:
        return None if point.p95 is None else Dot(at=point.start, value=point.p95)

    def relevance(point: Point) -> Dot | None:
        return None if point.relevance is None else Dot(at=point.start, value=point.relevance)

    return (
        drawn("Runs", runs, None, lambda value: f"{value:g}"),
        drawn("Thumbs up", thumbs, 1.0, lambda value: f"{value:.0%}"),
        drawn("95th percentile, seconds", slowest, None, lambda value: f"{value:g}"),
        drawn("Relevance of the best passage", relevance, 1.0, lambda value: f"{value:g}"),
    )


def series(found: Watched, dot: Callable[[Point], Dot | None]) -> Sequence[Series]:
    """The points of each release that has any, at most ``MOST`` releases."""
    made = []
    for part in found.releases[:MOST]:
        points = [dot(point) for point in found.trend if point.release == part.release]
        dots = [point for point in points if point is not None]
        if dots:
            role = f" ({part.role})" if part.role else ""
            made.append(Series(name=(part.release[:12] or "working copy") + role, dots=dots))
    return made
