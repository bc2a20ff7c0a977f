"""What runs an application for the desk, as a small protocol, and the one that uses threads.

A :class:`Runner` starts a :class:`Task` and says when it has begun, what happens and how it ended.
:class:`Threads` runs it on threads of this process: ``headrace serve app.py:function`` uses it as
it is, a worker process (``worker.py``) uses it too, and ``process.py`` is a Runner that speaks to
such a process. A :class:`Staff` says which Runner answers whom. Not here: who is let in, and how
long a run may take (``serve.py``).
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from headrace.errors import HeadraceError, NotFound
from headrace.ops import wire
from headrace.ops.workers import Workers
from headrace.request import CancelToken, RequestContext, context, use
from headrace.resources import bindings, build
from headrace.resources.handles import KnowledgeBase
from headrace.types import Answer, Document, Event, Usage, to_json

if TYPE_CHECKING:
    from headrace.flows.app import App, Run

log = logging.getLogger("headrace.ops")

# A reader slower than the application stops it from running ahead by more than this.
EVENTS_AHEAD = 1000


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks, as the door established it. Both may be empty."""

    user: str = ""
    session: str = ""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a door must know of an application to offer it, without having loaded it.

    ``question`` and ``history`` are the parameters that a chat fills (see flows/signature.py);
    ``handles`` are ``kind:name``; ``release`` is None for an application that is no release.
    """

    name: str
    doc: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)
    output_schema: Mapping[str, Any] = field(default_factory=dict)
    question: str | None = None
    history: str | None = None
    handles: tuple[str, ...] = ()
    release: str | None = None
    version: int | None = None


def describe(app: App) -> Description:
    """The description of a loaded application. UserError where its signature has no JSON schema."""
    release = getattr(app, "release", None)
    return Description(
        name=app.name,
        doc=app.doc,
        schema=app.signature.schema(),
        output_schema=app.signature.output_schema(),
        question=app.signature.question,
        history=app.signature.history,
        handles=tuple(handle.key for handle in app.handles),
        release=None if release is None else release.id,
        version=None if release is None else release.version,
    )


class Result:
    """What a run gave. Its output is an object here or JSON from elsewhere; each is made when asked for.

    ``counted`` is the answer, or one without its text, for the counters: abstained or not, and the
    tokens. None where the output is no answer.
    """

    def __init__(
        self,
        *,
        trace_id: str | None,
        release: str | None,
        output: Any = None,
        encoded: bytes | None = None,
        counted: Answer | None = None,
    ) -> None:
        self.trace_id = trace_id
        self.release = release
        self.counted = output if isinstance(output, Answer) else counted
        if encoded is None:
            self.__dict__["output"] = output
        else:
            self.__dict__["json"] = encoded

    @cached_property
    def output(self) -> Any:
        """The output; an Answer is one again, everything else is plain JSON data."""
        value = json.loads(self.json)
        return wire.answer_of(value) if self.counted is not None else value

    @cached_property
    def json(self) -> bytes:
        """The output as UTF-8 JSON."""
        return wire.dump(self.output)

    @staticmethod
    def of(run: Run, release: str | None) -> Result:
        return Result(output=run.output, trace_id=run.trace_id, release=release)


def count_of(answer: Answer | None) -> dict[str, Any] | None:
    """An answer's ``counted`` as JSON."""
    if answer is None:
        return None
    return {"abstained": answer.abstained, "usage": to_json(answer.usage)}


def counted_of(value: Mapping[str, Any] | None) -> Answer | None:
    """The reverse of :func:`count_of`."""
    return (
        None
        if value is None
        else Answer(text="", abstained=value["abstained"], usage=Usage(**value["usage"]))
    )


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run to make. The three calls come on any thread: begun and events in order, ended once, last.

    ``begun`` says that the inputs fit. ``event`` is None where nobody listens. ``ended`` comes when
    the work has really ended, with a result or an error.
    """

    inputs: Mapping[str, Any]
    caller: Caller
    seconds: float
    ended: Callable[[Result | None, BaseException | None], None]
    begun: Callable[[], None] | None = None
    event: Callable[[Event], None] | None = None


class Running(Protocol):
    """A task under way."""

    def cancel(self, reason: str) -> None:
        """Ask it to stop at its next step."""

    def read(self, count: int) -> None:
        """So many more events were read: the run may produce as many more."""


class Runner(Protocol):
    """Runs one application, or one release of it."""

    @property
    def description(self) -> Description: ...
    def start(self, task: Task) -> Running: ...
    async def flush(self) -> None:
        """Wait until the traces of what has ended are in the ledger."""

    async def document(self, name: str) -> tuple[str, Document]:
        """(knowledge base, document) out of the application's own knowledge bases; NotFound."""


