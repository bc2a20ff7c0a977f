"""How often ``compare`` is wrong about equal variants, and how often it finds what it promises.

    python benchmarks/verdicts.py                       # about six minutes on one core
    python benchmarks/verdicts.py --simulations 200     # a look

For each kind of score, each n and each closeness of the variants, 1,000 comparisons (200 of medians)
are simulated through ``headrace.measure.verdict.paired``, as ``headrace compare`` does:

- *equal*: both variants have the same true mean; ``called`` is the share of ``better`` and ``worse``.
  Beside it what a paired t-test of the same rows would call at 5 %.
- *worse by five points*, the metric's margin: where the answer is ``not enough data``, as many rows
  as were announced are drawn anew; ``found`` is the share of ``worse`` among those.
  ``wrongly equivalent`` is the share of first comparisons that take the five points for nothing.

Scores: exact match at 0.8, the token F1 of SQuAD's people (mostly 1, some 0, some between), exact
match in documents of 1 + Poisson(2) questions, and latency (medians; 10 % slower is the margin, and
what is looked for). Closeness is the share of rows on which the two variants cannot differ. Results:
``results/verdicts.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import machine
from coverage import Array, clustered, squad_scores
from headrace.measure import normal
from headrace.measure.verdict import Verdict, paired

SIZES = (50, 100, 300)
CLOSENESS = (0.3, 0.7, 0.9)
LEVEL, FOUND = 0.064, 0.80
Rows = tuple[Array, Array, Array | None]  # scores of A, of B, documents


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``draw(random, n, closeness, worse)`` gives paired rows; ``judge`` the verdict on them."""

    name: str
    draw: Callable[[np.random.Generator, int, float, bool], Rows]
    judge: Callable[[Rows], Verdict]
    mean: bool = True
    part: int = 1  # one in so many of the simulations: resampled quantiles take longer


def kinds() -> list[Kind]:
    people, _, _ = squad_scores()

    def pairs(base: Callable[[np.random.Generator, int], Array], mean: float) -> Any:
        def draw(random: np.random.Generator, n: int, closeness: float, worse: bool) -> Rows:
            b = base(random, n)
            a = np.where(random.random(n) < closeness, b, base(random, n))
            if worse:  # five points lower: some answers are lost
                a = np.where(random.random(n) < 0.05 / mean, 0.0, a)
            return a, b, None

        return draw

    def documents(random: np.random.Generator, n: int, closeness: float, worse: bool) -> Rows:
        b, groups = clustered(random, n, 0.8, 0.2)
        many = int(groups.max()) + 1
        # What changes, changes whole documents: each is answered anew or not at all.
        again = (random.random(n) < random.beta(0.8 * 4, 0.2 * 4, many)[groups]).astype(float)
        changed = (random.random(many) < (1 - closeness))[groups]
        a = np.where(changed, again, b)
        if worse:
            a = np.where(random.random(n) < 0.05 / 0.8, 0.0, a)
        return a, b, groups

    def seconds(random: np.random.Generator, n: int, closeness: float, worse: bool) -> Rows:
        shared, spread = random.normal(0, 0.6 * closeness**0.5, n), 0.6 * (1 - closeness) ** 0.5
        a, b = (np.exp(shared + random.normal(0, spread, n)) for _ in range(2))
        return a * (1.1 if worse else 1.0), b, None

    def score(rows: Rows) -> Verdict:
        a, b, groups = rows
        labels = None if groups is None else groups.tolist()
        return paired(a, b, direction="higher", margin=0.05, bounds=(0, 1), clusters=labels)

    def latency(rows: Rows) -> Verdict:
        margin = 0.1 * float(np.median(rows[1]))
        return paired(rows[0], rows[1], direction="lower", margin=margin, kind="quantile")

    return [
        Kind(
            name="exact match",
            draw=pairs(lambda random, n: (random.random(n) < 0.8).astype(float), 0.8),
            judge=score,
        ),
        Kind(
            name="answer F1",
            draw=pairs(lambda random, n: random.choice(people, n), float(people.mean())),
            judge=score,
        ),
        Kind(name="exact match in documents", draw=documents, judge=score),
        Kind(name="median latency", draw=seconds, judge=latency, mean=False, part=5),
    ]


