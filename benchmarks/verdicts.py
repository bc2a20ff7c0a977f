"""How often ``compare`` is wrong about equal variants, and how often it finds what it promises.

    python benchmarks/verdicts.py                       # about six minutes on one core
    python benchmarks/verdicts.py --simulations 200     # a look

For each kind of score, each n and each closeness of the variants, 1,000 comparisons (of medians that
are worse, 200) are simulated through ``headrace.measure.verdict.paired``, as ``headrace compare`` does:

- *equal*: both variants have the same true mean; ``called`` is the share of ``better`` and ``worse``.
  Beside it what a paired t-test of the same rows would call at 5 %.
- *worse by five points*, the metric's margin: where the answer is ``not enough data``, as many rows
  as were announced are drawn anew; ``found`` is the share of ``worse`` among those.
  ``wrongly equivalent`` is the share of first comparisons that take the five points for nothing.

Scores: exact match at 0.8, the token F1 of SQuAD's people (mostly 1, some 0, some between), exact
match in documents of 1 + Poisson(2) questions, and latency (medians; 10 % slower is the margin, and
what is looked for). Closeness is the share of rows on which the two variants cannot differ. Results:
``results/verdicts.json``; a cell that is done is kept in ``.bench/verdicts``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import machine
from coverage import Array, clustered, squad_scores
from headrace.measure import normal
from headrace.measure.verdict import Verdict, paired

PARTS = Path(__file__).resolve().parents[1] / ".bench" / "verdicts"
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
    part: int = 1  # one in so many of the simulations of worse variants: resampled quantiles take longer


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
    worse = simulations // kind.part
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
    for _ in range(worse):
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
            "simulations": worse,
            "wrongly_equivalent": round(equivalent / worse, 4),
            "undecided": undecided,
            "found": round(found / undecided, 4) if undecided else None,
            "still_undecided": round(more / undecided, 4) if undecided else None,
            "announced_median": int(np.median(announced)) if announced else None,
            "announced_90": int(np.quantile(announced, 0.9)) if announced else None,
        },
    }


def done(kind: Kind, n: int, closeness: float, simulations: int) -> dict[str, Any]:
    """The cell, from where it was kept if it was computed before."""
    part = PARTS / f"{kind.name.replace(' ', '_')}-{n}-{closeness}-{simulations}.json"
    if not part.is_file():
        PARTS.mkdir(parents=True, exist_ok=True)
        part.with_suffix(".new").write_text(json.dumps(simulate(kind, n, closeness, simulations)), "utf-8")
        part.with_suffix(".new").replace(part)
    found: dict[str, Any] = json.loads(part.read_text(encoding="utf-8"))
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--simulations", type=int, default=1000)
    options.add_argument("--fresh", action="store_true", help="forget the parts that are done")
    given = options.parse_args()
    if given.fresh:
        shutil.rmtree(PARTS, ignore_errors=True)
    results = []
    for kind in kinds():
        for n in SIZES:
            for closeness in CLOSENESS:
                one = done(kind, n, closeness, given.simulations)
                results.append(one)
                equal, worse = one["equal"], one["five_points_worse"]
                print(
                    f"{kind.name:<26} n={n:<4} alike {closeness}: called {equal['called']:.3f} "
                    f"(t {equal['plain_paired_t']}), found {worse['found']} of {worse['undecided']} "
                    f"at {worse['announced_median']}, wrongly equivalent {worse['wrongly_equivalent']}",
                    file=sys.stderr,
                )
    sides = [r["five_points_worse"] for r in results]
    enough = [side for side in sides if 10 * side["undecided"] >= side["simulations"]]
    tries = sum(side["undecided"] for side in enough)
    hits = sum(side["found"] * side["undecided"] for side in enough)
    summary = {
        "goal": {"called_at_most": LEVEL, "found_at_least": FOUND},
        "called_highest": max(r["equal"]["called"] for r in results),
        "called_mean": round(float(np.mean([r["equal"]["called"] for r in results])), 4),
        "plain_paired_t_highest": max(r["equal"]["plain_paired_t"] or 0 for r in results),
        "found_lowest": min(side["found"] for side in enough),
        "found": round(hits / tries, 4),
        "wrongly_equivalent_highest": max(side["wrongly_equivalent"] for side in sides),
    }
    if given.simulations >= 1000:
        command = f"python benchmarks/verdicts.py --simulations {given.simulations}"
        machine.save("verdicts", {"summary": summary, "results": results}, command=command)
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
