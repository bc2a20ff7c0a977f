"""Traces for others: JSON lines, and OpenTelemetry's OTLP in its JSON form.

Pure functions over traces; nothing is sent anywhere. JSON lines hold everything and can be read
back; OTLP leaves out what people wrote unless asked (``content=True``).
Source: opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding": ids are hexadecimal, 64-bit
integers are strings, enums are numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.errors import InputError, ReadError
from headrace.ledger import semconv
from headrace.ledger.content import error_kind, is_summary, without_content
from headrace.ledger.records import trace_from_json, trace_to_json
from headrace.types import Feedback, Span, Trace, to_json

_INTERNAL, _CLIENT = 1, 3  # SpanKind
_ERROR = 2  # StatusCode
_IN_PROCESS = ("local", "scripted")  # providers that are no server
_FLAT = ("decoding", "usage")  # attributes whose members are attributes of the convention


def to_jsonl(
    traces: Iterable[Trace],
    *,
    feedback: Callable[[str], Sequence[Feedback]] | None = None,
    content: bool = True,
) -> Iterator[str]:
    """One line of JSON per trace, without the newline.

    ``feedback`` (``Ledger.feedback``) adds the votes on each under ``"feedback"``. ``content``
    False replaces texts by lengths and hashes; the hashes of one export can be compared with each
    other only.
    """
    key = os.urandom(32)
    for trace in traces:
        data = trace_to_json(trace if content else without_content(trace, key))
        if feedback is not None:
            said = [to_json(vote) for vote in feedback(trace.id)]
            if not content:
                said = [{**vote, "comment": "", "correction": ""} for vote in said]
            data["feedback"] = said
        line = json.dumps(data, ensure_ascii=False)
        try:
            line.encode()
        except UnicodeEncodeError:  # lone surrogates; escaped they can be written anywhere
            line = json.dumps(data)
        yield line


def from_jsonl(lines: Iterable[str]) -> Iterator[Trace]:
    """The traces behind lines of :func:`to_jsonl`; empty lines are passed over.

    Raises ReadError naming the line that is none.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield trace_from_json(json.loads(line))
        except (json.JSONDecodeError, InputError) as error:
            raise ReadError(
                f"Line {number} is not a trace: {error}",
                hint="Give a file that `headrace traces export` wrote.",
            ) from error


