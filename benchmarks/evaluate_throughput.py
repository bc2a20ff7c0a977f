"""Evaluation against the capacity of a model server that takes 50 ms an answer; killed and resumed.

    python benchmarks/evaluate_throughput.py

A server in a process of its own answers ``/v1/chat/completions`` 50 ms after each request. Its
capacity at concurrency 32 is measured with a bare client (32 threads, one kept connection each, the
same requests as bytes made beforehand, answers read and not looked at), before and after each
evaluation of 5,000 rows with 32 workers; the share is that of the two neighbours' mean. Then an
evaluation is killed (SIGKILL) at half and started again: how many requests the server got twice, how
many rows are in the report. Written to ``benchmarks/results/evaluate_throughput.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from machine import save

DELAY = 0.05
WORKERS = 32

APP = '''
import headrace as hr

llm = hr.model("auto")


@hr.app
def ask(question: str) -> str:
    """Ask the model."""
    return llm.complete(question).text
'''

SETTINGS = """
[app]
entry = "app.py:ask"
[models]
default = "slow"
[models.slow]
url = "http://127.0.0.1:{port}/v1"
model = "slow"
"""

# --------------------------------------------------------------------------- the server


def answer_to(body: bytes) -> bytes:
    text = json.loads(body)["messages"][-1]["content"]
    data = json.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "model": "slow",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": f"The answer to {text}"},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18},
        }
    ).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


class Http(asyncio.Protocol):
    """As little HTTP as a kept connection needs. ``log`` gets one line per request."""

    log: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.data = b""
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = self.data[:end].lower()
            length = (
                int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
            )
            if len(self.data) < end + 4 + length:
                return
            body, self.data = self.data[end + 4 : end + 4 + length], self.data[end + 4 + length :]
            if self.log is not None:
                self.log.write(body.decode() + "\n")
            asyncio.get_running_loop().call_later(DELAY, self.send, answer_to(body))

    def send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


async def serve(log: str) -> None:
    if log:
        Http.log = open(log, "a", buffering=1)  # noqa: SIM115
    server = await asyncio.get_running_loop().create_server(Http, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# --------------------------------------------------------------------------- the bare client


def bare(port: int, count: int) -> float:
    """Requests a second of 32 threads that do nothing else."""
    requests = [
        (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        + body
        for body in (
            json.dumps(
                {"model": "slow", "messages": [{"role": "user", "content": f"bare {i}"}], "max_tokens": 512}
            ).encode()
            for i in range(count)
        )
    ]
    waiting = iter(requests)
    lock = threading.Lock()

    def work() -> None:
        with socket.create_connection(("127.0.0.1", port)) as door:
            door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                with lock:
                    data = next(waiting, None)
                if data is None:
                    return
                door.sendall(data)
                got = b""
                while b"\r\n\r\n" not in got:
                    got += door.recv(65536)
                head, _, rest = got.partition(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                while len(rest) < length:
                    rest += door.recv(65536)

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - began)


# --------------------------------------------------------------------------- evaluations


def project(folder: Path, port: int, count: int) -> None:
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    (folder / "headrace.toml").write_text(SETTINGS.format(port=port))
    (folder / "evals").mkdir()
    with (folder / "evals" / "questions.jsonl").open("w") as file:
        for i in range(count):
            line = {"inputs": {"question": f"question {i}?"}, "expectations": {"answer": f"question {i}"}}
            file.write(json.dumps({"id": f"q{i}", **line}) + "\n")


def evaluation(folder: Path) -> subprocess.Popen[str]:
    code = "from headrace.cli.main import main; main()"
    command = [sys.executable, "-c", code, "eval", ".", "--metrics", "contains,latency", "--json"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


def rows_of(folder: Path) -> dict[str, Any]:
    """In this process: rows a second from the first request to the last score."""
    code = (
        "import json, time\n"
        "import headrace as hr\n"
        "began, cpu = time.perf_counter(), time.process_time()\n"
        "report = hr.evaluate('.', 'evals/questions.jsonl', ['contains', 'latency'])\n"
        "seconds = time.perf_counter() - began\n"
        "s = report.settings\n"
        "found = {'seconds': seconds, 'rows': len(report.rows), 'running': s['rows_seconds']}\n"
        "found |= {key: s[key] for key in ('workers', 'computed')}\n"
        "found['contains'], found['latency_s'] = (m['value'] for m in report.measurements)\n"
        "found['cpu_ms_a_row'] = round(1000 * (time.process_time() - cpu) / len(report.rows), 3)\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def throughput(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    try:
        seen = []
        for number in range(rounds):
            place = folder / f"round{number}"
            project(place, port, count)
            before = bare(port, count)
            found = rows_of(place)
            after = bare(port, count)
            capacity = (before + after) / 2
            found["load_average"] = round(os.getloadavg()[0], 1)
            found["capacity_before_and_after"] = [round(before, 1), round(after, 1)]
            found["capacity"] = round(capacity, 1)
            found["rows_per_second"] = round(count / found["running"], 1)
            found["share"] = round(count / found["running"] / capacity, 4)
            found["share_with_scoring_and_report"] = round(count / found["seconds"] / capacity, 4)
            seen.append(found)
            print(f"round {number + 1}: {json.dumps(found)}", file=sys.stderr)
    finally:
        server.terminate()
    return {
        "rows": count,
        "concurrency": WORKERS,
        "server_delay_s": DELAY,
        "ideal": WORKERS / DELAY,
        "cores": os.cpu_count(),
        "share": statistics.median(one["share"] for one in seen),
        "share_with_scoring_and_report": statistics.median(
            one["share_with_scoring_and_report"] for one in seen
        ),
        "rounds": seen,
    }


def killed(folder: Path, count: int) -> dict[str, Any]:
    log = folder / "requests.log"
    command = [sys.executable, __file__, "--serve", "--log", str(log)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    place = folder / "killed"
    project(place, port, count)
    try:
        child = evaluation(place)
        while not log.exists() or sum(1 for _ in log.open()) < count // 2:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        asked = sum(1 for _ in log.open())
        again = evaluation(place)
        out, _ = again.communicate()
        value = json.loads(out)
    finally:
        server.terminate()
    rows = [json.loads(line)["id"] for line in Path(value["rows"]).read_text().splitlines()]
    times = Counter(log.read_text().splitlines())
    return {
        "requests_when_killed": asked,
        "rows_in_report": len(rows),
        "rows_twice_in_report": len(rows) - len(set(rows)),
        "known_after_kill": value["cached"],
        "computed_after_kill": value["computed"],
        "recomputed_as_reported": value["recomputed"],
        "asked_twice_as_the_server_saw": sum(n - 1 for n in times.values()),
        "in_flight_at_most": WORKERS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--log", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.log))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = throughput(folder, given.rows, given.rounds)
        result["killed_at_half"] = killed(folder, given.rows)
    command = "python benchmarks/evaluate_throughput.py"
    if given.rows == 5000:
        save("evaluate_throughput", result, command=command)
    print(json.dumps({key: value for key, value in result.items() if key != "rounds"}, indent=2))


if __name__ == "__main__":
    main()
