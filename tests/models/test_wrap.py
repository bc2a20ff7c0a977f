"""Models round a model."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

import pytest

from contracts.model import ASK, SHORT, ModelContract
from headrace import request, tracing
from headrace.errors import Cancelled, InputError, ModelBusy, ModelError, ModelRefused, OverBudget
from headrace.models.cost import MESSAGE_OVERHEAD, Prices
from headrace.models.scripted import ScriptedModel
from headrace.models.wrap import Budgeted, Cached, Fallback, Limits, Retrying, Wrapper
from headrace.types import Decoding, Message, Usage

SAID = "Twenty-five days, all told."


class TestWrapperContract(ModelContract):
    @pytest.fixture
    def model(self) -> Wrapper:
        return Wrapper(ScriptedModel(SAID))


class TestRetryingContract(ModelContract):
    @pytest.fixture
    def model(self) -> Wrapper:
        return Retrying(ScriptedModel(SAID), sleep=lambda _: None)


class TestFallbackContract(ModelContract):
    @pytest.fixture
    def model(self) -> Wrapper:
        return Fallback(ScriptedModel(SAID))


class TestBudgetedContract(ModelContract):
    @pytest.fixture
    def model(self) -> Wrapper:
        return Budgeted(ScriptedModel(SAID), Limits(calls=100))


def say(text: str) -> list[Message]:
    return [Message("user", text)]


def test_wrappers_pass_on_what_a_model_can_also_do() -> None:
    class Judge(ScriptedModel):
        def logprobs(self, prompt: str, continuation: str) -> list[float]:
            return [-0.5]

    assert Budgeted(Cached(Judge("x")), Limits()).logprobs("a", "b") == [-0.5]
    assert not hasattr(Cached(ScriptedModel("x")), "logprobs")


# ---------------------------------------------------------------------- cached


def test_the_same_call_is_answered_from_memory() -> None:
    inner = ScriptedModel(["one", "two", "three", "four"], prices=Prices(input=1.0, output=1.0))
    model = Cached(inner)
    first = model.complete(ASK, SHORT)
    again = model.complete(ASK, SHORT)
    assert first.text == again.text == "one"
    assert again.usage == Usage(cost=0.0)
    assert len(inner.calls) == 1
    assert model.complete(say("other"), SHORT).text == "two"
    assert model.complete(ASK, Decoding(max_new_tokens=13)).text == "three"


def test_streams_and_whole_answers_share_the_memory() -> None:
    inner = ScriptedModel(["one and a half", "two"])
    model = Cached(inner)
    assert list(model.stream(ASK, SHORT)) == ["one", " and", " a", " half"]
    stream = model.stream(ASK, SHORT)
    assert list(stream) == ["one and a half"]
    assert stream.completion.text == "one and a half"
    assert model.complete(ASK, SHORT).text == "one and a half"
    assert len(inner.calls) == 1


def test_sampling_without_a_seed_is_not_remembered() -> None:
    model = Cached(ScriptedModel(["one", "two", "three", "four"]))
    free, seeded = Decoding(temperature=0.7), Decoding(temperature=0.7, seed=1)
    assert [model.complete(ASK, free).text for _ in range(2)] == ["one", "two"]
    assert [model.complete(ASK, seeded).text for _ in range(2)] == ["three", "three"]


def test_errors_and_cut_streams_are_not_remembered() -> None:
    model = Cached(ScriptedModel(["one two", "three"], fail=1))
    with pytest.raises(ModelBusy):
        model.complete(ASK, SHORT)
    stream = model.stream(ASK, SHORT)
    assert next(stream) == "one"
    stream.close()
    assert model.complete(ASK, SHORT).text == "three"


def test_the_oldest_answer_goes_first() -> None:
    inner = ScriptedModel(lambda messages: messages[-1].content)
    model = Cached(inner, size=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        assert model.complete(say(text), SHORT).text == text
    assert [call.messages[-1].content for call in inner.calls] == ["a", "b", "c", "b"]


def test_calls_at_the_same_time_ask_once() -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(messages: Sequence[Message]) -> str:
        begun.set()
        assert go.wait(20)
        return "once"

    inner = ScriptedModel(slow)
    model, texts = Cached(inner), []
    threads = [
        threading.Thread(target=lambda: texts.append(model.complete(ASK, SHORT).text)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    go.set()
    for thread in threads:
        thread.join()
    assert texts == ["once"] * 4
    assert len(inner.calls) == 1


def test_a_cached_answer_is_in_the_record_like_any_other() -> None:
    model = Cached(ScriptedModel("one"))
    model.complete(ASK, SHORT)
    with tracing.collect("test") as run:
        model.complete(ASK, SHORT)
    span = next(span for span in run.spans if span.kind == "model")
    assert span.attributes["cached"] is True
    assert span.attributes["output_tokens"] == 0
    assert run.record["models"][0]["name"] == "scripted:replies"
    assert len(run.record["prompts"]) == 1


# ---------------------------------------------------------------------- retrying


def test_a_busy_model_is_asked_again() -> None:
    pauses: list[float] = []
    inner = ScriptedModel("at last", fail=2)
    model = Retrying(inner, retries=2, rng=random.Random(0), sleep=pauses.append)
    assert model.complete(ASK, SHORT).text == "at last"
    assert 0 < sum(pauses) <= 0.75
    inner = ScriptedModel("at last", fail=2)
    assert "".join(Retrying(inner, retries=2, sleep=pauses.append).stream(ASK, SHORT)) == "at last"


def test_retries_end() -> None:
    inner = ScriptedModel("never", fail=9)
    with pytest.raises(ModelBusy):
        Retrying(inner, retries=3, sleep=lambda _: None).complete(ASK, SHORT)
    assert len(inner.calls) == 4


def test_other_errors_are_not_tried_again() -> None:
    inner = ScriptedModel("x", fail=[ModelRefused("wrong key")])
    with pytest.raises(ModelRefused):
        Retrying(inner).complete(ASK, SHORT)
    assert len(inner.calls) == 1


# ---------------------------------------------------------------------- fallback


def test_the_next_model_answers_where_one_fails() -> None:
    broken = ScriptedModel("x", name="scripted:a", fail=9)
    model = Fallback(broken, ScriptedModel("fine", name="scripted:b", window=9))
    done = model.complete(say("?"), SHORT)
    assert (done.text, done.model) == ("fine", "scripted:b")
    assert "".join(model.stream(say("?"), SHORT)) == "fine"
    assert model.name == "scripted:a"
    assert model.window == 9
    assert model.identity["fallbacks"][0]["name"] == "scripted:b"


def test_where_all_fail_the_last_error_counts() -> None:
    model = Fallback(ScriptedModel("x", fail=9), ScriptedModel("x", fail=[ModelRefused("no")]))
    with pytest.raises(ModelRefused, match="no"):
        model.complete(ASK, SHORT)


def test_a_wrong_input_is_not_passed_from_one_to_the_next() -> None:
    second = ScriptedModel("x")
    with pytest.raises(InputError):
        Fallback(ScriptedModel("x", window=1), second).complete(ASK, SHORT)
    assert second.calls == []


def test_an_answer_that_has_begun_is_not_begun_anew() -> None:
    class Breaks(ScriptedModel):
        def _wait(self, index: int) -> None:
            if index == 1:
                raise ModelError("broke off")

    second = ScriptedModel("fine")
    stream = Fallback(Breaks("half an answer"), second).stream(ASK, SHORT)
    assert next(stream) == "half"
    with pytest.raises(ModelError, match="broke off"):
        next(stream)
    assert second.calls == []


def test_a_cancelled_run_does_not_fall_back() -> None:
    token = request.CancelToken()
    second = ScriptedModel("fine")

    class Cancels(ScriptedModel):
        def _wait(self, index: int) -> None:
            token.cancel()
            raise ModelError("closed")

    with request.use(request.RequestContext(cancel=token)), pytest.raises(Cancelled):
        Fallback(Cancels("x"), second).complete(ASK, SHORT)
    assert second.calls == []


# ---------------------------------------------------------------------- budgeted


def test_a_limit_of_calls() -> None:
    model = Budgeted(ScriptedModel("x"), Limits(calls=2))
    for _ in range(2):
        model.complete(ASK, SHORT)
    with pytest.raises(OverBudget, match="2 of 2"):
        model.complete(ASK, SHORT)
    with pytest.raises(OverBudget):
        next(model.stream(ASK, SHORT))


def test_tokens_are_set_aside_and_put_right() -> None:
    model = Budgeted(ScriptedModel("a b"), Limits(tokens=24 + MESSAGE_OVERHEAD))
    asked = Decoding(max_new_tokens=16)
    model.complete(say("one two three"), asked)
    assert model.spent.tokens == 3 + 2
    model.complete(say("one"), asked)  # 1 + 16 (and the message's marks) fit beside 5
    assert model.spent.tokens == 5 + 1 + 2
    with pytest.raises(OverBudget, match=f"8 of {24 + MESSAGE_OVERHEAD}"):
        model.complete(say("one"), asked)
    assert model.spent.calls == 2


def test_calls_at_the_same_time_cannot_overdraw_together() -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(messages: Sequence[Message]) -> str:
        begun.set()
        assert go.wait(20)
        return "a"

    model = Budgeted(ScriptedModel(slow), Limits(tokens=30))
    thread = threading.Thread(target=lambda: model.complete(say("?"), Decoding(max_new_tokens=20)))
    thread.start()
    assert begun.wait(20)
    with pytest.raises(OverBudget):
        model.complete(say("?"), Decoding(max_new_tokens=20))
    go.set()
    thread.join()
    model.complete(say("?"), Decoding(max_new_tokens=20))


def test_a_failed_call_gives_its_tokens_back() -> None:
    model = Budgeted(ScriptedModel("x", fail=1), Limits(tokens=100))
    with pytest.raises(ModelBusy):
        model.complete(ASK, SHORT)
    assert model.spent == Limits(calls=1, tokens=0, cost=0.0)


def test_a_closed_stream_is_charged_for_what_came() -> None:
    model = Budgeted(ScriptedModel("a b c d"), Limits(tokens=100))
    stream = model.stream(say("one"), SHORT)
    next(stream)
    stream.close()
    assert model.spent.tokens == 1 + 1


def test_a_limit_of_money_needs_prices() -> None:
    with pytest.raises(InputError, match="prices"):
        Budgeted(ScriptedModel("x"), Limits(cost=1.0))
    prices = Prices(input=1e6, output=1e6)  # a dollar a token
    model = Budgeted(ScriptedModel("a b", prices=prices), Limits(cost=20.0), prices=prices)
    model.complete(say("one"), Decoding(max_new_tokens=10))
    assert model.spent.cost == pytest.approx(3.0)
    with pytest.raises(OverBudget, match="US dollars"):
        model.complete(say("one"), Decoding(max_new_tokens=18))
