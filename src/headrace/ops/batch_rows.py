"""The rows of a batch through the application, side by side, until all are there or a limit says stop.

Every result goes to the job's folder before the next row is taken (``shards.py``). Limits end a run
softly: rows in flight are finished and kept. Ctrl-C ends it at the next step of each row. Not here:
tables, and which job it is (``batch.py``).
"""

from __future__ import annotations

import contextvars
import math
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headrace import request
from headrace.errors import (
    Cancelled,
    HeadraceError,
    InputError,
    ModelError,
    ModelRefused,
    OverBudget,
    Overloaded,
)
from headrace.flows import rows, waiting
from headrace.flows.app import App
from headrace.flows.fingerprint import Fingerprint
from headrace.models.wrap import Budgeted, Limits
from headrace.ops.shards import Record, Shards
from headrace.protocols import Progress
from headrace.resources import bindings, build
from headrace.resources.bindings import Bindings, Place
from headrace.resources.handles import Handle, ModelHandle

if TYPE_CHECKING:
    from headrace.protocols import Model

AHEAD = 4  # for so many places at a model server, one more row is on its way
TICK_SECONDS = 0.1
GRACE_SECONDS = 5.0  # for rows in flight to stop after Ctrl-C
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds before a row is tried again, doubled each time
TRANSIENT = (ModelError, Overloaded)  # except ModelRefused: a wrong key is wrong the next time too


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a run may use, for the whole job. ``cost`` in US dollars; None: no limit."""

    cost: float | None = None
    failures: int | None = None
    retries: int = 2  # further tries of one row, after a failure that may pass


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Why a run ended before all rows were there: ``code`` for machines, the rest for people."""

    code: str
    message: str
    hint: str = ""


class CapReached(OverBudget):
    """The limit of money of this batch."""


class Capped(Budgeted):
    """A model under the limit of money that all models of the batch share."""

    def _refuse(self, spent: float, wanted: float, limit: float | None, unit: str) -> None:
        try:
            super()._refuse(spent, wanted, limit, unit)
        except OverBudget as error:
            raise CapReached(error.message, hint=error.hint) from None


class BatchBindings(Bindings):
    """What the application's handles mean, with each model opened once and under the limit."""

    def __init__(self, inner: Bindings, limit: float | None) -> None:
        super().__init__()
        self.sealed = inner.sealed
        self._inner, self._limit = inner, limit
        self._models: dict[Handle, Model] = {}
        self._first: Capped | None = None
        self._making = threading.Lock()

    def target(self, handle: Handle) -> Any:
        return self._models.get(handle) or self._inner.target(handle)

    def held(self, handle: Handle) -> Mapping[str, Any] | None:
        return self._inner.held(handle)

    def place(self) -> Place | None:
        return self._inner.place()

    def over(self, replacements: Mapping[Handle, Any]) -> Bindings:
        return self._inner.over(replacements)

    def resolve(self, handle: Handle) -> Any:
        if not isinstance(handle, ModelHandle):
            return self._inner.resolve(handle)
        found = self._models.get(handle)
        if found is not None:
            return found
        with self._making:
            if handle not in self._models:
                with bindings.use(self._inner):
                    opened, prices = build.model(handle), build.prices(handle)
                if self._limit is not None:
                    opened = capped = Capped(
                        opened, Limits(cost=self._limit), prices=prices, together=self._first
                    )
                    self._first = self._first or capped
                self._models[handle] = opened
        return self._models[handle]


