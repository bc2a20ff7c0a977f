"""What every model owes (headrace.protocols.Model). Inherit, and give a ``model`` fixture."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from headrace import request, to_json, tracing
from headrace.errors import Cancelled, InputError
from headrace.protocols import Model
from headrace.types import Completion, Decoding, Message

ASK = (Message("system", "Be brief."), Message("user", "Once upon a time, how many days of leave?"))
SHORT = Decoding(max_new_tokens=12)


class ModelContract:
    """``model`` answers ``ASK`` with more than one token, the same each time."""

    @pytest.fixture
    def model(self) -> Any:
        raise NotImplementedError

    def test_it_is_a_model(self, model: Model) -> None:
        assert isinstance(model, Model)
        assert ":" in model.name
        assert model.window is None or model.window > 0
        assert isinstance(model.identity["claimed"], bool)
        to_json(model.identity)

    def test_complete_says_what_it_wrote_and_used(self, model: Model) -> None:
        done = model.complete(ASK, SHORT)
        assert isinstance(done, Completion)
        assert done.text
        assert done.model == model.name
        assert done.finish in ("stop", "length")
        assert done.usage.input_tokens > 0
        assert 0 < done.usage.output_tokens <= SHORT.max_new_tokens
        assert done.identity.items() >= model.identity.items()

    def test_greedy_is_the_same_again(self, model: Model) -> None:
        assert model.complete(ASK, SHORT).text == model.complete(ASK, SHORT).text

    def test_the_stream_is_the_whole_in_pieces(self, model: Model) -> None:
        whole = model.complete(ASK, SHORT)
        stream = model.stream(ASK, SHORT)
        with pytest.raises(InputError):
            _ = stream.completion
        pieces = list(stream)
        assert len(pieces) > 1
        assert all(pieces)
        assert "".join(pieces) == whole.text == stream.completion.text
        assert stream.completion.usage == whole.usage
        assert stream.completion.finish == whole.finish
        assert list(stream) == []

    def test_a_closed_stream_keeps_what_came(self, model: Model) -> None:
        stream = model.stream(ASK, SHORT)
        first = next(stream)
        stream.close()
        stream.close()
        assert list(stream) == []
        assert stream.completion.text == first
        assert stream.completion.finish == "cancelled"

    def test_a_stream_may_be_closed_before_it_began(self, model: Model) -> None:
        stream = model.stream(ASK, SHORT)
        stream.close()
        assert list(stream) == []
        assert stream.completion.text == ""

    def test_counting(self, model: Model) -> None:
        assert model.count("") >= 0
        assert model.count("one two three four") > model.count("one")

    def test_nothing_to_complete_is_refused(self, model: Model) -> None:
        with pytest.raises(InputError):
            model.complete((), SHORT)

    @pytest.mark.parametrize(
        "wrong", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"stop": ("",)}]
    )
    def test_impossible_decoding_is_refused(self, model: Model, wrong: dict[str, Any]) -> None:
        with pytest.raises(InputError) as caught:
            model.complete(ASK, Decoding(**wrong))
        assert next(iter(wrong)) in str(caught.value)

    def test_a_cancelled_run_gets_nothing(self, model: Model) -> None:
        token = request.CancelToken()
        token.cancel("the test says so")
        with request.use(request.RequestContext(cancel=token)):
            with pytest.raises(Cancelled, match="the test says so"):
                model.complete(ASK, SHORT)
            with pytest.raises(Cancelled):
                list(model.stream(ASK, SHORT))

    def test_cancelling_between_pieces_ends_the_stream(self, model: Model) -> None:
        token = request.CancelToken()
        with request.use(request.RequestContext(cancel=token)):
            stream = model.stream(ASK, SHORT)
        came = [next(stream)]
        token.cancel()
        with pytest.raises(Cancelled):
            came.extend(stream)
        assert stream.completion.finish == "cancelled"
        assert stream.completion.text == "".join(came)

    def test_the_record_holds_what_made_the_text(self, model: Model) -> None:
        with tracing.collect("test") as run:
            done = model.complete(ASK, SHORT)
        span = next(span for span in run.spans if span.kind == "model")
        assert span.name == "complete"
        assert span.attributes["model"] == model.name
        assert span.attributes["input_tokens"] == done.usage.input_tokens
        assert span.attributes["output_tokens"] == done.usage.output_tokens
        assert span.attributes["finish"] == done.finish
        assert run.record["prompts"][0]["messages"] == to_json(list(ASK))
        assert len(run.record["prompts"][0]["hash"]) == 64
        assert run.record["decodings"][0]["max_new_tokens"] == SHORT.max_new_tokens
        assert run.record["models"][0]["name"] == model.name

    def test_a_stream_leaves_one_span_and_the_callers_context_alone(self, model: Model) -> None:
        with tracing.collect("test") as run:
            outside = tracing.current()
            stream = model.stream(ASK, SHORT)
            for _ in stream:
                assert tracing.current() is outside
                assert request.current().cancel is None
        spans = [span for span in run.spans if span.kind == "model"]
        assert len(spans) == 1
        assert spans[0].parent == run.spans[-1].id
        assert spans[0].attributes["output_tokens"] == stream.completion.usage.output_tokens
        assert spans[0].attributes["first_piece_seconds"] >= 0

    def test_a_closed_stream_is_an_end_in_the_trace_not_an_error(self, model: Model) -> None:
        with tracing.collect("test") as run:
            stream = model.stream(ASK, SHORT)
            next(stream)
            stream.close()
        span = next(span for span in run.spans if span.kind == "model")
        assert span.error is None
        assert span.attributes["finish"] == "cancelled"

    def test_threads_share_it(self, model: Model) -> None:
        alone = model.complete(ASK, SHORT).text
        texts: list[str] = []
        threads = [
            threading.Thread(target=lambda: texts.append(model.complete(ASK, SHORT).text)) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert texts == [alone] * 6
