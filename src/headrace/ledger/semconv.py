"""OpenTelemetry's names for what Headrace's spans say: the only module that knows them.

The GenAI conventions are still in development and have moved to a repository of their own
(github.com/open-telemetry/semantic-conventions-genai); names are therefore frozen here, under a
version of our own that goes out with every export. All of them were in
opentelemetry-semantic-conventions 0.66b2 (module gen_ai_attributes). Not here: OTLP's form (``export.py``).
"""

from __future__ import annotations

SCHEMA_VERSION = "1"  # of this module; raise it with every change of a name
CONVENTION = "gen_ai, development, after semantic conventions 1.42.0 (June 2026)"

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
CONVERSATION = "gen_ai.conversation.id"
WORKFLOW = "gen_ai.workflow.name"
FINISH_REASONS = "gen_ai.response.finish_reasons"
ERROR_TYPE = "error.type"
SERVICE = "service.name"
SERVICE_VERSION = "service.version"
USER = "user.id"
OWN = "headrace."  # before attributes that the convention has no name for

# kind of a span → gen_ai.operation.name; other kinds have none
OPERATIONS = {
    "app": "invoke_workflow",
    "retrieve": "retrieval",
    "embed": "embeddings",
    "model": "chat",
    "tool": "execute_tool",
}

# attribute of a span → attribute of the convention
ATTRIBUTES = {
    "model": REQUEST_MODEL,
    "provider": PROVIDER,
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "finish": FINISH_REASONS,
    "response_id": "gen_ai.response.id",
    "response_model": "gen_ai.response.model",
    "first_piece_seconds": "gen_ai.response.time_to_first_chunk",
    "max_new_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "seed": "gen_ai.request.seed",
    "stop": "gen_ai.request.stop_sequences",
    "stream": "gen_ai.request.stream",
    "tool": "gen_ai.tool.name",
    "call_id": "gen_ai.tool.call.id",
    "arguments": "gen_ai.tool.call.arguments",
    "result": "gen_ai.tool.call.result",
    "query": "gen_ai.retrieval.query.text",
    "documents": "gen_ai.retrieval.documents",
    "messages": "gen_ai.input.messages",
    "completion": "gen_ai.output.messages",
}

# names that mean one thing for a model and another for a search
FOR_MODELS = {"top_k": "gen_ai.request.top_k"}

# attributes that the convention has as lists
LISTS = frozenset({FINISH_REASONS, "gen_ai.request.stop_sequences"})


def attribute(name: str, kind: str) -> str:
    """The convention's name of an attribute of a span of this kind, else ``headrace.NAME``."""
    if kind == "model" and name in FOR_MODELS:
        return FOR_MODELS[name]
    return ATTRIBUTES.get(name, OWN + name)


def span_name(name: str, kind: str, model: str) -> str:
    """``{operation} {model}`` for calls of a model, ``{operation} {name}`` for others."""
    operation = OPERATIONS.get(kind)
    if operation is None:
        return name
    return f"{operation} {model or name}"
