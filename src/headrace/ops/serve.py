"""Serving an application: who is let in, how long a run may take, and how to stop decently.

Admission, time limits, cancellation, readiness and draining, on one event loop. Not a web server:
``web/`` turns requests into calls of :class:`Desk` and errors into statuses. Nor does it run
anything: a Staff (``running.py``) says which Runner does, threads of this process or the worker
process of a release.
"""

from __future__ import annotations

import asyncio
import collections
import math
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from headrace.errors import Cancelled, Draining, HeadraceError, Overloaded, RanTooLong, WaitedTooLong
from headrace.ops.running import Caller, Result, Running, Staff, Task, tell
from headrace.request import CancelToken, context, current, use
from headrace.types import Event

if TYPE_CHECKING:
    from headrace.ops.metrics import Metrics

__all__ = ["Admission", "Caller", "Desk", "Stream"]

State = Literal["starting", "ready", "draining"]


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

    @property
    def full(self) -> bool:
        """Whether a newcomer would be refused."""
        return self.running >= self.concurrency and self.waiting >= self.queue

    def refusal(self) -> Overloaded:
        """What a newcomer is told who finds no room."""
        return Overloaded(
            f"All {self.concurrency} places are taken and {self.waiting} requests wait.",
            hint="Try again after the time in Retry-After.",
            retry_after=self.retry_after,
        )

    async def enter(self) -> None:
        """Take a place, or raise Overloaded (no room) or WaitedTooLong."""
        if self.running < self.concurrency and not self._waiting:
            self.running += 1
            return
        if self.full:
            raise self.refusal()
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
    """A run as the desk sees it. ``done`` is set on the event loop when the work has really ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self.began = loop.time()
        self.ends = self.began + timeout
        self.running: Running | None = None
        self.release: str | None = None
        self.begun = asyncio.Event()
        self.done: asyncio.Future[Result] = loop.create_future()
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    def cancel(self, reason: str) -> None:
        if self.running is not None:
            self.running.cancel(reason)


@dataclass(frozen=True)
class Stream:
    """A run that is listened to: the events, ``answer`` last, and the release that makes them."""

    release: str | None
    events: AsyncGenerator[Event, None]


class Stoppable:
    """What :meth:`Desk.call` runs, as a job knows it."""

    def __init__(self, token: CancelToken) -> None:
        self._token = token

    def cancel(self, reason: str) -> None:
        """Stop it at its next step boundary."""
        self._token.cancel(reason)

    def read(self, events: int) -> None:
        """It has no events."""


READ_AT_ONCE = 100  # events read are told to the runner in steps of this


class Desk:
    """Where requests for one application come in."""

    def __init__(
        self,
        staff: Staff,
        *,
        concurrency: int = 8,
        queue: int = 64,
        wait: float = 30.0,
        timeout: float = 120.0,
        metrics: Metrics | None = None,
    ) -> None:
        self.staff = staff
        self.timeout = timeout
        self.state: State = "starting"
        self.admission = Admission(concurrency, queue, wait)
        self.metrics = metrics
        self._jobs: set[Job] = set()
        if metrics is not None:
            metrics.watch(lambda: self.admission.running, lambda: self.admission.waiting)

    # ------------------------------------------------------------------ asking

    async def invoke(self, inputs: Mapping[str, Any], caller: Caller) -> Result:
        """Run the application. Cancelling the awaiting task cancels the run."""
        job = await self._start(inputs, caller)
        result = await self._finish(job)
        self._count(result)
        return result

    async def stream(self, inputs: Mapping[str, Any], caller: Caller) -> Stream:
        """Take a place and start; comes back when the inputs are known to fit.

        Closing the stream's events cancels the run.
        """
        job = await self._start(inputs, caller, listened=True)
        beginning = asyncio.ensure_future(job.begun.wait())
        try:
            first: set[asyncio.Future[Any]] = {beginning, job.done}
            await asyncio.wait(first, timeout=self.timeout, return_when=asyncio.FIRST_COMPLETED)
            if not beginning.done():
                await self._finish(job)  # raises what stopped it, or that it took too long
        except asyncio.CancelledError:
            job.cancel("nobody waits for it any more")
            raise
        finally:
            beginning.cancel()
        return Stream(job.release, self._events(job))

    async def call(self, work: Callable[[], Any], caller: Caller) -> Any:
        """Do something else than the application, on a thread, within the same places and time limit.

        Cancelling the awaiting task, a drain and the limit stop it at its next step boundary. It is
        not counted as a run of the application.
        """
        self._refuse_if_draining()
        await self.admission.enter()
        loop = asyncio.get_running_loop()
        job, token = Job(loop, self.timeout), CancelToken()
        job.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        job.running = Stoppable(token)

        def run() -> None:
            result, error = None, None
            try:
                with (
                    context(user=caller.user, session=caller.session, deadline=self.timeout),
                    use(replace(current(), cancel=token)),
                ):
                    result = Result(output=work(), trace_id=None, release=None)
            except BaseException as problem:  # noqa: BLE001 - raised where it is waited for
                error = problem
            tell(loop, lambda: self._ended(job, result, error, counted=False))

        self._jobs.add(job)
        threading.Thread(target=run, name="desk call", daemon=True).start()
        return (await self._finish(job)).output

    async def _events(self, job: Job) -> AsyncGenerator[Event, None]:
        loop = asyncio.get_running_loop()
        getting: asyncio.Task[Event] | None = None
        read = 0
        try:
            while True:
                if not job.events.empty():
                    event = job.events.get_nowait()
                elif job.done.done():
                    result = await self._finish(job)
                    self._count(result)
                    yield Event(kind="answer", value=result.output, trace_id=result.trace_id)
                    return
                else:
                    getting = asyncio.ensure_future(job.events.get())
                    either: set[asyncio.Future[Any]] = {getting, job.done}
                    await asyncio.wait(
                        either,
                        timeout=max(0.0, job.ends - loop.time()),
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if not getting.done():
                        getting.cancel()
                        if not job.done.done():
                            self._ran_too_long(job)
                        continue
                    event = getting.result()
                read += 1
                if read % READ_AT_ONCE == 0 and job.running is not None:
                    job.running.read(READ_AT_ONCE)
                yield event
        finally:
            if getting is not None:
                getting.cancel()
            job.cancel("nobody listens any more")

    # ------------------------------------------------------------------ running

    async def _start(self, inputs: Mapping[str, Any], caller: Caller, *, listened: bool = False) -> Job:
        self._refuse_if_draining()
        await self.admission.enter()
        loop = asyncio.get_running_loop()
        job = Job(loop, self.timeout)
        job.done.add_done_callback(lambda done: done.cancelled() or done.exception())  # always retrieved

        def ended(result: Result | None, error: BaseException | None) -> None:
            tell(loop, lambda: self._ended(job, result, error))

        def event(found: Event) -> None:
            tell(loop, lambda: job.events.put_nowait(found))

        task = Task(
            inputs=inputs,
            caller=caller,
            seconds=self.timeout,
            ended=ended,
            begun=(lambda: tell(loop, job.begun.set)) if listened else None,
            event=event if listened else None,
        )
        self._jobs.add(job)
        try:
            # Only now: while it waited, another release may have become the one that answers.
            runner = self.staff.choose(caller)
            job.release = runner.description.release
            job.running = runner.start(task)
        except BaseException as error:
            self._ended(job, None, error)
            raise
        return job

    def _ended(
        self, job: Job, result: Result | None, error: BaseException | None, *, counted: bool = True
    ) -> None:
        self._jobs.discard(job)
        seconds = asyncio.get_running_loop().time() - job.began
        self.admission.leave(seconds)
        if self.metrics is not None and counted:
            self.metrics.ran(job.release, result.counted if result is not None else None, error, seconds)
        if not job.done.done():
            if error is not None:
                job.done.set_exception(error)
            else:
                assert result is not None
                job.done.set_result(result)

    async def _finish(self, job: Job) -> Result:
        """The job's result within the time limit; cancels it otherwise."""
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait({job.done}, timeout=max(0.0, job.ends - loop.time()))
        except asyncio.CancelledError:
            job.cancel("nobody waits for it any more")
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
        job.cancel("the server's time limit")
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

    def _count(self, result: Result) -> None:
        if self.metrics is not None and result.counted is not None:
            self.metrics.answered(result.counted)

    # ------------------------------------------------------------------ starting and stopping

    async def open(self) -> None:
        """Load what the first answer would otherwise wait for, then be ready.

        An application in this process answers before, too, only more slowly: readiness is advice to
        whoever distributes requests.
        """
        await self.staff.open()
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
        unfinished: set[asyncio.Future[Result]] = {job.done for job in self._jobs}
        if unfinished:
            _, unfinished = await asyncio.wait(unfinished, timeout=seconds)
        for job in tuple(self._jobs):
            job.cancel("the server is shutting down")
        if unfinished:  # a moment for those that do look at their token
            await asyncio.wait(unfinished, timeout=min(2.0, seconds))
        await self.staff.close(min(2.0, seconds))
        return not unfinished
