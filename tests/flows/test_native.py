"""Native tool calling, against a real server on loopback that calls well, badly, or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.errors import InputError, ModelError
from headrace.models.cost import Prices, prompt_tokens
from headrace.models.remote import open_remote
from headrace.models.scripted import ScriptedModel
from headrace.models.wrap import Budgeted, Cached, Fallback, Limits, Retrying
from headrace.settings import ModelSettings
from headrace.types import Decoding, Message, ToolCall, to_json
from models.openai_server import USAGE, Behaviour, Exchange, OpenAIServer, answer, choice, status


@hr.tool
def weather(place: str) -> str:
    """The weather at a place."""
    return f"It rains in {place}."


@hr.tool(approve=True)
def dangerous(text: str) -> str:
    """Needs approval."""
    return f"did {text}"


def called(*calls: tuple[str, str], text: str | None = None, ids: Sequence[str] | None = None) -> Behaviour:
    """An answer that calls these (name, arguments), whole, or in small pieces where it is streamed."""
    listed = [
        {"id": ids[at] if ids else f"call-{at}", "type": "function", "function": {"name": n, "arguments": a}}
        for at, (n, a) in enumerate(calls)
    ]

    def behave(exchange: Exchange) -> None:
        if not exchange.wants_stream:
            data = choice(text, "tool_calls", part="message")
            data["choices"][0]["message"]["tool_calls"] = listed
            exchange.json(200, {**data, "usage": USAGE})
            return
        exchange.begin_stream()
        for event in pieces(listed):
            exchange.event(event)
        exchange.event(choice(None, "tool_calls"))
        exchange.event(b"[DONE]")
        exchange.end_stream()

    return behave


def pieces(listed: Sequence[dict[str, Any]]) -> list[Any]:
    """Deltas as servers send them: id and name first, then the arguments, three characters at a time."""
    events = []
    for at, call in enumerate(listed):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        first = {"index": at, "id": call["id"], "function": {"name": name, "arguments": ""}}
        parts = [arguments[i : i + 3] for i in range(0, len(arguments), 3)]
        deltas = [first, *({"index": at, "function": {"arguments": part}} for part in parts)]
        for delta in deltas:
            event = choice("")
            event["choices"][0]["delta"] = {"tool_calls": [delta]}
            events.append(event)
    return events


def agent(
    server: OpenAIServer, tools: Sequence[Any] = (weather, hr.tools.calculator), **more: Any
) -> hr.Agent:
    settings = ModelSettings(url=server.url, retries=1, timeout=5.0)
    model = open_remote("tiny-1", settings, policy="off", root=Path())
    return hr.Agent(model, [weather, hr.tools.calculator], **more)


ADD = ("calculator", '{"expression": "17 * 23"}')


def test_tools_are_offered_called_and_answered() -> None:
    with OpenAIServer().play(called(ADD, text="I calculate."), answer(["It is 391."])) as server:
        result = agent(server).run("17 times 23?")
    assert (result.answer, result.outcome) == ("It is 391.", "answered")
    (step,) = result.steps
    assert (step.tool, step.inputs, step.observation) == ("calculator", {"expression": "17 * 23"}, "391")
    assert step.thought == "I calculate."
    assert step.usage.input_tokens == USAGE["prompt_tokens"]
    first, second = [request.body for request in server.asked]
    assert [tool["function"]["name"] for tool in first["tools"]] == ["weather", "calculator"]
    assert first["tools"][0]["type"] == "function"
    assert first["tools"][0]["function"]["parameters"]["required"] == ["place"]
    assert "Action Input" not in first["messages"][0]["content"]
    assert "stop" not in first
    said, heard = second["messages"][2:]
    assert said["role"] == "assistant"
    assert said["tool_calls"][0] == {
        "id": "call-0",
        "type": "function",
        "function": {"name": ADD[0], "arguments": ADD[1]},
    }
    assert (heard["role"], heard["tool_call_id"]) == ("tool", "call-0")
    assert "391" in heard["content"]
    assert "<<begin observation " in heard["content"]


def test_several_calls_in_one_turn_are_each_answered() -> None:
    calls = [("weather", '{"place": "Rome"}'), ADD, ("weather", '{"place": "Oslo"}')]
    with OpenAIServer().play(called(*calls, ids=["a", "a", ""]), answer(["Done."])) as server:
        result = agent(server).run("Rome, Oslo, and 17 times 23?")
    assert [step.number for step in result.steps] == [1, 2, 3]
    assert [step.observation for step in result.steps] == ["It rains in Rome.", "391", "It rains in Oslo."]
    assert sum(step.usage.input_tokens for step in result.steps) == USAGE["prompt_tokens"]
    said, *heard = server.asked[1].body["messages"][2:]
    ids = [call["id"] for call in said["tool_calls"]]
    assert len(set(ids)) == 3  # although the server gave one of them twice and one none
    assert [message["tool_call_id"] for message in heard] == ids


def test_too_many_calls_at_once_are_told_to_come_later() -> None:
    calls = [("weather", json.dumps({"place": f"town {n}"})) for n in range(10)]
    with OpenAIServer().play(called(*calls), answer(["Done."])) as server:
        result = agent(server).run("Ten towns?")
    assert [step.error is None for step in result.steps] == [True] * 8 + [False] * 2
    assert "Not run" in str(result.steps[9].error)
    assert len([m for m in server.asked[1].body["messages"] if m["role"] == "tool"]) == 10


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("calculator", '{"expression": '), "not a JSON object"),
        (("calculator", "[]"), "not a JSON object"),
        (("weather", '{"town": "Rome"}'), "place"),
        (("weather", ""), "place"),
        (
            ("wheather", '{"place": "Rome"}'),
            "There is no tool 'wheather'. The tools are: weather, calculator.",
        ),
        (("", ""), "There is no tool ''"),
    ],
)
def test_what_is_called_wrongly_is_said_and_put_right(call: tuple[str, str], said: str) -> None:
    right = ("weather", '{"place": "Rome"}')
    with OpenAIServer().play(called(call), called(right), answer(["Rain."])) as server:
        result = agent(server).run("Rain in Rome?")
    assert (result.answer, result.outcome) == ("Rain.", "answered")
    wrong, good = result.steps
    assert wrong.error is not None
    assert said in wrong.error
    assert good.observation == "It rains in Rome."
    assert "Error:" in server.asked[1].body["messages"][-1]["content"]


def test_an_answer_that_is_cut_off_inside_a_call_is_asked_for_again() -> None:
    def cut(exchange: Exchange) -> None:
        data = choice(None, "tool_calls", part="message")
        data["choices"][0]["message"]["tool_calls"] = [{"id": "x", "function": {"name": "weather"}}]
        body = json.dumps(data).encode()
        exchange.handler.send_response(200)
        exchange.handler.send_header("Content-Length", str(len(body)))
        exchange.handler.end_headers()
        exchange.handler.wfile.write(body[:-20])
        exchange.hang_up()

    with OpenAIServer().play(cut, answer(["Fine."])) as server:
        assert agent(server).run("Well?").answer == "Fine."
    with OpenAIServer().play(cut) as server:
        result = agent(server).run("Well?")
        assert (result.outcome, result.steps) == ("model_failed", ())


def test_calls_come_whole_out_of_a_stream_or_not_at_all() -> None:
    messages = [Message("system", "s", tools=(weather.schema(),)), Message("user", "Rome?")]
    listed = [{"id": "c", "function": {"name": "weather", "arguments": '{"place": "Rome"}'}}]

    def cut(exchange: Exchange) -> None:
        exchange.begin_stream()
        for event in pieces(listed)[:3]:
            exchange.event(event)
        exchange.hang_up()

    with OpenAIServer().play(called(("weather", '{"place": "Rome"}'), ADD)) as server:
        with agent(server).model.stream(messages, Decoding()) as stream:  # type: ignore[union-attr]
            assert list(stream) == []
        assert [(c.id, c.name, c.arguments) for c in stream.completion.calls] == [
            ("call-0", "weather", '{"place": "Rome"}'),
            ("call-1", *ADD),
        ]
        server.play(cut)
        with pytest.raises(ModelError):
            list(agent(server).model.stream(messages, Decoding()))  # type: ignore[union-attr]


def test_a_server_that_knows_no_tools_is_asked_in_words() -> None:
    refused = status(400, "'tools' is not supported by this model")
    words = [answer(["Thought: t\nAction: weather\nAction Input: Rome"]), answer(["Final Answer: rain"])]
    with OpenAIServer().play(refused, *words) as server:
        one = agent(server)
        assert one.run("Rain?").answer == "rain"
        assert "tools" not in server.asked[1].body
        assert "Action Input" in server.asked[1].body["messages"][0]["content"]
        server.play(answer(["Final Answer: dry"]))
        assert one.run("Rain?").answer == "dry"  # remembered: no second refusal
        assert len(server.asked) == 4
    with OpenAIServer().play(refused) as server:
        result = agent(server, mode="native").run("Rain?")
        assert result.outcome == "model_failed"
        assert "tools" in result.message


def test_modes_and_settings() -> None:
    with OpenAIServer().play(answer(["Final Answer: 4"])) as server:
        assert agent(server, mode="react").run("2 + 2?").answer == "4"
        assert "tools" not in server.asked[-1].body
        settings = ModelSettings(url=server.url, options={"tools": False})
        model = open_remote("tiny-1", settings, policy="off", root=Path())
        hr.Agent(model, [weather]).run("2 + 2?")
        assert "tools" not in server.asked[-1].body
    with pytest.raises(InputError, match="mode='loop'"):
        hr.Agent(ScriptedModel("x"), [weather], mode="loop")  # type: ignore[arg-type]


def wants(*calls: tuple[str, str]) -> Message:
    listed = tuple(ToolCall(id=f"c{at}", name=n, arguments=a) for at, (n, a) in enumerate(calls))
    return Message("assistant", "", calls=listed)


def test_the_double_calls_tools_and_approval_is_asked() -> None:
    replies: list[Any] = [wants(("dangerous", '{"text": "x"}')), "Give Up: not allowed"]
    result = hr.Agent(ScriptedModel(replies, tools=True), [dangerous]).run("Do it.")
    assert (result.outcome, result.message) == ("gave_up", "not allowed")
    assert "was not approved" in str(result.steps[0].error)
    model = ScriptedModel([*replies[:1], "Done."], tools=True)
    asked: list[Any] = []
    result = hr.Agent(model, [dangerous], approve=lambda step: not asked.append(step)).run("Do it.")
    assert (result.answer, len(asked)) == ("Done.", 1)
    assert result.steps[0].observation == "did x"


def test_endless_and_empty_turns_end() -> None:
    forever = ScriptedModel(
        lambda messages: wants(("weather", f'{{"place": "{len(messages)}"}}')), tools=True
    )
    assert hr.Agent(forever, [weather], max_steps=4).run("Go on.").outcome == "out_of_steps"
    same = ScriptedModel(lambda messages: wants(("weather", '{"place": "x"}')), tools=True)
    assert hr.Agent(same, [weather]).run("Go on.").outcome == "gave_up"
    silent = hr.Agent(ScriptedModel("", tools=True), [weather]).run("Go on.")
    assert (silent.outcome, len(silent.steps)) == ("gave_up", 3)


def test_wrappers_pass_tools_on_and_count_them() -> None:
    def replies(messages: Sequence[Message]) -> Any:
        return "rain" if messages[-1].role == "tool" else wants(("weather", '{"place": "Rome"}'))

    inner = ScriptedModel(replies, tools=True, prices=Prices(input=1.0, output=1.0))
    budgeted = Budgeted(Retrying(Cached(inner)), Limits(tokens=100_000))
    for model in (budgeted, Fallback(inner, ScriptedModel("x", tools=True))):
        result = hr.Agent(model, [weather]).run("Rain?")
        assert (result.answer, len(result.steps)) == ("rain", 1)
    assert budgeted.spent.calls == 2
    assert (
        hr.Agent(Fallback(inner, ScriptedModel("x")), [weather], max_steps=1).run("?").outcome != "answered"
    )
    plain = [Message("system", "s")]
    offered = [Message("system", "s", tools=(weather.schema(),))]
    count = inner.count
    assert prompt_tokens(offered, count) > prompt_tokens(plain, count)


def test_messages_without_tools_keep_their_shape() -> None:
    assert to_json(Message("user", "x")) == {"role": "user", "content": "x", "name": None}
    found = to_json(wants(("weather", "{}")))
    assert found["calls"] == [{"id": "c0", "name": "weather", "arguments": "{}"}]
