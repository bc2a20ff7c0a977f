"""The alarm on thumbs: how often it goes off for nothing, and how many votes it takes to notice a fall.

    python benchmarks/alarm.py

False alarms: 1,000 streams of 2,000 votes for each steady rate, and for one that rises half-way,
watched after each vote. Delay: 1,000 streams whose rate falls after 200, 500, 1,000 or 3,000 votes,
with the moment unknown, or known (another release began to answer). Written to
``benchmarks/results/alarm.json``.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

import machine
from headrace.measure.statistics import rate
from headrace.ops import alarm

STREAMS, VOTES, PATIENCE = 1000, 2000, 3000


def false_alarms(seed: int, first: float, second: float, releases: int) -> dict[str, Any]:
    raised = 0
    for number in range(STREAMS):
        random = np.random.default_rng([seed, number])
        half = VOTES // 2
        votes = np.concatenate([random.random(half) < first, random.random(half) < second])
        names = [str(i * releases // VOTES) for i in range(VOTES)]
        raised += alarm.watch(votes, names).raised is not None
    share = rate(raised, STREAMS)
    return {
        "rate": [first, second],
        "releases": releases,
        "streams": STREAMS,
        "votes": VOTES,
        "raised": raised,
        "share": share.value,
        "low": share.low,
        "high": share.high,
    }


def delay(seed: int, before: int, high: float, low: float, how: str) -> dict[str, Any]:
    waited, early = [], 0
    for number in range(STREAMS):
        random = np.random.default_rng([seed, before, number])
        new = random.random(PATIENCE) < (0.5 if how == "canary of half the users" else 1.0)
        votes = np.concatenate(
            [random.random(before) < high, random.random(PATIENCE) < np.where(new, low, high)]
        )
        names = ["old"] * before + ["new" if it else "old" for it in new]
        raised = alarm.watch(votes, () if how == "at some moment" else names).raised
        if raised is not None and raised <= before:
            early += 1
        else:
            waited.append(float("inf") if raised is None else raised - before)
    ordered = sorted(waited)

    def at(share: float) -> float | None:
        found = ordered[min(len(ordered) - 1, int(share * len(ordered)))]
        return None if found == float("inf") else found

    return {
        "votes_before": before,
        "fall": [high, low],
        "how": how,
        "streams": STREAMS,
        "raised_before_the_fall": early,
        "never": sum(value == float("inf") for value in waited),
        "median": at(0.5),
        "tenth": at(0.1),
        "ninetieth": at(0.9),
    }


def main() -> None:
    load, began = os.getloadavg()[0], time.time()
    steady = [
        false_alarms(1, first, second, releases)
        for first, second, releases in (
            (0.5, 0.5, 1),
            (0.75, 0.75, 1),
            (0.9, 0.9, 1),
            (0.98, 0.98, 1),
            (0.9, 0.9, 6),
            (0.75, 0.9, 2),
        )
    ]
    falls = [
        delay(2, before, 0.9, low, how)
        for before, low in ((200, 0.75), (500, 0.75), (1000, 0.75), (3000, 0.75), (1000, 0.6))
        for how in ("at some moment", "with a release", "canary of half the users")
    ]
    for row in steady:
        print(
            f"steady {row['rate']}, {row['releases']} releases: {row['raised']} of {STREAMS} "
            f"(at most {row['high']:.2%})"
        )
    for row in falls:
        print(
            f"{row['fall'][0]:.0%} → {row['fall'][1]:.0%} after {row['votes_before']} votes, "
            f"{row['how']}: median {row['median']}, 10 % {row['tenth']}, 90 % {row['ninetieth']}, "
            f"never {row['never']}, early {row['raised_before_the_fall']}"
        )
    machine.save(
        "alarm",
        {
            "load_at_start": round(load, 2),
            "seconds": round(time.time() - began, 1),
            "stated_false_alarms": alarm.FALSE_ALARMS,
            "steady": steady,
            "falls": falls,
        },
        command="python benchmarks/alarm.py",
    )


if __name__ == "__main__":
    main()
