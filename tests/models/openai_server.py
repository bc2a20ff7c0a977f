"""A small OpenAI-style server over real sockets on loopback, well behaved or broken on demand.

A double of a *server*, not of our client: what it gets and sends is bytes of HTTP. Each request
takes the next of the behaviours it was given (the last one stays); ``requests`` holds what came,
``disconnected`` is set when a client hung up while an answer was under way.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Exchange"], None]
WORDS = ["Twenty", "-five", " days", " of", " leave", "."]
TEXT = "".join(WORDS)


@dataclass
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class Exchange:
    """One request and the means to answer it."""

    request: Request
    handler: BaseHTTPRequestHandler
    server: OpenAIServer

    @property
    def wants_stream(self) -> bool:
        return bool(self.request.body.get("stream"))

    def send(self, status: int, body: bytes, media: str = "application/json", **headers: str) -> None:
        self.handler.send_response(status)
        self.handler.send_header("Content-Type", media)
        self.handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def json(self, status: int, data: Any, **headers: str) -> None:
        self.send(status, json.dumps(data).encode(), **headers)

    def begin_stream(self) -> None:
        self.handler.send_response(200)
        self.handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.handler.send_header("Transfer-Encoding", "chunked")
        self.handler.end_headers()

    def raw(self, data: bytes) -> None:
        """One chunk of a streamed answer."""
        self.handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.handler.wfile.flush()

    def event(self, data: Any) -> None:
        self.raw(b"data: %s\n\n" % (data if isinstance(data, bytes) else json.dumps(data).encode()))

    def end_stream(self) -> None:
        self.handler.wfile.write(b"0\r\n\r\n")

    def hang_up(self) -> None:
        """Cut the connection without a goodbye."""
        self.handler.close_connection = True
        self.handler.connection.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float) -> bool:
        """Stay silent; True as soon as the client has hung up."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.server.closing.is_set():
            ready, _, _ = select.select([self.handler.connection], [], [], 0.02)
            if ready and self.handler.connection.recv(1, socket.MSG_PEEK) == b"":
                self.server.disconnected.set()
                return True
        return False


def choice(text: str | None = None, finish: str | None = None, *, part: str = "delta", **more: Any) -> Any:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk" if part == "delta" else "chat.completion",
        "model": "tiny-1-0613",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [
            {"index": 0, part: {} if text is None else {"content": text}, "finish_reason": finish, **more}
        ],
    }


USAGE = {"prompt_tokens": 11, "completion_tokens": 6, "total_tokens": 17}


def answer(
    words: Iterable[str] = tuple(WORDS), *, usage: bool = True, finish: str = "stop", first: float = 0.0
) -> Behaviour:
    """A whole answer, streamed where that is asked for; ``first`` is in seconds before it begins."""
    words = list(words)

    def behave(exchange: Exchange) -> None:
        if not exchange.wants_stream:
            if exchange.wait(first):
                return
            data = choice("".join(words), finish, part="message")
            exchange.json(200, {**data, **({"usage": USAGE} if usage else {})})
            return
        exchange.begin_stream()
        if exchange.wait(first):
            return
        exchange.event({**choice(), "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        for word in words:
            exchange.event(choice(word))
        exchange.event(choice(None, finish))
        if usage and exchange.request.body.get("stream_options", {}).get("include_usage"):
            exchange.event({**choice(), "choices": [], "usage": USAGE})
        exchange.event(b"[DONE]")
        exchange.end_stream()

    return behave


def status(code: int, message: str = "no", *, kind: str = "", **headers: str) -> Behaviour:
    """An error as such servers send it."""
    return lambda exchange: exchange.json(code, {"error": {"message": message, "code": kind}}, **headers)


def page(code: int, html: str = "<html><body>It works!</body></html>") -> Behaviour:
    """A web page: somebody else lives at this address."""
    return lambda exchange: exchange.send(code, html.encode(), "text/html; charset=utf-8")


def body(data: bytes, media: str = "application/json") -> Behaviour:
    return lambda exchange: exchange.send(200, data, media)


def drop(after: int) -> Behaviour:
    """Begin an answer and hang up after so many words (-1: before the headers)."""

    def behave(exchange: Exchange) -> None:
        if after >= 0:
            exchange.begin_stream()
            for word in WORDS[:after]:
                exchange.event(choice(word))
        exchange.hang_up()

    return behave


def stall(after: int, seconds: float = 20.0) -> Behaviour:
    """Begin an answer and fall silent after so many words, until the client hangs up."""

    def behave(exchange: Exchange) -> None:
        if exchange.wants_stream:
            exchange.begin_stream()
            for word in WORDS[:after]:
                exchange.event(choice(word))
        exchange.wait(seconds)
        exchange.hang_up()

    return behave


def raw_stream(*chunks: bytes) -> Behaviour:
    """A stream of exactly these chunks."""

    def behave(exchange: Exchange) -> None:
        exchange.begin_stream()
        for chunk in chunks:
            exchange.raw(chunk)
        exchange.end_stream()

    return behave


@dataclass
class OpenAIServer:
    """Use as a context manager; ``url`` ends in /v1."""

    models: list[str] = field(default_factory=lambda: ["tiny-1", "tiny-2"])
    requests: list[Request] = field(default_factory=list)
    disconnected: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)
    _behaviours: list[Behaviour] = field(default_factory=lambda: [answer()])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> OpenAIServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self, None)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                outer._answer(self, json.loads(self.rfile.read(length)))

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def asked(self) -> list[Request]:
        """The completions that were asked for."""
        return [request for request in self.requests if request.method == "POST"]

    def play(self, *behaviours: Behaviour) -> OpenAIServer:
        self._behaviours = list(behaviours)
        return self

    def _answer(self, handler: BaseHTTPRequestHandler, data: Any) -> None:
        request = Request(handler.command, handler.path, dict(handler.headers), data)
        with self._lock:
            self.requests.append(request)
            behave = self._behaviours[0]
            if data is not None and len(self._behaviours) > 1:
                self._behaviours.pop(0)
        exchange = Exchange(request, handler, self)
        try:
            if handler.path == "/v1/models":
                exchange.json(200, {"data": [{"id": name} for name in self.models]})
            elif handler.path == "/v1/chat/completions":
                behave(exchange)
            else:
                exchange.json(404, {"detail": "Not Found"})
        except (BrokenPipeError, ConnectionResetError):
            self.disconnected.set()
            handler.close_connection = True
