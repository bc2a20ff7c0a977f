"""A worker process as the server sees it: a Runner that is started again whenever it dies.

The process is spawned with one end of a socket pair (``worker.py`` is the other side). What runs
in it when it dies fails with WorkerLost; what comes while it is being started again waits for it.
Everything here happens on the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.errors import StateError, WorkerLost
from headrace.ops import wire
from headrace.ops.running import Description, Result, Running, Task, counted_of
from headrace.settings import child_environment
from headrace.types import Document, Event

log = logging.getLogger("headrace.ops")

ENDING = 5.0  # seconds a worker may take to write its traces down before it is killed
ATTEMPTS = 3  # before a worker that dies while it starts is given up
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between attempts to start one that does not come up

# What the libraries for linear algebra read when they are loaded.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "HEADRACE_THREADS")


class WorkerProcess:
    """A release, or any target of ``hr.load``, in a process of its own. A Runner.

    ``size`` is how many runs it makes side by side, ``threads`` how many native threads its
    libraries may use for one of them (0: as many as there are cores).
    """

    def __init__(self, target: str, *, root: Path, size: int, threads: int = 0) -> None:
        self.target = target
        self.root = root
        self.size = size
        self.threads = threads
        self.starts = 0
        self._description: Description | None = None
        self._line: _Line | None = None  # the process that takes work now
        self._starting: _Line | None = None  # the one that was started last
        self._prepared: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._waiting: dict[int, _Sent] = {}  # tasks for the one that is coming
        self._numbers = itertools.count(1)
        self._warm: asyncio.Future[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._closing = False

    def __repr__(self) -> str:
        return f"<WorkerProcess {self.target} {self.pid or 'down'}>"

    @property
    def pid(self) -> int | None:
        """The process that takes work now; None while one is being started."""
        return self._line.process.pid if self._line is not None and not self._line.closed else None

    @property
    def opened(self) -> bool:
        """Whether it has ever come up."""
        return self._warm is not None and self._warm.done() and self._warm.exception() is None

    @property
    def busy(self) -> int:
        """Runs under way or waiting for the process."""
        return len(self._waiting) + (len(self._line.sent) if self._line is not None else 0)

    @property
    def description(self) -> Description:
        """What it said of itself. Before the first start that succeeded it is an error to ask."""
        assert self._description is not None, "the worker has not been opened"
        return self._description

    # ------------------------------------------------------------------ life

    async def open(self) -> None:
        """Start it and wait until it is warm. Raises what loading the application raised."""
        if self._keeping is None:
            self._warm = asyncio.get_running_loop().create_future()
            self._keeping = asyncio.ensure_future(self._keep())
        assert self._warm is not None
        await asyncio.shield(self._warm)

    async def _keep(self) -> None:
        """Start the process, and start it again when it dies."""
        assert self._warm is not None
        pause, deaths = FIRST_PAUSE, 0
        while not self._closing:
            line = await self._spawn()
            error = await self._use(line)
            if error is None:
                pause, deaths = FIRST_PAUSE, 0
                if not self._closing:
                    log.warning("the worker of %s ended; it is started again", self.target)
                continue
            deaths += 1
            log.warning("%s did not start: %s", self.target, error)
            # One that was killed while it started (memory ran out, say) may come up the next time;
            # one that said why it cannot would say so again.
            if not self._warm.done() and not (isinstance(error, WorkerLost) and deaths < ATTEMPTS):
                self._warm.set_exception(error)
                return
            if self._warm.done():
                self._lose_waiting()
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def _use(self, line: _Line) -> Exception | None:
        """Let it work until it ends; what was wrong where it ended before it was warm."""
        assert self._warm is not None
        try:
            self._description = await line.loaded
        except Exception as error:  # noqa: BLE001 - what the application's own file raised, too
            await line.gone
            return error
        self._line = line
        for number, sent in list(self._waiting.items()):
            del self._waiting[number]
            line.send_task(number, sent)
        await asyncio.wait({line.warm, line.gone}, return_when=asyncio.FIRST_COMPLETED)
        if line.warm.done() and not self._warm.done():
            self._warm.set_result(None)
        await line.gone
        self._line = None
        return None if line.warm.done() else lost()

    def prepare(self) -> None:
        """Start the process now, before there is an event loop: it loads while the caller goes on."""
        self._prepared = self._popen()

    def _popen(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """A process that has been told what to load, and our end of the line to it."""
        if sys.platform == "win32":
            raise StateError(
                "Serving by alias needs a system that hands sockets to child processes; Windows does not.",
                hint="Serve the application itself: headrace serve app.py:function.",
            )
        self.starts += 1
        ours, theirs = socket.socketpair()
        environment = child_environment()
        if self.threads:
            environment |= {name: environment.get(name, str(self.threads)) for name in _THREAD_VARIABLES}
        with theirs:
            process = subprocess.Popen(
                # -P: the working copy lies in the folder it starts in, and is not to be imported.
                [sys.executable, "-P", "-m", "headrace.ops.worker", str(theirs.fileno())],
                cwd=self.root,
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what an application prints; ours may be read by a program
            )
        words = {"op": "load", "target": self.target, "root": str(self.root), "size": self.size}
        ours.sendall(wire.frame(words))
        return process, ours

    async def _spawn(self) -> _Line:
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            prepared = await asyncio.to_thread(self._popen)
        process, ours = prepared
        loop = asyncio.get_running_loop()
        line = self._starting = _Line(loop, process, self.target)
        await loop.create_connection(lambda: line, sock=ours)
        return line

    async def close(self, seconds: float) -> None:
        """Let what runs end within ``seconds``, then end the process; its traces are written down."""
        self._closing = True
        self._lose_waiting()
        line = self._line
        if line is not None:
            loop = asyncio.get_running_loop()
            ends = loop.time() + seconds
            while line.sent and loop.time() < ends and not line.gone.done():
                await asyncio.sleep(0.02)
            line.send({"op": "end"})
            await asyncio.wait({line.gone}, timeout=ENDING)
            line.end()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
            if line is None and self._starting is not None:  # it was not up yet
                self._starting.end()

    def _lose_waiting(self) -> None:
        for sent in self._waiting.values():
            sent.task.ended(None, lost())
        self._waiting.clear()

    # ------------------------------------------------------------------ work

    def start(self, task: Task) -> Running:
        number = next(self._numbers)
        sent = _Sent(self, number, task)
        if self._line is not None and not self._line.closed:
            self._line.send_task(number, sent)
        elif self._closing:
            raise lost()
        else:
            self._waiting[number] = sent
        return sent

    def tell(self, number: int, header: Mapping[str, Any]) -> None:
        """A word about a task that is under way here; nothing where it is not."""
        if self._line is not None and number in self._line.sent:
            self._line.send({**header, "id": number})

    def withdraw(self, number: int) -> bool:
        """Take back a task that waits for the process; False where it does not wait."""
        return self._waiting.pop(number, None) is not None

    async def flush(self) -> None:
        await self._ask({"op": "flush"})

    async def document(self, name: str) -> tuple[str, Document]:
        value = await self._ask({"op": "document", "name": name})
        return value["kb"], wire.document_of(value["document"])

    async def _ask(self, header: Mapping[str, Any]) -> Any:
        line = self._line
        if line is None or line.closed:
            raise lost()
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        number = next(self._numbers)
        line.asked[number] = reply
        line.send({**header, "id": number})
        try:
            return await reply
        finally:
            line.asked.pop(number, None)


class _Sent:
    """A task that was given to a worker. Running."""

    def __init__(self, worker: WorkerProcess, number: int, task: Task) -> None:
        self.worker, self.number, self.task = worker, number, task

    def cancel(self, reason: str) -> None:
        if self.worker.withdraw(self.number):
            self.task.ended(None, lost())
        else:
            self.worker.tell(self.number, {"op": "cancel", "reason": reason})

    def read(self, count: int) -> None:
        self.worker.tell(self.number, {"op": "read", "count": count})


class _Line(asyncio.Protocol):
    """One process and the socket to it, from its start to its end."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, process: subprocess.Popen[bytes], target: str
    ) -> None:
        self.loop = loop
        self.process = process
        self.target = target
        self.closed = False  # the other end has gone; ``gone``: and the process has been collected
        self.sent: dict[int, _Sent] = {}
        self.asked: dict[int, asyncio.Future[Any]] = {}
        self.loaded: asyncio.Future[Description] = loop.create_future()
        self.warm: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self._unframer = wire.Unframer()
        self._transport: asyncio.WriteTransport | None = None
        self._does: Mapping[str, Callable[[dict[str, Any], bytes], None]] = {
            "loaded": self._on_loaded,
            "failed": self._on_failed,
            "warm": self._on_warm,
            "begun": self._on_begun,
            "event": self._on_event,
            "done": self._on_done,
            "error": self._on_error,
            "reply": self._on_reply,
        }

    def send(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(wire.frame(header, body))

    def send_task(self, number: int, sent: _Sent) -> None:
        task = sent.task
        self.sent[number] = sent
        header = {
            "op": "run",
            "id": number,
            "user": task.caller.user,
            "session": task.caller.session,
            "seconds": task.seconds,
            "listened": task.event is not None,
        }
        self.send(header, json.dumps(dict(task.inputs)).encode())

    def end(self) -> None:
        """Make sure that the process is no more."""
        if self.process.poll() is None:
            self.process.kill()

    # ------------------------------------------------------------------ what arrives

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for header, body in self._unframer.feed(data):
            self._does[header["op"]](header, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.loop.create_task(self._reap())
        for future in (self.loaded, *self.asked.values()):
            if not future.done():
                future.set_exception(lost())
        self.asked.clear()
        if self.loaded.done() and not self.loaded.cancelled():
            self.loaded.exception()  # always retrieved
        unfinished, self.sent = self.sent, {}
        for sent in unfinished.values():
            sent.task.ended(None, lost())

    async def _reap(self) -> None:
        """A closed line is the end: a process that still hangs about is killed after a moment."""
        try:
            await asyncio.to_thread(self.process.wait, ENDING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)
        if not self.gone.done():
            self.gone.set_result(None)

    def _on_loaded(self, header: dict[str, Any], body: bytes) -> None:
        fields = header["description"]
        self.loaded.set_result(Description(**{**fields, "handles": tuple(fields["handles"])}))

    def _on_failed(self, header: dict[str, Any], body: bytes) -> None:
        self.loaded.set_exception(wire.error_of(header["error"]))

    def _on_warm(self, header: dict[str, Any], body: bytes) -> None:
        if not self.warm.done():
            self.warm.set_result(None)

    def _on_begun(self, header: dict[str, Any], body: bytes) -> None:
        sent = self.sent.get(header["id"])
        if sent is not None and sent.task.begun is not None:
            sent.task.begun()

    def _on_event(self, header: dict[str, Any], body: bytes) -> None:
        sent = self.sent.get(header["id"])
        if sent is not None and sent.task.event is not None:
            event = Event(**header["event"])
            sent.task.event(replace(event, value=json.loads(body)) if body else event)

    def _on_done(self, header: dict[str, Any], body: bytes) -> None:
        if (sent := self.sent.pop(header["id"], None)) is not None:
            counted = counted_of(header["counted"])
            trace_id, release = header["trace_id"], header["release"]
            sent.task.ended(Result(trace_id=trace_id, release=release, encoded=body, counted=counted), None)

    def _on_error(self, header: dict[str, Any], body: bytes) -> None:
        error = wire.error_of(header["error"])
        if (reply := self.asked.get(header["id"])) is not None:
            if not reply.done():
                reply.set_exception(error)
        elif (sent := self.sent.pop(header["id"], None)) is not None:
            sent.task.ended(None, error)

    def _on_reply(self, header: dict[str, Any], body: bytes) -> None:
        if (reply := self.asked.get(header["id"])) is not None and not reply.done():
            reply.set_result(json.loads(body))


def lost() -> WorkerLost:
    """What a request gets whose worker has gone."""
    return WorkerLost(
        "The process that ran this request ended before it had answered.",
        hint="It is being started again: ask again after the time in Retry-After.",
        retry_after=1.0,
    )
