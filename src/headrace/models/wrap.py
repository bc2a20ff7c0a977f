"""Models round a model: Cached, Retrying, Fallback, Budgeted. Wrappers instead of flags.

Each is a whole model (``headrace.protocols.Model``) and passes on whatever else its inner one
offers (``logprobs``, ``close``). They combine: ``Budgeted(Cached(Fallback(a, b)), …)``.
"""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headrace import request
from headrace.errors import InputError, ModelBusy, ModelError, ModelTimeout, OverBudget
from headrace.models.cost import Prices, estimate
from headrace.models.stream import Pieces, TextStream, called
from headrace.types import Completion, Decoding, Message, Usage, digest, to_json

if TYPE_CHECKING:
    from headrace.protocols import Model


class Wrapper:
    """A model that hands everything on to ``inner``; subclasses change how a call is made."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not set yet: copying and unpickling ask before __init__
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def window(self) -> int | None:
        return self.inner.window

    @property
    def identity(self) -> Mapping[str, Any]:
        return self.inner.identity

    def count(self, text: str) -> int:
        return self.inner.count(text)

    def complete(self, messages: Sequence[Message], decoding: Decoding) -> Completion:
        return self.inner.complete(messages, decoding)

    def stream(self, messages: Sequence[Message], decoding: Decoding) -> TextStream:
        return TextStream(
            lambda: self._pieces(messages, decoding),
            partial=lambda came: self._partial(messages, came),
        )

    def _pieces(self, messages: Sequence[Message], decoding: Decoding) -> Pieces:
        return (yield from _passed_on(self.inner, messages, decoding))

    def _partial(self, messages: Sequence[Message], came: str) -> Completion:
        used = sum(self.count(message.content) for message in messages)
        return Completion(
            text=came,
            model=self.name,
            finish="cancelled",
            usage=Usage(input_tokens=used, output_tokens=self.count(came)),
            exact=False,
            identity=self.identity,
        )


def _passed_on(
    model: Model, messages: Sequence[Message], decoding: Decoding
) -> Generator[str, None, Completion]:
    """The pieces of a model, its stream closed whatever happens."""
    with closing(model.stream(messages, decoding)) as stream:
        yield from stream
        return stream.completion


class Cached(Wrapper):
    """Remembers answers by model identity, messages and decoding.

    Only what would come out the same again is remembered: greedy calls, and sampled ones with a
    seed. The last ``size`` answers are kept in memory; calls for the same answer at the same time
    wait for the first one. What comes from memory has used nothing: its usage is 0.
    """

    def __init__(self, inner: Model, *, size: int = 1024) -> None:
        super().__init__(inner)
        if size < 1:
            raise InputError(f"size={size!r} answers cannot be kept.", hint="Give 1 or more.")
        self._size = size
        self._known: OrderedDict[str, Completion] = OrderedDict()
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Event] = {}

    def complete(self, messages: Sequence[Message], decoding: Decoding) -> Completion:
        """The remembered answer, or the inner model's."""
        if not _repeatable(decoding):
            return self.inner.complete(messages, decoding)
        with self._answer(messages, decoding) as (known, remember):
            if known is None:
                return remember(self.inner.complete(messages, decoding))
            return self._replay(known, messages, decoding)

    def _pieces(self, messages: Sequence[Message], decoding: Decoding) -> Pieces:
        if not _repeatable(decoding):
            return (yield from _passed_on(self.inner, messages, decoding))
        with self._answer(messages, decoding) as (known, remember):
            if known is None:
                return remember((yield from _passed_on(self.inner, messages, decoding)))
            if known.text:
                yield known.text
            return self._replay(known, messages, decoding)

    @contextmanager
    def _answer(
        self, messages: Sequence[Message], decoding: Decoding
    ) -> Generator[tuple[Completion | None, Callable[[Completion], Completion]], None, None]:
        """The remembered answer, or None and the right to find it: only one caller has it at a time."""
        key = digest([self.inner.name, self.identity, list(messages), decoding])
        while True:
            with self._lock:
                known = self._known.get(key)
                first = known is None and key not in self._busy
                if known is not None:
                    self._known.move_to_end(key)
                elif first:
                    self._busy[key] = threading.Event()
                wait = self._busy.get(key)
            if known is not None or first:
                break
            while wait is not None and not wait.wait(0.05):
                request.checkpoint()

        def remember(completion: Completion) -> Completion:
            if completion.finish != "cancelled":
                with self._lock:
                    self._known[key] = completion
                    if len(self._known) > self._size:
                        self._known.popitem(last=False)
            return completion

        try:
            yield known, remember
        finally:
            if first:
                with self._lock:
                    self._busy.pop(key).set()

    def _replay(self, known: Completion, messages: Sequence[Message], decoding: Decoding) -> Completion:
        with called(known.model, messages, decoding, cached=True) as call:
            cost = None if known.usage.cost is None else 0.0
            return call.done(replace(known, usage=Usage(cost=cost)))


