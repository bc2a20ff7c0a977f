"""A worker process: loads one application or release, runs it, speaks frames with its parent.

Started by ``process.py`` as ``python -m headrace.ops.worker FD``, never forked; FD is one end of a
socket pair. The first frame names what to load. When the other end is closed the worker ends: it
never outlives its parent. Runs use the same threads, context, deadline and cancellation as an
application that is served in-process, and their traces go into the project's ledger from here.

Frames in: ``load``, then ``run``, ``cancel``, ``read``, ``flush``, ``document``, ``end``. Out:
``loaded``, ``failed``, ``warm``, and per id ``begun``, ``event``, ``done``, ``error``, ``reply``.
"""

from __future__ import annotations

import contextvars
import json
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from headrace.errors import HeadraceError
from headrace.flows.load import load
from headrace.ops import wire
from headrace.ops.running import Caller, Result, Running, Task, Threads, count_of
from headrace.resources import pool
from headrace.types import Event, to_json

log = logging.getLogger("headrace.ops")


class Worker:
    """One socket, one application."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self._sending = threading.Lock()
        self._running: dict[int, Running] = {}
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._over = threading.Event()
        self._arriving: Iterator[wire.Frame] = iter(())
        self._does: Mapping[str, Callable[[dict[str, Any]], None]] = {
            "cancel": self.cancel,
            "read": self.read,
            "flush": self.flush,
            "document": self.document,
        }

    def serve(self) -> int:
        """Until the other end is closed, or says end; the exit code."""
        arriving = wire.frames(self.line)
        first, _ = next(arriving, ({}, b""))
        if not first:
            return 0
        try:
            self.threads = Threads(load(first["target"], root=first["root"]), first["size"])
            description = to_json(self.threads.description)
        except Exception as error:  # noqa: BLE001 - handed to the parent, who says it
            self.send({"op": "failed", "error": wire.error_to_json(error)})
            return 1
        self.send({"op": "loaded", "description": description})
        self.threads.warm(lambda: self.send({"op": "warm"}))
        self._arriving = arriving
        # One more than there are runs: somebody always reads, so that what runs can be cancelled.
        for number in range(first["size"] + 1):
            threading.Thread(target=self._take_turns, name=f"headrace-run-{number + 1}", daemon=True).start()
        self._over.wait()
        for running in tuple(self._running.values()):
            running.cancel("the server has ended")
        return 0

    def _take_turns(self) -> None:
        """Read until a run arrives, let the next thread read, and make the run on this one.

        A thread that only read, and handed runs over, would cost every run one more wake-up.
        """
        while True:
            with self._reading:
                work = self._read_run()
            if work is None:
                self._over.set()
                return
            contextvars.Context().run(work)

    def _read_run(self) -> Callable[[], None] | None:
        """The next run to make; what comes before it is dealt with here. None at the end."""
        if self._over.is_set():
            return None
        for header, body in self._arriving:
            if header["op"] == "end":
                return None
            if header["op"] == "run":
                return self.run(header, body)
            self._does[header["op"]](header)
        return None

    def send(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        """Write one frame, from any thread. A parent that has gone needs nothing any more."""
        data = wire.frame(header, body)
        with self._sending:
            try:
                self.line.sendall(data)
            except OSError as error:
                log.debug("the parent has gone: %s", error)

    # ------------------------------------------------------------------ what is asked for

    def run(self, header: dict[str, Any], body: bytes) -> Callable[[], None]:
        """What makes the run; it is known, and can be cancelled, from now on."""
        number: int = header["id"]

        def begun() -> None:
            self.send({"op": "begun", "id": number})

        def event(found: Event) -> None:
            value = b"" if found.value is None else wire.dump(found.value)
            words = {"kind": found.kind, "text": found.text, "name": found.name, "trace_id": found.trace_id}
            self.send({"op": "event", "id": number, "event": words}, value)

        def ended(result: Result | None, error: BaseException | None) -> None:
            with self._lock:
                self._running.pop(number, None)
            if result is not None:
                try:
                    text = result.json
                except Exception as problem:  # noqa: BLE001 - an application's own object, with its own errors
                    result, error = None, problem
                else:
                    counted = count_of(result.counted)
                    words = {"trace_id": result.trace_id, "release": result.release, "counted": counted}
                    self.send({"op": "done", "id": number, **words}, text)
            if error is not None:
                if not isinstance(error, HeadraceError):
                    log.error("the application failed", exc_info=error)
                self.send({"op": "error", "id": number, "error": wire.error_to_json(error)})

        task = Task(
            inputs=json.loads(body),
            caller=Caller(user=header["user"], session=header["session"]),
            seconds=header["seconds"],
            ended=ended,
            begun=begun if header["listened"] else None,
            event=event if header["listened"] else None,
        )
        running, go = self.threads.ready(task)
        with self._lock:
            self._running[number] = running
        return go

    def cancel(self, header: dict[str, Any]) -> None:
        if (running := self._running.get(header["id"])) is not None:
            running.cancel(header["reason"])

    def read(self, header: dict[str, Any]) -> None:
        if (running := self._running.get(header["id"])) is not None:
            running.read(header["count"])

    def flush(self, header: dict[str, Any]) -> None:
        self._apart(header["id"], lambda: self.threads.write_down())

    def document(self, header: dict[str, Any]) -> None:
        def find() -> Any:
            kb, found = self.threads.find(header["name"])
            return {"kb": kb, "document": found}

        self._apart(header["id"], find)

    def _apart(self, number: int, work: Callable[[], Any]) -> None:
        """On a thread of its own: the pool may be full, and this one reads frames."""

        def answer() -> None:
            try:
                value = work()
            except Exception as error:  # noqa: BLE001 - raised again where it was asked for
                self.send({"op": "error", "id": number, "error": wire.error_to_json(error)})
            else:
                self.send({"op": "reply", "id": number}, wire.dump(value))

        threading.Thread(target=answer, name="headrace-apart", daemon=True).start()


def main(descriptor: int) -> int:
    """The whole life of a worker; its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    # Ctrl-C and a service manager's SIGTERM reach the whole group: the parent decides when a worker
    # ends, so that what runs can finish. Handlers, not SIG_IGN: that one children would inherit.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    with socket.socket(fileno=descriptor) as line:
        code = Worker(line).serve()
        pool.close_all()  # writes the traces down; the parent sees the line closed after that
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
