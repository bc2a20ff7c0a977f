"""One opened object per identity and process, built under a lock per key.

What is in the pool is safe to share between threads and refuses to pickle. Closing happens at
exit, newest first, so that a ledger outlives what writes to it.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_objects: dict[Hashable, Any] = {}
_locks: dict[Hashable, threading.RLock] = {}
_guard = threading.Lock()


def get(key: Hashable, build: Callable[[], T]) -> T:
    """The object under ``key``; built once, however many threads ask at the same time."""
    try:
        return _objects[key]  # type: ignore[no-any-return]
    except KeyError:
        pass
    with _guard:
        lock = _locks.setdefault(key, threading.RLock())
    with lock:
        if key not in _objects:
            _objects[key] = build()
        return _objects[key]  # type: ignore[no-any-return]


def drop(key: Hashable) -> None:
    """Close and forget one object."""
    found = _objects.pop(key, None)
    if found is not None and hasattr(found, "close"):
        found.close()


def forget(key: Hashable, only: Any) -> None:
    """Let go of one object, if it is still ``only``, without closing it: other threads may be using it."""
    with _guard:
        if _objects.get(key) is only:
            del _objects[key]


def close_all() -> None:
    """Close everything, newest first."""
    for key in reversed(list(_objects)):
        drop(key)


atexit.register(close_all)
