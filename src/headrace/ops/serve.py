"""Serving one application: who is let in, how long a run may take, and how to stop decently.

Admission, time limits, cancellation, readiness and draining, on one event loop. Not a web server:
``web/`` turns requests into calls of :class:`Desk` and errors into statuses. The application
itself never runs on the event loop.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from headrace.errors import Cancelled, Draining, HeadraceError, Overloaded, RanTooLong, WaitedTooLong
from headrace.ops.workers import Workers
from headrace.request import CancelToken, RequestContext, context, use
from headrace.resources import bindings
from headrace.resources.handles import KnowledgeBase
from headrace.types import Answer, Event

if TYPE_CHECKING:
    from headrace.flows.app import App, Run
    from headrace.ops.metrics import Metrics

log = logging.getLogger("headrace.ops")

State = Literal["starting", "ready", "draining"]


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks, as the door established it. Both may be empty."""

    user: str = ""
    session: str = ""


class Admission:
    """``concurrency`` places and a queue of ``queue`` in front of them, first come first served.

    All methods are called on the event loop. Who finds the queue full is told so at once; who
    waited ``wait`` seconds is told that. A place is given back when the work has really ended,
    which can be later than its caller's patience.
    """

    def __init__(self, concurrency: int, queue: int, wait: float) -> None:
        self.concurrency, self.queue, self.wait = concurrency, queue, wait
        self.running = 0
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._seconds = 1.0  # a smoothed length of runs, for Retry-After

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def retry_after(self) -> float:
        """Whole seconds after which a place is likely, between 1 and 60."""
        rounds = (self.waiting + 1) / max(1, self.concurrency)
        return float(min(60, max(1, math.ceil(self._seconds * rounds))))

    async def enter(self) -> None:
        """Take a place, or raise Overloaded (no room) or WaitedTooLong."""
        if self.running < self.concurrency and not self._waiting:
            self.running += 1
            return
        if self.waiting >= self.queue:
            raise Overloaded(
                f"All {self.concurrency} places are taken and {self.waiting} requests wait.",
                hint="Try again after the time in Retry-After.",
                retry_after=self.retry_after,
            )
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        # Not wait_for: in Python 3.11 it swallows a cancellation that meets a result.
        try:
            await asyncio.wait({place}, timeout=self.wait)
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
            elif place.done() and place.exception() is None:
                self.leave()  # it was given the place in the same moment
            raise
        if place.done():
            place.result()
            return
        self._waiting.remove(place)
        raise WaitedTooLong(
            f"No place came up within {self.wait:g} s.",
            hint="Try again after the time in Retry-After.",
            retry_after=self.retry_after,
        )

    def leave(self, seconds: float | None = None) -> None:
        """Give a place back; it passes to the first who waits."""
        if seconds is not None:
            self._seconds += 0.2 * (seconds - self._seconds)
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)  # the place changes hands: running stays as it is
                return
        self.running -= 1

    def refuse_waiting(self, error: HeadraceError) -> None:
        """Send all who wait away."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(error)


class Job:
    """One run on a worker thread. ``done`` is set on the event loop when the thread is through."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self.began = loop.time()
        self.ends = self.began + timeout
        self.token = CancelToken()
        self.done: asyncio.Future[Any] = loop.create_future()
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.unread = 0  # events handed over and not yet read; see _hand_over


# A reader slower than the application stops it from running ahead by more than this.
EVENTS_AHEAD = 1000


