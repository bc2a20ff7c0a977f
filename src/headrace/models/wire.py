"""HTTP/1.1 to a server on this machine, over kept connections: a third of httpx's processor time.

The standard library's client with sockets that notice a cancelled run. For plain HTTP on loopback,
where neither proxies nor TLS nor redirects come in; everything else goes through httpx. It knows
bytes and headers, nothing of JSON or of models (``endpoint.py``). Many threads share one.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from headrace import request
from headrace.errors import Cancelled
from headrace.models.interrupt import TICK_SECONDS

KEPT = 64  # idle connections at most
PIECE = 65536  # bytes
END_SECONDS = 0.02  # how long the end of a body is waited for, once its reader has enough


class NoConnection(OSError):
    """Nothing took the connection. ``late``: nobody answered in time."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(reason.strerror or str(reason))
        self.late = isinstance(reason, TimeoutError)


class Reply:
    """A response whose head has come; the body is read by ``iter_bytes``."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status_code = response.status
        self.headers = response.headers

    def iter_bytes(self) -> Iterator[bytes]:
        """The body as it comes. IncompleteRead where the server hung up within it."""
        while piece := self._response.read1(PIECE):
            yield piece
        if self._response.length:  # read1 takes an early end for the end
            raise http.client.IncompleteRead(b"", self._response.length)


class Wire:
    """Kept connections to one host and port."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._idle: list[_Connection] = []
        self._closed = 0  # how often ``close`` was called: connections from before are not kept

    @contextmanager
    def send(
        self,
        method: str,
        target: str,
        content: bytes | None,
        headers: Mapping[str, str],
        *,
        connect: float,
        silence: float,
    ) -> Iterator[Reply]:
        """One request; its response is read within the block. Seconds: ``connect``, and of ``silence``.

        Raises NoConnection, TimeoutError, http.client.HTTPException, OSError, and Cancelled where the
        run was cancelled while the server was silent.
        """
        era = self._closed
        used = self._take() or _Connection(self._host, self._port)
        keep = False
        try:
            used.open(connect, silence)
            response = used.ask(method, target, content, headers)
            yield Reply(response)
            keep = used.ended(response) and not response.will_close
            response.close()
        finally:
            if keep and era == self._closed and len(self._idle) < KEPT:
                self._idle.append(used)
            else:
                used.close()

    def close(self) -> None:
        """Close what is idle; what is in use closes when it is done."""
        self._closed += 1
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> _Connection | None:
        while self._idle:
            try:
                found = self._idle.pop()
            except IndexError:  # another thread was quicker
                return None
            if not found.stale():
                return found
            found.close()
        return None


class _Connection:
    """One connection, in use by one thread at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._socket: _Socket | None = None

    def open(self, connect: float, silence: float) -> None:
        if self._socket is None:
            try:
                made = socket.create_connection((self._host, self._port), connect)
            except OSError as error:
                raise NoConnection(error) from error
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = _Socket(made)
        self._socket.silence = silence

    def ask(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        """Send a request in one piece, and read the head of its response."""
        assert self._socket is not None
        lines = [f"{method} {target or '/'} HTTP/1.1", f"Host: {self._name}", "Accept-Encoding: identity"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if content is not None:
            lines.append(f"Content-Length: {len(content)}")
        for line in lines:
            if "\r" in line or "\n" in line:
                raise http.client.InvalidURL(f"a line break in {line.partition(':')[0]!r}")
        head = "\r\n".join([*lines, "", ""]).encode("utf-8")
        self._socket.sendall(head + (content or b""))
        response = http.client.HTTPResponse(self._socket, method=method)  # type: ignore[arg-type]
        response.begin()
        return response

    def ended(self, response: http.client.HTTPResponse) -> bool:
        """Whether the body is at its end; a stream is over for its reader before its last chunk has come."""
        if response.isclosed() or response.length == 0:
            return True
        assert self._socket is not None
        self._socket.silence = END_SECONDS
        try:
            return not response.read1(PIECE) and response.isclosed()
        except (OSError, http.client.HTTPException, Cancelled):
            return False

    def stale(self) -> bool:
        """Whether the server has closed it (or says something unasked) since it was last used."""
        return self._socket is None or self._socket.readable(0)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Socket:
    """A socket whose reads wait in ticks and look up between them; ``silence`` in seconds."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self._poll = select.poll()
        self._poll.register(inner, select.POLLIN)
        self.silence = 60.0

    def readable(self, seconds: float) -> bool:
        return bool(self._poll.poll(1000 * seconds))

    def sendall(self, data: Any) -> None:
        self._inner.settimeout(self.silence)
        self._inner.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self), PIECE)

    def receive(self, into: Any) -> int:
        until = time.monotonic() + self.silence
        while True:
            request.checkpoint()
            left = until - time.monotonic()
            if self.readable(min(TICK_SECONDS, max(0.001, left))):
                return self._inner.recv_into(into)
            if left <= 0:
                raise TimeoutError("the server was silent")

    def close(self) -> None:
        self._inner.close()


class _Reader(io.RawIOBase):
    """The bytes of a socket for http.client, which closes it after each response."""

    def __init__(self, source: _Socket) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        return self._source.receive(into)
