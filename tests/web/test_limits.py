"""Admission, time limits and cancellation, seen from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.005)


def ask(server, app: str = "slow") -> httpx.Response:
    return httpx.post(
        f"{server.url}/v1/apps/{app}/invoke", json={"question": "x"}, timeout=30, trust_env=False
    )


def test_full_is_429_at_once_and_those_who_wait_are_served(serve):
    server = serve("slow", concurrency=2, queue=3)
    with ThreadPoolExecutor(10) as pool:
        inside = [pool.submit(ask, server) for _ in range(5)]
        until(lambda: server.desk.admission.running == 2 and server.desk.admission.waiting == 3)
        refused = ask(server)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "overloaded"
        assert server.desk.admission.waiting == 3  # it was not let in
        gauges = httpx.get(f"{server.url}/metrics").text  # pages and probes still answer
        assert "headrace_in_flight 2.0" in gauges
        assert "headrace_queue 3.0" in gauges
        server.module["gate"].set()
        assert [future.result().status_code for future in inside] == [200] * 5
    until(lambda: server.desk.admission.running == 0)  # a place comes back after its answer has left


def test_a_crowd_is_answered_one_way_or_the_other(serve):
    server = serve("chatty", concurrency=2, queue=4)
    with ThreadPoolExecutor(60) as pool:
        replies = [future.result() for future in [pool.submit(ask, server, "chatty") for _ in range(200)]]
    statuses = {reply.status_code for reply in replies}
    assert 200 in statuses
    assert statuses <= {200, 429}
    assert all("retry-after" in reply.headers for reply in replies if reply.status_code == 429)
    until(lambda: server.desk.admission.running == 0 and server.desk.admission.waiting == 0)


def test_waiting_too_long_is_503(serve):
    server = serve("slow", concurrency=1, queue=5, wait=0.2)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, server)
        until(lambda: server.desk.admission.running == 1)
        late = ask(server)
        assert late.status_code == 503
        assert late.json()["error"]["code"] == "waited-too-long"
        assert "retry-after" in late.headers
        assert server.desk.admission.waiting == 0
        server.module["gate"].set()
        assert first.result().status_code == 200


def test_running_too_long_is_504_and_cancels(serve):
    server = serve("slow", timeout=0.3)
    reply = ask(server)
    assert reply.status_code == 504
    assert reply.json()["error"]["code"] == "ran-too-long"
    assert server.module["stopped"].wait(10)
    until(lambda: server.desk.admission.running == 0)


def test_an_application_that_does_not_listen_keeps_its_place_until_it_ends(serve):
    """Otherwise the bound on what runs side by side would be a lie."""
    server = serve("deaf", timeout=0.3, concurrency=1, queue=0)
    assert ask(server, "deaf").status_code == 504
    assert server.desk.admission.running == 1
    assert ask(server, "deaf").status_code == 429
    server.module["gate"].set()
    until(lambda: server.desk.admission.running == 0)
    assert ask(server, "deaf").status_code == 200


def test_a_stream_that_runs_too_long_ends_with_an_error(serve):
    server = serve("slow", timeout=0.3)
    reply = httpx.post(f"{server.url}/v1/apps/slow/stream", json={"question": "x"}, timeout=30)
    assert "event: delta" in reply.text
    assert '"ran-too-long"' in reply.text.rpartition("event: error")[2]
    assert server.module["stopped"].wait(10)


def test_a_client_that_hangs_up_cancels_the_run(serve):
    server = serve("slow")
    for path in ("invoke", "stream"):
        server.module["stopped"].clear()
        try:
            with httpx.stream(
                "POST", f"{server.url}/v1/apps/slow/{path}", json={"question": "x"}, timeout=0.5
            ) as reply:
                next(reply.iter_bytes())
        except httpx.ReadTimeout:
            pass
        assert server.module["stopped"].wait(10), path
        until(lambda: server.desk.admission.running == 0)


def test_a_client_that_hangs_up_in_the_queue_leaves_it(serve):
    server = serve("slow", concurrency=1, queue=2)
    first = threading.Thread(target=ask, args=(server,))
    first.start()
    until(lambda: server.desk.admission.running == 1)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/apps/slow/invoke", json={"question": "x"}, timeout=0.3)
    until(lambda: server.desk.admission.waiting == 0)
    server.module["gate"].set()
    first.join(20)
    until(lambda: server.desk.admission.running == 0)


def test_refusals_of_a_stream_are_statuses(serve):
    """Nothing has been sent yet, so the client can see it in the status line."""
    server = serve("slow", concurrency=1, queue=0)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, server)
        until(lambda: server.desk.admission.running == 1)
        url = f"{server.url}/v1/apps/slow/stream"
        assert httpx.post(url, json={"question": "x"}).status_code == 429
        server.module["gate"].set()
        first.result()
    assert httpx.post(url, json={"seconds": 1}).status_code == 422
