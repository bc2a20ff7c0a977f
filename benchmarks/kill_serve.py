"""kill -9 of the server and of its worker at random moments: is every acknowledged vote there?

    python benchmarks/kill_serve.py [--kills 6] [--seed N] [--full]

Eight visitors ask ``headrace serve handbook@production``, vote on what they got, and write down each
vote that was acknowledged. Turn about, the worker or the server is killed; the server is started
again at once, as a service manager would, the worker comes back by itself. ``back`` is from the kill
to the next answer. At the end the ledger is read: every acknowledged vote is in it, and its trace.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import machine
import serving
from headrace.ledger.database import Ledger
from headrace.settings import LedgerSettings

VISITORS = 8
COMMAND = [sys.executable, "-m", "headrace", "serve", "handbook@production", "--json", "--port"]


class Voters:
    """They ask and vote, whatever happens; ``kept`` are the votes that were acknowledged."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.kept: list[tuple[str, str]] = []  # (trace, vote)
        self.counts: dict[str, int] = {}
        self.answered = 0.0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)

    async def _all(self) -> None:
        await asyncio.gather(*(self._one(number) for number in range(VISITORS)))

    async def _one(self, number: int) -> None:
        turn = number
        while not self.stop.is_set():
            turn += 3
            question = {"question": serving.QUESTIONS[turn % len(serving.QUESTIONS)]}
            sent = time.monotonic()
            status, answer = await self._post("/v1/apps/handbook/invoke", question)
            if status == 200:
                self.answered = sent
                given = {"trace_id": answer["trace_id"], "value": "up", "comment": f"{number}-{turn}"}
                status, vote = await self._post("/feedback", given)
                if status == 201:
                    self.kept.append((vote["trace_id"], vote["id"]))
                else:
                    self._count(f"vote {status}")
            else:
                self._count(f"answer {status}")
                await asyncio.sleep(0.05)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    async def _post(self, path: str, body: Any) -> tuple[int, Any]:
        """(status, JSON); status 0 where the connection broke."""
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\ncontent-length: {len(data)}\r\n\r\n"
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            writer.write(head.encode() + data)
            status, _, answer = await serving.response(reader)
            writer.close()
            return status, json.loads(answer)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            return 0, None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full", action="store_true", help="50 kills")
    chosen = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    kills = 50 if chosen.full else chosen.kills
    with tempfile.TemporaryDirectory() as folder:
        project = serving.new_project(Path(folder))
        serving.release_and_promote(project)
        result = measure(project, kills, random.Random(chosen.seed))
    command = "python benchmarks/kill_serve.py" + (" --full" if chosen.full else "")
    print(machine.save("kill_serve", {"load_at_start": load, "seed": chosen.seed, **result}, command=command))


def measure(project: Path, kills: int, chance: random.Random) -> dict[str, Any]:
    server = serving.by_alias(project)
    voters = Voters(server.host, server.port)
    voters.thread.start()
    back: dict[str, list[float]] = {"worker": [], "server": []}
    try:
        for number in range(kills):
            time.sleep(chance.uniform(0.5, 2.0))
            what = ("worker", "server")[number % 2]
            pids = server.tree()
            at = time.monotonic()
            if what == "worker":
                os.kill(pids[1], signal.SIGKILL)
            else:
                server.process.kill()
                server.process.wait()
                server = serving.Server(
                    [*COMMAND, str(voters.port)], project, path="/v1/apps/handbook/invoke"
                )
            while voters.answered <= at:  # a request that was sent after the kill was answered
                assert time.monotonic() - at < 60, f"the {what} never came back"
                time.sleep(0.005)
            back[what].append(round(time.monotonic() - at, 3))
            print(f"{number + 1:3} {what:6} back after {back[what][-1]:.2f} s, {len(voters.kept)} votes")
    finally:
        voters.stop.set()
        voters.thread.join(60)
        server.stop()
    return {**examine(project, voters), **summary(back)}


def summary(back: dict[str, list[float]]) -> dict[str, Any]:
    about: dict[str, Any] = {}
    for what, seconds in back.items():
        if seconds:
            about[what] = {
                "kills": len(seconds),
                "back_median": serving.quantile(seconds, 0.5),
                "back_most": max(seconds),
            }
    print(about)
    return about


def examine(project: Path, voters: Voters) -> dict[str, Any]:
    """What was acknowledged, and what of it is not in the ledger."""
    ledger = Ledger.open(project / ".headrace" / "ledger.sqlite", LedgerSettings())
    missing = 0
    for trace_id, vote in voters.kept:
        votes = {item.id for item in ledger.feedback(trace_id)}
        if vote not in votes or ledger.trace(trace_id) is None:
            missing += 1
    found = {"votes_acknowledged": len(voters.kept), "votes_lost": missing, "refused": voters.counts}
    print(found)
    assert missing == 0, f"{missing} acknowledged votes are not in the ledger"
    return found


if __name__ == "__main__":
    main()
