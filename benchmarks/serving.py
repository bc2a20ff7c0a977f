"""What the benchmarks of serving share: a project with a release, servers, a client of little cost.

Not a benchmark. The client speaks HTTP/1.1 over kept connections on one event loop, in a process of
its own, so that both sides of a comparison pay the same for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.settings import child_environment

QUESTIONS = (
    "How many days of leave do I get?",
    "How long is parental leave?",
    "When do unused days expire?",
    "How far ahead do I ask for leave?",
    "From which day on is a doctor's note needed?",
    "Who approves trips above 400 euros?",
    "What may a hotel cost in Geneva?",
    "Which class do we fly?",
    "How long do I have to hand in receipts?",
    "What is the flat rate for meals?",
    "How often are laptops replaced?",
    "Whom do I tell when a laptop is stolen?",
    "What does the company pay for a desk at home?",
    "How many days may I work from abroad?",
    "Which laptops can new employees choose?",
    "What is the salary of the managing director?",
)


def headrace(folder: Path, *words: str) -> str:
    """Run the command line in a project; its standard output."""
    command = [sys.executable, "-m", "headrace", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def new_project(folder: Path) -> Path:
    """The handbook of ``headrace new``, ingested."""
    headrace(folder, "new", "handbook")
    project = folder / "handbook"
    headrace(project, "ingest", "docs/")
    return project


def release_and_promote(project: Path) -> str:
    """Release the project's application as it is, and make it the one in production; its id."""
    code = (
        "from headrace.ops.release import release\n"
        "from headrace.resources import build\n"
        "made = release('app.py:handbook')\n"
        "build.registry('.').promote('handbook', 'production', made.id, who='benchmark')\n"
        "print(made.id)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


class Server:
    """A server process that prints its address as one JSON line."""

    def __init__(self, command: Sequence[str], folder: Path, *, path: str, **environment: str) -> None:
        self.path = path
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=child_environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{command} did not start"
        self.url = json.loads(line)["url"].rstrip("/")
        self.host, _, port = self.url.removeprefix("http://").rpartition(":")
        self.port = int(port)

    def wait_until_it_answers(self, seconds: float = 60.0) -> None:
        ends = time.monotonic() + seconds
        while asyncio.run(load(self.host, self.port, self.path, 1, count=1)).statuses.get(200) != 1:
            assert time.monotonic() < ends, "it does not answer"
            time.sleep(0.05)

    def tree(self) -> list[int]:
        """The server's process and its children."""
        children = Path(f"/proc/{self.process.pid}/task")
        found = [self.process.pid]
        for task in children.iterdir():
            found += [int(pid) for pid in (task / "children").read_text().split()]
        return found

    def cpu_seconds(self) -> float:
        """User and system seconds of server and workers that are alive."""
        total = 0
        for pid in self.tree():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Resident megabytes of server and workers."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.tree())
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def by_alias(project: Path, **environment: str) -> Server:
    """``headrace serve handbook@production``."""
    command = [sys.executable, "-m", "headrace", "serve", "handbook@production", "--port", "0", "--json"]
    found = Server(command, project, path="/v1/apps/handbook/invoke", **environment)
    found.wait_until_it_answers()
    return found


# --------------------------------------------------------------------------- the client


@dataclass
class Load:
    """What a client saw. ``seconds`` are those of the answers with 200, ``refused`` of the others."""

    statuses: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    took: float = 0.0
    broken: int = 0

    @property
    def rate(self) -> float:
        """Answers with 200 a second."""
        return self.statuses.get(200, 0) / self.took

    def quantile(self, q: float) -> float:
        """Of the seconds of answers."""
        return quantile(self.seconds, q)


def quantile(values: Sequence[float], q: float) -> float:
    """By rank, None would be better for an empty one: it is 0 there."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


Each = Callable[[int, dict[str, str], bytes], None]


async def load(
    host: str,
    port: int,
    path: str,
    concurrency: int,
    *,
    seconds: float = 0.0,
    count: int = 0,
    each: Each | None = None,
    headers: str = "",
    pause_after_refusal: float = 0.0,
    reconnect: bool = False,
) -> Load:
    """Ask from ``concurrency`` connections for ``seconds`` (or ``count`` requests in all).

    ``each`` is told status, headers and body of every response.
    """
    seen = Load()
    began = time.perf_counter()
    left = count

    async def visitor(number: int) -> None:
        nonlocal left
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        turn = number
        while (not count or left > 0) and (not seconds or time.perf_counter() - began < seconds):
            left -= 1
            body = json.dumps({"question": QUESTIONS[turn % len(QUESTIONS)]}).encode()
            turn += 7
            words = (
                f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
                f"{headers}content-length: {len(body)}\r\n\r\n"
            )
            at = time.perf_counter()
            try:
                if writer is None or reader is None:
                    reader, writer = await asyncio.open_connection(host, port)
                writer.write(words.encode() + body)
                status, heads, answer = await response(reader)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                seen.broken += 1
                if writer is not None:
                    writer.close()
                reader = writer = None
                if not reconnect:
                    return
                await asyncio.sleep(0.02)
                continue
            took = time.perf_counter() - at
            seen.statuses[status] = seen.statuses.get(status, 0) + 1
            (seen.seconds if status == 200 else seen.refused).append(took)
            if each is not None:
                each(status, heads, answer)
            if status != 200 and pause_after_refusal:
                await asyncio.sleep(pause_after_refusal)
        if writer is not None:
            writer.close()

    await asyncio.gather(*(visitor(number) for number in range(concurrency)))
    seen.took = time.perf_counter() - began
    return seen


async def response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """One response with a content-length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    heads = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name}
    body = await reader.readexactly(int(heads.get("content-length", "0")))
    return int(head[0].split()[1]), heads, body


def client(server: Server, concurrency: int, seconds: float) -> dict[str, Any]:
    """:func:`load` in a process of its own, with what the server's processes spent meanwhile."""
    spent = server.cpu_seconds()
    words = [server.host, str(server.port), server.path, str(concurrency), str(seconds)]
    done = subprocess.run(
        [sys.executable, __file__, *words], check=True, capture_output=True, text=True
    ).stdout
    found: dict[str, Any] = json.loads(done)
    found["cpu_ms"] = round((server.cpu_seconds() - spent) / max(1, found["answers"]) * 1000, 3)
    return found


def main() -> None:
    host, port, path, concurrency, seconds = sys.argv[1:]
    seen = asyncio.run(load(host, int(port), path, int(concurrency), seconds=float(seconds)))
    print(
        json.dumps(
            {
                "answers": seen.statuses.get(200, 0),
                "others": {k: v for k, v in seen.statuses.items() if k != 200},
                "broken": seen.broken,
                "rate": round(seen.rate, 2),
                "p50_ms": round(statistics.median(seen.seconds or [0]) * 1000, 3),
                "p99_ms": round(seen.quantile(0.99) * 1000, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
