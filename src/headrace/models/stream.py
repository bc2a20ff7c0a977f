"""What every model shares: the stream of pieces, the span and the notes of a call, stop strings.

It knows no model. A stream advances in its own copy of the caller's context: a context variable
set inside a generator would otherwise leak to the caller between two pieces.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from headrace import request, tracing
from headrace.errors import Cancelled, InputError
from headrace.types import Completion, Decoding, Message, digest, to_json

Pieces = Generator[str, None, Completion]


class _LinkedToken(request.CancelToken):
    """Cancelled when it is cancelled itself, or when the caller's token is."""

    def __init__(self, outer: request.CancelToken | None) -> None:
        super().__init__()
        self.outer = outer

    @property
    def closed(self) -> bool:
        """Whether this stream itself was closed."""
        return self._event.is_set()

    @property
    def cancelled(self) -> bool:
        if self.outer is not None and self.outer.cancelled:
            self.reason = self.reason or self.outer.reason
            return True
        return self._event.is_set()


class TextStream:
    """The pieces of one generation; implements :class:`headrace.protocols.ModelStream`.

    ``start`` makes the generator that yields the pieces and returns the Completion; it runs when
    the first piece is asked for. ``partial`` makes a Completion of what came, for a stream that was
    closed or broke off. ``close`` may be called from any thread.
    """

    def __init__(self, start: Callable[[], Pieces], *, partial: Callable[[str], Completion]) -> None:
        self._token = _LinkedToken(request.current().cancel)
        self._context = copy_context()
        self._partial = partial
        self._came: list[str] = []
        self._completion: Completion | None = None
        self._busy = threading.Lock()
        self._generator = _within(start, self._token)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        with self._busy:
            if self._completion is not None:
                raise StopIteration
            try:
                piece = self._context.run(next, self._generator)
            except StopIteration as end:
                self._completion = end.value or self._broken()
                raise
            except Cancelled:
                self._completion = self._broken()
                if self._token.closed:
                    raise StopIteration from None
                raise
            except BaseException:
                self._completion = self._broken()
                raise
            self._came.append(piece)
            return piece

    @property
    def completion(self) -> Completion:
        """The whole, once the stream has ended; what came (``finish="cancelled"``) if it was cut."""
        if self._completion is None:
            raise InputError(
                "The stream has not ended, so there is no whole text yet.",
                hint="Iterate to the end, or call close() to take what has come.",
            )
        return self._completion

    def close(self) -> None:
        """Stop the generation and what is behind it. Closing twice is harmless."""
        self._token.cancel("the stream was closed")
        # Where another thread is inside __next__, the token ends its wait; it finishes the stream.
        if self._busy.acquire(blocking=False):
            try:
                if self._completion is None:
                    self._context.run(self._generator.close)
                    self._completion = self._broken()
            finally:
                self._busy.release()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_completion", True) is None:
            self.close()

    def _broken(self) -> Completion:
        return self._partial("".join(self._came))


def _within(start: Callable[[], Pieces], token: request.CancelToken) -> Pieces:
    with request.use(replace(request.current(), cancel=token)):
        return (yield from start())


class Call:
    """One call of a model while it runs: what goes into its span and into the one record."""

    def __init__(self, span: tracing.OpenSpan, name: str) -> None:
        self._span = span
        self._name = name
        self._begun = time.perf_counter()
        self._first = False

    def piece(self) -> None:
        """Say that a piece came: the first one is timed."""
        if not self._first:
            self._first = True
            self._span.set(first_piece_seconds=time.perf_counter() - self._begun)

    def done(self, completion: Completion, **attributes: Any) -> Completion:
        """Record what the model wrote and what it used; returns the completion unchanged."""
        usage = completion.usage
        if served := completion.identity.get("response_model"):
            attributes["response_model"] = served
        self._span.set(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost=usage.cost,
            exact=completion.exact,
            finish=completion.finish,
            **attributes,
        )
        tracing.note("models", {"name": completion.model, **to_json(completion.identity)})
        return completion


@contextmanager
def called(
    name: str,
    messages: Sequence[Message],
    decoding: Decoding,
    *,
    provider: str = "",
    text: Callable[[], str] | None = None,
    **attributes: Any,
) -> Iterator[Call]:
    """The span of one model call, and its prompt and decoding in the one record of the run.

    ``text`` gives what a chat template made of the messages, where that is what the model reads.
    """
    check(messages)
    request.checkpoint()
    with tracing.span("complete", kind="model", model=name, provider=provider, **attributes) as span:
        settings: Mapping[str, Any] = to_json(decoding)
        span.set(**{key: value for key, value in settings.items() if value not in (None, [])})
        if tracing.collector() is not None:
            prompt = to_json(list(messages))
            exact = {} if text is None else {"text": text()}
            tracing.note("prompts", {"hash": digest(prompt), "messages": prompt, **exact})
            tracing.note("decodings", settings)
        try:
            yield Call(span, name)
        except GeneratorExit:  # the consumer closed the stream: an end, not an error
            span.set(finish="cancelled")


def check(messages: Sequence[Message]) -> None:
    """Refuse what no model can complete. What a Decoding may hold it says itself."""
    if not messages:
        raise InputError("There are no messages to complete.", hint="Give at least one Message('user', …).")


def refuse_beams(name: str, decoding: Decoding) -> None:
    """Refuse to stream a search with beams: which text wins is known when the last token is."""
    if decoding.num_beams > 1:
        raise InputError(
            f"{name!r} cannot stream with num_beams={decoding.num_beams}.",
            hint="Beams compete until the end, so there is nothing to show before: ask for the whole text "
            "(complete), or stream with num_beams=1.",
        )


class StopFilter:
    """Ends a text before the first of some stop strings, in pieces: what may begin one is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def feed(self, piece: str) -> str:
        """The text that is safe to show now."""
        if self.stopped:
            return ""
        text = self._held + piece
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, once nothing more comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-size:]):
            return size
    return 0
