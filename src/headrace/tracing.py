"""Spans of a run, collected in memory. Knows no storage: the ledger takes the finished Trace.

Outside a run a span costs one context-variable look-up. Within one, a span is appended when it
ends, under no lock but the interpreter's (list.append is atomic).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from headrace.types import Span


def new_id(now: float | None = None) -> str:
    """32 hex characters that sort by time: 48 bits of milliseconds, then random (UUID version 7)."""
    millis = int((time.time() if now is None else now) * 1000) & ((1 << 48) - 1)
    tail = bytearray(os.urandom(10))
    tail[0] = 0x70 | (tail[0] & 0x0F)
    tail[2] = 0x80 | (tail[2] & 0x3F)
    return millis.to_bytes(6, "big").hex() + bytes(tail).hex()


class Collector:
    """The spans of one run. ``record`` gathers what made the answer (see types.Trace)."""

    def __init__(self, trace_id: str | None = None) -> None:
        self.id = trace_id or new_id()
        self.spans: list[Span] = []
        self.record: dict[str, list[Any]] = {}

    def note(self, key: str, value: Any) -> None:
        """Add to the one record; the same value is kept once."""
        values = self.record.setdefault(key, [])
        if value not in values:
            values.append(value)


class OpenSpan:
    """A span that is running. ``set`` adds attributes; plain JSON values only."""

    __slots__ = ("attributes", "collector", "depth", "id", "parent")

    def __init__(self, collector: Collector | None, parent: OpenSpan | None) -> None:
        self.collector = collector
        self.id = os.urandom(8).hex() if collector else ""
        self.parent = parent.id if parent else None
        self.depth: int = parent.depth + 1 if parent else 0
        self.attributes: dict[str, Any] = {}

    def set(self, **attributes: Any) -> None:
        if self.collector is not None:
            self.attributes.update(attributes)


_span: ContextVar[OpenSpan | None] = ContextVar("headrace_span", default=None)
_NOTHING = OpenSpan(None, None)


def current() -> OpenSpan | None:
    """The innermost running span of this run, None outside a run."""
    return _span.get()


def collector() -> Collector | None:
    """The collector of the running run, None outside of any."""
    span = _span.get()
    return span.collector if span else None


def note(key: str, value: Any) -> None:
    """Add to the one record of the running run, if there is one."""
    if (found := collector()) is not None:
        found.note(key, value)


@contextmanager
def span(name: str, kind: str = "step", **attributes: Any) -> Iterator[OpenSpan]:
    """A timed part of the running run; does nothing outside of one.

    ``kind``: ``app, step, retrieve, embed, model, tool, guard``.
    """
    parent = _span.get()
    if parent is None or parent.collector is None:
        yield _NOTHING
        return
    with _open(name, kind, parent.collector, parent, attributes) as opened:
        yield opened


@contextmanager
def collect(name: str, kind: str = "app", trace_id: str | None = None) -> Iterator[Collector]:
    """Begin a run: everything within is collected under one root span."""
    found = Collector(trace_id)
    with _open(name, kind, found, None, {}):
        yield found


@contextmanager
def _open(
    name: str, kind: str, found: Collector, parent: OpenSpan | None, attributes: dict[str, Any]
) -> Iterator[OpenSpan]:
    opened = OpenSpan(found, parent)
    opened.attributes.update(attributes)
    token = _span.set(opened)
    started, clock = time.time(), time.perf_counter()
    error: str | None = None
    try:
        yield opened
    except BaseException as problem:
        error = f"{type(problem).__name__}: {problem}"
        raise
    finally:
        _span.reset(token)
        found.spans.append(
            Span(
                id=opened.id,
                parent=opened.parent,
                name=name,
                kind=kind,
                start=started,
                seconds=time.perf_counter() - clock,
                attributes=opened.attributes,
                error=error,
            )
        )