class Work:
    """One run over the rows that are not there yet.

    ``todo`` yields (row number, cells) of those; ``arguments`` makes an application's arguments of
    cells; ``shown`` makes the output cells of its output. ``traced`` says of a row's number, and
    whether it failed, if its trace is kept.
    """

    def __init__(
        self,
        app: App,
        made: Fingerprint,
        shards: Shards,
        todo: Iterator[tuple[int, Mapping[str, Any]]],
        *,
        arguments: Callable[[Mapping[str, Any]], dict[str, Any]],
        shown: Callable[[Any], dict[str, Any]],
        traced: Callable[[int, bool], bool],
        limit: Limit,
        session: str,
        remote: bool = False,
        rng: random.Random | None = None,
    ) -> None:
        self.stopped: Stopped | None = None
        self.traces = 0
        self.seconds = 0.0  # in which rows ran
        self._app, self._made, self._shards, self._todo = app, made, shards, todo
        self._arguments, self._shown, self._traced = arguments, shown, traced
        self._limit, self._session, self._remote = limit, session, remote
        self._rng = rng or random.Random()
        self._ledger = build.ledger(app.root)
        self._token = request.CancelToken()
        self._problem: BaseException | None = None
        self._full: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._taking = threading.Lock()
        self._state = threading.Condition()
        self._living = self._active = self._parked = self._ended = 0

    def run(self, workers: int, progress: Progress | None) -> None:
        """Compute until nothing is left or a limit is reached; ``stopped`` says which.

        Where a model is remote, ``workers`` is how many requests its server has at a time, and some
        more rows are being prepared or written down meanwhile: no place at the server waits for them.
        """
        totals = self._shards.totals
        spent = totals.cost + totals.dearest * len(self._shards.begun)
        left = None if self._limit.cost is None else self._limit.cost - spent
        if self._over_failures():
            return
        if left is not None and left <= 0:
            self._stop_for_cost(f"{spent:.6f} US dollars are used already")
            return
        outer = request.current()
        inner = replace(
            outer,
            cancel=waiting.either(outer.cancel, self._token),
            listener=None,
            in_batch=True,
            session=self._session,
            gate=request.Gate(workers) if self._remote else None,
        )
        threads_wanted = workers + (max(2, workers // AHEAD) if self._remote and workers > 1 else 0)
        bound = BatchBindings(self._app.bindings(), left)
        with request.use(inner), bindings.use(bound), bindings.within(self._app.root):
            rows.warm(self._app)
            threads = [
                threading.Thread(
                    target=contextvars.copy_context().run, args=(self._drain,), name=f"row {i}", daemon=True
                )
                for i in range(threads_wanted)
            ]
        self._living = len(threads)
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        try:
            self._seal_until_done(progress)
            self.seconds = time.perf_counter() - began
        except BaseException:
            self._token.cancel("the run was interrupted")
            until = time.monotonic() + GRACE_SECONDS
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
            raise
        if self._problem is not None:
            raise self._problem

    def _seal_until_done(self, progress: Progress | None) -> None:
        """The calling thread brings whole shards to the disk, so that no row waits for it."""
        next_tick = 0.0
        ended = False
        while not ended:
            try:
                number = self._full.get(timeout=TICK_SECONDS)
                if number is None:
                    ended = True
                else:
                    self._shards.seal(number)
            except queue.Empty:
                pass
            if progress is not None and (ended or time.monotonic() >= next_tick):
                next_tick = time.monotonic() + TICK_SECONDS
                progress(self._shards.totals.rows, self._shards.rows, self._told())

    def _told(self) -> str:
        totals = self._shards.totals
        cost = f" ${totals.cost:.4f}" if totals.cost else ""
        return f"{totals.failed} failed{cost}"

    # ------------------------------------------------------------------ a thread

    def _drain(self) -> None:
        try:
            while (item := self._take()) is not None:
                with self._state:
                    self._active += 1
                try:
                    self._row(*item)
                finally:
                    with self._state:
                        self._active -= 1
                        self._ended += 1
                        self._state.notify_all()
        except BaseException as error:  # noqa: BLE001 - it ends the run, which raises it
            with self._state:
                if self._problem is None and not (self._token.cancelled and isinstance(error, Cancelled)):
                    self._problem = error
            self._token.cancel("another row ended the run")
        finally:
            with self._state:
                self._living -= 1
                if self._living == 0:
                    self._full.put(None)

    def _take(self) -> tuple[int, Mapping[str, Any]] | None:
        with self._taking:
            if self.stopped is not None or self._token.cancelled:
                return None
            return next(self._todo, None)

    def _row(self, number: int, cells: Mapping[str, Any]) -> None:
        self._shards.begin(number)
        record = self._record(number, cells)
        if record is None:  # the limit of money came in between: the row is left for the next run
            return
        full = self._shards.finish(record)
        if full is not None:
            self._full.put(full)
        if record["error"] is not None:
            self._over_failures()

    def _record(self, number: int, cells: Mapping[str, Any]) -> Record | None:
        try:
            arguments = self._arguments(cells)
        except InputError as error:
            return _record(number, error=error, attempts=0)
        attempt, cost, priced, began = 0, 0.0, True, time.perf_counter()
        while True:
            request.checkpoint()
            done = rows.apply(self._app, arguments)
            if isinstance(done.raised, CapReached):
                if not self._wait_for_others(done.raised):
                    return None
                continue
            attempt += 1
            usage = rows.used(done.found)
            if usage is not None:
                priced = priced and usage["cost"] is not None
                cost += usage["cost"] or 0.0
            if attempt > self._limit.retries or not _may_pass(done.raised):
                break
            self._pause(attempt)
        shown: dict[str, Any] = {}
        problem = done.raised
        if problem is None:
            try:
                shown = self._shown(done.output)
            except InputError as misfit:
                problem = misfit
        kept = self._ledger.enabled and self._traced(number, problem is not None)
        if kept:
            rows.keep_trace(self._app, arguments, self._made, self._ledger, done)
            self.traces += 1
        return _record(
            number,
            shown=shown,
            error=problem,
            attempts=attempt,
            cost=cost if priced else None,
            seconds=time.perf_counter() - began,
            trace_id=done.found.id if kept else None,
        )

    def _pause(self, attempt: int) -> None:
        """Exponential backoff with full jitter, see ``models/endpoint.py``."""
        seconds = self._rng.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)))
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            request.checkpoint()
            time.sleep(min(left, 0.05))

    # ------------------------------------------------------------------ limits

    def _wait_for_others(self, error: CapReached) -> bool:
        """Rows in flight set aside the most that they can use: wait until one has ended, and try again.

        False where none is left that could give something back: the limit is reached.
        """
        with self._state:
            seen = self._ended
            self._parked += 1
            while self.stopped is None and self._ended == seen and self._parked < self._active:
                self._state.wait(TICK_SECONDS)
                if self._token.cancelled:
                    break
            again = self.stopped is None and self._ended != seen
            self._parked -= 1
            if not again:
                self._stop_for_cost(error.message)
            self._state.notify_all()
        return again

    def _stop_for_cost(self, why: str) -> None:
        if self.stopped is None:
            limit = self._limit.cost
            self.stopped = Stopped(
                code="max-cost",
                message=f"The limit of {limit:g} US dollars is reached: {why}",
                hint="What was computed is kept. Go on with the same command and a higher --max-cost.",
            )

    def _over_failures(self) -> bool:
        failed, limit = self._shards.totals.failed, self._limit.failures
        if limit is None or failed <= limit:
            return False
        if self.stopped is None:
            self.stopped = Stopped(
                code="max-failures",
                message=f"{failed} rows failed, and {limit} may (--max-failures).",
                hint="Look at their errors; then run the same command with --retry-failed, or allow more.",
            )
        return True


def _may_pass(error: BaseException | None) -> bool:
    return isinstance(error, TRANSIENT) and not isinstance(error, ModelRefused)


def _record(
    number: int,
    *,
    shown: Mapping[str, Any] | None = None,
    error: BaseException | None = None,
    attempts: int,
    cost: float | None = 0.0,
    seconds: float = 0.0,
    trace_id: str | None = None,
) -> Record:
    told: dict[str, str] | None = None
    if error is not None:
        code = error.code if isinstance(error, HeadraceError) else type(error).__name__
        said = error.message if isinstance(error, HeadraceError) else str(error)
        told = {"code": code, "message": said}
    return {
        "row": number,
        "output": dict(shown or {}),
        "error": told,
        "cost": cost if cost is None or math.isfinite(cost) else None,
        "seconds": round(seconds, 6),
        "attempts": attempts,
        "trace_id": trace_id,
    }
