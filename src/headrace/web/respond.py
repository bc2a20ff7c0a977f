"""Results and errors as responses: JSON, event streams, pages; and noticing that a client has gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from headrace.errors import Cancelled, HeadraceError, InputError, Overloaded
from headrace.ops.wire import ApplicationFailed
from headrace.types import Event, to_json

log = logging.getLogger("headrace.web")

_T = TypeVar("_T")
PING_SECONDS = 15.0


def wants_html(request: Request) -> bool:
    """Whether a person looks at it: a browser that navigates, on a page's address."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.endswith(".json")


def speaks_openai(request: Request) -> bool:
    return request.url.path.startswith(("/v1/chat/", "/v1/models"))


# --------------------------------------------------------------------------- errors


def describe(error: BaseException, *, openly: bool) -> tuple[int, dict[str, Any]]:
    """(status, ``{"code", "message", "hint"}``). ``openly``: an application's own words may be shown."""
    if isinstance(error, HeadraceError):
        return error.status, {"code": error.code, "message": error.message, "hint": error.hint}
    if isinstance(error, HTTPException):
        code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "refused")
        hint = "GET /openapi.json lists what there is." if error.status_code in (404, 405) else ""
        return error.status_code, {"code": code, "message": str(error.detail), "hint": hint}
    name, text = type(error).__name__, str(error)
    if isinstance(error, ApplicationFailed):  # in another process, where its class is known
        name, text = error.name, error.text
    shown = f"{name}: {text}" if openly else name
    return 500, {
        "code": "application-failed",
        "message": f"The application failed: {shown}",
        "hint": "The server's log has the whole traceback.",
    }


def openai_error(status: int, error: Mapping[str, Any]) -> dict[str, Any]:
    """The shape that OpenAI clients read; ``hint`` is ours."""
    kind = "invalid_request_error" if 400 <= status < 500 and status != 429 else "server_error"
    if status == 401:
        kind = "authentication_error"
    if status == 429:
        kind = "rate_limit_error"
    return {
        "message": f"{error['message']} {error['hint']}".strip(),
        "type": kind,
        "param": error.get("param"),
        "code": error["code"],
        "hint": error["hint"],
    }


def error_response(request: Request, error: BaseException) -> Response:
    """Any error as JSON, in the OpenAI shape on OpenAI-style routes."""
    status, body = describe(error, openly=is_open(request))
    headers = {}
    if isinstance(error, Overloaded):
        headers["retry-after"] = f"{error.retry_after:.0f}"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, HTTPException) and error.headers:
        headers.update(error.headers)
    shaped = openai_error(status, body) if speaks_openai(request) else body
    return JSONResponse({"error": shaped}, status_code=status, headers=headers)


def is_open(request: Request) -> bool:
    """Whether this server asks for no key: then the developer is the one who looks."""
    return not request.app.state.site.gate.asks if "app" in request.scope else False


# --------------------------------------------------------------------------- reading


async def json_body(request: Request) -> dict[str, Any]:
    """The body as a JSON object."""
    raw = await request.body()
    try:
        value = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"The body is not JSON: {error}.", hint='Send a JSON object such as {"question": "…"}.'
        ) from error
    if not isinstance(value, dict):
        raise InputError(
            f"The body is a JSON {type(value).__name__}, not an object.",
            hint='Send a JSON object such as {"question": "…"}.',
        )
    return value


async def form_body(request: Request) -> dict[str, list[str]]:
    """The fields of a form that was sent as ``application/x-www-form-urlencoded``."""
    raw = await request.body()
    try:
        return parse_qs(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=1000)
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"The form cannot be read: {error}.", hint="Send it from the page.") from error


def is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")


# --------------------------------------------------------------------------- waiting, streaming


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of ``work``; cancels it when the client closes the connection."""
    ours = asyncio.current_task()
    assert ours is not None
    gone = asyncio.ensure_future(_gone(request.receive))
    over = False

    def left(done: asyncio.Future[None]) -> None:
        if not (over or done.cancelled()):
            ours.cancel()

    gone.add_done_callback(left)
    try:
        return await work
    except asyncio.CancelledError:
        if gone.done() and ours.uncancel() == 0:  # by us, and by nobody else
            raise Cancelled("The client closed the connection.") from None
        raise
    finally:
        over = True
        gone.cancel()


def sse(name: str | None, data: Any) -> str:
    """One server-sent event; ``name`` None leaves the event's type out."""
    text = data if isinstance(data, str) else json.dumps(to_json(data), ensure_ascii=False)
    return (f"event: {name}\n" if name else "") + f"data: {text}\n\n"


def release_header(release: str | None) -> dict[str, str]:
    """Which release answered; nothing where an application is served that is no release."""
    return {} if release is None else {"x-headrace-release": release}


class EventStream(Response):
    """Server-sent events. Closes the generator, which cancels the run, when the client goes."""

    def __init__(
        self, chunks: AsyncGenerator[str, None], *, headers: Mapping[str, str] | None = None
    ) -> None:
        fixed = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(media_type="text/event-stream", headers={**fixed, **(headers or {})})
        del self.headers["content-length"]
        self.chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pump = asyncio.ensure_future(self._pump(send))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
        finally:
            gone.cancel()
            if not pump.done():
                pump.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await pump

    async def _pump(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        step: asyncio.Task[str] | None = None
        try:
            while True:
                step = asyncio.ensure_future(anext(self.chunks))
                while not (await asyncio.wait({step}, timeout=PING_SECONDS))[0]:
                    await self._send(send, ": still here\n\n")
                try:
                    chunk = step.result()
                except StopAsyncIteration:
                    break
                await self._send(send, chunk)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if step is not None and not step.done():
                step.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await step
            await self.chunks.aclose()

    @staticmethod
    async def _send(send: Send, chunk: str) -> None:
        await send({"type": "http.response.body", "body": chunk.encode(), "more_body": True})


async def told(
    request: Request, events: AsyncIterator[Event]
) -> AsyncGenerator[Event | dict[str, Any], None]:
    """The events; an error in the middle becomes the last item, ``{"error": …}``."""
    try:
        async for event in events:
            yield event
    except GeneratorExit:
        raise
    except Exception as error:
        status, body = describe(error, openly=is_open(request))
        if status == 500:
            log.exception("the application failed")
        yield {"error": {**body, "status": status}}
    finally:
        await events.aclose()  # type: ignore[attr-defined]  # every such iterator here is a generator
