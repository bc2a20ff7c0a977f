"""Remote models against a real server on loopback: what goes out, what comes back, what goes wrong."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai_server import (
    TEXT,
    USAGE,
    Behaviour,
    OpenAIServer,
    answer,
    body,
    choice,
    drop,
    page,
    raw_stream,
    stall,
    status,
)

from contracts.model import ASK, SHORT, ModelContract
from headrace import request, tracing
from headrace.errors import (
    Cancelled,
    HeadraceError,
    InputError,
    ModelBusy,
    ModelError,
    ModelRefused,
    ModelTimeout,
    NetworkRefused,
    SettingsError,
    Unavailable,
)
from headrace.models import endpoint
from headrace.models.remote import RemoteModel, open_remote
from headrace.settings import ModelSettings
from headrace.types import Decoding, Message

SECRET = "sk-test-Zq81TwentyFiveSecret"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, params=["kept connections", "httpx"])
def _road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both roads to a server hold the same contract: the one on this machine, and that to any other."""
    if request.param == "httpx":
        monkeypatch.setattr(endpoint, "Wire", lambda host, port: None)


class Sleeps(list[float]):
    """Notes how long one would have slept, and does not."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def opened(
    server: OpenAIServer | str, name: str = "tiny-1", *, sleep: Any = None, **settings: Any
) -> RemoteModel:
    url = server if isinstance(server, str) else server.url
    settings = {"timeout": 10.0, **settings}
    return open_remote(
        name,
        ModelSettings(url=url, **settings),
        policy="off",  # loopback does not count as network
        root=Path(),
        rng=random.Random(0),
        sleep=Sleeps() if sleep is None else sleep,
    )


def failure(model: RemoteModel, *, stream: bool = False) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        list(model.stream(ASK, SHORT)) if stream else model.complete(ASK, SHORT)
    return caught.value


class TestContract(ModelContract):
    @pytest.fixture
    def model(self, server: OpenAIServer) -> Iterator[RemoteModel]:
        model = opened(server)
        yield model
        model.close()


# ---------------------------------------------------------------------- what goes out


def test_the_request_says_what_was_decided(server: OpenAIServer) -> None:
    decoding = Decoding(
        max_new_tokens=7, min_new_tokens=2, temperature=0.5, top_p=0.9, top_k=40, stop=("\n",), seed=3
    )
    opened(server).complete([Message("user", "Wie viele? 25 Tage – ja", name="ana")], decoding)
    assert server.asked[0].path == "/v1/chat/completions"
    assert server.asked[0].body == {
        "model": "tiny-1",
        "messages": [{"role": "user", "content": "Wie viele? 25 Tage – ja", "name": "ana"}],
        "max_tokens": 7,
        "min_tokens": 2,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop": ["\n"],
        "seed": 3,
    }
    assert "Authorization" not in server.asked[0].headers


def test_a_stream_asks_for_usage(server: OpenAIServer) -> None:
    list(opened(server).stream(ASK, SHORT))
    assert server.asked[0].body["stream"] is True
    assert server.asked[0].body["stream_options"] == {"include_usage": True}


def test_options_add_and_leave_out(server: OpenAIServer) -> None:
    options = {
        "body": {"reasoning_effort": "low"},
        "omit": ["temperature"],
        "headers": {"X-Team": "handbook"},
    }
    opened(server, options=options).complete(ASK, SHORT)
    assert server.asked[0].body["reasoning_effort"] == "low"
    assert "temperature" not in server.asked[0].body
    assert server.asked[0].headers["X-Team"] == "handbook"


@pytest.mark.parametrize("options", [{"omits": []}, {"omit": "x"}, {"headers": {"a": 1}}])
def test_unknown_options_are_refused(server: OpenAIServer, options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        opened(server, options=options)


def test_the_key_goes_to_the_server_it_is_named_for(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("TEAM_KEY", "team-secret")
    opened(server).complete(ASK, SHORT)
    opened(server, key="TEAM_KEY").complete(ASK, SHORT)
    assert "Authorization" not in server.asked[0].headers
    assert server.asked[1].headers["Authorization"] == "Bearer team-secret"


def test_openai_base_url_is_honoured_and_gets_the_openai_key(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    opened("").complete(ASK, SHORT)
    assert server.asked[0].headers["Authorization"] == f"Bearer {SECRET}"


def test_a_new_key_is_used_without_opening_again(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM_KEY", "old")
    model = opened(server, key="TEAM_KEY")
    model.complete(ASK, SHORT)
    monkeypatch.setenv("TEAM_KEY", "new")
    model.complete(ASK, SHORT)
    assert [r.headers["Authorization"] for r in server.asked] == ["Bearer old", "Bearer new"]


def test_connections_are_reused(server: OpenAIServer) -> None:
    ports = set()

    def note(exchange: Any) -> None:
        ports.add(exchange.handler.client_address)
        answer()(exchange)

    server.play(note)
    model = opened(server)
    model.complete(ASK, SHORT)
    list(model.stream(ASK, SHORT))
    model.complete(ASK, SHORT)
    assert len(ports) == 1


def test_beams_are_refused_not_ignored(server: OpenAIServer) -> None:
    with pytest.raises(InputError, match="num_beams=4"):
        opened(server).complete(ASK, Decoding(num_beams=4))


# ---------------------------------------------------------------------- what comes back


def test_usage_cost_and_identity_come_from_the_server(server: OpenAIServer) -> None:
    done = opened(server, input_price=1.0, output_price=10.0).complete(ASK, SHORT)
    assert done.text == TEXT
    assert (done.usage.input_tokens, done.usage.output_tokens, done.exact) == (11, 6, True)
    assert done.usage.cost == pytest.approx((11 * 1 + 6 * 10) / 1e6)
    assert done.identity == {
        "claimed": True,
        "provider": "openai",
        "model": "tiny-1",
        "host": "127.0.0.1",
        "response_model": "tiny-1-0613",
        "system_fingerprint": "fp_44709d6fcb",
    }


@pytest.mark.parametrize("stream", [False, True])
def test_without_usage_tokens_are_estimated_and_said_to_be(server: OpenAIServer, stream: bool) -> None:
    model = opened(server.play(answer(usage=False)))
    if stream:
        pieces = model.stream(ASK, SHORT)
        assert "".join(pieces) == TEXT
        done = pieces.completion
    else:
        done = model.complete(ASK, SHORT)
    assert done.exact is False
    assert done.usage.input_tokens > 5
    assert done.usage.output_tokens >= 6
    assert done.usage.cost is None


def test_a_length_limit_is_told(server: OpenAIServer) -> None:
    model = opened(server.play(answer(finish="length")))
    assert model.complete(ASK, SHORT).finish == "length"
    stream = model.stream(ASK, SHORT)
    list(stream)
    assert stream.completion.finish == "length"


def test_a_slow_first_token_is_waited_for(server: OpenAIServer) -> None:
    model = opened(server.play(answer(first=0.4)), timeout=10.0)
    assert "".join(model.stream(ASK, SHORT)) == TEXT


def test_pieces_come_as_they_are_written(server: OpenAIServer) -> None:
    go = threading.Event()

    def behave(exchange: Any) -> None:
        exchange.begin_stream()
        exchange.event(choice("first"))
        go.wait(20)
        exchange.event(choice(" last", "stop"))
        exchange.event(b"[DONE]")
        exchange.end_stream()

    stream = opened(server.play(behave)).stream(ASK, SHORT)
    assert next(stream) == "first"  # the server writes the rest only after this
    go.set()
    assert list(stream) == [" last"]


def test_a_server_that_refuses_stream_options_is_asked_without(server: OpenAIServer) -> None:
    server.play(status(400, "Unrecognized request argument supplied: stream_options"), answer())
    model = opened(server)
    assert "".join(model.stream(ASK, SHORT)) == TEXT
    assert "".join(model.stream(ASK, SHORT)) == TEXT
    assert ["stream_options" in r.body for r in server.asked] == [True, False, False]


def test_a_server_that_wants_max_completion_tokens_gets_them(server: OpenAIServer) -> None:
    said = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    server.play(status(400, said), answer())
    assert opened(server).complete(ASK, SHORT).text == TEXT
    assert server.asked[1].body["max_completion_tokens"] == SHORT.max_new_tokens
    assert "max_tokens" not in server.asked[1].body


def test_a_server_that_does_not_stream_is_read_whole(server: OpenAIServer) -> None:
    def behave(exchange: Any) -> None:
        exchange.json(200, {**choice(TEXT, "stop", part="message"), "usage": USAGE})

    stream = opened(server.play(behave)).stream(ASK, SHORT)
    assert list(stream) == [TEXT]
    assert stream.completion.usage.input_tokens == 11


def test_bytes_may_be_cut_anywhere(server: OpenAIServer) -> None:
    whole = (
        b": a comment\r\n\r\nevent: message\r\ndata: "
        + '{"choices": [{"delta": {"content": "né\u2028 🙂"}}]}'.encode()
        + b'\r\n\r\ndata: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\r\n\r\ndata: [DONE]\r\n\r\n'
    )
    server.play(raw_stream(*(whole[i : i + 1] for i in range(len(whole)))))
    assert "".join(opened(server).stream(ASK, SHORT)) == "né\u2028 🙂"


def test_a_missing_done_after_the_end_is_forgiven(server: OpenAIServer) -> None:
    def behave(exchange: Any) -> None:
        exchange.begin_stream()
        exchange.event(choice("all", "stop"))
        exchange.hang_up()

    assert "".join(opened(server.play(behave)).stream(ASK, SHORT)) == "all"
    assert len(server.asked) == 1


# ---------------------------------------------------------------------- trying again


@pytest.mark.parametrize("stream", [False, True])
def test_429_with_retry_after_then_ok(server: OpenAIServer, stream: bool) -> None:
    server.play(status(429, "slow down", Retry_After="1.5"), answer())
    sleeps = Sleeps()
    model = opened(server, sleep=sleeps)
    text = "".join(model.stream(ASK, SHORT)) if stream else model.complete(ASK, SHORT).text
    assert text == TEXT
    assert len(server.asked) == 2
    assert 1.5 <= sum(sleeps) <= 1.5 + 0.25


def test_retry_after_may_be_a_date(server: OpenAIServer) -> None:
    from email.utils import formatdate
    from time import time

    server.play(status(503, "later", Retry_After=formatdate(time() + 5, usegmt=True)), answer())
    sleeps = Sleeps()
    assert opened(server, sleep=sleeps).complete(ASK, SHORT).text == TEXT
    assert 2 < sum(sleeps) <= 5.25


def test_retry_after_beyond_the_deadline_is_not_waited_for(server: OpenAIServer) -> None:
    server.play(status(429, "slow down", Retry_After="30"), answer())
    with request.context(deadline=20.0):
        error = failure(opened(server, timeout=60.0))
    assert isinstance(error, ModelBusy)
    assert "due in 30 seconds" in error.hint
    assert len(server.asked) == 1


def test_503s_until_the_retries_are_used_up(server: OpenAIServer) -> None:
    sleeps = Sleeps()
    error = failure(opened(server.play(status(503, "loading")), retries=4, sleep=sleeps))
    assert isinstance(error, ModelBusy)
    assert "HTTP 503" in str(error)
    assert "loading" in str(error)
    assert len(server.asked) == 5
    assert sum(sleeps) <= 0.25 + 0.5 + 1 + 2


def test_the_pauses_are_jittered(server: OpenAIServer) -> None:
    server.play(status(503))
    totals = set()
    for _ in range(3):
        sleeps = Sleeps()
        model = opened(server, retries=1, sleep=sleeps)
        model._endpoint._rng.seed()
        failure(model)
        totals.add(sum(sleeps))
    assert len(totals) == 3


def test_a_dropped_connection_is_tried_again_before_the_first_token(server: OpenAIServer) -> None:
    server.play(drop(-1), drop(0), answer())
    assert "".join(opened(server).stream(ASK, SHORT)) == TEXT
    assert len(server.asked) == 3
    server.play(drop(-1), answer())
    assert opened(server).complete(ASK, SHORT).text == TEXT


def test_it_is_never_tried_again_after_the_first_token(server: OpenAIServer) -> None:
    stream = opened(server.play(drop(2), answer())).stream(ASK, SHORT)
    came = []
    with pytest.raises(ModelError, match=r"cut off after 11 characters.*Twenty-five") as caught:
        came.extend(stream)
    assert not isinstance(caught.value, ModelBusy)
    assert came == ["Twenty", "-five"]
    assert stream.completion.text == "Twenty-five"
    assert stream.completion.finish == "cancelled"
    assert len(server.asked) == 1


def test_a_stream_that_ends_without_an_end_mark_is_cut_off(server: OpenAIServer) -> None:
    chunk = b'data: {"choices": [{"delta": {"content": "half"}}]}\n\n'
    error = failure(opened(server.play(raw_stream(chunk))), stream=True)
    assert "cut off after 4 characters" in str(error)
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", [500, 502, 504])
def test_other_failures_are_not_tried_again(server: OpenAIServer, code: int) -> None:
    error = failure(opened(server.play(status(code, "CUDA out of memory"))))
    assert type(error) is ModelError
    assert f"HTTP {code}" in str(error)
    assert "CUDA out of memory" in str(error)
    assert len(server.asked) == 1


def test_what_the_server_said_is_in_the_trace(server: OpenAIServer) -> None:
    with tracing.collect("test") as run:
        opened(server).complete(ASK, Decoding(max_new_tokens=9, temperature=0.5, seed=3))
    attributes = run.spans[0].attributes
    assert attributes["response_model"] == "tiny-1-0613"
    assert (attributes["max_new_tokens"], attributes["temperature"], attributes["seed"]) == (9, 0.5, 3)
    assert run.record["models"][0]["system_fingerprint"] == "fp_44709d6fcb"


def test_the_number_of_retries_is_in_the_trace(server: OpenAIServer) -> None:
    with tracing.collect("test") as run:
        opened(server.play(status(503), answer())).complete(ASK, SHORT)
    assert run.spans[0].attributes["retries"] == 1


# ---------------------------------------------------------------------- clear errors


@pytest.mark.parametrize("code", [401, 403])
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_key_names_the_variable_and_never_the_value(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch, code: int, stream: bool
) -> None:
    monkeypatch.setenv("TEAM_KEY", SECRET)
    server.play(status(code, f"Incorrect API key provided: {SECRET}. See sk-tes***cret and Bearer {SECRET}"))
    model = opened(server, key="TEAM_KEY")
    with tracing.collect("test") as run:
        error = failure(model, stream=stream)
    assert isinstance(error, ModelRefused)
    assert "TEAM_KEY" in str(error)
    everything = f"{error} {error!r} {model!r} {vars(model)} {vars(model._endpoint)} {run.spans} {run.record}"
    assert SECRET not in everything
    assert "cret" not in str(error)
    assert len(server.asked) == 1


def test_no_key_where_one_is_wanted_says_how_to_name_it(server: OpenAIServer) -> None:
    error = failure(opened(server.play(status(401, "no key"))))
    assert "key = 'OPENAI_API_KEY'" in error.hint


def test_an_unset_key_is_told_before_anything_is_sent(server: OpenAIServer) -> None:
    with pytest.raises(Unavailable, match="'TEAM_KEY' is not set"):
        opened(server, key="TEAM_KEY")
    with pytest.raises(Unavailable, match="OPENAI_API_KEY"):
        open_remote("gpt-4o-mini", ModelSettings(), policy="named", root=Path())
    assert server.requests == []


def test_a_key_with_a_line_break_is_refused_unseen(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM_KEY", "abc\ndefghi")
    error = failure(opened(server, key="TEAM_KEY"))
    assert "TEAM_KEY" in str(error)
    assert "defghi" not in str(error)
    assert server.requests == []


def test_a_missing_model_lists_those_that_are_there(server: OpenAIServer) -> None:
    server.play(status(404, "The model `tiny-3` does not exist", kind="model_not_found"))
    error = failure(opened(server, "tiny-3"))
    assert isinstance(error, ModelRefused)
    assert "'tiny-3'" in str(error)
    assert "Did you mean 'tiny-" in error.hint
    assert "tiny-1, tiny-2" in error.hint


def test_a_web_page_is_not_an_api(server: OpenAIServer) -> None:
    for behaviour in (page(404), page(200), page(405)):
        error = failure(opened(server.play(behaviour)))
        assert isinstance(error, ModelRefused)
        assert server.url in str(error)
        assert "not the address of an OpenAI-style API" in str(error)


def test_a_wrong_path_hints_at_v1(server: OpenAIServer) -> None:
    error = failure(opened(server.url.removesuffix("/v1")))
    assert "not the address of an OpenAI-style API" in str(error)
    assert "end in /v1" in error.hint


def test_connection_refused_names_the_address() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        sleeps = Sleeps()
        error = failure(opened(url, retries=2, sleep=sleeps))
    assert isinstance(error, ModelRefused)
    assert url in str(error)
    assert "Is the server running" in error.hint
    assert sleeps


def test_https_to_a_plain_server_says_so(server: OpenAIServer) -> None:
    error = failure(opened(server.url.replace("http:", "https:")))
    assert isinstance(error, ModelRefused)
    assert "http://" in error.hint


def test_a_redirect_is_not_followed(server: OpenAIServer) -> None:
    def behave(exchange: Any) -> None:
        exchange.send(301, b"", Location="https://user:pw@elsewhere.example/v1?token=abc")

    error = failure(opened(server.play(behave)))
    assert "'https://elsewhere.example/v1'" in str(error)
    assert "pw" not in str(error)


def test_a_bad_request_shows_what_the_server_says(server: OpenAIServer) -> None:
    said = "This model's maximum context length is 4096 tokens."
    error = failure(opened(server.play(status(400, said))))
    assert isinstance(error, ModelRefused)
    assert said in str(error)


def test_a_used_up_quota_is_not_tried_again(server: OpenAIServer) -> None:
    error = failure(opened(server.play(status(429, "You exceeded your quota", kind="insufficient_quota"))))
    assert isinstance(error, ModelRefused)
    assert "quota" in str(error)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (body(b'{"choices": [{"message"'), "not JSON"),
        (body(b""), "not JSON"),
        (body(b"[1, 2]"), "without a choice"),
        (body(b'{"object": "chat.completion"}'), "without a choice"),
        (body(b'{"error": {"message": "model crashed"}}'), "model crashed"),
        (raw_stream(b"data: {oops\n\n"), "not JSON"),
        (raw_stream(b"data: \xff\xfe\n\n"), "cannot be read"),
        (raw_stream(b'data: {"error": {"message": "out of memory"}}\n\n'), "out of memory"),
        (raw_stream(b"data: 7\n\n"), "without a choice"),
    ],
)
def test_nonsense_is_an_error_that_shows_it(server: OpenAIServer, behaviour: Behaviour, said: str) -> None:
    error = failure(opened(server.play(behaviour)), stream=True)
    assert isinstance(error, ModelError)
    assert said in str(error)
    assert len(server.asked) == 1


def test_the_content_filter_is_told(server: OpenAIServer) -> None:
    error = failure(opened(server.play(answer(finish="content_filter"))))
    assert isinstance(error, ModelRefused)
    assert "content filter" in str(error)


@pytest.mark.parametrize(
    "url", ["ftp://x/v1", "localhost:8000", "http://", "http://h:port/v1", "http://[::1"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        opened(url)


def test_the_network_policy_holds() -> None:
    settings = ModelSettings(url="https://models.example/v1")
    with pytest.raises(NetworkRefused, match="models.example"):
        open_remote("m", settings, policy="off", root=Path())
    assert open_remote("m", settings, policy="named", root=Path()).name == "openai:m"


# ---------------------------------------------------------------------- time and cancelling


@pytest.mark.parametrize("stream", [False, True])
def test_silence_ends_in_a_timeout(server: OpenAIServer, stream: bool) -> None:
    error = failure(opened(server.play(stall(1)), timeout=0.3), stream=stream)
    assert isinstance(error, ModelTimeout)
    assert "silent for 0.3 seconds" in str(error)
    assert len(server.asked) == 1
    assert server.disconnected.wait(10)


@pytest.mark.parametrize("stream", [False, True])
def test_the_deadline_ends_a_silent_server(server: OpenAIServer, stream: bool) -> None:
    model = opened(server.play(stall(0)))
    with request.context(deadline=0.3):
        error = failure(model, stream=stream)
    assert isinstance(error, Cancelled)
    assert server.disconnected.wait(10)


def test_closing_a_stream_closes_the_connection(server: OpenAIServer) -> None:
    stream = opened(server.play(stall(2))).stream(ASK, SHORT)
    assert next(stream) == "Twenty"
    stream.close()
    assert server.disconnected.wait(10)
    assert stream.completion.text == "Twenty"


@pytest.mark.parametrize("after", [0, 1])
def test_cancelling_while_the_server_is_silent_closes_the_connection(
    server: OpenAIServer, after: int
) -> None:
    model = opened(server.play(stall(after)), timeout=60.0)
    token = request.CancelToken()
    threading.Timer(0.3, token.cancel, ("the page was closed",)).start()
    with request.use(request.RequestContext(cancel=token)), pytest.raises(Cancelled, match="page was closed"):
        list(model.stream(ASK, SHORT))
    assert server.disconnected.wait(10)


def test_cancelling_a_whole_answer_closes_the_connection(server: OpenAIServer) -> None:
    model = opened(server.play(stall(0)), timeout=60.0)
    token = request.CancelToken()
    threading.Timer(0.3, token.cancel).start()
    with request.use(request.RequestContext(cancel=token)), pytest.raises(Cancelled):
        model.complete(ASK, SHORT)
    assert server.disconnected.wait(10)


def test_another_thread_may_close_a_waiting_stream(server: OpenAIServer) -> None:
    stream = opened(server.play(stall(1)), timeout=60.0).stream(ASK, SHORT)
    assert next(stream) == "Twenty"
    threading.Timer(0.3, stream.close).start()
    assert list(stream) == []
    assert server.disconnected.wait(10)
    assert stream.completion.finish == "cancelled"


def test_a_forgotten_stream_closes_its_connection(server: OpenAIServer) -> None:
    stream = opened(server.play(stall(1)), timeout=60.0).stream(ASK, SHORT)
    next(stream)
    del stream
    assert server.disconnected.wait(10)


def test_cancelling_works_while_waiting_to_try_again(server: OpenAIServer) -> None:
    token = request.CancelToken()
    model = opened(server.play(status(503)), retries=100, sleep=lambda _: token.cancel())
    with request.use(request.RequestContext(cancel=token)), pytest.raises(Cancelled):
        model.complete(ASK, SHORT)
