"""Requests a second of one release: ``headrace serve handbook@production`` beside ``mlflow models serve``.

    python benchmarks/mlflow_serve.py [--full]

The release of the handbook of ``headrace new`` is pushed to MLflow (a SQLite file) and served by
``mlflow models serve --env-manager local`` as it comes (one worker process), and by Headrace as it
comes: once the quoting application, whose own work is most of a request, and once an application that
answers at once. The same client asks both the same questions, in turns, at concurrency 1 and 16; MLflow's
body has its own wrapping. What counts is the ratio of neighbouring turns. Headrace writes a trace
per request, MLflow's side writes none.
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
import time
from pathlib import Path
from typing import Any

import machine
import serving
from headrace.ops.mlflow import push
from headrace.settings import child_environment

AT_ONCE = '''"""An application that costs nothing: what is left is the serving."""

import headrace as hr


@hr.app
def handbook(question: str) -> hr.Answer:
    """Answers at once."""
    return hr.Answer(text=question, answered_by="nobody")
'''


class Mlflow(serving.Server):
    """``mlflow models serve``, which prints no address of its own."""

    def __init__(self, folder: Path, uri: str) -> None:
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            self.port = int(door.getsockname()[1])
        self.host, self.path, self.url = "127.0.0.1", "/invocations", f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(  # type: ignore[assignment]
            f"{sys.executable} -m mlflow models serve -m models:/handbook@production --env-manager local "
            f"-h {self.host} -p {self.port}".split(),
            cwd=folder,
            env=child_environment(
                MLFLOW_TRACKING_URI=uri,
                MLFLOW_DISABLE_TELEMETRY="true",
                PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        ends = time.monotonic() + 240
        while asyncio.run(load(self.host, self.port, self.path, 1, 0.2))["answers"] == 0:
            assert time.monotonic() < ends, "mlflow does not answer"
            assert self.process.poll() is None, "mlflow ended"
            time.sleep(0.5)

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


async def load(host: str, port: int, path: str, concurrency: int, seconds: float) -> dict[str, Any]:
    """Kept connections that ask one question after another; both sides get this client."""
    took: list[float] = []
    others = 0
    began = time.perf_counter()

    async def visitor(number: int) -> None:
        nonlocal others
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            others += 1
            return
        turn = number
        while time.perf_counter() - began < seconds:
            asked: Any = {"question": serving.QUESTIONS[turn % len(serving.QUESTIONS)]}
            body = json.dumps({"inputs": [asked]} if path == "/invocations" else asked).encode()
            turn += 7
            head = f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
            at = time.perf_counter()
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            status, _, answer = await serving.response(reader)
            if status == 200 and b'"text"' in answer:
                took.append(time.perf_counter() - at)
            else:
                others += 1
        writer.close()

    await asyncio.gather(*(visitor(number) for number in range(concurrency)))
    whole = time.perf_counter() - began
    return {
        "answers": len(took),
        "others": others,
        "rate": round(len(took) / whole, 3),
        "p50_ms": round(statistics.median(took) * 1000, 2) if took else None,
        "p99_ms": round(serving.quantile(took, 0.99) * 1000, 2),
    }


def ask(server: serving.Server, concurrency: int, seconds: float) -> dict[str, Any]:
    """:func:`load` in a process of its own."""
    spent = server.cpu_seconds()
    words = [server.host, str(server.port), server.path, str(concurrency), str(seconds)]
    done = subprocess.run([sys.executable, __file__, "--client", *words], check=True, capture_output=True)
    found: dict[str, Any] = json.loads(done.stdout)
    found["cpu_ms"] = round((server.cpu_seconds() - spent) / max(1, found["answers"]) * 1000, 2)
    return found


def compare(folder: Path, change: str | None, turns: int, seconds: float) -> dict[str, Any]:
    """Both sides over one release of the handbook, its application replaced by ``change``."""
    result: dict[str, Any] = {}
    project = serving.new_project(folder)
    if change is not None:
        (project / "app.py").write_text(change, encoding="utf-8")
    serving.release_and_promote(project)
    uri = f"sqlite:///{folder}/mlflow.db"
    os.chdir(folder)  # MLflow puts its artifacts beside the file
    push(project, "handbook@production", uri)
    sides: dict[str, serving.Server] = {"headrace": serving.by_alias(project)}
    try:
        sides["mlflow"] = Mlflow(folder, uri)
        for side in sides.values():
            ask(side, 16, 2.0)
        for concurrency in (1, 16):
            seen: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
            for turn in range(turns):
                for name in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
                    seen[name].append(ask(sides[name], concurrency, seconds))
            ratios = [a["rate"] / b["rate"] for a, b in zip(seen["headrace"], seen["mlflow"]) if b["rate"]]
            about: dict[str, Any] = {
                "ratio": round(statistics.median(ratios), 2),
                "ratios": [round(ratio, 2) for ratio in ratios],
            }
            for name, runs in seen.items():
                about[name] = {
                    key: round(statistics.median(run[key] or 0 for run in runs), 2)
                    for key in ("rate", "p50_ms", "p99_ms", "cpu_ms")
                } | {"others": sum(run["others"] for run in runs)}
            result[f"concurrency {concurrency}"] = about
            print(
                f"{concurrency:3}  "
                + "  ".join(f"{n} {about[n]['rate']}/s p50 {about[n]['p50_ms']} ms" for n in sides)
                + f"  ratio {about['ratio']}",
                flush=True,
            )
    finally:
        for side in sides.values():
            side.stop()
        os.chdir("/")
    return result


def main() -> None:
    if sys.argv[1:2] == ["--client"]:
        host, port, path, concurrency, seconds_text = sys.argv[2:]
        print(json.dumps(asyncio.run(load(host, int(port), path, int(concurrency), float(seconds_text)))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="nine pairs of turns of 8 s, not three of 4 s")
    chosen = parser.parse_args()
    turns, seconds = (9, 8.0) if chosen.full else (3, 4.0)
    load_at_start = os.getloadavg()[0]
    result: dict[str, Any] = {}
    for name, change in (("quoting handbook", None), ("answers at once", AT_ONCE)):
        print(name)
        with tempfile.TemporaryDirectory() as folder:
            result[name] = compare(Path(folder), change, turns, seconds)
    machine.save(
        "mlflow_serve",
        {"load_at_start": round(load_at_start, 2), "goal_ratio": 5.0}
        | {"turns": turns, "seconds": seconds, **result},
        command="python benchmarks/mlflow_serve.py" + (" --full" if chosen.full else ""),
    )


if __name__ == "__main__":
    main()
