"""``headrace serve`` as a process: signals, exit codes, addresses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from headrace.settings import child_environment

SLOW = """\
import time
import headrace as hr
from headrace.request import checkpoint

@hr.app
def slow(question: str, seconds: float = 1.0) -> str:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(0.01)
    return "finished"
"""


class Process:
    def __init__(self, root: Path, *words: str, **environment: str) -> None:
        command = [sys.executable, "-m", "headrace", "serve", *words]
        self.child = subprocess.Popen(
            command,
            cwd=root,
            env=child_environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        line = self.child.stdout.readline()
        if not line:
            pytest.fail(f"the server did not start: {self.child.stderr.read()}")
        return json.loads(line)["url"].rstrip("/")

    def end(self) -> tuple[int, str]:
        _, errors = self.child.communicate(timeout=30)
        return self.child.returncode, errors


@pytest.fixture
def start(tmp_path):
    (tmp_path / "headrace.toml").write_text('[app]\nentry = "app.py:slow"\n[serve]\ndrain = 10.0\n')
    (tmp_path / "app.py").write_text(SLOW)
    processes: list[Process] = []

    def begin(*words: str, **environment: str) -> Process:
        processes.append(Process(tmp_path, *words, **environment))
        return processes[-1]

    yield begin
    for process in processes:
        if process.child.poll() is None:
            process.child.kill()
            process.child.communicate()


def in_background(url: str, seconds: float) -> tuple[threading.Thread, list]:
    replies: list = []

    def ask() -> None:
        try:
            replies.append(
                httpx.post(
                    f"{url}/v1/apps/slow/invoke", json={"question": "x", "seconds": seconds}, timeout=60
                )
            )
        except httpx.HTTPError as error:
            replies.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    ends = time.monotonic() + 10
    while "headrace_in_flight 1.0" not in httpx.get(f"{url}/metrics").text:
        assert time.monotonic() < ends
        time.sleep(0.01)
    return thread, replies


def test_sigterm_drains_and_exits_0(start):
    process = start("--port", "0", "--json")
    url = process.url()
    ends = time.monotonic() + 30
    while httpx.get(f"{url}/readyz").status_code != 200:
        assert time.monotonic() < ends
    thread, replies = in_background(url, 2.0)
    process.child.send_signal(signal.SIGTERM)
    ends = time.monotonic() + 5
    while (ready := httpx.get(f"{url}/readyz")).status_code == 200:
        assert time.monotonic() < ends
    assert (ready.status_code, ready.text) == (503, "draining\n")
    late = httpx.post(f"{url}/v1/apps/slow/invoke", json={"question": "x"})
    assert late.status_code == 503
    assert late.json()["error"]["code"] == "draining"
    assert "retry-after" in late.headers
    thread.join(30)
    assert replies[0].json()["output"] == "finished"
    assert process.end()[0] == 0


def test_the_trace_of_a_drained_run_is_kept(start, tmp_path):
    process = start("--port", "0", "--json")
    url = process.url()
    trace_id = httpx.post(f"{url}/v1/apps/slow/invoke", json={"question": "x", "seconds": 0}).json()[
        "trace_id"
    ]
    process.child.send_signal(signal.SIGTERM)
    assert process.end()[0] == 0
    from headrace.resources.build import ledger

    assert ledger(tmp_path).trace(trace_id).output == "finished"


def test_a_second_signal_stops_at_once(start):
    process = start("--port", "0", "--json")
    thread, replies = in_background(process.url(), 60.0)
    process.child.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.child.poll() is None
    process.child.send_signal(signal.SIGTERM)
    assert process.end()[0] == 1
    thread.join(10)
    assert not getattr(replies[0], "is_success", False)


def test_an_address_that_is_taken(start):
    first = start("--port", "0", "--json")
    port = first.url().rpartition(":")[2]
    second = start("--port", port)
    code, errors = second.end()
    assert code == 1
    assert port in errors
    assert "--port" in errors
    assert "Traceback" not in errors


def test_other_machines_need_a_key(start):
    code, errors = start("--host", "0.0.0.0").end()
    assert code == 2
    assert "needs a key" in errors
    assert "HEADRACE_KEY" in errors
    assert "Traceback" not in errors
    process = start("--host", "0.0.0.0", "--port", "0", "--json", HEADRACE_KEY="k" * 20)
    port = process.url().rpartition(":")[2]
    url = f"http://127.0.0.1:{port}"
    assert httpx.get(f"{url}/v1/models").status_code == 401
    assert httpx.get(f"{url}/v1/models", headers={"authorization": "Bearer " + "k" * 20}).status_code == 200


def test_small_answers_do_not_wait_for_acknowledgements():
    """asyncio sets TCP_NODELAY only on sockets that name their protocol."""
    import socket

    from headrace.web.server import listen

    with listen("127.0.0.1", 0) as door:
        assert door.proto == socket.IPPROTO_TCP
