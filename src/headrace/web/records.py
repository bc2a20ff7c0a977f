"""Pages that look things up: a document at the cited place, the list of runs, one run."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from headrace.errors import InputError, NotFound
from headrace.ops.monitor import usual_seconds
from headrace.ops.why import Step, explain
from headrace.types import Document, Feedback, Span, Trace
from headrace.web.pages import render
from headrace.web.site import Site, caller, site

AROUND = 100_000  # code points shown before and after a cited place


# --------------------------------------------------------------------------- a source


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A run of text. ``mark`` is the cited place; ``level`` above 0 is a heading's line."""

    text: str
    mark: bool = False
    level: int = 0
    first: bool = False


@dataclass(frozen=True, kw_only=True)
class SourcePage:
    """A document, opened. ``changed``: the text at this place is not the one that was cited."""

    app: str
    document: str
    kb: str
    start: int
    end: int
    heading: str
    pieces: tuple[Piece, ...]
    before: int = 0  # code points left out in front and behind
    after: int = 0
    characters: int = 0
    changed: bool = False
    code: bool = False


async def source(request: Request) -> Response:
    """GET /source?document=…&start=…&end=… or ?trace=…&n=…: the document at the cited place."""
    where = site(request)
    query = request.query_params
    if "trace" in query:
        number = _number(query, "n")
        document, start, end, check, release = await run_in_threadpool(_cited, where, query["trace"], number)
    else:
        if "document" not in query:
            raise InputError("No document was named.", hint="Give ?document=…&start=…&end=….")
        document, check, release = query["document"], query.get("check", ""), query.get("release")
        start, end = _number(query, "start", 0), _number(query, "end", 0)
    # A release that is not here any more cannot show its text; the one that is says if it changed.
    staff = where.desk.staff
    runner = staff.of(release) or staff.choose(caller(request))
    kb, found = await runner.document(document)
    return render(request, "source.html", opened(where.name, kb, document, found, start, end, check))


