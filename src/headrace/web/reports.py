"""The pages of reports: which there are, and one of them, every row down to its steps.

The HTML of a report is the evaluation's own (``evaluation.page``), the same as in the file that
``headrace eval --html`` writes; here are the list, the filter and the links.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from headrace.draw.svg import short
from headrace.errors import InputError
from headrace.evaluation import page as html
from headrace.resources import build
from headrace.types import Report
from headrace.web.pages import render
from headrace.web.site import site

SHOWN = 50  # rows on one page
LISTED = 100


@dataclass(frozen=True, kw_only=True)
class Line:
    """A report in the list. ``figures`` are its first measurements, in words."""

    id: str
    created: float
    app: str
    release: str
    count: int
    kind: str
    figures: str


@dataclass(frozen=True, kw_only=True)
class ReportsPage:
    """``damaged``: (id, what is wrong) of reports that cannot be read."""

    app: str
    reports: tuple[Line, ...]
    damaged: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """One report, a page of its rows. ``show``: ``all`` or ``wrong``; ``first`` counts from 0."""

    app: str
    id: str
    title: str
    report: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    show: str
    wrong: int
    total: int
    first: int
    matching: int
    size: int = SHOWN
    head_html: str = ""  # Markup, except in the .json twin
    rows_html: str = ""


async def reports(request: Request) -> Response:
    """GET /reports and /reports.json: the newest first."""
    return await run_in_threadpool(_reports, request)


def _reports(request: Request) -> Response:
    where = site(request)
    store = build.reports(where.root)
    page = ReportsPage(
        app=where.name,
        reports=tuple(_line(report) for report in store.list(limit=LISTED)),
        damaged=tuple(store.damaged()),
    )
    return render(request, "reports.html", page)


def _line(report: Report) -> Line:
    settings = report.settings
    if settings.get("lines"):
        told = [f"{count} {word}" for word, count in settings.get("verdicts", {}).items()]
    else:
        told = _figures(report)
    return Line(
        id=report.id,
        created=report.created,
        app=str(settings.get("app", "")),
        release=str(settings.get("release") or ""),
        count=int(settings.get("count", 0)),
        kind=report.kind,
        figures=" · ".join(told[:4]),
    )


def _figures(report: Report) -> list[str]:
    return [
        f"{m['name']} {short(m['value'], 's') if m.get('unit') == 's' else format(m['value'], '.2f')}"
        for m in report.measurements
        if m["value"] is not None
    ]


async def report(request: Request) -> Response:
    """GET /reports/{id} and /reports/{id}.json; ?show=wrong|all, ?first=N."""
    return await run_in_threadpool(_report, request)


def _report(request: Request) -> Response:
    where = site(request)
    found = build.reports(where.root).load(request.path_params["id"])
    show = request.query_params.get("show", "all")
    if show not in ("all", "wrong"):
        raise InputError(f"show={show!r} is not known.", hint="Use all or wrong.")
    text = request.query_params.get("first", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise InputError(f"first={text!r} is not a number from 0 up.", hint="Give for example first=50.")
    wrong = [row for row in found.rows if row.get("diagnosis")]
    matching = wrong if show == "wrong" else list(found.rows)
    first = int(text)
    shown = matching[first : first + SHOWN]
    plain = request.url.path.endswith(".json")
    page = ReportPage(
        app=where.name,
        id=found.id,
        title=html.heading(found),
        report={
            "id": found.id,
            "kind": found.kind,
            "subject": found.subject,
            "examples": found.examples,
            "settings": found.settings,
            "measurements": found.measurements,
            "created": found.created,
        },
        rows=tuple(shown),
        show=show,
        wrong=len(wrong),
        total=len(found.rows),
        first=first,
        matching=len(matching),
        head_html="" if plain else Markup(html.head(found)),
        rows_html="" if plain else Markup(html.rows(shown, link=lambda id: f"/traces/{id}")),
    )
    return render(request, "report.html", page)


async def style(request: Request) -> Response:
    """GET /reports.css: the styles that a report's HTML brings along."""
    return Response(
        html.STYLE.read_text("utf-8"), media_type="text/css", headers={"cache-control": "max-age=300"}
    )
