"""The decorator: a typed function becomes an application.

An :class:`App` can be called, run in batches, streamed and awaited; each run leaves one Trace.
It knows nothing of HTTP or of the command line: the doors use ``run``, ``stream`` and
``signature``.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import operator
import queue
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, overload

from headrace import request, tracing
from headrace.errors import HeadraceError, UserError
from headrace.flows import fingerprint as fingerprints
from headrace.flows import guarding, waiting
from headrace.flows import run as rows
from headrace.flows.signature import Signature
from headrace.resources import bindings, build
from headrace.resources.bindings import Bindings
from headrace.resources.handles import Handle
from headrace.settings import FILE, find_root
from headrace.types import Answer, Event, Release, Trace, Usage, to_json

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run gave: the output, and its trace (None where tracing is off)."""

    output: Any
    trace_id: str | None
    trace: Trace | None


class App:
    """An application: a typed function that can be served, evaluated and released unchanged.

    ``root`` is the project it belongs to; its ledger lies there.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str = "",
        root: str | Path | None = None,
        replacements: Mapping[Handle, Any] | None = None,
        handles: Sequence[Handle] = (),
    ) -> None:
        self.function = function
        self.name = name or function.__name__
        self.doc = inspect.getdoc(function) or ""
        self.signature = Signature(function, self.name)
        self.file = _file_of(function)
        self.root = Path(root) if root is not None else _root_of(self.file)
        self.replacements = dict(replacements or {})
        self.release: Release | None = None  # the release that it was loaded from
        self._handles = tuple(handles)
        self._bindings: Bindings | None = None
        self._own = Bindings()  # in force where nobody else's are, to know what this application opens
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<App {self.name}{inspect.signature(self.function)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.release is not None:
            from headrace.flows.sealed import load_release_by_id

            return load_release_by_id, (self.release.id, str(self.root))
        if self.file is None or self.replacements:
            raise UserError(
                f"The application {self.name!r} cannot be sent to another process: it "
                + (
                    "was not defined in a file." if self.file is None else "has resources that were replaced."
                ),
                hint="Define it in a .py file and load it there with hr.load('file.py:function').",
            )
        from headrace.flows.load import load_exactly

        return load_exactly, (f"{self.file}:{self.function.__name__}", fingerprints.code_of(self).digest)

    # ------------------------------------------------------------------ resources

    @property
    def handles(self) -> tuple[Handle, ...]:
        """The handles that this application declares: created with its file, or found in its module."""
        found: dict[Handle, None] = dict.fromkeys(self._handles)
        code = inspect.unwrap(self.function)
        for value in getattr(code, "__globals__", {}).values():
            if isinstance(value, Handle):
                found.setdefault(value)
        for cell in getattr(code, "__closure__", None) or ():
            if isinstance(cell.cell_contents, Handle):
                found.setdefault(cell.cell_contents)
        return tuple(found)

    def bindings(self) -> bindings.Bindings:
        """What this application's handles mean: the bindings in force, with its replacements on top.

        A release keeps its own, whoever calls it.
        """
        if self.release is not None:
            assert self._bindings is not None
            return self._bindings
        if not self.replacements:
            found = bindings.current()
            if found is not bindings.DEFAULT:
                return found
            return self._own
        if self._bindings is None:
            self._bindings = bindings.current().over(self.replacements)
        return self._bindings

    @property
    def opened(self) -> tuple[Handle, ...]:
        """The handles that its runs in this process have used, in order of first use."""
        return (self._bindings or self._own).recorded

    def seal(self, sealed: Bindings, handles: Sequence[Handle]) -> None:
        """From now on, resources mean what a release's manifest says (used when one is loaded)."""
        self._bindings, self._handles = sealed, tuple(handles)

    def using(self, replacements: Mapping[Handle, Any]) -> App:
        """The same function with resources changed: ``handbook.using({llm: "openai:gpt-4o-mini"})``.

        A replacement is another handle, a model's name, or a ready object (a Model). Sealed for a release.
        """
        if self.release is not None:
            self.bindings().over(replacements)  # says why not
        for handle in replacements:
            if not isinstance(handle, Handle):
                raise UserError(
                    f"using() replaces handles, and {handle!r:.60} is none.",
                    hint="Pass the object made by hr.model(…) or hr.KnowledgeBase(…) as the key.",
                )
        return App(
            self.function,
            name=self.name,
            root=self.root,
            replacements={**self.replacements, **replacements},
            handles=self._handles,
        )

    # ------------------------------------------------------------------ one run

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(self.signature.bind(args, kwargs)).output

    def invoke(self, inputs: Any = None, /, **kwargs: Any) -> Any:
        """Run once. ``inputs`` is an object of fields by name, or the value of the one parameter."""
        return self._run(self._arguments(inputs, kwargs)).output

    def run(self, inputs: Mapping[str, Any], *, trace_id: str | None = None) -> Run:
        """Run once on strangers' values: validated against the signature; output and trace."""
        return self._run(self.signature.validate(inputs), trace_id)

    def _arguments(self, inputs: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if inputs is None:
            return self.signature.bind((), kwargs)
        if isinstance(inputs, Mapping) and set(inputs) <= set(self.signature.parameters):
            return self.signature.bind((), {**inputs, **kwargs})
        return self.signature.bind((inputs,), kwargs)

    def _run(self, arguments: Mapping[str, Any], trace_id: str | None = None) -> Run:
        request.checkpoint()
        with bindings.use(self.bindings()), bindings.within(self.root):
            if tracing.collector() is not None:  # called by another application: a step of its run
                with tracing.span(self.name, kind="app"):
                    return Run(output=self._call(arguments), trace_id=None, trace=None)
            ledger = build.ledger(self.root)
            if not ledger.enabled:
                return Run(output=self._call(arguments), trace_id=None, trace=None)
            return self._traced(arguments, ledger, trace_id)

    def _traced(self, arguments: Mapping[str, Any], ledger: Any, trace_id: str | None) -> Run:
        started, clock = time.time(), time.perf_counter()
        output: Any = None
        problem: str | None = None
        found: tracing.Collector | None = None
        try:
            with tracing.collect(self.name, trace_id=trace_id) as found:
                output = self._call(arguments)
                if isinstance(output, Answer):
                    output = replace(output, trace_id=found.id)
        except BaseException as error:
            code = error.code if isinstance(error, HeadraceError) else type(error).__name__
            problem = f"{code}: {error}"
            raise
        finally:
            if found is not None:
                seconds = time.perf_counter() - clock
                here = request.current()
                subject, record = self._made_by(found)
                trace = Trace(
                    id=found.id,
                    start=started,
                    seconds=seconds,
                    subject=subject,
                    context={"user": here.user, "session": here.session},
                    inputs=dict(arguments),  # the ledger takes them as they are now, and consumes nothing
                    output=output,
                    error=problem,
                    record=record,
                    spans=tuple(found.spans),
                )
                ledger.record(trace)
        return Run(output=output, trace_id=trace.id, trace=trace)

    def _made_by(
        self, found: tracing.Collector, made: fingerprints.Fingerprint | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Subject and record of a trace: what was noted, what all models used, what stood behind it.

        ``made`` is the fingerprint, where the caller knows it and watches that it holds.

        It runs when the answer is there, so nothing in it may cost the caller that answer: what a
        resource cannot say about itself is recorded as unavailable (``build.identity``).
        """
        made = made or fingerprints.fingerprint(self, seen=found.record)
        release = self.release.id if self.release is not None else None
        subject = {"app": self.name, "release": release, "fingerprint": made.id, "code": made.code}
        calls = [span.attributes for span in found.spans if "output_tokens" in span.attributes]
        record: dict[str, Any] = {key: list(values) for key, values in found.record.items()}
        if calls:
            used = [
                Usage(input_tokens=c["input_tokens"], output_tokens=c["output_tokens"], cost=c["cost"])
                for c in calls
            ]
            record["usage"] = [{"calls": len(calls), **to_json(functools.reduce(operator.add, used))}]
        record["resources"] = [dict(made.resources)]
        return subject, record

    def _call(self, arguments: Mapping[str, Any]) -> Any:
        def call() -> Any:
            given = self.function(**arguments)
            return waiting.run_coroutine(given) if inspect.iscoroutinefunction(self.function) else given

        return guarding.around(self.signature, arguments, call)

    # ------------------------------------------------------------------ many, streamed, awaited

    def batch(
        self, inputs: Sequence[Any], *, max_workers: int | None = None, return_exceptions: bool = False
    ) -> list[Any]:
        """Run many, side by side in threads; outputs in the order of the inputs.

        The first error is raised after the running ones have ended, unless ``return_exceptions``.
        """
        return rows.map(self.invoke, inputs, max_workers=max_workers, return_exceptions=return_exceptions)

    def stream(self, inputs: Any = None, /, **kwargs: Any) -> Iterator[Event]:
        """Run once and yield what happens: steps, provisional text, last the authoritative answer.

        Closing the iterator cancels the run at its next step.
        """
        return self._stream(self._arguments(inputs, kwargs))[0]

    def stream_inputs(self, inputs: Mapping[str, Any], *, trace_id: str | None = None) -> Iterator[Event]:
        """``stream`` for strangers' values: validated before the first event."""
        return self._stream(self.signature.validate(inputs), trace_id)[0]

    def _stream(
        self, arguments: Mapping[str, Any], trace_id: str | None = None
    ) -> tuple[Generator[Event, None, None], request.CancelToken]:
        """The events of a run, and what stops it."""
        # Here, not in the generator: that one begins at its first `next`, by which time the caller
        # may have left the context whose user and filters hold for this run.
        token = request.CancelToken()
        outer = request.current()
        changed = replace(outer, cancel=waiting.either(outer.cancel, token))
        return self._events(arguments, trace_id, changed, token, contextvars.copy_context()), token

    def _events(
        self,
        arguments: Mapping[str, Any],
        trace_id: str | None,
        context: request.RequestContext,
        token: request.CancelToken,
        surroundings: contextvars.Context,
    ) -> Generator[Event, None, None]:
        events: queue.Queue[Event | BaseException | None] = queue.Queue(maxsize=1024)

        def put(event: Event | BaseException | None) -> None:
            # A reader that went away must not hold the run for ever.
            while not token.cancelled:
                try:
                    events.put(event, timeout=0.1)
                    return
                except queue.Full:
                    continue

        def work() -> None:
            with request.use(replace(context, listener=put)):
                try:
                    done = self._run(arguments, trace_id)
                    put(Event(kind="answer", value=done.output, trace_id=done.trace_id))
                except BaseException as error:  # noqa: BLE001 - handed to the reader, not swallowed
                    put(error)
                finally:
                    put(None)
                    if token.cancelled:  # a reader in another thread may still be waiting
                        with suppress(queue.Full):
                            events.put_nowait(None)

        thread = threading.Thread(
            target=surroundings.run, args=(work,), name=f"stream {self.name}", daemon=True
        )
        thread.start()
        try:
            while (event := events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            token.cancel("the reader of the stream went away")

    async def ainvoke(self, inputs: Any = None, /, **kwargs: Any) -> Any:
        """``invoke`` without blocking the event loop. Cancelling the task stops the run at its next step."""
        arguments = self._arguments(inputs, kwargs)
        return (await waiting.in_thread(functools.partial(self._run, arguments))).output

    async def abatch(self, inputs: Sequence[Any], *, max_workers: int | None = None) -> list[Any]:
        """``batch`` without blocking the event loop. Cancelling the task stops the runs."""
        return await waiting.in_thread(functools.partial(self.batch, inputs, max_workers=max_workers))

    def astream(self, inputs: Any = None, /, **kwargs: Any) -> AsyncGenerator[Event, None]:
        """``stream`` without blocking the event loop."""
        return waiting.asynchronous(*self._stream(self._arguments(inputs, kwargs)))


def _file_of(function: Callable[..., Any]) -> Path | None:
    name = inspect.unwrap(function).__code__.co_filename
    return Path(name).absolute() if not name.startswith("<") and Path(name).is_file() else None


def _root_of(file: Path | None) -> Path:
    if file is not None:
        root = find_root(file.parent)
        if (root / FILE).is_file():
            return root
    return find_root()


@overload
def app(function: Callable[P, R], /) -> App: ...
@overload
def app(*, name: str = ...) -> Callable[[Callable[P, R]], App]: ...
def app(
    function: Callable[P, R] | None = None, /, *, name: str = ""
) -> App | Callable[[Callable[P, R]], App]:
    """Make a typed function an application.

    >>> @app
    ... def shout(text: str) -> str:
    ...     return text.upper()
    >>> shout.signature.required
    ('text',)
    """
    if function is None:
        return lambda found: App(found, name=name)
    return App(function, name=name)


def step(function: Callable[P, R] | None = None, /, *, name: str = "") -> Any:
    """Make a part of an application visible: a span in the trace, an event in the stream.

    Text of answers inside a step is not streamed: only what the application itself answers is.
    """
    if function is None:
        return functools.partial(step, name=name)
    label = name or function.__name__

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def around(*args: P.args, **kwargs: P.kwargs) -> Any:
            request.checkpoint()
            request.emit(Event(kind="step", name=label, text="begin"))
            with tracing.span(label, kind="step"):
                found: Awaitable[Any] = function(*args, **kwargs)
                value = await found
            request.emit(Event(kind="step", name=label, text="end"))
            return value

        return around

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        request.checkpoint()
        request.emit(Event(kind="step", name=label, text="begin"))
        with tracing.span(label, kind="step"):
            value = function(*args, **kwargs)
        request.emit(Event(kind="step", name=label, text="end"))
        return value

    return inner
