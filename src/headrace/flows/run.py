"""Rows through a function, side by side: order kept, context carried, pools never nested.

One outer pool of threads runs rows; a ``map``, ``gather`` or ``.batch`` inside one of those rows
runs inline, so that pools cannot wait for each other.
"""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any, TypeVar

from headrace import request
from headrace.errors import InputError

T = TypeVar("T")


def default_workers() -> int:
    """Threads of a pool: rows mostly wait (for models, for disks), so four per core, at most 16."""
    return min(16, 4 * (os.cpu_count() or 1))


def map(
    function: Callable[[Any], T],
    items: Iterable[Any],
    *,
    max_workers: int | None = None,
    return_exceptions: bool = False,
) -> list[Any]:
    """``[function(item) for item in items]``, side by side; results in the order of the items.

    Each call runs in a copy of the caller's context (user, filters, deadline, trace). The first
    error is raised once the calls that had begun have ended; those not begun are not started.
    """
    listed = list(items)
    workers = default_workers() if max_workers is None else max_workers
    if workers < 1:
        raise InputError(
            f"max_workers={max_workers!r} is not a number above 0.", hint="Leave it out for the default."
        )
    if not listed:
        return []
    if request.current().in_batch or workers == 1 or len(listed) == 1:
        return [_one(function, item, return_exceptions) for item in listed]
    with (
        request.use(replace(request.current(), in_batch=True, listener=None)),
        ThreadPoolExecutor(max_workers=min(workers, len(listed)), thread_name_prefix="headrace") as pool,
    ):
        futures: list[Future[Any]] = [
            pool.submit(contextvars.copy_context().run, _one, function, item, return_exceptions)
            for item in listed
        ]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            for future in futures:
                future.cancel()
    failed = next((f.exception() for f in futures if not f.cancelled() and f.exception()), None)
    if failed is not None:
        raise failed
    return [future.result() for future in futures]


def _one(function: Callable[[Any], T], item: Any, return_exceptions: bool) -> Any:
    if not return_exceptions:
        request.checkpoint()
        return function(item)
    try:
        request.checkpoint()
        return function(item)
    except Exception as error:  # noqa: BLE001 - asked for: errors are results here
        return error


def gather(*functions: Callable[[], Any], max_workers: int | None = None) -> list[Any]:
    """Call several functions side by side; their results in order.

    >>> gather(lambda: 1, lambda: 2)
    [1, 2]
    """
    return map(_call, list(functions), max_workers=max_workers)


def _call(function: Callable[[], Any]) -> Any:
    return function()


__all__: Sequence[str] = ["default_workers", "gather", "map"]
