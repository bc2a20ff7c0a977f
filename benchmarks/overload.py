"""Ten times as many requests as can be answered: what happens to those let in, and to the rest.

    python benchmarks/overload.py [--full] [--wait 0.5]

``headrace serve handbook@production`` with its default of 8 places, and a queue of 8 behind them
(a queue only adds waiting: its length is how much of it one is ready to give). First the capacity is
measured, with as many visitors as places and queue together; that is normal load. Then requests come
at ten times that rate, evenly, whatever becomes of them, for 60 seconds (10 without --full). A
refusal is at once if it takes no longer than a page would. ``memory_mb``: before, after a quarter, at
the end.

The quoting application answers some eighty questions a second, so that ten times as many are 800 new
connections a second, on the cores that the clients use as well: more than they can open and close. With
``--wait S`` the application also waits S seconds, as one does whose model runs elsewhere; then it is the
places that are used up and not the machine (results/overload_waiting.json).
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

PLACES, QUEUE, TIMES = 8, 8, 10


async def flood(host: str, port: int, path: str, rate: float, seconds: float) -> serving.Load:
    """Open-loop arrivals: each request on a connection of its own, sent when its time has come."""
    seen = serving.Load()
    began = time.perf_counter()

    async def ask(number: int) -> None:
        body = json.dumps({"question": serving.QUESTIONS[number % len(serving.QUESTIONS)]}).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\ncontent-length: {len(body)}"
        )
        at = time.perf_counter()
        try:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(head.encode() + b"\r\n\r\n" + body)
            status, heads, _ = await serving.response(reader)
            writer.close()
        except (OSError, asyncio.IncompleteReadError, ValueError):
            seen.broken += 1
            return
        seen.statuses[status] = seen.statuses.get(status, 0) + 1
        took = time.perf_counter() - at
        (seen.seconds if status == 200 else seen.refused).append(took)
        if status == 429:
            assert int(heads["retry-after"]) >= 1

    tasks = set()
    for number in range(int(rate * seconds)):
        wait = began + number / rate - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.ensure_future(ask(number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    seen.took = time.perf_counter() - began
    return seen


def in_a_process(server: serving.Server, kind: str, amount: float, seconds: float) -> serving.Load:
    """:func:`flood` or :func:`serving.load`, so that the client's loop shares nothing with ours."""
    words = [kind, server.host, str(server.port), server.path, str(amount), str(seconds)]
    done = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    found["statuses"] = {int(status): count for status, count in found["statuses"].items()}
    return serving.Load(**found)


def client(kind: str, host: str, port: str, path: str, amount: str, seconds: str) -> None:
    if kind == "flood":
        work = flood(host, int(port), path, float(amount), float(seconds))
    else:
        work = serving.load(host, int(port), path, int(float(amount)), seconds=float(seconds))
    print(json.dumps(vars(asyncio.run(work))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="60 s of overload, not 10")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds that the application waits")
    chosen = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    seconds = 60.0 if chosen.full else 10.0
    with tempfile.TemporaryDirectory() as folder:
        project = serving.new_project(Path(folder))
        with (project / "headrace.toml").open("a", encoding="utf-8") as file:
            file.write(f"\n[serve]\nconcurrency = {PLACES}\nqueue = {QUEUE}\n")
        if chosen.wait:
            app = project / "app.py"
            waiting = f"    import time\n\n    time.sleep({chosen.wait})\n    return hr.answer("
            app.write_text(app.read_text(encoding="utf-8").replace("    return hr.answer(", waiting), "utf-8")
        serving.release_and_promote(project)
        server = serving.by_alias(project)
        try:
            result = measure(server, seconds)
        finally:
            server.stop()
    command = "python benchmarks/overload.py" + (" --full" if chosen.full else "")
    command += f" --wait {chosen.wait}" if chosen.wait else ""
    about = {"load_at_start": load, "places": PLACES, "queue": QUEUE, "waits_seconds": chosen.wait}
    name = "overload_waiting" if chosen.wait else "overload"
    print(machine.save(name, {**about, **result}, command=command))


def measure(server: serving.Server, seconds: float) -> dict[str, Any]:
    in_a_process(server, "load", PLACES, 3.0)  # everything loaded
    before = in_a_process(server, "load", PLACES + QUEUE, max(8.0, seconds / 3))
    memory = [server.memory_mb()]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            memory.append(server.memory_mb())

    watching = threading.Thread(target=watch)
    watching.start()
    found = in_a_process(server, "flood", TIMES * before.rate, seconds)
    over.set()
    watching.join()
    after = in_a_process(server, "load", PLACES + QUEUE, max(8.0, seconds / 3))
    normal = (before.quantile(0.99) + after.quantile(0.99)) / 2
    # The first seconds fill what is kept ready for 64 questions at once; flat is what comes after.
    settled = memory[len(memory) // 4 :]
    result = {
        "seconds": seconds,
        "capacity_per_second": round(before.rate, 2),
        "offered_per_second": round(TIMES * before.rate, 2),
        "accepted_per_second": round(found.rate, 2),
        "statuses": found.statuses,
        "broken": found.broken,
        "p99_normal_ms": round(normal * 1000, 1),
        "p99_accepted_ms": round(found.quantile(0.99) * 1000, 1),
        "p99_ratio": round(found.quantile(0.99) / normal, 3),
        "p50_refused_ms": round(serving.quantile(found.refused, 0.5) * 1000, 2),
        "p99_refused_ms": round(serving.quantile(found.refused, 0.99) * 1000, 2),
        "memory_mb": {
            "before": round(memory[0], 1),
            "settled": round(settled[0], 1),
            "end": round(memory[-1], 1),
        },
        "capacity_after_per_second": round(after.rate, 2),
    }
    print(json.dumps(result, indent=2))
    return result


if __name__ == "__main__":
    if sys.argv[1:2] in (["flood"], ["load"]):
        client(*sys.argv[1:])
    else:
        main()