def to_otlp(traces: Iterable[Trace], *, content: bool = False) -> dict[str, Any]:
    """The body of an OTLP/HTTP export (``POST /v1/traces``): one ResourceSpans per release.

    ``content`` True adds inputs, prompts, answers, error messages and the user's id.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for trace in traces:
        subject = trace.subject
        group = (str(subject.get("app") or "headrace"), str(subject.get("release") or ""))
        groups.setdefault(group, []).extend(_spans(trace, content))
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(_resource(app, release))},
                "scopeSpans": [
                    {
                        "scope": {
                            "name": "headrace",
                            "attributes": _attributes(
                                {
                                    semconv.OWN + "semconv.version": semconv.SCHEMA_VERSION,
                                    semconv.OWN + "semconv.convention": semconv.CONVENTION,
                                }
                            ),
                        },
                        "spans": spans,
                    }
                ],
            }
            for (app, release), spans in groups.items()
        ]
    }


def _resource(app: str, release: str) -> dict[str, Any]:
    named = {semconv.SERVICE: app, "telemetry.sdk.name": "headrace", "telemetry.sdk.language": "python"}
    return {**named, semconv.SERVICE_VERSION: release} if release else named


def _spans(trace: Trace, content: bool) -> Iterator[dict[str, Any]]:
    shown = trace if content else without_content(trace, b"")
    root = _root(shown)
    trace_id = _hex(trace.id, 32)
    for span in shown.spans if root in shown.spans else (root, *shown.spans):
        attributes = dict(_named(span))
        if span is root:
            attributes.update(_of_run(shown, content))
        if span.error is not None:
            attributes[semconv.ERROR_TYPE] = error_kind(span.error) or "_OTHER"
        model = str(attributes.get(semconv.REQUEST_MODEL) or "")
        begin = round(span.start * 1e9)
        out: dict[str, Any] = {
            "traceId": trace_id,
            "spanId": _hex(span.id, 16),
            "name": semconv.span_name(span.name, span.kind, model),
            "kind": _CLIENT if span.kind == "model" and not _in_process(attributes) else _INTERNAL,
            "startTimeUnixNano": str(begin),
            "endTimeUnixNano": str(begin + max(0, round(span.seconds * 1e9))),
            "attributes": _attributes(attributes),
            "status": {} if span.error is None else {"code": _ERROR, "message": span.error},
        }
        if span.parent is not None:
            out["parentSpanId"] = _hex(span.parent, 16)
        yield out


def _root(trace: Trace) -> Span:
    """The span of the whole run; made from the trace where it has none."""
    for span in trace.spans:
        if span.parent is None and span.kind == "app":
            return replace(span, error=span.error or trace.error) if span.error != trace.error else span
    return Span(
        id=hashlib.sha256(trace.id.encode("utf-8", "replace")).hexdigest()[:16],
        parent=None,
        name=str(trace.subject.get("app") or "run"),
        kind="app",
        start=trace.start,
        seconds=trace.seconds,
        error=trace.error,
    )


def _of_run(trace: Trace, content: bool) -> dict[str, Any]:
    """What the root span says about the run as a whole."""
    named: dict[str, Any] = {semconv.WORKFLOW: trace.subject.get("app")}
    named[semconv.CONVERSATION] = trace.context.get("session") or None
    named.update({semconv.OWN + name: trace.subject.get(name) for name in ("release", "fingerprint")})
    for name, value in trace.record.items():
        named[f"{semconv.OWN}record.{name}"] = _quiet(to_json(value))
    if content:
        named[semconv.USER] = trace.context.get("user") or None
        named[semconv.OWN + "inputs"] = to_json(trace.inputs)
        named[semconv.OWN + "output"] = to_json(trace.output)
    return named


def _named(span: Span) -> Iterator[tuple[str, Any]]:
    """Attributes under the convention's names, content that was replaced left out."""
    if operation := semconv.OPERATIONS.get(span.kind):
        yield semconv.OPERATION, operation
    for name, value in to_json(span.attributes).items():
        members = value.items() if name in _FLAT and isinstance(value, dict) else [(name, value)]
        for member, item in members:
            key = semconv.attribute(member, span.kind)
            item = _quiet(item)
            if key in semconv.LISTS and item is not None and not isinstance(item, list):
                item = [item]
            yield key, item
    if span.kind == "model" and ":" in (model := str(span.attributes.get("model") or "")):
        provider, _, name = model.partition(":")
        yield semconv.PROVIDER, str(span.attributes.get("provider") or provider)
        yield semconv.REQUEST_MODEL, name


def _in_process(attributes: Mapping[str, Any]) -> bool:
    return attributes.get(semconv.PROVIDER) in _IN_PROCESS


def _quiet(value: Any) -> Any:
    """The value without the summaries that stand for content; None where nothing is left."""
    if is_summary(value):
        return None
    if isinstance(value, dict):
        kept = {name: _quiet(item) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item is not None} or None
    if isinstance(value, list):
        kept_items = [item for item in map(_quiet, value) if item is not None]
        return kept_items if kept_items or not value else None
    return value


def _attributes(named: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any(value)} for key, value in named.items() if value is not None]


def _any(value: Any) -> dict[str, Any]:
    """An AnyValue. Maps go out as JSON: few receivers show nested ones."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if -(2**63) <= value < 2**63 else {"stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list) and all(isinstance(item, (str, bool, int, float)) for item in value):
        return {"arrayValue": {"values": [_any(item) for item in value]}}
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {"stringValue": text.encode("utf-8", "replace").decode()}


def _hex(identity: str, length: int) -> str:
    """The id where it is what OTLP wants (hexadecimal, not all zeros), else a hash of it."""
    if len(identity) == length and all(c in "0123456789abcdef" for c in identity) and int(identity, 16):
        return identity
    return hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:length]
