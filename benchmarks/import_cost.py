"""What Headrace costs before it does anything: CPU seconds, distributions, sockets.

    python benchmarks/import_cost.py [--runs 10]

Each figure is the median over fresh processes, taking turns: the CPU time (user and system) of
the whole process, and what of it is above that of a Python that does nothing. Sockets are counted
by Python's audit hook. Distributions are those that ``pip install headrace`` brings, itself
included, read from the metadata of what is installed here.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import machine
import peers
from headrace.ops.doctor import closure

_COUNT = (
    "import sys; made = []; "
    "sys.addaudithook(lambda event, args: made.append(event) if event == 'socket.__new__' else None); "
)
_TOUCH = "import headrace as hr; hr.app, hr.KnowledgeBase, hr.answer"
HEADRACE = str(Path(sys.executable).with_name("headrace"))
CASES: dict[str, list[str]] = {
    "nothing": [sys.executable, "-c", "pass"],
    "import headrace": [sys.executable, "-c", "import headrace"],
    "import, app, KnowledgeBase, answer": [sys.executable, "-c", _TOUCH],
    "headrace --help": [HEADRACE, "--help"],
    "numpy alone": [sys.executable, "-c", "import numpy"],
}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--runs", type=int, default=10)
    runs = arguments.parse_args().runs
    seen: dict[str, list[float]] = {name: [] for name in CASES}
    for turn in range(runs + 1):
        for name, command in CASES.items():
            ran = peers.run(command)
            assert ran.finished, ran.err
            if turn:  # the first round fills the caches of files
                seen[name].append(ran.cpu)
    middle = {name: statistics.median(found) for name, found in seen.items()}
    sockets = {
        name: int(peers.run([sys.executable, "-c", f"{_COUNT}{code}; print(len(made))"]).out)
        for name, code in (("import headrace", "import headrace"), ("touched", _TOUCH))
    }
    names = sorted(closure())
    result = {
        "goals": {"cpu_seconds": 0.3, "distributions": 40, "sockets": 0},
        "runs": runs,
        "cpu_seconds": {name: round(value, 3) for name, value in middle.items()},
        "cpu_seconds_above_python": {
            name: round(value - middle["nothing"], 3) for name, value in middle.items() if name != "nothing"
        },
        "spread": {name: [round(min(found), 3), round(max(found), 3)] for name, found in seen.items()},
        "distributions": len(names),
        "closure": names,
        "sockets": sockets,
    }
    print(machine.save("import_cost", result, command=f"python benchmarks/import_cost.py --runs {runs}"))
    for name, value in middle.items():
        print(f"{name:40} {value:.3f} s CPU")
    print(f"{len(names)} distributions, sockets {sockets}")


if __name__ == "__main__":
    main()