def simulate(kind: Kind, n: int, closeness: float, simulations: int) -> dict[str, Any]:
    random = np.random.default_rng([n, int(100 * closeness)])
    words: Counter[str] = Counter()
    plain = 0
    for _ in range(simulations):
        rows = kind.draw(random, n, closeness, False)
        words[kind.judge(rows).verdict] += 1
        d = rows[0] - rows[1]
        error = float(d.std(ddof=1)) / n**0.5
        plain += error > 0 and abs(float(d.mean())) > normal.t(0.975, n - 1) * error
    announced, found, undecided, equivalent, more = [], 0, 0, 0, 0
    for _ in range(simulations):
        first = kind.judge(kind.draw(random, n, closeness, True))
        equivalent += first.verdict == "equivalent"
        if first.verdict != "not enough data":
            continue
        undecided += 1
        assert first.needed is not None
        announced.append(first.needed)
        second = kind.judge(kind.draw(random, first.needed, closeness, True))
        found += second.verdict == "worse"
        more += second.verdict == "not enough data"
    return {
        "kind": kind.name,
        "n": n,
        "closeness": closeness,
        "simulations": simulations,
        "equal": {
            "called": round((words["better"] + words["worse"]) / simulations, 4),
            "equivalent": round(words["equivalent"] / simulations, 4),
            "plain_paired_t": round(plain / simulations, 4) if kind.mean else None,
        },
        "five_points_worse": {
            "wrongly_equivalent": round(equivalent / simulations, 4),
            "undecided": undecided,
            "found": round(found / undecided, 4) if undecided else None,
            "still_undecided": round(more / undecided, 4) if undecided else None,
            "announced_median": int(np.median(announced)) if announced else None,
            "announced_90": int(np.quantile(announced, 0.9)) if announced else None,
        },
    }


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--simulations", type=int, default=1000)
    given = options.parse_args()
    began, results = time.perf_counter(), []
    for kind in kinds():
        for n in SIZES:
            for closeness in CLOSENESS:
                one = simulate(kind, n, closeness, given.simulations // kind.part)
                results.append(one)
                equal, worse = one["equal"], one["five_points_worse"]
                print(
                    f"{kind.name:<26} n={n:<4} alike {closeness}: called {equal['called']:.3f} "
                    f"(t {equal['plain_paired_t']}), found {worse['found']} of {worse['undecided']} "
                    f"at {worse['announced_median']}, wrongly equivalent {worse['wrongly_equivalent']}",
                    file=sys.stderr,
                )
    enough = [r for r in results if r["five_points_worse"]["undecided"] >= r["simulations"] / 10]
    tries = sum(r["five_points_worse"]["undecided"] for r in enough)
    hits = sum(r["five_points_worse"]["found"] * r["five_points_worse"]["undecided"] for r in enough)
    summary = {
        "goal": {"called_at_most": LEVEL, "found_at_least": FOUND},
        "called_highest": max(r["equal"]["called"] for r in results),
        "called_mean": round(float(np.mean([r["equal"]["called"] for r in results])), 4),
        "plain_paired_t_highest": max(r["equal"]["plain_paired_t"] or 0 for r in results),
        "found_lowest": min(r["five_points_worse"]["found"] for r in enough),
        "found": round(hits / tries, 4),
        "wrongly_equivalent_highest": max(r["five_points_worse"]["wrongly_equivalent"] for r in results),
        "seconds": round(time.perf_counter() - began),
    }
    if given.simulations >= 1000:
        command = f"python benchmarks/verdicts.py --simulations {given.simulations}"
        machine.save("verdicts", {"summary": summary, "results": results}, command=command)
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
