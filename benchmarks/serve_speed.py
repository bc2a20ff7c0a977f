"""Requests a second by alias, beside a hand-written FastAPI application around the same calls.

    python benchmarks/serve_speed.py [--full]

Both sides answer from the handbook of ``headrace new``: ours is ``headrace serve
handbook@production`` (a front process, a worker process, admission, limits, a trace per request in
the ledger), the other is ``kb.search`` and ``hr.answer`` in FastAPI's thread pool and nothing else.
They take turns under the same client, at concurrency 1, 16 and 64. What counts is the ratio of
neighbouring turns; ``cpu_ms`` is what the processes of a side spent per answer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import machine
import serving

HAND_WRITTEN = """\
import asyncio, json, socket
import uvicorn
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
import headrace as hr

kb = hr.KnowledgeBase("kb")
app = FastAPI()

class Ask(BaseModel):
    question: str

def work(question):
    return hr.answer(question, kb.search(question, top_k=4))

@app.post("/invoke")
async def invoke(ask: Ask):
    return {"output": hr.to_json(await run_in_threadpool(work, ask.question))}

door = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
door.bind(("127.0.0.1", 0))
print(json.dumps({"url": "http://127.0.0.1:%d" % door.getsockname()[1]}), flush=True)
server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
asyncio.run(server.serve([door]))
"""


def hand_written(project: Path) -> serving.Server:
    (project / "by_hand.py").write_text(HAND_WRITTEN, encoding="utf-8")
    found = serving.Server([sys.executable, "by_hand.py"], project, path="/invoke")
    found.wait_until_it_answers()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="seven pairs of turns of 10 s, not three of 4 s")
    chosen = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    turns, seconds = (7, 10.0) if chosen.full else (3, 4.0)
    with tempfile.TemporaryDirectory() as folder:
        project = serving.new_project(Path(folder))
        serving.release_and_promote(project)
        sides = {"headrace": serving.by_alias(project), "by hand": hand_written(project)}
        try:
            result = measure(sides, turns, seconds)
        finally:
            for side in sides.values():
                side.stop()
    command = "python benchmarks/serve_speed.py" + (" --full" if chosen.full else "")
    about = {"load_at_start": load, "turns": turns, "seconds": seconds}
    path = machine.save("serve_speed", {**about, **result}, command=command)
    print(path)


def measure(sides: dict[str, serving.Server], turns: int, seconds: float) -> dict[str, Any]:
    for side in sides.values():
        serving.client(side, 16, 2.0)  # everything loaded, both thread pools up
    found: dict[str, Any] = {}
    for concurrency in (1, 16, 64):
        seen: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        for turn in range(turns):
            order = list(sides) if turn % 2 == 0 else list(sides)[::-1]
            for name in order:
                seen[name].append(serving.client(sides[name], concurrency, seconds))
        ratios = [a["rate"] / b["rate"] for a, b in zip(seen["headrace"], seen["by hand"])]
        about: dict[str, Any] = {
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(r, 3) for r in ratios],
        }
        for name, results in seen.items():
            about[name] = {
                key: round(statistics.median(r[key] for r in results), 3)
                for key in ("rate", "p50_ms", "p99_ms", "cpu_ms")
            }
            about[name]["refused"] = sum(sum(r["others"].values()) + r["broken"] for r in results)
        found[f"concurrency {concurrency}"] = about
        shown = [
            f"{name} {side['rate']:.1f}/s p50 {side['p50_ms']:.1f} ms cpu {side['cpu_ms']:.1f} ms"
            for name, side in ((name, about[name]) for name in sides)
        ]
        print(f"{concurrency:3}  {'   '.join(shown)}   ratio {about['ratio']:.3f}")
    return found


if __name__ == "__main__":
    main()
