"""The application's own endpoint, feedback, health and metrics: JSON in, JSON or events out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from headrace.errors import InputError, NotFound
from headrace.ops.metrics import CONTENT_TYPE
from headrace.ops.serve import Stream
from headrace.types import Event, Feedback
from headrace.web.openapi import describe_api
from headrace.web.respond import (
    EventStream,
    form_body,
    is_form,
    json_body,
    release_header,
    sse,
    told,
    unless_gone,
)
from headrace.web.site import Site, app_for, caller, site

FLUSH_SECONDS = 6.0  # how long a vote waits for traces that another process has yet to write


def _check_name(request: Request) -> None:
    name, ours = request.path_params["name"], site(request).name
    if name != ours:
        raise NotFound(f"There is no application {name!r} here.", hint=f"This server serves {ours!r}.")


async def invoke(request: Request) -> Response:
    """POST /v1/apps/NAME/invoke: the fields of the signature → ``{output, trace_id, release}``."""
    _check_name(request)
    inputs = await json_body(request)
    result = await unless_gone(request, site(request).desk.invoke(inputs, caller(request)))
    # The output is JSON already where a worker process made it: it is passed on as it is.
    rest = json.dumps({"trace_id": result.trace_id, "release": result.release}).encode()
    body = b'{"output":' + result.json + b"," + rest[1:]
    return Response(body, media_type="application/json", headers=release_header(result.release))


async def stream(request: Request) -> Response:
    """POST /v1/apps/NAME/stream: the same, as events ``step``, ``delta``, ``answer``, ``error``."""
    _check_name(request)
    inputs = await json_body(request)
    found = await unless_gone(request, site(request).desk.stream(inputs, caller(request)))
    return EventStream(_as_events(request, found), headers=release_header(found.release))


async def _as_events(request: Request, found: Stream) -> AsyncGenerator[str, None]:
    async for event in told(request, found.events):
        if not isinstance(event, Event):
            yield sse("error", event)
        elif event.kind == "answer":
            words = {"trace_id": event.trace_id, "release": found.release}
            yield sse("answer", {"output": event.value, **words})
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
    kept = await _kept(site(request), given)
    site(request).metrics.feedback(value)
    release = await run_in_threadpool(site(request).ledger.release_of, kept.trace_id)
    site(request).metrics.voted(release, value)
    return kept


async def _kept(where: Site, given: Feedback) -> Feedback:
    """The vote, on the disk. It may be quicker than its trace, which another process writes."""
    try:
        return await run_in_threadpool(where.ledger.add_feedback, given)
    except NotFound:
        flushing = [asyncio.ensure_future(runner.flush()) for runner in where.desk.staff.runners]
        if flushing:
            _, late = await asyncio.wait(flushing, timeout=FLUSH_SECONDS)
            for task in late:
                task.cancel()
        # A worker that died meanwhile writes nothing any more: what it had is lost, or there.
        await asyncio.gather(*flushing, return_exceptions=True)
        return await run_in_threadpool(where.ledger.add_feedback, given)


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
    return JSONResponse(describe_api(app_for(request), secured=site(request).gate.asks))
