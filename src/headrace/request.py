"""The context of a request: who asks, what they may see, how long it may take, who listens.

A context variable, copied into the threads that Headrace starts (a context variable does not
reach threads that the user starts). The doors set it from authenticated headers. It knows nothing
of traces; those are in ``tracing.py``.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.errors import Cancelled, InputError
from headrace.types import Event

Filters = str | Mapping[str, Any]

# The session of runs that measure an application. They are kept and shown like all others, but they
# are nobody's questions: traffic does not count them.
EVALUATION = "evaluation"


class CancelToken:
    """Set once, seen by every step boundary of the run that carries it."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""

    def cancel(self, reason: str = "cancelled by the caller") -> None:
        self.reason = self.reason or reason
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()


class Gate:
    """At most ``places`` requests to model servers at a time, of all runs that share it.

    A run that has a place and asks another model before it gives the place back needs no second one:
    runs cannot wait for each other.
    """

    TICK_SECONDS = 0.1

    def __init__(self, places: int) -> None:
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(places):
            self._free.put(None)
        self._here = threading.local()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Wait for a place and hold it within the block. Cancelled where the run is stopped meanwhile."""
        # A list, so that a stream closed by another thread gives back what this one took.
        held: list[None] = self._here.__dict__.setdefault("held", [])
        if held:
            yield
            return
        while True:
            try:
                self._free.get(timeout=self.TICK_SECONDS)
                break
            except queue.Empty:
                checkpoint()
        held.append(None)
        try:
            yield
        finally:
            held.clear()
            self._free.put(None)


@dataclass(frozen=True, kw_only=True)
class RequestContext:
    """``filters`` are and-ed inside every search. ``deadline`` is on the monotonic clock."""

    user: str = ""
    session: str = ""
    filters: tuple[Filters, ...] = ()
    deadline: float | None = None
    cancel: CancelToken | None = None
    listener: Callable[[Event], None] | None = field(default=None, repr=False)
    in_batch: bool = False
    gate: Gate | None = field(default=None, repr=False)

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline (can be negative), None without one."""
        return None if self.deadline is None else self.deadline - time.monotonic()


_EMPTY = RequestContext()
_current: ContextVar[RequestContext] = ContextVar("headrace_context", default=_EMPTY)


def current() -> RequestContext:
    """The context of the running request; an empty one outside of any."""
    return _current.get()


@contextmanager
def use(changed: RequestContext) -> Iterator[RequestContext]:
    """Make ``changed`` the current context within the block."""
    token = _current.set(changed)
    try:
        yield changed
    finally:
        _current.reset(token)


@contextmanager
def context(
    *,
    user: str | None = None,
    session: str | None = None,
    filters: Filters | None = None,
    deadline: float | None = None,
) -> Iterator[RequestContext]:
    """Say who asks and what they may see; ``deadline`` is in seconds from now.

    Nested contexts narrow: filters are and-ed with those outside, the earlier deadline holds.

    >>> with context(user="ana", filters={"team": "legal"}) as c:
    ...     c.user
    'ana'
    """
    outer = current()
    if deadline is not None and not deadline > 0:
        raise InputError(
            f"deadline={deadline!r} is not a number of seconds above 0.", hint="Give for example 5.0."
        )
    ends = None if deadline is None else time.monotonic() + deadline
    if outer.deadline is not None:
        ends = outer.deadline if ends is None else min(ends, outer.deadline)
    with use(
        replace(
            outer,
            user=outer.user if user is None else user,
            session=outer.session if session is None else session,
            filters=outer.filters if filters is None else (*outer.filters, filters),
            deadline=ends,
        )
    ) as changed:
        yield changed


def checkpoint() -> None:
    """Raise Cancelled where the run was cancelled or its deadline has passed.

    Called at every model, search, tool and step boundary and at every decoding step.
    """
    now = current()
    if now.cancel is not None and now.cancel.cancelled:
        raise Cancelled(f"The run was stopped: {now.cancel.reason}.")
    if now.deadline is not None and time.monotonic() >= now.deadline:
        raise Cancelled("The run was stopped: its deadline has passed.", hint="Give it a longer deadline.")


def emit(event: Event) -> None:
    """Hand an event to whoever streams this run, if anybody does."""
    listener = current().listener
    if listener is not None:
        listener(event)
