"""The application's own endpoint, feedback, health and metrics: JSON in, JSON or events out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from headrace.errors import InputError, NotFound
from headrace.ops.metrics import CONTENT_TYPE
from headrace.types import Event, Feedback, to_json
from headrace.web.openapi import describe_api
from headrace.web.respond import (
    EventStream,
    form_body,
    is_form,
    json_body,
    sse,
    told,
    unless_gone,
)
from headrace.web.site import caller, site


def _check_name(request: Request) -> None:
    name, ours = request.path_params["name"], site(request).app.name
    if name != ours:
        raise NotFound(f"There is no application {name!r} here.", hint=f"This server serves {ours!r}.")


async def invoke(request: Request) -> Response:
    """POST /v1/apps/NAME/invoke: the fields of the signature → ``{output, trace_id, release}``."""
    _check_name(request)
    inputs = await json_body(request)
    run = await unless_gone(request, site(request).desk.invoke(inputs, caller(request)))
    return JSONResponse({"output": to_json(run.output), "trace_id": run.trace_id, "release": None})


async def stream(request: Request) -> Response:
    """POST /v1/apps/NAME/stream: the same, as events ``step``, ``delta``, ``answer``, ``error``."""
    _check_name(request)
    inputs = await json_body(request)
    events = await unless_gone(request, site(request).desk.stream(inputs, caller(request)))
    return EventStream(_as_events(request, events))


async def _as_events(request: Request, events: AsyncIterator[Event]) -> AsyncGenerator[str, None]:
    async for event in told(request, events):
        if not isinstance(event, Event):
            yield sse("error", event)
        elif event.kind == "answer":
            yield sse("answer", {"output": event.value, "trace_id": event.trace_id, "release": None})
        elif event.kind == "delta":
            yield sse("delta", {"text": event.text})
        else:
            yield sse("step", {"name": event.name, "text": event.text, "value": event.value})


async def record_feedback(request: Request) -> Feedback:
    """Feedback as it was sent, committed when this returns. NotFound for an unknown trace."""
    fields = await _feedback_fields(request)
    if (value := fields.get("value")) not in ("up", "down"):
        raise InputError(f"value={value!r} is neither 'up' nor 'down'.", hint="Send one of the two.")
    for name in ("trace_id", "comment", "correction"):
        if not isinstance(fields.get(name, ""), str):
            raise InputError(f"{name}={fields[name]!r} is not a text.", hint=f"Send {name} as a string.")
    given = Feedback(
        trace_id=fields.get("trace_id", ""),
        value=value,
        comment=fields.get("comment", "").strip(),
        correction=fields.get("correction", "").strip(),
        user=caller(request).user or caller(request).session,
    )
    kept: Feedback = await run_in_threadpool(site(request).ledger.add_feedback, given)
    site(request).metrics.feedback(value)
    return kept


async def _feedback_fields(request: Request) -> dict[str, Any]:
    if is_form(request):
        return {name: values[-1] for name, values in (await form_body(request)).items()}
    fields = await json_body(request)
    known = ("trace_id", "value", "comment", "correction")
    if unknown := [name for name in fields if name not in known]:
        raise InputError(f"{unknown[0]!r} is not a field of feedback.", hint=f"Known: {', '.join(known)}.")
    return fields


async def livez(request: Request) -> Response:
    """The process answers."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """200 while requests are taken, 503 while starting or draining."""
    state = site(request).desk.state
    return PlainTextResponse(f"{state}\n", status_code=200 if state == "ready" else 503)


async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(site(request).metrics.text(), headers={"content-type": CONTENT_TYPE})


async def openapi(request: Request) -> Response:
    """What this server offers, as OpenAPI 3.1."""
    return JSONResponse(describe_api(site(request).app))
