"""Where an application meets an event loop: waiting for it without blocking, and stopping it.

The application itself always runs in a thread; nothing here knows what it does.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from headrace import request
from headrace.types import Event

R = TypeVar("R")


async def in_thread(work: Callable[[], R]) -> R:
    """``work`` in a thread with the caller's context; it is told when the caller is cancelled."""
    token = request.CancelToken()
    outer = request.current()
    with request.use(replace(outer, cancel=either(outer.cancel, token))):
        try:
            return await asyncio.to_thread(work)
        except asyncio.CancelledError:
            token.cancel("the task that waited was cancelled")
            raise


async def asynchronous(
    events: Generator[Event, None, None], token: request.CancelToken
) -> AsyncGenerator[Event, None]:
    end = object()
    try:
        while (event := await asyncio.to_thread(next, events, end)) is not end:
            yield event  # type: ignore[misc]
    finally:
        token.cancel("the reader of the stream went away")
        with suppress(ValueError):  # a thread is still inside it, and is on its way out
            events.close()


class _Either(request.CancelToken):
    """Cancelled when either of two tokens is."""

    def __init__(self, first: request.CancelToken, second: request.CancelToken) -> None:
        super().__init__()
        self._two = (first, second)

    @property
    def cancelled(self) -> bool:
        for token in self._two:
            if token.cancelled:
                self.reason = token.reason
                return True
        return super().cancelled


def either(first: request.CancelToken | None, second: request.CancelToken) -> request.CancelToken:
    return second if first is None else _Either(first, second)


def run_coroutine(coroutine: Any) -> Any:
    """Run to the end from synchronous code, inside a running event loop too."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    result: list[Any] = []

    def work() -> None:
        try:
            result.extend((True, asyncio.run(coroutine)))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            result.extend((False, error))

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
    thread.start()
    thread.join()
    if not result[0]:
        raise result[1]
    return result[1]
