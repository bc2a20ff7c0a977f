"""The HTTP interface of an application, over real sockets."""

from __future__ import annotations

import json

import httpx
import pytest


def test_invoke_answers_with_sources_and_a_trace(serve, project):
    with serve("handbook").client() as http:
        reply = http.post(
            "/v1/apps/handbook/invoke", json={"question": "How much does the large crane lift?"}
        )
        assert reply.status_code == 200, reply.text
        body = reply.json()
        assert "40 tonnes" in body["output"]["text"]
        assert body["release"] is None
        citation = body["output"]["citations"][0]
        text = (project / "docs" / "cranes.md").read_text(encoding="utf-8")
        assert text[citation["start"] : citation["end"]] == citation["text"]
        trace = http.get(f"/traces/{body['trace_id']}.json").json()
        assert trace["trace"]["output"]["text"] == body["output"]["text"]


def test_validation_names_the_fields(serve):
    with serve("typed").client() as http:
        reply = http.post("/v1/apps/typed/invoke", json={"name": "x", "count": "many", "size": "huge"})
        assert reply.status_code == 422
        error = reply.json()["error"]
        assert error["code"] == "input-error"
        assert "count" in error["message"]
        assert "size" in error["message"]
        assert error["hint"]
        good = http.post("/v1/apps/typed/invoke", json={"name": "x", "count": 3, "size": "large"})
        assert good.json()["output"][0]["size"] == "large"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff\xfe", b'"text"', b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(serve, body):
    with serve("handbook").client() as http:
        reply = http.post("/v1/apps/handbook/invoke", content=body)
        assert reply.status_code == 422
        assert reply.json()["error"]["hint"]


def test_unknown_things_are_404_and_405(serve):
    with serve("handbook").client() as http:
        assert http.post("/v1/apps/other/invoke", json={"question": "x"}).status_code == 404
        missing = http.get("/nothing")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not-found")
        wrong = http.get("/v1/apps/handbook/invoke")
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method-not-allowed")


def test_stream_ends_with_the_authoritative_answer(serve):
    with serve("written").client() as http:
        reply = http.post("/v1/apps/written/stream", json={"question": "What does the crane lift?"})
        assert reply.headers["content-type"].startswith("text/event-stream")
        events = parse(reply.text)
        assert [name for name, _ in events].count("answer") == 1
        name, last = events[-1]
        assert name == "answer"
        text = "".join(data["text"] for name, data in events if name == "delta")
        assert "40 tonnes" in text
        assert last["output"]["text"].startswith("The crane lifts 40 tonnes")
        assert last["output"]["citations"][0]["number"] == 1
        assert last["trace_id"]


def test_an_application_that_fails_says_so_in_both_ways(serve):
    with serve("broken").client() as http:
        reply = http.post("/v1/apps/broken/invoke", json={"question": "x"})
        assert reply.status_code == 500
        assert reply.json()["error"]["code"] == "application-failed"
        assert "ValueError: secret detail" in reply.json()["error"]["message"]  # loopback: a developer
        events = parse(http.post("/v1/apps/broken/stream", json={"question": "x"}).text)
        assert events[-1][0] == "error"
        assert events[-1][1]["error"]["code"] == "application-failed"


def test_with_a_key_an_applications_words_stay_inside(serve):
    with serve("broken", key="k" * 20).client(headers={"authorization": "Bearer " + "k" * 20}) as http:
        message = http.post("/v1/apps/broken/invoke", json={"question": "x"}).json()["error"]["message"]
        assert "ValueError" in message
        assert "secret" not in message


