"""``/v1/chat/completions`` with the real ``openai`` client."""

from __future__ import annotations

import httpx
import openai
import pytest


@pytest.fixture
def client(serve):
    made = []

    def connect(app: str, key: str | None = None, **limits) -> openai.OpenAI:
        server = serve(app, key=key, **limits)
        made.append(
            openai.OpenAI(
                base_url=f"{server.url}/v1",
                api_key=key or "none",
                max_retries=0,
                http_client=httpx.Client(trust_env=False),
            )
        )
        return made[-1]

    yield connect
    for one in made:
        one.close()


def say(*contents: str) -> list[dict]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]


def test_an_answer_with_its_extras(client):
    reply = client("handbook").chat.completions.create(
        model="handbook", messages=say("How much does the large crane lift?")
    )
    assert "40 tonnes" in reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == 0  # quotes cost nothing
    assert reply.model_extra["citations"][0]["text"]
    assert reply.model_extra["answered_by"] == "quotes"
    assert len(reply.model_extra["trace_id"]) == 32


def test_usage_is_the_models(client):
    reply = client("silent").chat.completions.create(model="silent", messages=say("?"))
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (7, 2, 9)
    assert reply.model_extra["abstained"] is True


def test_streamed(client):
    stream = client("written").chat.completions.create(
        model="written",
        messages=say("What does the crane lift?"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith("The crane lifts 40 tonnes")
    assert chunks[-1].usage.completion_tokens > 0
    (last,) = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert last.model_extra["citations"]
    assert last.model_extra["trace_id"]


def test_a_quoted_answer_streams_whole(client):
    stream = client("handbook").chat.completions.create(
        model="handbook", messages=say("How much does the large crane lift?"), stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert "40 tonnes" in text


def test_history_goes_to_the_messages_parameter(client):
    reply = client("chatty").chat.completions.create(model="chatty", messages=say("one", "two", "three"))
    assert reply.choices[0].message.content == "user: one | assistant: two | three"
    parts = [
        {"role": "user", "content": [{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}]}
    ]
    assert client("chatty").chat.completions.create(model="chatty", messages=parts).choices[0].message.content


def test_history_is_refused_where_there_is_no_place_for_it(client):
    with pytest.raises(openai.BadRequestError, match="takes no history") as caught:
        client("handbook").chat.completions.create(model="handbook", messages=say("one", "two", "three"))
    assert caught.value.body["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "assistant", "content": "x"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        [{"role": "wizard", "content": "x"}],
        ["x"],
        "x",
    ],
)
def test_messages_that_do_not_fit_are_400(client, messages):
    with pytest.raises(openai.BadRequestError):
        client("handbook").chat.completions.create(model="handbook", messages=messages)


def test_errors_are_the_clients_own_types(client):
    with pytest.raises(openai.NotFoundError, match="handbook"):
        client("handbook").chat.completions.create(model="gpt-4o", messages=say("x"))
    with pytest.raises(openai.BadRequestError, match="exactly one required str"):
        client("typed").chat.completions.create(model="typed", messages=say("x"))
    with pytest.raises(openai.BadRequestError, match="n=2"):
        client("chatty").chat.completions.create(model="chatty", messages=say("x"), n=2)
    with pytest.raises(openai.InternalServerError, match="ValueError"):
        client("broken").chat.completions.create(model="broken", messages=say("x"))
    connected = client("chatty", key="k" * 20)
    assert [model.id for model in connected.models.list()] == ["chatty"]
    with pytest.raises(openai.AuthenticationError):
        connected.with_options(api_key="wrong").models.list()


def test_an_error_in_the_middle_of_a_stream_reaches_the_client(client):
    connected = client("slow", timeout=0.3)
    stream = connected.chat.completions.create(model="slow", messages=say("x"), stream=True)
    with pytest.raises(openai.APIError, match="limit of this server"):
        list(stream)
