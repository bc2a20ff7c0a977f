"""Promotions and rollbacks while requests run: how long each takes, and what goes wrong meanwhile.

    python benchmarks/switching.py [--full]

Eight visitors ask ``headrace serve handbook@production`` without a pause while production moves
between two releases, by ``headrace``'s own registry. A switch takes from the moment the registry
has written it to the first answer of the other release. Every answer is checked: status, release in
body and header, and that the code that answered is that release's. The first switch loads a release
that was never served; it is listed apart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import machine
import serving
from headrace.releases.registry import Registry

VISITORS = 8


def two_releases(project: Path) -> dict[str, str]:
    """Release id → the mark that its code puts in front of every answer."""
    file = project / "app.py"
    text = file.read_text(encoding="utf-8")
    call = "    return hr.answer(question, passages, model=llm)\n"
    assert call in text
    found = {}
    for mark in ("one", "two"):
        marked = (
            "    found = hr.answer(question, passages, model=llm)\n"
            f"    return dataclasses.replace(found, text={mark + ': '!r} + found.text)\n"
        )
        file.write_text("import dataclasses\n" + text.replace(call, marked), encoding="utf-8")
        found[serving.release_and_promote(project)] = mark
    return found


class Visitors:
    """They ask until told to stop, and check every answer."""

    def __init__(self, server: serving.Server, marks: dict[str, str]) -> None:
        self.server, self.marks = server, marks
        self.stop = threading.Event()
        self.counts = {"answers": 0, "failed": 0, "mixed": 0}
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def each(self, status: int, heads: dict[str, str], body: bytes) -> None:
        if status != 200:
            self.counts["failed"] += 1
            return
        answer = json.loads(body)
        self.counts["answers"] += 1
        mark = self.marks[answer["release"]]
        named = heads.get("x-headrace-release") == answer["release"]
        if not (named and answer["output"]["text"].startswith(mark)):
            self.counts["mixed"] += 1

    async def _run(self) -> None:
        server = self.server
        while not self.stop.is_set():
            seen = await serving.load(
                server.host, server.port, server.path, VISITORS, count=VISITORS * 8, each=self.each
            )
            self.counts["failed"] += seen.broken


def switched(server: serving.Server, release: str, since: float) -> float:
    """Seconds until a request that was sent after the switch is answered by ``release``."""
    answered = [""]

    def each(status: int, heads: dict[str, str], body: bytes) -> None:
        answered[0] = heads.get("x-headrace-release", "")

    while answered[0] != release:
        asyncio.run(serving.load(server.host, server.port, server.path, 1, count=1, each=each))
        assert time.monotonic() - since < 60, "the switch never came"
    return time.monotonic() - since


def routed(server: serving.Server, release: str, since: float) -> float:
    """Seconds until the page, which runs nothing, is served for ``release``."""
    wanted = f"<code>{release[:12]}</code>".encode()
    while True:
        found = asyncio.run(_page(server))
        if wanted in found:
            return time.monotonic() - since
        assert time.monotonic() - since < 60, "the switch never came"
        time.sleep(0.005)


async def _page(server: serving.Server) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(f"GET / HTTP/1.1\r\nhost: {server.host}:{server.port}\r\n\r\n".encode())
    _, _, body = await serving.response(reader)
    writer.close()
    return body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="20 promotions and rollbacks, not 6")
    chosen = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    times = 20 if chosen.full else 6
    with tempfile.TemporaryDirectory() as folder:
        project = serving.new_project(Path(folder))
        marks = two_releases(project)
        result = measure(project, marks, times)
    command = "python benchmarks/switching.py" + (" --full" if chosen.full else "")
    print(machine.save("switching", {"load_at_start": load, **result}, command=command))


def measure(project: Path, marks: dict[str, str], times: int) -> dict[str, Any]:
    one, two = marks
    registry = Registry(project / ".headrace" / "releases")
    registry.rollback("handbook", who="benchmark")  # production is the first, the second never served
    server = serving.by_alias(project)
    visitors = Visitors(server, marks)
    visitors.thread.start()
    switches: list[dict[str, Any]] = []
    try:
        time.sleep(2.0)
        for turn in range(times + 1):
            what = "promote" if turn % 2 == 0 else "rollback"
            began = time.monotonic()
            command = [sys.executable, "-c", _MOVE[what], two]
            subprocess.run(command, cwd=project, check=True)
            written = time.monotonic()
            release = two if what == "promote" else one
            seconds = routed(server, release, written)
            answered = switched(server, release, written)
            switches.append(
                {
                    "what": what if turn else "promote, never served before",
                    "seconds": round(seconds, 3),
                    "first_answer_seconds": round(answered, 3),
                    "command_seconds": round(written - began, 3),
                }
            )
            print(switches[-1])
            time.sleep(1.0)
    finally:
        visitors.stop.set()
        visitors.thread.join(60)
        server.stop()
    warm = [item["seconds"] for item in switches[1:]]
    print(f"{visitors.counts}, a switch takes {serving.quantile(warm, 0.5):.3f} s, at most {max(warm):.3f} s")
    return {
        "visitors": VISITORS,
        "switches": len(warm),
        "seconds_median": serving.quantile(warm, 0.5),
        "seconds_most": max(warm),
        "never_served_before_seconds": switches[0]["seconds"],
        **visitors.counts,
        "each": switches,
    }


_MOVE = {
    "promote": "import sys\nfrom headrace.releases.registry import Registry\n"
    "Registry(__import__('pathlib').Path('.headrace/releases'))"
    ".promote('handbook', 'production', sys.argv[1], who='benchmark')",
    "rollback": "from headrace.releases.registry import Registry\n"
    "Registry(__import__('pathlib').Path('.headrace/releases')).rollback('handbook', who='benchmark')",
}

if __name__ == "__main__":
    main()