def test_feedback_lands_in_the_ledger(serve):
    server = serve("chatty")
    with server.client() as http:
        trace_id = http.post("/v1/apps/chatty/invoke", json={"question": "hello"}).json()["trace_id"]
        reply = http.post(
            "/feedback",
            json={"trace_id": trace_id, "value": "down", "comment": "no", "correction": "yes"},
            headers={"x-headrace-user": "ana"},
        )
        assert reply.status_code == 201, reply.text
        from headrace.resources.build import ledger

        (vote,) = ledger(server.app.root).feedback(trace_id)
        assert (vote.value, vote.comment, vote.correction, vote.user) == ("down", "no", "yes", "ana")
        assert vote.id == reply.json()["id"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"trace_id": "0" * 32, "value": "up"}, 404),
        ({"trace_id": "", "value": "up"}, 422),
        ({"value": "up"}, 422),
        ({"trace_id": "0" * 32, "value": "meh"}, 422),
        ({"trace_id": "0" * 32}, 422),
        ({"trace_id": "0" * 32, "value": "up", "stars": 5}, 422),
        ({"trace_id": 7, "value": "up"}, 422),
    ],
)
def test_feedback_that_does_not_fit(serve, body, status):
    with serve("chatty").client() as http:
        http.post("/v1/apps/chatty/invoke", json={"question": "hello"})
        assert http.post("/feedback", json=body).status_code == status


def test_health_metrics_and_description(serve):
    with serve("silent").client() as http:
        assert http.get("/livez").status_code == 200
        assert http.get("/readyz").text == "ready\n"
        for _ in range(2):
            trace_id = http.post("/v1/apps/silent/invoke", json={"question": "?"}).json()["trace_id"]
        http.post("/feedback", json={"trace_id": trace_id, "value": "up"})
        http.get("/some/path/of/a/stranger")
        lines = http.get("/metrics").text.splitlines()
        for line in (
            'headrace_requests_total{route="/v1/apps/{name}/invoke",status="200"} 2.0',
            'headrace_request_seconds_count{route="/v1/apps/{name}/invoke"} 2.0',
            'headrace_requests_total{route="other",status="404"} 1.0',
            "headrace_abstained_total 2.0",
            "headrace_in_flight 0.0",
            "headrace_queue 0.0",
            'headrace_tokens_total{direction="input"} 14.0',
            'headrace_tokens_total{direction="output"} 4.0',
            'headrace_feedback_total{value="up"} 1.0',
            'headrace_feedback_total{value="down"} 0.0',
        ):
            assert line in lines
        assert not any("stranger" in line for line in lines)


def test_the_description_holds_the_applications_schema(serve):
    with serve("typed").client() as http:
        description = http.get("/openapi.json").json()
        assert description["openapi"].startswith("3.1")
        invoke = description["paths"]["/v1/apps/typed/invoke"]["post"]
        schema = invoke["requestBody"]["content"]["application/json"]["schema"]
        assert schema["required"] == ["name", "count", "size"]
        reference = schema["properties"]["size"]["$ref"]
        assert description["components"]["schemas"][reference.rpartition("/")[2]]["enum"] == [
            "small",
            "large",
        ]
        assert "#/$defs/" not in json.dumps(description)
        assert http.get("/v1/models").json()["data"][0]["id"] == "typed"


@pytest.mark.parametrize("how", ["stop", "exit", "base"])
def test_exceptions_that_are_no_errors_neither_hang_nor_end_the_server(serve, how):
    with serve("exits").client() as http:
        assert http.post("/v1/apps/exits/invoke", json={"question": how}).status_code == 500
        assert http.get("/readyz").status_code == 200


def test_the_user_is_known_to_the_application(serve):
    with serve("who").client() as http:
        reply = http.post("/v1/apps/who/invoke", json={"question": "x"}, headers={"x-headrace-user": "ana"})
        assert reply.json()["output"]["user"] == "ana"


def parse(text: str) -> list[tuple[str, dict]]:
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            events.append((fields.get("event", "message"), json.loads(fields["data"])))
    return events


def test_two_servers_keep_their_counters_apart(serve):
    first, second = serve("chatty"), serve("handbook")
    httpx.get(f"{first.url}/livez")
    assert 'route="/livez"' not in httpx.get(f"{second.url}/metrics").text