def _number(query: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = query.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise InputError(f"{name}={text!r} is not a number from 0 up.", hint=f"Give for example {name}=1.")
    return int(text)


def _cited(where: Site, trace_id: str, number: int) -> tuple[str, int, int, str, str | None]:
    trace = find_trace(where, trace_id)
    output = trace.output if isinstance(trace.output, Mapping) else {}
    for item in output.get("citations") or ():
        if isinstance(item, Mapping) and item.get("number") == number:
            text = str(item.get("text", ""))
            place = str(item["document"]), int(item["start"]), int(item["end"])
            return *place, fingerprint(text), trace.subject.get("release")
    raise NotFound(
        f"The run {trace_id!r} has no source {number}.", hint=f"See /traces/{trace_id} for what it has."
    )


def fingerprint(text: str) -> str:
    """Short, for noticing a change; no secret."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def opened(
    app: str, kb: str, name: str, document: Document, start: int, end: int, check: str = ""
) -> SourcePage:
    """The page of a document with ``[start:end]`` marked, at most ``AROUND`` either side of it."""
    text = document.text
    start = min(start, len(text))
    end = min(max(start, end), len(text))
    changed = bool(check) and fingerprint(text[start:end]) != check
    first, last = max(0, start - AROUND), min(len(text), end + AROUND)
    lines = [
        (section.start, _line_end(text, section.start), section.level)
        for section in document.sections
        if first <= section.start < last
    ]
    heading = next((s.title for s in reversed(document.sections) if s.start <= start), "")
    return SourcePage(
        app=app,
        document=name,
        kb=kb,
        start=start,
        end=end,
        heading=heading,
        pieces=tuple(_pieces(text, first, last, start, end, lines)),
        before=first,
        after=len(text) - last,
        characters=len(text),
        changed=changed,
        code=document.media == "text/x-code",
    )


def _line_end(text: str, start: int) -> int:
    found = text.find("\n", start)
    return len(text) if found < 0 else found


def _pieces(
    text: str, first: int, last: int, start: int, end: int, headings: Sequence[tuple[int, int, int]]
) -> list[Piece]:
    """The text from ``first`` to ``last`` cut where the mark or a heading begins or ends."""
    cuts = {first, last, start, end}
    for begin, finish, _ in headings:
        cuts.update((begin, min(finish, last)))
    inside = sorted(cut for cut in cuts if first <= cut <= last)
    made: list[Piece] = []
    marked = False
    for begin, finish in itertools.pairwise(inside):
        mark = start <= begin and finish <= end and end > start
        level = next((level for b, f, level in headings if b <= begin and finish <= f), 0)
        made.append(Piece(text=text[begin:finish], mark=mark, level=min(level, 4), first=mark and not marked))
        marked = marked or mark
    return made


# --------------------------------------------------------------------------- runs


@dataclass(frozen=True, kw_only=True)
class TracesPage:
    app: str
    rows: tuple[Any, ...]
    enabled: bool
    search: str = ""
    older: str = ""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A span in the waterfall: ``left`` and ``width`` in per cent of the run, ``depth`` from 0."""

    span: Span
    left: float
    width: float
    depth: int


@dataclass(frozen=True, kw_only=True)
class TracePage:
    app: str
    trace: Trace
    asked: str
    others: Mapping[str, Any]
    bars: tuple[Bar, ...]
    feedback: tuple[Feedback, ...]
    links: Mapping[int, str]
    passages: tuple[Mapping[str, Any], ...]
    prompts: tuple[str, ...]
    steps: tuple[Step, ...]


def find_trace(where: Site, trace_id: str) -> Trace:
    """A run of this application; other applications of the project keep theirs to themselves."""
    trace = where.ledger.trace(trace_id) if trace_id else None
    if trace is None or trace.subject.get("app") != where.name:
        raise NotFound(f"There is no run {trace_id!r}.", hint="See /traces for those there are.")
    return trace


def bars(trace: Trace) -> tuple[Bar, ...]:
    """Spans in the order in which they began, parents first."""
    total = max(trace.seconds, 1e-9)
    depth: dict[str | None, int] = {None: -1}
    made = []
    for span in sorted(trace.spans, key=lambda span: (span.start, -span.seconds)):
        depth[span.id] = depth.get(span.parent, -1) + 1
        left = min(99.5, max(0.0, (span.start - trace.start) / total * 100))
        width = min(100 - left, max(0.5, span.seconds / total * 100))
        made.append(Bar(span=span, left=round(left, 2), width=round(width, 2), depth=depth[span.id]))
    return tuple(made)


async def traces(request: Request) -> Response:
    """GET /traces: the newest runs of this application; ?search=… looks for words."""
    return await run_in_threadpool(_traces, request)


PER_PAGE = 50


def _traces(request: Request) -> Response:
    where = site(request)
    search = request.query_params.get("search", "").strip()[:200]
    before = request.query_params.get("before") or None
    rows = where.ledger.traces(limit=PER_PAGE + 1, before=before, app=where.name, text=search or None)
    page = TracesPage(
        app=where.name,
        rows=tuple(rows[:PER_PAGE]),
        enabled=where.ledger.enabled,
        search=search,
        older=rows[PER_PAGE - 1].id if len(rows) > PER_PAGE else "",
    )
    return render(request, "traces.html", page)


async def trace(request: Request) -> Response:
    """GET /traces/ID: spans, passages, prompt, feedback."""
    return await run_in_threadpool(_trace, request)


def _trace(request: Request) -> Response:
    where = site(request)
    found = find_trace(where, request.path_params["id"])
    output = found.output if isinstance(found.output, Mapping) else {}
    links = {
        int(item["number"]): f"/source?trace={found.id}&n={int(item['number'])}#cited"
        for item in output.get("citations") or ()
        if isinstance(item, Mapping) and "number" in item and "document" in item
    }
    asked = next((name for name, value in found.inputs.items() if isinstance(value, str) and value), None)
    page = TracePage(
        app=where.name,
        trace=found,
        asked=str(found.inputs[asked]) if asked is not None else "",
        others={n: v for n, v in found.inputs.items() if n != asked and v not in (None, "", [], {})},
        bars=bars(found),
        feedback=tuple(where.ledger.feedback(found.id)),
        links=links,
        passages=tuple(
            item for item in found.record.get("passages", ()) if isinstance(item, Mapping) and "score" in item
        ),
        prompts=tuple(_prompt(item) for item in found.record.get("prompts", ())),
        steps=explain(found, usual=usual_seconds(where.ledger, found)).steps,
    )
    return render(request, "trace.html", page)


def _prompt(item: Any) -> str:
    """The exact text that was sent, one block per message."""
    messages = item.get("messages", ()) if isinstance(item, Mapping) else ()
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        return str(item)
    return "\n\n".join(f"{m.get('role')}: {m.get('content')}" for m in messages if isinstance(m, Mapping))
