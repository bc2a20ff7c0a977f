"""What a server offers, as an OpenAPI 3.1 document. The application's schema is used as it is."""

from __future__ import annotations

import copy
from typing import Any

from headrace import __version__
from headrace.ops.running import Description

_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "hint"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "hint": {"type": "string", "description": "What to do next."},
            },
        }
    },
}
_REFUSALS = {
    "401": "The key is missing or wrong",
    "403": "The key was not made for this",
    "413": "The request is too large",
    "422": "A field does not fit",
    "429": "No place left; see Retry-After",
    "503": "Waited too long, starting or draining; see Retry-After",
    "504": "Ran too long and was stopped",
}


_RELEASE = {
    "description": "The release that answered; absent where an application is served that is no release.",
    "schema": {"type": "string"},
}
_USER = {
    "name": "X-Headrace-User",
    "in": "header",
    "description": "Who asks. During a canary, the same user always gets the same release.",
    "schema": {"type": "string", "maxLength": 200},
}


def _lifted(schema: dict[str, Any], into: dict[str, Any]) -> dict[str, Any]:
    """The schema with its ``$defs`` moved to the components of the document."""
    into.update({name: _pointed(value) for name, value in schema.pop("$defs", {}).items()})
    lifted: dict[str, Any] = _pointed(schema)
    return lifted


def _pointed(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: item.replace("#/$defs/", "#/components/schemas/")
            if key == "$ref" and isinstance(item, str)
            else _pointed(item)
            for key, item in value.items()
        }
    return [_pointed(item) for item in value] if isinstance(value, list) else value


def _operation(
    summary: str,
    *,
    body: Any = None,
    answer: Any = None,
    media: str = "application/json",
    status: str = "200",
    released: bool = False,
) -> dict[str, Any]:
    content = {media: {"schema": answer}} if answer is not None else {"text/plain": {}}
    made: dict[str, Any] = {
        "summary": summary,
        "responses": {status: {"description": "Done", "content": content}},
    }
    if released:
        made["responses"][status]["headers"] = {"X-Headrace-Release": _RELEASE}
        made["parameters"] = [_USER]
    if body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        made["responses"] |= {
            status: {"description": why, "content": {"application/json": {"schema": _ERROR}}}
            for status, why in _REFUSALS.items()
        }
    return made


def describe_api(app: Description, *, secured: bool = False) -> dict[str, Any]:
    """The document for one application."""
    schemas: dict[str, Any] = {}
    inputs = _lifted(copy.deepcopy(dict(app.schema)), schemas)
    output = _lifted(copy.deepcopy(dict(app.output_schema)), schemas)
    invoked = {
        "type": "object",
        "properties": {
            "output": output,
            "trace_id": {"type": ["string", "null"]},
            "release": {"type": ["string", "null"]},
        },
    }
    feedback = {
        "type": "object",
        "required": ["trace_id", "value"],
        "properties": {
            "trace_id": {"type": "string"},
            "value": {"enum": ["up", "down"]},
            "comment": {"type": "string"},
            "correction": {"type": "string"},
        },
    }
    chat = {
        "type": "object",
        "required": ["model", "messages"],
        "properties": {
            "model": {"const": app.name},
            "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
            "stream": {"type": "boolean"},
        },
    }
    anything = {"type": "object"}
    base = f"/v1/apps/{app.name}"
    return {
        "openapi": "3.1.0",
        "info": {"title": app.name, "version": __version__, "description": app.doc},
        "paths": {
            f"{base}/invoke": {
                "post": _operation(f"Run {app.name}", body=inputs, answer=invoked, released=True)
            },
            f"{base}/stream": {
                "post": _operation(
                    f"Run {app.name}; events step, delta, answer, error",
                    body=inputs,
                    answer={"type": "string"},
                    media="text/event-stream",
                    released=True,
                )
            },
            "/v1/chat/completions": {
                "post": _operation("The same, for OpenAI clients", body=chat, answer=anything, released=True)
            },
            "/v1/models": {"get": _operation("The application, as a model", answer=anything)},
            "/feedback": {
                "post": _operation(
                    "Say what an answer was worth", body=feedback, answer=anything, status="201"
                )
            },
            "/livez": {"get": _operation("Whether the process answers")},
            "/readyz": {"get": _operation("Whether requests are taken")},
            "/metrics": {"get": _operation("Counters for Prometheus")},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of `headrace keys create`, with the scopes invoke, feedback, "
                    "read or admin; or the one in the server's environment.",
                }
            },
        },
        # Without a key where none was made, which only loopback may do.
        "security": [{"key": []}] if secured else [],
    }