def _repeatable(decoding: Decoding) -> bool:
    return decoding.temperature == 0 or decoding.seed is not None


class Retrying(Wrapper):
    """Tries a call again when the model was busy or too slow, before the first piece only.

    Exponential backoff with full jitter from ``pause`` seconds. Remote models retry by themselves;
    this is for those that do not.
    """

    def __init__(
        self,
        inner: Model,
        *,
        retries: int = 2,
        pause: float = 0.25,
        rng: random.Random | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(inner)
        self._retries, self._pause = retries, pause
        self._rng = rng or random.Random()
        self._sleep = sleep

    def complete(self, messages: Sequence[Message], decoding: Decoding) -> Completion:
        """The first answer that comes."""
        for attempt in range(self._retries):
            try:
                return self.inner.complete(messages, decoding)
            except (ModelBusy, ModelTimeout):
                self._wait(attempt)
        return self.inner.complete(messages, decoding)

    def _pieces(self, messages: Sequence[Message], decoding: Decoding) -> Pieces:
        for attempt in range(self._retries):
            begun = False
            try:
                with closing(self.inner.stream(messages, decoding)) as stream:
                    for piece in stream:
                        begun = True
                        yield piece
                    return stream.completion
            except (ModelBusy, ModelTimeout):
                if begun:
                    raise
                self._wait(attempt)
        return (yield from _passed_on(self.inner, messages, decoding))

    def _wait(self, attempt: int) -> None:
        request.checkpoint()
        seconds = self._rng.uniform(0, min(8.0, self._pause * 2**attempt))
        while seconds > 0:
            self._sleep(min(seconds, 0.05))
            seconds -= 0.05
            request.checkpoint()


class Fallback(Wrapper):
    """Asks the next model where one fails, before the first piece only.

    What counts as failing is a ModelError: the model or its server. A wrong input fails the same
    with each of them and is raised at once. ``Completion.model`` says which one answered; name,
    tokens and prices of the whole are those of the first, the window is the shortest one.
    """

    def __init__(self, first: Model, *others: Model) -> None:
        super().__init__(first)
        self._models = (first, *others)

    @property
    def window(self) -> int | None:
        """The shortest known window: a prompt must fit whichever model answers."""
        return min((m.window for m in self._models if m.window is not None), default=None)

    @property
    def calls_tools(self) -> bool:
        """Whether every one of them calls tools."""
        return all(getattr(model, "calls_tools", False) for model in self._models)

    @property
    def identity(self) -> Mapping[str, Any]:
        """That of the first, with those of the others under ``fallbacks``."""
        others = [{"name": m.name, **to_json(m.identity)} for m in self._models[1:]]
        return {**self.inner.identity, "fallbacks": others} if others else self.inner.identity

    def complete(self, messages: Sequence[Message], decoding: Decoding) -> Completion:
        """The first answer that comes."""
        for model in self._models[:-1]:
            try:
                return model.complete(messages, decoding)
            except ModelError:
                request.checkpoint()
        return self._models[-1].complete(messages, decoding)

    def _pieces(self, messages: Sequence[Message], decoding: Decoding) -> Pieces:
        for model in self._models[:-1]:
            begun = False
            try:
                with closing(model.stream(messages, decoding)) as stream:
                    for piece in stream:
                        begun = True
                        yield piece
                    return stream.completion
            except ModelError:
                if begun:
                    raise
                request.checkpoint()
        return (yield from _passed_on(self._models[-1], messages, decoding))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may be used in all; None: no limit. ``cost`` in US dollars."""

    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None


class _Used:
    """What was used, by one model or by several that share a limit."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls, self.tokens, self.cost = 0, 0, 0.0


class Budgeted(Wrapper):
    """Refuses a call that could go beyond the limits, before it is made.

    The most a call can use (its prompt and all of ``max_new_tokens``) is set aside first and put
    right by what it did use, so that calls at the same time cannot overdraw together. A limit of
    money needs ``prices``. ``spent`` is what has been used; with ``together`` the limits hold for both
    models at once.
    """

    def __init__(
        self,
        inner: Model,
        limits: Limits,
        *,
        prices: Prices | None = None,
        together: Budgeted | None = None,
    ) -> None:
        super().__init__(inner)
        self.limits = limits
        self._prices = prices or Prices()
        if limits.cost is not None and self._prices.cost(1, 1) is None:
            raise InputError(
                f"A limit of {limits.cost!r} US dollars needs prices; those of {inner.name!r} are unknown.",
                hint="Set input_price and output_price for this model, or limit tokens.",
            )
        self._used: _Used = _Used() if together is None else together._used

    @property
    def spent(self) -> Limits:
        """Calls, tokens and US dollars used so far, with those set aside for running calls."""
        with self._used.lock:
            return Limits(calls=self._used.calls, tokens=self._used.tokens, cost=self._used.cost)

    def complete(self, messages: Sequence[Message], decoding: Decoding) -> Completion:
        """The inner model's answer, or OverBudget."""
        with self._set_aside(messages, decoding) as settle:
            return settle(self.inner.complete(messages, decoding))

    def _pieces(self, messages: Sequence[Message], decoding: Decoding) -> Pieces:
        with self._set_aside(messages, decoding) as settle:
            with closing(self.inner.stream(messages, decoding)) as stream:
                try:
                    yield from stream
                finally:
                    stream.close()
                    completion = settle(stream.completion)
            return completion

    @contextmanager
    def _set_aside(
        self, messages: Sequence[Message], decoding: Decoding
    ) -> Generator[Callable[[Completion], Completion], None, None]:
        most = estimate(messages, decoding, count=self.count, prices=self._prices)
        tokens, cost = most.input_tokens + most.output_tokens, most.cost or 0.0
        spent = self._used
        with spent.lock:
            self._refuse(spent.calls, 1, self.limits.calls, "calls")
            self._refuse(spent.tokens, tokens, self.limits.tokens, "tokens")
            self._refuse(spent.cost, cost, self.limits.cost, "US dollars")
            spent.calls += 1
            spent.tokens += tokens
            spent.cost += cost
        used: list[Usage] = []

        def settle(completion: Completion) -> Completion:
            used.append(completion.usage)
            return completion

        try:
            yield settle
        finally:
            found = used[0] if used else Usage()
            real = self._prices.cost(found.input_tokens, found.output_tokens) or 0.0
            with spent.lock:
                spent.tokens += found.input_tokens + found.output_tokens - tokens
                spent.cost += real - cost

    def _refuse(self, spent: float, wanted: float, limit: float | None, unit: str) -> None:
        if limit is not None and spent + wanted > limit:
            raise OverBudget(
                f"This call of {self.name!r} could use {wanted:g} {unit}; {spent:g} of {limit:g} are used.",
                hint="Raise the limit, shorten the prompt, or ask for fewer new tokens.",
            )
