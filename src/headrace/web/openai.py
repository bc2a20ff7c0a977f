"""``/v1/chat/completions`` and ``/v1/models``, as OpenAI clients expect them.

The last user message fills the application's one required ``str`` parameter, earlier messages its
``list[Message]`` parameter. Where there is none, history is refused, not dropped.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from headrace.errors import NotFound, UserError
from headrace.ops.running import Description
from headrace.ops.serve import Stream
from headrace.tracing import new_id
from headrace.types import Answer, Event, to_json
from headrace.web.respond import (
    EventStream,
    json_body,
    openai_error,
    release_header,
    sse,
    told,
    unless_gone,
)
from headrace.web.site import app_for, caller, site
from headrace.web.text import pretty


async def models(request: Request) -> Response:
    """GET /v1/models: the application is the one model."""
    card = {"id": site(request).name, "object": "model", "created": 0, "owned_by": "headrace"}
    return JSONResponse({"object": "list", "data": [card]})


async def chat(request: Request) -> Response:
    """POST /v1/chat/completions, whole or streamed."""
    body = await json_body(request)
    app = app_for(request)
    if body.get("model") != app.name:
        raise NotFound(f"There is no model {body.get('model')!r} here.", hint=f"Use model={app.name!r}.")
    if body.get("n", 1) != 1:
        raise UserError(f"n={body['n']!r} is not supported.", hint="Leave n out: there is one answer.")
    inputs = to_inputs(body.get("messages"), app)
    head = {"id": f"chatcmpl-{new_id()}", "created": int(time.time()), "model": app.name}
    desk = site(request).desk
    if body.get("stream"):
        found = await unless_gone(request, desk.stream(inputs, caller(request)))
        with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return EventStream(_chunks(request, found, head, with_usage), headers=release_header(found.release))
    result = await unless_gone(request, desk.invoke(inputs, caller(request)))
    message = {"role": "assistant", "content": _text(result.output), "refusal": None}
    return JSONResponse(
        {
            **head,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _usage(result.output),
            **_ours(result.output, result.trace_id, result.release),
        },
        headers=release_header(result.release),
    )


def to_inputs(messages: Any, app: Description) -> dict[str, Any]:
    """Chat messages → the application's inputs. UserError (400) where they do not fit."""
    if not isinstance(messages, list) or not messages:
        raise UserError(f"messages={messages!r:.80} is not a list of messages.", hint="Send at least one.")
    turns = [_turn(message) for message in messages]
    if turns[-1]["role"] != "user":
        raise UserError(
            f"The last message is of the role {turns[-1]['role']!r}, not 'user'.",
            hint="End with the question.",
        )
    if app.question is None:
        raise UserError(
            f"{app.name} cannot be asked by chat: it does not have exactly one required str parameter.",
            hint=f"Use POST /v1/apps/{app.name}/invoke.",
        )
    inputs: dict[str, Any] = {app.question: turns[-1]["content"]}
    if len(turns) > 1:
        if app.history is None:
            raise UserError(
                f"{app.name} takes no history, and {len(turns) - 1} earlier messages were sent.",
                hint="Send only the last question, or give the application a list[hr.Message] parameter.",
            )
        inputs[app.history] = turns[:-1]
    return inputs


def _turn(message: Any) -> dict[str, str]:
    if not isinstance(message, Mapping):
        raise UserError(f"{message!r:.80} is not a message.", hint='Send {"role": …, "content": …}.')
    role = message.get("role")
    role = "system" if role == "developer" else role
    if role not in ("system", "user", "assistant", "tool"):
        raise UserError(f"{role!r} is not a role.", hint="Use system, user, assistant or tool.")
    content = message.get("content")
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
        if len(parts) != len(content):
            raise UserError("A message has parts that are not text.", hint="Send text only.")
        content = "".join(str(part.get("text", "")) for part in parts)
    if not isinstance(content, str):
        raise UserError(f"The content {content!r:.80} is not text.", hint="Send text only.")
    return {"role": role, "content": content}


async def _chunks(
    request: Request, found: Stream, head: Mapping[str, Any], with_usage: bool
) -> AsyncGenerator[str, None]:
    """Provisional text as it comes; what it lacks of the answer at the end; then the extras.

    Where the answer is not a continuation of the provisional text, the last chunk says so with the
    extra field ``answer``: text that was sent cannot be taken back in this protocol.
    """

    def chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        usage = {"usage": None} if with_usage else {}
        return sse(None, {**head, "object": "chat.completion.chunk", "choices": [choice], **usage, **more})

    yield chunk({"role": "assistant", "content": ""})
    sent = ""
    async for event in told(request, found.events):
        if not isinstance(event, Event):
            error = dict(event["error"])
            yield sse(None, {"error": openai_error(error.pop("status"), error)})
            return
        if event.kind == "delta":
            sent += event.text
            yield chunk({"content": event.text})
        elif event.kind == "answer":
            text = _text(event.value)
            more = _ours(event.value, event.trace_id, found.release)
            if text.startswith(sent):
                if rest := text[len(sent) :]:
                    yield chunk({"content": rest})
            else:
                more["answer"] = text
            yield chunk({}, "stop", **more)
            if with_usage:
                usage = {"choices": [], "usage": _usage(event.value)}
                yield sse(None, {**head, "object": "chat.completion.chunk", **usage})
    yield sse(None, "[DONE]")


def _text(output: Any) -> str:
    if isinstance(output, Answer):
        return output.text
    if isinstance(output, str):
        return output
    return pretty(output)


def _usage(output: Any) -> dict[str, int]:
    """Tokens as the models behind the application counted them; zeros for quotes."""
    usage = output.usage if isinstance(output, Answer) else None
    given, made = (usage.input_tokens, usage.output_tokens) if usage else (0, 0)
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def _ours(output: Any, trace_id: str | None, release: str | None) -> dict[str, Any]:
    """Our extra fields: OpenAI clients keep unknown ones (``response.model_extra``)."""
    more: dict[str, Any] = {"trace_id": trace_id, "release": release}
    if isinstance(output, Answer):
        more |= {
            "citations": to_json(output.citations),
            "abstained": output.abstained,
            "answered_by": output.answered_by,
        }
    else:
        more["output"] = to_json(output)
    return more
