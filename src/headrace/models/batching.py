"""Calls that arrive together at one local model are run together: one thread per model, no timer.

When the model is free it takes what is queued. It knows no torch and runs no user code: ``run``
gets a list of jobs that may share a batch, and feeds each of them.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import contextmanager
from typing import Literal

from headrace import request
from headrace.errors import Cancelled, ModelBusy, ModelError
from headrace.models.pieces import Detokenizer
from headrace.models.stream import StopFilter
from headrace.types import Decoding

TICK_SECONDS = 0.05  # how long a waiting caller can overlook that its run was cancelled


class Job:
    """One prompt (token ids) and what has become of it.

    The caller's thread reads :meth:`pieces`; the dispatcher's thread feeds tokens. ``room`` is how
    many tokens may be written. ``streaming`` is True where the pieces are shown as they come.
    """

    def __init__(
        self,
        prompt: list[int],
        decoding: Decoding,
        *,
        room: int,
        tokens: Detokenizer,
        streaming: bool,
    ) -> None:
        self.prompt = prompt
        self.decoding = decoding
        self.room = room
        self.streaming = streaming
        self.ids: list[int] = []  # what was written, with the end token where one came
        self.finish: Literal["stop", "length"] = "length"
        self.ended = False
        self._tokens = tokens
        self._stops = StopFilter(decoding.stop)
        self._context = request.current()
        self._abandoned = False
        self._out: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        self._closed = False  # the last of the ids is an end token
        self._shown = False
        self._held = False
        self._last: BaseException | None = None

    # -------------------------------------------------------------- the dispatcher's side

    @property
    def wanted(self) -> bool:
        """False as soon as nobody waits for this job any more."""
        cancel, remaining = self._context.cancel, self._context.remaining
        stopped = cancel is not None and cancel.cancelled
        late = remaining is not None and remaining <= 0
        return not (self._abandoned or stopped or late)

    @property
    def written(self) -> int:
        """Tokens, the end token not counted."""
        return len(self.ids) - self._closed

    @property
    def can_restart(self) -> bool:
        """Whether running it again from the beginning would go unnoticed."""
        return not (self.streaming and self._shown) and not self.ended

    def restart(self) -> None:
        """Forget what was written."""
        self.ids, self._closed = [], False
        self._tokens, self._stops = self._tokens.fresh(), StopFilter(self.decoding.stop)
        while not self._out.empty():
            self._out.get_nowait()

    def feed(self, token: int) -> bool:
        """Take a token; True when the job is done with it (a stop string, or nobody waits)."""
        if self.ended:
            return True
        if not self.wanted:
            self._end(Cancelled("The run was stopped while the model was writing."))
            return True
        self.ids.append(token)
        self._show(self._stops.feed(self._tokens.feed(token)))
        if self._stops.stopped:
            self.end("stop")
        return self.ended

    def take(self, token: int, *, end: bool) -> bool:
        """Take a token that may be one that ends the text (``end``); True when the job is done."""
        if end and not self.ended:
            self.ids.append(token)
            self._closed = True
            self.end("stop")
        return self.feed(token)

    def end(self, finish: Literal["stop", "length"]) -> None:
        """All tokens have come."""
        if self.ended:
            return
        self.finish = finish
        self._show(self._stops.feed(self._tokens.flush()))
        if self._stops.stopped:
            self.finish = "stop"
        self._show(self._stops.flush())
        self._end(None)

    def fail(self, error: BaseException) -> None:
        """Hand an error to whoever waits."""
        if not self.ended:
            self._end(error)

    def _show(self, piece: str) -> None:
        if piece:
            self._shown = True
            self._out.put(piece)

    def _end(self, last: BaseException | None) -> None:
        self.ended, self._last = True, last
        if not self._held:
            self._out.put(last)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let whoever waits go on only after the block: the block puts back what all share."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self.ended:
                self._out.put(self._last)

    # -------------------------------------------------------------- the caller's side

    def pieces(self) -> Generator[str, None, None]:
        """The pieces as they come. Leaving early, or a cancelled run, gives the job up."""
        try:
            while True:
                request.checkpoint()
                try:
                    piece = self._out.get(timeout=TICK_SECONDS)
                except queue.Empty:
                    continue
                if piece is None:
                    return
                if isinstance(piece, BaseException):
                    request.checkpoint()  # says better why it was cancelled
                    raise piece
                yield piece
        finally:
            self._abandoned = True


class Dispatcher:
    """Runs jobs in batches: same ``key``, at most ``rows`` of them, padded to ``tokens`` in all.

    ``run`` feeds each job until it has ended. A job with key None runs alone. Where a batch fails,
    its jobs are run one by one, so that one bad row fails alone. At most ``waiting`` jobs queue up;
    one more is refused with ModelBusy. The thread lives only while there is work.
    """

    def __init__(
        self,
        run: Callable[[list[Job]], None],
        *,
        key: Callable[[Job], Hashable | None],
        rows: int = 16,
        tokens: int = 16_384,
        waiting: int = 256,
        name: str = "model",
    ) -> None:
        self._run, self._key = run, key
        self._rows, self._tokens, self._waiting = rows, tokens, waiting
        self._name = name
        self._queue: deque[Job] = deque()
        self._lock = threading.Lock()
        self._running = False

    def submit(self, job: Job) -> Job:
        """Queue a job; returns it."""
        with self._lock:
            if len(self._queue) >= self._waiting:
                raise ModelBusy(
                    f"{self._waiting} calls are waiting for {self._name!r} already.",
                    hint="Wait and try again, or ask less at once.",
                )
            self._queue.append(job)
            if not self._running:
                self._running = True
                threading.Thread(target=self._work, name=f"headrace {self._name}", daemon=True).start()
        return job

    def _work(self) -> None:
        while True:
            with self._lock:
                batch = self._take()
                if not batch:
                    self._running = False
                    return
            self._run_safely(batch)

    def _take(self) -> list[Job]:
        """The next batch: the first job that is wanted, and those behind it that go with it."""
        batch: list[Job] = []
        rest: deque[Job] = deque()
        longest = 0
        while self._queue:
            job = self._queue.popleft()
            if not job.wanted:
                job.fail(Cancelled("The run was stopped before the model was free."))
                continue
            length = max(longest, len(job.prompt) + job.room)
            fits = not batch or (
                len(batch) < self._rows
                and (key := self._key(job)) is not None
                and key == self._key(batch[0])
                and length * (len(batch) + 1) <= self._tokens
            )
            if fits:
                batch.append(job)
                longest = length
            else:
                rest.append(job)
        self._queue = rest
        return batch

    def _run_safely(self, batch: list[Job]) -> None:
        try:
            self._run(batch)
        except Exception as error:  # noqa: BLE001 - whoever waits in another thread gets it
            for job in batch:
                if len(batch) > 1 and job.can_restart:
                    job.restart()
                    self._run_safely([job])
                else:
                    job.fail(error)
        for job in batch:
            job.fail(ModelError(f"{self._name!r} ended without an answer.", hint="This is a bug: report it."))
