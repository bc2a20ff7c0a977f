"""Kept connections to a server on this machine: reused, replaced when stale, closed when unfinished."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from headrace import request
from headrace.errors import Cancelled
from headrace.models.wire import NoConnection, Reply, Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@contextmanager
def server(
    *replies: bytes, close_after: int = 10**9
) -> Iterator[tuple[int, list[bytes], list[socket.socket]]]:
    """Plays replies on loopback, one per request; what came, and the connections. b"" stays silent."""
    door = socket.create_server(("127.0.0.1", 0))
    came: list[bytes] = []
    doors: list[socket.socket] = []
    left = list(replies)

    def talk(one: socket.socket) -> None:
        for number in range(1, 10**6):
            got = b""
            while b"\r\n\r\n" not in got:
                piece = one.recv(65536)
                if not piece:
                    return
                got += piece
            came.append(got)
            data = left.pop(0) if len(left) > 1 else left[0]
            if data:
                one.sendall(data)
            if number >= close_after or (data and data.endswith(b"half")):
                one.close()
                return

    def welcome() -> None:
        while True:
            try:
                one, _ = door.accept()
            except OSError:
                return
            doors.append(one)
            threading.Thread(target=talk, args=(one,), daemon=True).start()

    threading.Thread(target=welcome, daemon=True).start()
    try:
        yield door.getsockname()[1], came, doors
    finally:
        door.close()
        for one in doors:
            one.close()


def ask(wire: Wire, read: Callable[[Reply], bytes] | None = None, silence: float = 5.0) -> bytes:
    with wire.send("POST", "/v1", b"{}", {"Accept": "*/*"}, connect=5.0, silence=silence) as reply:
        return b"".join(reply.iter_bytes()) if read is None else read(reply)


def test_one_request_in_one_piece_over_one_connection() -> None:
    with server(OK) as (port, came, doors):
        wire = Wire("127.0.0.1", port)
        assert [ask(wire) for _ in range(3)] == [b"hi"] * 3
        assert len(doors) == 1
        assert came[0].startswith(b"POST /v1 HTTP/1.1\r\nHost: 127.0.0.1:")
        assert came[0].endswith(b"Content-Length: 2\r\n\r\n{}")
        wire.close()


def test_a_connection_that_the_server_closed_is_replaced() -> None:
    with server(OK, close_after=1) as (port, _, doors):
        wire = Wire("127.0.0.1", port)
        for _ in range(3):
            assert ask(wire) == b"hi"
            assert doors[-1].fileno() == -1 or doors[-1].close() is None  # the server's end is closed
        assert len(doors) == 3
        wire.close()


def test_an_unfinished_answer_costs_its_connection() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n2\r\nho\r\n"
    with server(chunked, OK) as (port, _, doors):
        wire = Wire("127.0.0.1", port)
        assert ask(wire, lambda reply: next(reply.iter_bytes())) == b"hi"
        assert ask(wire) == b"hi"
        assert len(doors) == 2
        wire.close()


def test_a_stream_read_to_its_last_event_keeps_its_connection() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    with server(chunked) as (port, _, doors):
        wire = Wire("127.0.0.1", port)
        for _ in range(2):
            assert ask(wire, lambda reply: next(reply.iter_bytes())) == b"hi"
        assert len(doors) == 1
        wire.close()


def test_a_body_that_ends_early_is_no_answer() -> None:
    with server(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf") as (port, _, _doors):
        wire = Wire("127.0.0.1", port)
        with pytest.raises(http.client.IncompleteRead):
            ask(wire)


def test_silence_and_nobody_there() -> None:
    with server(b"") as (port, _, _doors), pytest.raises(TimeoutError):
        ask(Wire("127.0.0.1", port), silence=0.1)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(NoConnection) as caught:
        ask(Wire("127.0.0.1", port))
    assert not caught.value.late


def test_a_cancelled_run_does_not_wait_for_a_silent_server() -> None:
    token = request.CancelToken()
    with server(b"") as (port, came, _doors):

        def stop() -> None:
            while not came:
                pass
            token.cancel()

        threading.Thread(target=stop, daemon=True).start()
        with request.use(request.RequestContext(cancel=token)), pytest.raises(Cancelled):
            ask(Wire("127.0.0.1", port), silence=60.0)


def test_a_line_break_in_a_header_sends_nothing() -> None:
    with server(OK) as (port, came, _doors):
        wire = Wire("127.0.0.1", port)
        with (
            pytest.raises(http.client.InvalidURL, match="line break"),
            wire.send("GET", "/", None, {"X": "a\r\nEvil: 1"}, connect=5.0, silence=5.0),
        ):
            pass
        assert came == []


def test_many_threads_share_it() -> None:
    with server(OK) as (port, came, doors):
        wire = Wire("127.0.0.1", port)
        seen: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: seen.extend(ask(wire) for _ in range(10))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [b"hi"] * 80
        assert len(came) == 80
        assert len(doors) <= 8
        wire.close()
