"""How long the monitor takes over 100,000 runs: the whole view, and the counting within it.

    python benchmarks/monitor_speed.py

Three releases, seven days, every tenth run with a vote, runs with passages and tokens as an
application leaves them. The view is what `headrace monitor` and the page show: sums, quantiles with
intervals, trend, drift, alarm. Each figure is the median of seven;
``view_cpu_seconds`` is what the process itself spent, whatever else ran. Also: how long it takes to fill
the counting table of an older ledger. Written to ``benchmarks/results/monitor_speed.json``.
"""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import machine
from headrace.ledger import figures
from headrace.ledger.connection import open_for_writing
from headrace.ledger.database import Ledger
from headrace.ledger.records import COLUMNS, row_and_data
from headrace.ops import monitor
from headrace.settings import LedgerSettings
from headrace.tracing import new_id
from headrace.types import Answer, Trace

RUNS, ROUNDS = 100_000, 7
PASSAGE = "The harbour office sells tickets until twenty minutes before departure. " * 6


def fill(path: Path, now: float) -> None:
    """Rows as the ledger's own thread makes them, in one transaction."""
    rng = random.Random(5)
    connection = open_for_writing(path, durable=False)
    marks = ", ".join("?" * len(COLUMNS.split(", ")))
    with closing(connection):
        connection.execute("BEGIN")
        for number in range(RUNS):
            at = now - 7 * monitor.DAY * (1 - number / RUNS)
            passages = [{"document": "a.md", "relevance": rng.random(), "text": PASSAGE} for _ in range(4)]
            trace = Trace(
                id=new_id(at),
                start=at,
                seconds=rng.lognormvariate(-2, 0.8),
                subject={"app": "bench", "release": f"release-{number * 3 // RUNS}"},
                inputs={"question": "When does the harbour office close its counter on a Sunday?"},
                output=Answer(text="Twenty minutes before departure.", abstained=rng.random() < 0.1),
                error="model-timeout: no answer" if rng.random() < 0.01 else None,
                record={"passages": passages, "usage": [{"input_tokens": 900, "output_tokens": 40}]},
            )
            row, data = row_and_data(trace)
            connection.execute(f"INSERT INTO traces ({COLUMNS}) VALUES ({marks})", row)
            connection.execute(figures.INSERT, figures.of(data, row[3], row[4]))
            if number % 10 == 0:
                connection.execute(
                    "INSERT INTO feedback (id, trace_id, value, comment, correction, user, at, current) "
                    "VALUES (?, ?, ?, '', '', '', ?, 1)",
                    (new_id(at), trace.id, "up" if rng.random() < 0.9 else "down", at + 5),
                )
        connection.execute("COMMIT")


def median(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    taken = []
    for _ in range(ROUNDS):
        began = clock()
        work()
        taken.append(clock() - began)
    return round(statistics.median(taken), 4)


def main() -> None:
    load = os.getloadavg()[0]
    now = time.time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        fill(path, now)
        ledger = Ledger.open(path, LedgerSettings(retention_mb=1e6))
        since = now - 7 * monitor.DAY
        view = monitor.watch(ledger, "bench", since=since, until=now + 10)
        result = {
            "runs": view.whole.runs,
            "votes": view.whole.up + view.whole.down,
            "releases": len(view.releases),
            "points": len(view.trend),
            "ledger_mb": round(path.stat().st_size / 1e6, 1),
            "view_seconds": median(lambda: monitor.watch(ledger, "bench", since=since, until=now + 10)),
            "view_cpu_seconds": median(
                lambda: monitor.watch(ledger, "bench", since=since, until=now + 10), time.process_time
            ),
            "counting_seconds": median(lambda: ledger.traffic("bench", since=since, until=now + 10)),
            "votes_seconds": median(lambda: ledger.votes("bench", since=since, until=now + 10)),
        }
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DELETE FROM figures")
            began = time.perf_counter()
            figures.fill(connection)
            connection.commit()
            result["fill_seconds"] = round(time.perf_counter() - began, 2)
    for name, value in result.items():
        print(f"{name:18} {value}")
    machine.save(
        "monitor_speed",
        {"load_at_start": round(load, 2), "goal_view_seconds": 1.0, **result},
        command="python benchmarks/monitor_speed.py",
    )


if __name__ == "__main__":
    main()
