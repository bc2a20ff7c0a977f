"""The pages: a typed context each, a template, and a .json twin at the same address.

Asking works with and without scripts: the same form is sent to the same address, and the same
template renders the answer, whole or as the last event of a stream.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from headrace.errors import HeadraceError
from headrace.ops.running import Description
from headrace.ops.serve import Stream
from headrace.types import Answer, Citation, Event, Table, to_json
from headrace.web import forms, security
from headrace.web.api import record_feedback
from headrace.web.respond import (
    EventStream,
    describe,
    error_response,
    form_body,
    is_form,
    is_open,
    release_header,
    sse,
    told,
    unless_gone,
    wants_html,
)
from headrace.web.site import app_for, caller, site
from headrace.web.text import pretty

# --------------------------------------------------------------------------- contexts


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An error as a page shows it."""

    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class AnswerView:
    """An answer, or any other output. ``kind`` says how ``text`` or ``rows`` are shown."""

    kind: Literal["answer", "text", "table", "json"]
    text: str = ""
    table: Table | None = None
    abstained: bool = False
    citations: tuple[Citation, ...] = ()
    links: Mapping[int, str] = field(default_factory=dict)
    answered_by: str = ""
    notes: tuple[str, ...] = ()
    trace_id: str | None = None
    release: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class AskPage:
    app: str
    doc: str
    fields: tuple[forms.Field, ...]
    answer: AnswerView | None = None
    problem: Problem | None = None


@dataclass(frozen=True, kw_only=True)
class MessagePage:
    app: str
    title: str
    text: str
    hint: str = ""
    back: str = "/"


@dataclass(frozen=True, kw_only=True)
class SignInPage:
    app: str
    next: str
    problem: Problem | None = None


# --------------------------------------------------------------------------- rendering


def render(request: Request, template: str, context: Any, status: int = 200) -> Response:
    """The page, or its .json twin."""
    if request.url.path.endswith(".json"):
        return JSONResponse(to_json(context), status_code=status)
    return HTMLResponse(_html(request, template, context), status_code=status)


def _html(request: Request, template: str, context: Any) -> str:
    """The footer names the release that this visitor is served."""
    where = site(request)
    found = where.templates.get_template(template)
    return found.render(page=context, app=where.name, served=app_for(request))


def error_page(request: Request, error: BaseException) -> Response:
    """An error where a person looks."""
    status, body = describe(error, openly=is_open(request))
    page = MessagePage(
        app=site(request).name,
        title={404: "Not found", 403: "Refused", 401: "Sign in", 429: "Busy", 503: "Not now"}.get(
            status, "That did not work"
        ),
        text=body["message"],
        hint=body["hint"],
    )
    return HTMLResponse(_html(request, "message.html", page), status_code=status)


