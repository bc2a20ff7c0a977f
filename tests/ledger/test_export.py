"""JSON lines come back whole; OTLP is what OpenTelemetry's own definitions accept."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest

from headrace.errors import ReadError
from headrace.ledger import semconv
from headrace.ledger.database import Ledger
from headrace.ledger.export import from_jsonl, to_jsonl, to_otlp
from headrace.types import Feedback, Span, Trace, to_json

from .conftest import NOW, make_trace


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def spans(otlp: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        span for group in otlp["resourceSpans"] for scope in group["scopeSpans"] for span in scope["spans"]
    ]


def parsed(otlp: dict[str, Any]) -> Any:
    """Read with the published protobuf definitions; unknown names and wrong types raise.

    OTLP/JSON writes ids as hexadecimal where protobuf's JSON wants base64: the one difference.
    """
    json_format = pytest.importorskip("google.protobuf.json_format")
    trace_pb2 = pytest.importorskip("opentelemetry.proto.trace.v1.trace_pb2")
    data = copy.deepcopy(otlp)
    for span in spans(data):
        for name in ("traceId", "spanId", "parentSpanId"):
            if name in span:
                span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return json_format.Parse(json.dumps(data), trace_pb2.TracesData())


def test_lines_come_back_as_the_same_traces(ledger: Ledger) -> None:
    traces = [
        make_trace(start=NOW + i, inputs={"question": text})
        for i, text in enumerate(["plain", "two\nlines\u2028", "\ud83d broken", "Ünïcode"])
    ]
    lines = list(to_jsonl(traces))
    for line in lines:
        assert "\n" not in line
        line.encode()
    for trace in from_jsonl([*lines, "", "\n"]):
        ledger.record(trace)
    for trace in traces:
        assert to_json(ledger.trace(trace.id)) == to_json(trace)


def test_votes_can_go_with_their_trace(ledger: Ledger) -> None:
    trace = make_trace()
    ledger.record(trace)
    ledger.add_feedback(Feedback(trace_id=trace.id, value="down", comment="no"))
    (line,) = to_jsonl([trace], feedback=ledger.feedback)
    assert json.loads(line)["feedback"][0]["comment"] == "no"
    (line,) = to_jsonl([trace], feedback=ledger.feedback, content=False)
    assert json.loads(line)["feedback"][0] == {**to_json(ledger.feedback(trace.id)[0]), "comment": ""}
    assert "ferry leave" not in line
    assert [one.id for one in from_jsonl([line])] == [trace.id]


@pytest.mark.parametrize("line", ["{", "[]", '{"id": 1}', "null", '{"spans": 3}'])
def test_a_line_that_is_no_trace_is_named(line: str) -> None:
    good = next(to_jsonl([make_trace()]))
    with pytest.raises(ReadError, match="Line 2"):
        list(from_jsonl([good, line]))


def test_otlp_is_accepted_by_the_published_definitions() -> None:
    first, second = make_trace(), make_trace(subject={"app": "other", "release": "other/3"})
    data = parsed(to_otlp([first, second], content=True))
    groups = list(data.resource_spans)
    assert [group.resource.attributes[0].value.string_value for group in groups] == ["harbour", "other"]
    child, root = groups[0].scope_spans[0].spans
    assert root.trace_id.hex() == first.id
    assert root.span_id.hex() == "00000000000000a1"
    assert child.parent_span_id == root.span_id
    assert root.start_time_unix_nano == int(NOW * 1e9)
    assert root.end_time_unix_nano - root.start_time_unix_nano == 250_000_000
    assert child.name == "chat echo"
    assert root.name == "invoke_workflow harbour"


def test_otlp_names_follow_the_convention() -> None:
    model = Span(
        id="00000000000000b1",
        parent="00000000000000a1",
        name="complete",
        kind="model",
        start=NOW,
        seconds=0.1,
        attributes={
            "model": "openai:gpt",
            "provider": "openai",
            "input_tokens": 12,
            "output_tokens": 3,
            "finish": "stop",
            "exact": True,
            "cost": None,
            "decoding": {"temperature": 0.5, "max_new_tokens": 64, "top_k": 5, "stop": ["\n"]},
            "messages": [{"role": "user", "content": "hello"}],
        },
    )
    search = Span(
        id="00000000000000c1",
        parent="00000000000000a1",
        name="kb",
        kind="retrieve",
        start=NOW,
        seconds=0.1,
        attributes={"query": "ferry", "top_k": 4},
        error="timeout: too long",
    )
    out = {span["spanId"]: span for span in spans(to_otlp([make_trace(spans=(model, search))], content=True))}
    found = attributes(out[model.id])
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.provider.name"] == "openai"
    assert found["gen_ai.request.model"] == "gpt"
    assert found["gen_ai.usage.input_tokens"] == "12"
    assert found["gen_ai.usage.output_tokens"] == "3"
    assert found["gen_ai.response.finish_reasons"] == {"values": [{"stringValue": "stop"}]}
    assert found["gen_ai.request.temperature"] == 0.5
    assert found["gen_ai.request.max_tokens"] == "64"
    assert found["gen_ai.request.top_k"] == "5"
    assert found["headrace.exact"] is True
    assert "headrace.cost" not in found
    assert out[model.id]["kind"] == 3
    assert "hello" in found["gen_ai.input.messages"]
    searched = attributes(out[search.id])
    assert searched["gen_ai.operation.name"] == "retrieval"
    assert searched["gen_ai.retrieval.query.text"] == "ferry"
    assert searched["headrace.top_k"] == "4"
    assert searched["error.type"] == "timeout"
    assert out[search.id]["status"]["code"] == 2


def test_without_asking_no_content_goes_out() -> None:
    trace = make_trace(error="input-error: 'my secret' is wrong")
    text = json.dumps(to_otlp([trace]))
    for secret in ("ferry leave", "Tell me", "my secret", "ana", "Timetable"):
        assert secret not in text
    parsed(to_otlp([trace]))
    assert "input-error" in text
    assert "scripted" in text
    assert "a" * 64 in text
    with_all = json.dumps(to_otlp([trace], content=True))
    for shown in ("ferry leave", "Tell me", "my secret", "ana", "Timetable"):
        assert shown in with_all


def test_strange_ids_become_valid_ones_and_stay_joined() -> None:
    child = Span(id="child", parent="root", name="x", kind="step", start=NOW, seconds=-1.0)
    root = Span(id="root", parent=None, name="r", kind="app", start=NOW, seconds=1.0)
    found = spans(to_otlp([make_trace(id="my own id", spans=(child, root))]))
    assert {len(span["traceId"]) for span in found} == {32}
    assert found[0]["parentSpanId"] == found[1]["spanId"]
    assert int(found[0]["endTimeUnixNano"]) >= int(found[0]["startTimeUnixNano"])
    zeros = spans(to_otlp([make_trace(id="0" * 32)]))
    assert zeros[0]["traceId"] != "0" * 32


def test_a_trace_without_spans_still_has_one() -> None:
    trace = make_trace(spans=(), error="broken: pipe")
    (span,) = spans(to_otlp([trace]))
    assert "parentSpanId" not in span
    assert span["status"]["code"] == 2
    parsed(to_otlp([trace]))


def test_odd_values_stay_valid() -> None:
    odd = {
        "huge": 2**80,
        "nested": {"a": [1, {"b": None}]},
        "mixed": [1, "two", 3.0, True],
        "broken": "\ud83d",
        "nothing": None,
        "empty": [],
    }
    span = Span(
        id="00000000000000a1", parent=None, name="x", kind="app", start=NOW, seconds=0.0, attributes=odd
    )
    data = to_otlp([make_trace(spans=(span,))], content=True)
    parsed(data)
    json.dumps(data).encode()


def test_nothing_makes_an_empty_export() -> None:
    assert to_otlp([]) == {"resourceSpans": []}
    parsed(to_otlp([]))
    assert list(to_jsonl([])) == []


def test_the_convention_is_named_in_the_export() -> None:
    scope = to_otlp([make_trace()])["resourceSpans"][0]["scopeSpans"][0]["scope"]
    named = attributes(scope)
    assert named["headrace.semconv.version"] == semconv.SCHEMA_VERSION
    assert isinstance(make_trace(), Trace)
