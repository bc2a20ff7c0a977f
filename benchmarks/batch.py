"""A batch against the capacity of a model server that takes 50 ms an answer; then killed twenty times.

    python benchmarks/batch.py            # 2,000 rows, one round, 5 kills
    python benchmarks/batch.py --full     # 10,000 rows, three rounds, 20 kills

Server, application and bare client are those of ``evaluate_throughput.py``: the capacity at concurrency
32 is what 32 threads get that send ready bytes and do not look at the answers, measured before and after
each batch; server and client share the machine. A batch is the command line, JSON lines in and out.
``share`` is rows by the ``seconds`` that the command reports (all of the job: reading, running, writing),
``share_of_rows`` by those in which rows ran, ``share_of_process`` by the life of the process, which
includes starting Python. Then a batch of the same size is killed (SIGKILL) at random moments and started
again each time: how often each row is in the output, how many rows were computed again as the batch says
and as the server saw. Written to ``benchmarks/results/batch.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import evaluate_throughput as slow
from machine import save

WORKERS, SHARD = slow.WORKERS, 200


class Http(slow.Http):
    """The slow server, which also knows how many requests it has at a time."""

    here = most = 0

    def data_received(self, data: bytes) -> None:
        before = len(self.data)
        super().data_received(data)
        if len(self.data) <= before:  # a request was taken
            Http.here += 1
            Http.most = max(Http.most, Http.here)

    def send(self, data: bytes) -> None:
        Http.here -= 1
        super().send(data)


async def serve(log: str) -> None:
    if log:
        slow.Http.log = open(log, "a", buffering=1)  # noqa: SIM115
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Http, "127.0.0.1", 0, backlog=256)
    loop.add_signal_handler(signal.SIGTERM, server.close)
    print(server.sockets[0].getsockname()[1], flush=True)
    while server.is_serving():
        await asyncio.sleep(0.1)
    print(Http.most, flush=True)
    os._exit(0)


def started(log: str = "") -> tuple[subprocess.Popen[str], int]:
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", *(["--log", log] if log else [])],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    return server, int(server.stdout.readline())


def ended(server: subprocess.Popen[str]) -> int:
    """Stop the server; the most requests that it had at a time."""
    server.terminate()
    return int(server.communicate()[0])


def project(folder: Path, port: int, count: int) -> None:
    slow.project(folder, port, 0)
    with (folder / "in.jsonl").open("w") as file:
        for i in range(count):
            file.write(json.dumps({"id": i, "question": f"question {i}?"}) + "\n")


def batch(folder: Path) -> subprocess.Popen[str]:
    code = "from headrace.cli.main import main; main()"
    command = [sys.executable, "-c", code, "batch", "in.jsonl", "out.jsonl", "--app", ".", "--json"]
    return subprocess.Popen(
        [*command, "--workers", str(WORKERS), "--shard", str(SHARD)],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )


def checked(folder: Path, count: int) -> dict[str, Any]:
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    times = Counter(row["id"] for row in rows)
    return {
        "rows_in_output": len(rows),
        "rows_missing": count - len(times),
        "rows_twice": sum(n - 1 for n in times.values()),
        "rows_out_of_order": sum(row["id"] != i for i, row in enumerate(rows)),
        "wrong_answers": sum(row["answer"] != f"The answer to question {row['id']}?" for row in rows),
    }


def throughput(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    seen = []
    for number in range(rounds):
        server, port = started()
        try:
            place = folder / f"round{number}"
            project(place, port, count)
            before = slow.bare(port, count)
            cpu, began = os.times(), time.perf_counter()
            child = batch(place)
            out, _ = child.communicate()
            whole = time.perf_counter() - began
            used = os.times()
            after = slow.bare(port, count)
        finally:
            most = ended(server)
        value = json.loads(out)
        capacity = (before + after) / 2
        seen.append(
            {
                "capacity_before_and_after": [round(before, 1), round(after, 1)],
                "seconds": round(value["seconds"], 3),
                "process_seconds": round(whole, 3),
                "rows_per_second": round(count / value["seconds"], 1),
                "share": round(count / value["seconds"] / capacity, 4),
                "share_of_rows": round(count / value["rows_seconds"] / capacity, 4),
                "share_of_process": round(count / whole / capacity, 4),
                "cpu_ms_a_row": round(
                    1000
                    * (used.children_user - cpu.children_user + used.children_system - cpu.children_system)
                    / count,
                    3,
                ),
                "most_requests_at_a_time": most,
                "load_average": round(os.getloadavg()[0], 1),
                "done": value["done"],
                "traces": value["traces"],
                **checked(place, count),
            }
        )
        print(f"round {number + 1}: {json.dumps(seen[-1])}", file=sys.stderr)
    return {
        "rows": count,
        "concurrency": WORKERS,
        "server_delay_s": slow.DELAY,
        "ideal": WORKERS / slow.DELAY,
        "cores": os.cpu_count(),
        "share": statistics.median(one["share"] for one in seen),
        "share_of_rows": statistics.median(one["share_of_rows"] for one in seen),
        "share_of_process": statistics.median(one["share_of_process"] for one in seen),
        "rounds": seen,
    }


def killed(folder: Path, count: int, kills: int) -> dict[str, Any]:
    log = folder / "requests.log"
    log.touch()
    server, port = started(str(log))
    place, rng = folder / "killed", random.Random(5)
    project(place, port, count)

    def asked() -> int:
        return log.stat().st_size

    size = 0
    lived = 0
    try:
        began = time.perf_counter()
        marks = sorted(rng.uniform(0.02, 0.95) for _ in range(kills))
        for mark in marks:
            child = batch(place)
            size = size or _line(log, child)
            while asked() < mark * count * size and child.poll() is None:
                time.sleep(0.002)
            lived += child.poll() is None
            os.kill(child.pid, signal.SIGKILL)
            child.communicate()
        out, _ = batch(place).communicate()
        seconds = time.perf_counter() - began
    finally:
        ended(server)
    value = json.loads(out)
    times = Counter(json.loads(line)["messages"][-1]["content"] for line in log.read_text().splitlines())
    again = sum(n - 1 for n in times.values())
    return {
        "kills": kills,
        "killed_while_running": lived,
        **checked(place, count),
        "recomputed_as_reported": value["recomputed"],
        "asked_twice_as_the_server_saw": again,
        "recomputed_a_kill": round(value["recomputed"] / kills, 1),
        "rows_of_a_shard": SHARD,
        "seconds": round(seconds, 1),
    }


def _line(log: Path, child: subprocess.Popen[str]) -> int:
    """Bytes of one request in the log, roughly."""
    while log.stat().st_size < 2000 and child.poll() is None:
        time.sleep(0.002)
    lines = log.read_text().splitlines()
    return 3 + sum(len(line) for line in lines) // len(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--no-kills", action="store_true", help="Only the throughput; writes no result.")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--log", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.log))
        return
    rows, rounds, kills = (10_000, 3, 20) if given.full else (2_000, 1, 5)
    with tempfile.TemporaryDirectory() as name:
        result = throughput(Path(name), rows, given.rounds or rounds)
        if not given.no_kills:
            result["killed"] = killed(Path(name), rows, kills)
    if given.full and not given.no_kills:
        save("batch", result, command="python benchmarks/batch.py --full")
    print(json.dumps({key: value for key, value in result.items() if key != "rounds"}, indent=2))


if __name__ == "__main__":
    main()
