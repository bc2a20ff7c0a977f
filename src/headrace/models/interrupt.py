"""Connections whose reads notice a cancelled run: httpx itself waits until data or a time limit.

Not a transport: it wraps the sockets that httpx opens, and nothing of HTTP is here.
"""

from __future__ import annotations

import time
from typing import Any

from headrace import request

TICK_SECONDS = 0.05  # how long a cancelled run can go unnoticed while a server is silent


def make_interruptible(client: Any) -> None:
    """Let a run be cancelled while a server is silent: reads wait in ticks and look up between them.

    httpx takes no network backend of one's own, so the one of its connection pools is wrapped in
    place. Where a future httpx names things differently, a cancel is seen at the next piece only.
    """
    mounts = getattr(client, "_mounts", {}).values()
    for transport in (getattr(client, "_transport", None), *mounts):
        pool = getattr(transport, "_pool", None)
        if pool is not None and hasattr(pool, "_network_backend"):
            pool._network_backend = _Backend(pool._network_backend)


class _Backend:
    """httpcore's network backend, its streams made interruptible."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def connect_tcp(self, *args: Any, **options: Any) -> _Stream:
        return _Stream(self._inner.connect_tcp(*args, **options))


class _Stream:
    """httpcore's network stream; ``read`` notices a cancelled run within a tick."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def start_tls(self, *args: Any, **options: Any) -> _Stream:
        return _Stream(self._inner.start_tls(*args, **options))

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        import httpcore

        until = None if timeout is None else time.monotonic() + timeout
        while True:
            request.checkpoint()
            nap = TICK_SECONDS if until is None else min(TICK_SECONDS, max(0.001, until - time.monotonic()))
            try:
                data: bytes = self._inner.read(max_bytes, timeout=nap)
            except httpcore.ReadTimeout:
                if until is not None and time.monotonic() >= until:
                    raise
            else:
                return data
