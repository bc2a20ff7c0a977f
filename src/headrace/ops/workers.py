"""A bounded pool of daemon threads that runs applications.

Not ``concurrent.futures``: its threads are joined at interpreter exit, so one application that
ignores its cancellation would keep a server alive that was told to stop.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable


class Workers:
    """At most ``size`` threads, started when first needed, reused, daemons all."""

    def __init__(self, size: int, name: str = "headrace-run") -> None:
        self.size = size
        self._name = name
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started = 0
        self._idle = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Run ``work`` on a thread, in a fresh context. It must not raise."""
        with self._lock:
            if self._idle == 0 and self._started < self.size:
                self._started += 1
                name = f"{self._name}-{self._started}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
            else:
                self._idle = max(0, self._idle - 1)
        self._work.put(work)

    def close(self) -> None:
        """Let the threads end when they have finished what they do."""
        with self._lock:
            for _ in range(self._started):
                self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            contextvars.Context().run(work)
            with self._lock:
                self._idle += 1