class Desk:
    """Where requests for one application come in."""

    def __init__(
        self,
        app: App,
        *,
        concurrency: int = 8,
        queue: int = 64,
        wait: float = 30.0,
        timeout: float = 120.0,
        metrics: Metrics | None = None,
    ) -> None:
        self.app = app
        self.timeout = timeout
        self.state: State = "starting"
        self.admission = Admission(concurrency, queue, wait)
        self.metrics = metrics
        self._workers = Workers(concurrency)
        self._jobs: set[Job] = set()
        if metrics is not None:
            metrics.watch(lambda: self.admission.running, lambda: self.admission.waiting)

    # ------------------------------------------------------------------ asking

    async def invoke(self, inputs: Mapping[str, Any], caller: Caller) -> Run:
        """Run the application. Cancelling the awaiting task cancels the run."""
        self.app.signature.validate(inputs)  # InputError before a place is taken
        job = await self._start(lambda job: self.app.run(inputs), caller)
        run: Run = await self._finish(job)
        self._count(run.output)
        return run

    async def stream(self, inputs: Mapping[str, Any], caller: Caller) -> AsyncGenerator[Event, None]:
        """Take a place and start; the iterator that comes back yields events, ``answer`` last.

        Closing the iterator cancels the run.
        """
        self.app.signature.validate(inputs)
        loop = asyncio.get_running_loop()

        def run(job: Job) -> None:
            done = self.app.run(inputs)
            self._hand_over(loop, job, Event(kind="answer", value=done.output, trace_id=done.trace_id))

        return self._events(await self._start(run, caller, listened=True))

    async def _events(self, job: Job) -> AsyncGenerator[Event, None]:
        loop = asyncio.get_running_loop()
        getting: asyncio.Task[Event] | None = None
        try:
            while True:
                if not job.events.empty():
                    event = job.events.get_nowait()
                elif job.done.done():
                    await self._finish(job)
                    return
                else:
                    getting = asyncio.ensure_future(job.events.get())
                    await asyncio.wait(
                        {getting, job.done},
                        timeout=max(0.0, job.ends - loop.time()),
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if not getting.done():
                        getting.cancel()
                        if not job.done.done():
                            self._ran_too_long(job)
                        continue
                    event = getting.result()
                job.unread -= 1
                if event.kind == "answer":
                    self._count(event.value)
                yield event
        finally:
            if getting is not None:
                getting.cancel()
            job.token.cancel("nobody listens any more")

    @staticmethod
    def _hand_over(loop: asyncio.AbstractEventLoop, job: Job, event: Event) -> None:
        while job.unread > EVENTS_AHEAD and not job.token.cancelled:
            time.sleep(0.02)

        def put() -> None:
            job.unread += 1
            job.events.put_nowait(event)

        _tell(loop, put)

    # ------------------------------------------------------------------ running

    async def _start(self, work: Callable[[Job], Any], caller: Caller, *, listened: bool = False) -> Job:
        self._refuse_if_draining()
        await self.admission.enter()
        loop = asyncio.get_running_loop()
        job = Job(loop, self.timeout)
        job.done.add_done_callback(lambda done: done.cancelled() or done.exception())  # always retrieved
        self._jobs.add(job)

        def ended(value: Any, error: BaseException | None) -> None:
            self._jobs.discard(job)
            self.admission.leave(loop.time() - job.began)
            if not job.done.done():
                if error is not None:
                    job.done.set_exception(error)
                else:
                    job.done.set_result(value)

        def listen(event: Event) -> None:
            self._hand_over(loop, job, event)

        def run() -> None:
            value, error = None, None
            try:
                with (
                    use(RequestContext(cancel=job.token, listener=listen if listened else None)),
                    context(user=caller.user, session=caller.session, deadline=self.timeout),
                ):
                    value = work(job)
            except BaseException as problem:  # noqa: BLE001 - carried to the event loop and raised there
                # A future takes neither StopIteration nor what would end the loop (SystemExit).
                fits = isinstance(problem, Exception) and not isinstance(problem, StopIteration)
                error = problem if fits else RuntimeError(repr(problem))
            _tell(loop, lambda: ended(value, error))

        self._workers.submit(run)
        return job

    async def _finish(self, job: Job) -> Any:
        """The job's value within the time limit; cancels it otherwise."""
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait({job.done}, timeout=max(0.0, job.ends - loop.time()))
        except asyncio.CancelledError:
            job.token.cancel("nobody waits for it any more")
            raise
        if not job.done.done():
            self._ran_too_long(job)
        try:
            return job.done.result()
        except Cancelled:
            if job.ends <= loop.time() + 0.05:  # it saw the deadline before we did
                self._ran_too_long(job)
            raise

    def _ran_too_long(self, job: Job) -> NoReturn:
        job.token.cancel("the server's time limit")
        raise RanTooLong(
            f"The run was stopped after {self.timeout:g} s, the limit of this server.",
            hint="Ask for less, or raise timeout under [serve] in headrace.toml.",
        )

    def _refuse_if_draining(self) -> None:
        if self.state == "draining":
            raise Draining(
                "This server is shutting down and takes no new requests.",
                hint="Ask another one, or try again shortly.",
                retry_after=2.0,
            )

    def _count(self, output: Any) -> None:
        if self.metrics is not None and isinstance(output, Answer):
            self.metrics.answered(output)

    # ------------------------------------------------------------------ starting and stopping

    async def open(self) -> None:
        """Load what the first answer would otherwise wait for, then be ready.

        Requests that come before are answered too, only more slowly: readiness is advice to
        whoever distributes them.
        """
        loop = asyncio.get_running_loop()
        warmed: asyncio.Future[None] = loop.create_future()

        def work() -> None:
            try:
                warm(self.app)
            finally:
                _tell(loop, lambda: None if warmed.done() else warmed.set_result(None))

        self._workers.submit(work)
        await warmed
        if self.state == "starting":
            self.state = "ready"

    async def drain(self, seconds: float) -> bool:
        """Take nothing new, let what runs finish for ``seconds``, then cancel it.

        Returns whether everything finished by itself.
        """
        self.state = "draining"
        self.admission.refuse_waiting(
            Draining("This server is shutting down.", hint="Ask another one.", retry_after=2.0)
        )
        unfinished = {job.done for job in self._jobs}
        if unfinished:
            _, unfinished = await asyncio.wait(unfinished, timeout=seconds)
        for job in tuple(self._jobs):
            job.token.cancel("the server is shutting down")
        if unfinished:  # a moment for those that do look at their token
            await asyncio.wait(unfinished, timeout=min(2.0, seconds))
        self._workers.close()
        return not unfinished


def warm(app: App) -> None:
    """One search in each knowledge base of the application: opens it and loads the embedder."""
    with bindings.use(app.bindings()):
        for handle in app.handles:
            if isinstance(handle, KnowledgeBase):
                try:
                    handle.search("warm up", top_k=1)
                except HeadraceError as problem:
                    log.warning("%s: %s", handle.name, problem)


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Run ``call`` on the loop; a loop that is closed has nobody left to tell."""
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        if not loop.is_closed():
            raise
