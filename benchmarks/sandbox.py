"""How long code in the sandbox takes to start, and whether anything gets out of it.

    python benchmarks/sandbox.py

``start``: wall seconds from the call of ``hr.tools.python("1")`` to its result, 40 times in turns with
the same interpreter started without isolation (``unsafe``, where isolation is switched off for the
purpose), and with ``packages``. ``escapes``: every attempt of tests/tools/test_sandbox.py, run as the tests
run it; how many succeeded.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import machine
from headrace.tools import sandbox
from headrace.tools.sandbox import Limits

ROOT = Path(__file__).resolve().parents[1]
RUNS, GOAL = 40, 0.3


def seconds(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "median": round(statistics.median(ordered), 4),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 4),
        "low": round(ordered[0], 4),
    }


def main() -> None:
    if why := sandbox.isolation():
        sys.exit(f"nothing to measure: {why}")
    times: dict[str, list[float]] = {"isolated": [], "packages": [], "plain": []}
    for _ in range(RUNS):
        for name, found in times.items():
            begun = time.perf_counter()
            if name == "plain":
                done = subprocess.run([sys.executable, "-I", "-c", "1"], check=False, capture_output=True)
                assert done.returncode == 0
            else:
                packages = name == "packages"
                ran = sandbox.execute("1", workspace=None, limits=Limits(), packages=packages)
                assert ran.stdout == "1\n", ran
            found.append(time.perf_counter() - begun)
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/tools/test_sandbox.py", "-k", "no_attempt_gets_out"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    last = tests.stdout.strip().splitlines()[-1] if tests.stdout.strip() else ""
    failed, passed = (
        int(m[1]) if (m := re.search(rf"(\d+) {w}", tests.stdout)) else 0 for w in ("failed", "passed")
    )
    start = {name: seconds(found) for name, found in times.items()}
    result = {
        "runs": RUNS,
        "start_seconds": start,
        "escape_attempts": passed + failed,
        "escaped": failed,
        "goal": {"start_seconds": GOAL, "escape_attempts": 40, "escaped": 0},
        "met": start["isolated"]["median"] <= GOAL and passed >= 40 and failed == 0 and tests.returncode == 0,
        "pytest": last,
    }
    machine.save("sandbox", result, command="python benchmarks/sandbox.py")
    print(result)


if __name__ == "__main__":
    main()