class Staff(Protocol):
    """Which runner answers whom."""

    @property
    def description(self) -> Description:
        """Of what most people are served. Before ``open`` has ended it may not be there."""

    @property
    def runners(self) -> Sequence[Runner]: ...
    def choose(self, caller: Caller) -> Runner: ...
    def of(self, release: str | None) -> Runner | None:
        """The runner of a release, None where it is not here (any more)."""

    async def open(self) -> None:
        """Load what the first answer would otherwise wait for."""

    async def close(self, seconds: float) -> None:
        """Let go of everything; what runs may take ``seconds`` more."""


class Threads:
    """Runs an application on at most ``size`` threads of this process. A Runner, and its own Staff."""

    def __init__(self, app: App, size: int = 8) -> None:
        self.app = app
        self._workers = Workers(size)
        release = getattr(app, "release", None)
        self._release: str | None = None if release is None else release.id

    @cached_property
    def description(self) -> Description:
        return describe(self.app)

    # ------------------------------------------------------------------ as a runner

    def start(self, task: Task) -> Running:
        running, go = self.ready(task)
        self._workers.submit(go)
        return running

    def ready(self, task: Task) -> tuple[Running, Callable[[], None]]:
        """The task, and what runs it on whatever thread calls it (once, in a context of its own)."""
        run = _Run(task)
        return run, lambda: run.go(self.app, self._release)

    async def flush(self) -> None:
        await asyncio.to_thread(self.write_down)

    def write_down(self) -> None:
        """As :meth:`flush`, on this thread."""
        build.ledger(self.app.root).flush(5.0)

    async def document(self, name: str) -> tuple[str, Document]:
        return await asyncio.to_thread(self.find, name)

    def find(self, name: str) -> tuple[str, Document]:
        """As :meth:`document`, on this thread."""
        with bindings.use(self.app.bindings()):
            for handle in self.app.handles:
                if not isinstance(handle, KnowledgeBase):
                    continue
                try:
                    found = handle.get(name)
                except NotFound:
                    continue  # declared, but nothing was ingested yet
                if found is not None:
                    return handle.name, found
        raise NotFound(
            f"There is no document {name!r} in the knowledge bases of {self.app.name}.",
            hint="It may have been removed since it was cited.",
        )

    # ------------------------------------------------------------------ as a staff of one

    @property
    def runners(self) -> Sequence[Runner]:
        return (self,)

    def choose(self, caller: Caller) -> Runner:
        return self

    def of(self, release: str | None) -> Runner | None:
        return self if release == self._release else None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        warmed: asyncio.Future[None] = loop.create_future()
        self.warm(lambda: tell(loop, lambda: None if warmed.done() else warmed.set_result(None)))
        await warmed

    def warm(self, done: Callable[[], None]) -> None:
        """Warm up on a thread of the pool; ``done`` is called there, whatever happens."""

        def work() -> None:
            try:
                warm(self.app)
            finally:
                done()

        self._workers.submit(work)

    async def close(self, seconds: float) -> None:
        self._workers.close()


class _Run:
    """A task on a thread."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.token = CancelToken()
        self._room = threading.Semaphore(EVENTS_AHEAD)

    def cancel(self, reason: str) -> None:
        self.token.cancel(reason)

    def read(self, count: int) -> None:
        self._room.release(count)

    def _listen(self, event: Event) -> None:
        while not self._room.acquire(timeout=0.05):
            if self.token.cancelled:
                return
        assert self.task.event is not None
        self.task.event(event)

    def go(self, app: App, release: str | None) -> None:
        task, result, error = self.task, None, None
        try:
            listener = self._listen if task.event is not None else None
            with (
                use(RequestContext(cancel=self.token, listener=listener)),
                context(user=task.caller.user, session=task.caller.session, deadline=task.seconds),
            ):
                if task.begun is not None:
                    app.signature.validate(task.inputs)
                    task.begun()
                result = Result.of(app.run(task.inputs), release)
        except BaseException as problem:  # noqa: BLE001 - handed to whoever waits, and raised there
            # A future takes neither StopIteration nor what would end the loop (SystemExit).
            fits = isinstance(problem, Exception) and not isinstance(problem, StopIteration)
            error = problem if fits else RuntimeError(repr(problem))
        task.ended(result, error)


def warm(app: App) -> None:
    """One search in each knowledge base of the application: opens it and loads the embedder."""
    with bindings.use(app.bindings()):
        for handle in app.handles:
            if isinstance(handle, KnowledgeBase):
                try:
                    handle.search("warm up", top_k=1)
                except HeadraceError as problem:
                    log.warning("%s: %s", handle.name, problem)


def tell(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Run ``call`` on the loop: now where this is its thread, soon otherwise.

    A loop that is closed has nobody left to tell.
    """
    try:
        here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is loop:
        call()
        return
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        if not loop.is_closed():
            raise