def source_link(citation: Citation, release: str | None = None) -> str:
    """The page of the document, opened at the cited place. ``check`` notices a document that changed.

    ``release`` says whose knowledge base it is: two that are served at once may hold different texts.
    """
    check = hashlib.sha256(citation.text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    place = {"document": citation.document, "start": citation.start, "end": citation.end, "check": check}
    if release is not None:
        place["release"] = release
    return f"/source?{urlencode(place)}#cited"


def view(output: Any, trace_id: str | None, seconds: float, release: str | None = None) -> AnswerView:
    """Any output as something to show."""
    made: dict[str, Any] = {"trace_id": trace_id, "release": release, "seconds": seconds}
    if isinstance(output, Answer):
        notes = [finding.message for finding in output.findings if finding.severity != "note"]
        if output.dropped:
            notes.append(f"Did not fit into the model's window: {', '.join(output.dropped)}.")
        return AnswerView(
            kind="answer",
            text=output.text,
            abstained=output.abstained,
            citations=output.citations,
            links={citation.number: source_link(citation, release) for citation in output.citations},
            answered_by=output.answered_by,
            notes=tuple(notes),
            **made,
        )
    if isinstance(output, str):
        return AnswerView(kind="text", text=output, **made)
    if isinstance(output, list) and output and all(isinstance(row, Mapping) for row in output):
        output = Table.of(output)
    if isinstance(output, Table):
        return AnswerView(kind="table", table=output, **made)
    return AnswerView(kind="json", text=pretty(output), **made)


# --------------------------------------------------------------------------- asking


async def ask(request: Request) -> Response:
    """GET /: the form. POST /: the form with the answer, or, for our script, a stream of events."""
    where, app = site(request), app_for(request)
    if request.method != "POST":
        sent = {name: request.query_params.getlist(name) for name in request.query_params} or None
        return render(request, "ask.html", _ask_page(app, sent))
    sent = await form_body(request)
    streaming = "text/event-stream" in request.headers.get("accept", "")
    began = time.perf_counter()
    try:
        inputs = forms.inputs(app.schema, sent, without=app.history)
        if streaming:
            found = await unless_gone(request, where.desk.stream(inputs, caller(request)))
            return EventStream(_page_events(request, found, began), headers=release_header(found.release))
        result = await unless_gone(request, where.desk.invoke(inputs, caller(request)))
    except HeadraceError as error:
        if streaming:
            raise
        problem = Problem(code=error.code, message=error.message, hint=error.hint)
        return render(request, "ask.html", _ask_page(app, sent, problem=problem), error.status)
    shown = view(result.output, result.trace_id, time.perf_counter() - began, result.release)
    response = render(request, "ask.html", _ask_page(app, sent, answer=shown))
    response.headers.update(release_header(result.release))
    return response


def _ask_page(app: Description, sent: Mapping[str, list[str]] | None, **more: Any) -> AskPage:
    made = forms.fields(app.schema, sent, without=app.history)
    return AskPage(app=app.name, doc=app.doc.split("\n\n")[0], fields=tuple(made), **more)


async def _page_events(request: Request, found: Stream, began: float) -> AsyncGenerator[str, None]:
    """``step`` and ``delta`` as they come; ``answer`` carries the rendered answer as ``html``."""
    async for event in told(request, found.events):
        if not isinstance(event, Event):
            yield sse("error", event)
        elif event.kind == "answer":
            shown = view(event.value, event.trace_id, time.perf_counter() - began, found.release)
            page = AskPage(app=site(request).name, doc="", fields=(), answer=shown)
            html = _html(request, "answer.html", page)
            yield sse("answer", {"html": html, "abstained": shown.abstained, "sources": len(shown.citations)})
        elif event.kind == "delta":
            yield sse("delta", {"text": event.text})
        else:
            yield sse("step", {"name": event.name, "text": event.text})


async def feedback(request: Request) -> Response:
    """POST /feedback: acknowledged when it is committed; a page for forms, else JSON."""
    kept = await record_feedback(request)
    if not (is_form(request) and wants_html(request)):
        return JSONResponse(to_json(kept), status_code=201)
    page = MessagePage(
        app=site(request).name, title="Thank you", text="Your feedback is recorded with the run."
    )
    return HTMLResponse(_html(request, "message.html", page), status_code=201)


# --------------------------------------------------------------------------- signing in


async def sign_in(request: Request) -> Response:
    """The key, once; the browser then holds a signed pass, never the key itself."""
    where = site(request)
    if request.method != "POST":
        return render(
            request,
            "sign_in.html",
            SignInPage(app=where.name, next=_local(request.query_params.get("next", "/"))),
        )
    sent = await form_body(request)
    target = _local((sent.get("next") or ["/"])[-1])
    given = (sent.get("key") or [""])[-1].strip()
    key = where.gate.admit(given) if where.gate.asks else None
    if where.gate.asks and key is None:
        problem = Problem(
            code="forbidden",
            message="That is not a key of this server.",
            hint="Whoever runs this server has one: headrace keys create NAME.",
        )
        page = SignInPage(app=where.name, next=target, problem=problem)
        return render(request, "sign_in.html", page, 401)
    response = RedirectResponse(target, status_code=303)
    if key is not None:
        value = where.gate.make_pass(key, time.time())
        response.headers.append("set-cookie", security.cookie(security.PASS, value, request.url.scheme))
    return response


def _local(target: str) -> str:
    """Only addresses on this server: anything else would make us a door to other sites."""
    parts = urlsplit(target)
    safe = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.netloc
    return target if safe and target.isprintable() else "/"


# --------------------------------------------------------------------------- errors of all routes


def failed(request: Request, error: Exception) -> Response:
    """Where a person looks, a page; else JSON."""
    from headrace.web.respond import (
        wants_html,
    )

    if wants_html(request) and not request.url.path.startswith("/v1/"):
        return error_page(request, error)
    return error_response(request, error)


async def on_error(request: Request, error: Exception) -> Response:
    """:func:`failed`, as Starlette wants it."""
    return failed(request, error)
