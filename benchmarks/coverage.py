"""How often a 95 % interval holds the truth, by simulation of what is measured.

    python benchmarks/coverage.py                       # all cells, about ten minutes on one core
    python benchmarks/coverage.py --simulations 1000    # a look
    python benchmarks/coverage.py --fresh               # forget the parts that are done

Every cell draws 10,000 samples (ten seeds of 1,000) of n = 50, 100, 300, 500 rows and asks
``headrace.measure.statistics`` for the interval, exactly as an evaluation does. The percentile
bootstrap (2,000 resamples) stands beside it. Cells:

- rates p = .5, .8, .9, .95;
- token F1 of SQuAD's people: the second person's answer against the others' (dev, 0.82 of the
  rows are 1, 0.04 are 0), the same with four of ten answers lost, and the whole sentence as answer;
- medians of skewed latencies: lognormal, gamma, and a mixture of hits and misses of a cache; the
  95th percentile of the first;
- clustered rows: rates with an intra-class correlation of .1 and .3 in documents of 1 + Poisson(2)
  questions, and SQuAD's F1 drawn by whole paragraphs;
- means of skewed token counts (lognormal, gamma), which no goal is set for.

A cell that is done is kept in ``.bench/coverage`` and not computed again. Results:
``results/coverage.json`` and ``results/coverage.svg``. The data set lies beside the checkout.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import machine
import squad
from headrace.draw.lines import lines_svg
from headrace.draw.svg import standalone
from headrace.measure.resampling import counts
from headrace.measure.squad import f1
from headrace.measure.statistics import Interval, mean, quantile, rate, summary

PARTS = Path(__file__).resolve().parents[1] / ".bench" / "coverage"
SIZES = (50, 100, 300, 500)
SEEDS = 10
GOAL = (0.93, 0.98)
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is drawn, what is true, and how it is measured. ``draw`` gives values and cluster labels."""

    group: str
    name: str
    truth: float
    draw: Callable[[np.random.Generator, int], tuple[Array, Array | None]]
    interval: Callable[[Array, Array | None], Interval]
    statistic: str = "mean"  # what the percentile bootstrap resamples
    goal: bool = True
    smallest: int = 50


def squad_scores() -> tuple[Array, Array, list[Array]]:
    """F1 of the second person, of the sentence round the answer, and the first by paragraph."""
    data = squad.load()
    text = {paragraph.id: paragraph.text for paragraph in data.paragraphs}
    people, sentences = [], []
    by_paragraph: dict[str, list[float]] = {}
    for question in data.questions:
        body, start = text[question.paragraph], question.starts[0]
        end = body.find(". ", start)
        sentence = body[body.rfind(". ", 0, start) + 1 : end if end > 0 else None]
        sentences.append(max(f1(sentence, gold) for gold in question.answers))
        if len(question.answers) >= 3:
            others = [gold for i, gold in enumerate(question.answers) if i != 1]
            score = max(f1(question.answers[1], gold) for gold in others)
            people.append(score)
            by_paragraph.setdefault(question.paragraph, []).append(score)
    return np.array(people), np.array(sentences), [np.array(scores) for scores in by_paragraph.values()]


def cells() -> Iterator[Cell]:
    for p in (0.5, 0.8, 0.9, 0.95):
        yield Cell(
            group="rate",
            name=f"rate {p}",
            truth=p,
            draw=lambda random, n, p=p: ((random.random(n) < p).astype(float), None),
            interval=lambda x, _: rate(float(x.sum()), len(x)),
        )

    def scores(x: Array, groups: Array | None) -> Interval:
        return mean(x, bounds=(0, 1), clusters=None if groups is None else groups.tolist())

    people, sentences, paragraphs = squad_scores()
    lost = np.where(np.random.default_rng(0).random(len(people)) < 0.4, 0.0, people)
    for name, all_scores in (("people", people), ("four of ten lost", lost), ("whole sentence", sentences)):
        yield Cell(
            group="SQuAD F1",
            name=f"F1, {name}",
            truth=float(all_scores.mean()),
            draw=lambda random, n, pool=all_scores: (random.choice(pool, n), None),
            interval=scores,
        )

    sigma, shape, share = 0.8, 1.5, 0.55
    big = np.random.default_rng(1)
    cache = np.concatenate([big.gamma(4, 0.005, 550_000), big.lognormal(0, 0.5, 450_000)])
    latencies: list[tuple[str, float, Callable[[np.random.Generator, int], Array]]] = [
        ("lognormal", 1.0, lambda random, n: random.lognormal(0, sigma, n)),
        (
            "gamma",
            float(np.median(big.gamma(shape, size=2_000_000))),
            lambda random, n: random.gamma(shape, size=n),
        ),
        (
            "hits and misses",
            float(np.median(cache)),
            lambda random, n: np.where(
                random.random(n) < share, random.gamma(4, 0.005, n), random.lognormal(0, 0.5, n)
            ),
        ),
    ]
    for name, truth, draw in latencies:
        yield Cell(
            group="median latency",
            name=f"median, {name}",
            truth=truth,
            draw=lambda random, n, draw=draw: (draw(random, n), None),
            interval=lambda x, _: quantile(x, 0.5),
            statistic="median",
        )
    yield Cell(
        group="p95 latency",
        name="p95, lognormal",
        truth=float(np.exp(1.6448536 * sigma)),
        draw=lambda random, n: (random.lognormal(0, sigma, n), None),
        interval=lambda x, _: quantile(x, 0.95),
        statistic="p95",
        goal=False,
        smallest=100,
    )
    for p in (0.5, 0.8, 0.9, 0.95):
        for icc in (0.1, 0.3):
            yield Cell(
                group="clustered rate",
                name=f"clustered rate {p}, correlation {icc}",
                truth=p,
                draw=lambda random, n, p=p, icc=icc: clustered(random, n, p, icc),
                interval=lambda x, groups: summary(x, "rate", clusters=groups.tolist()),
            )
    yield Cell(
        group="clustered F1",
        name="F1, people, by paragraph",
        truth=float(np.concatenate(paragraphs).mean()),
        draw=lambda random, n: whole_paragraphs(random, n, paragraphs),
        interval=scores,
    )
    for name, truth, draw in (
        ("lognormal", float(np.exp(0.5)), lambda random, n: random.lognormal(0, 1, n)),
        ("gamma", 0.5, lambda random, n: random.gamma(0.5, size=n)),
    ):
        yield Cell(
            group="mean of tokens",
            name=f"mean, {name}",
            truth=truth,
            draw=lambda random, n, draw=draw: (draw(random, n), None),
            interval=lambda x, _: mean(x),
            goal=False,
        )


def clustered(random: np.random.Generator, n: int, p: float, icc: float) -> tuple[Array, Array]:
    """0 and 1 with a chance of its own for each document (beta), in documents of 1 + Poisson(2) rows."""
    sizes = 1 + random.poisson(2, n)
    groups = np.repeat(np.arange(n), sizes)[:n]
    both = (1 - icc) / icc
    return (random.random(n) < random.beta(p * both, (1 - p) * both, n)[groups]).astype(float), groups


def whole_paragraphs(random: np.random.Generator, n: int, paragraphs: list[Array]) -> tuple[Array, Array]:
    """Paragraphs with all of their questions until there are n; the last one is cut."""
    order = random.integers(0, len(paragraphs), n)
    values = np.concatenate([paragraphs[i] for i in order])[:n]
    groups = np.repeat(np.arange(n), [len(paragraphs[i]) for i in order])[:n]
    return values, groups


def percentile(samples: Array, statistic: str) -> tuple[Array, Array]:
    """Low and high of the percentile bootstrap of every line."""
    n = samples.shape[1]
    if statistic == "mean":
        drawn = samples @ counts(n).T / n
    else:
        q = 0.5 if statistic == "median" else 0.95
        ordered = np.sort(samples, axis=1)
        index = np.random.default_rng(0).integers(0, n, (1000, n))
        # A resampled quantile is a value of the sample: only its rank has to be resampled.
        ranks = np.sort(index, axis=1)[:, [int(np.floor(q * (n - 1))), int(np.ceil(q * (n - 1)))]]
        part = q * (n - 1) - np.floor(q * (n - 1))
        drawn = ordered[:, ranks[:, 0]] * (1 - part) + ordered[:, ranks[:, 1]] * part
    low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
    return low, high


def simulate(cell: Cell, n: int, simulations: int) -> dict[str, Any]:
    """Coverage and mean width of one cell at one size, and of the percentile bootstrap beside it."""
    began = time.perf_counter()
    per_seed, below, above, widths, plain, plain_widths = [], 0, 0, [], [], []
    for seed in range(SEEDS):
        random = np.random.default_rng([seed, n])
        hits, lines = 0, []
        for _ in range(simulations // SEEDS):
            values, groups = cell.draw(random, n)
            found = cell.interval(values, groups)
            assert found.low is not None
            assert found.high is not None
            hits += found.low <= cell.truth <= found.high
            below += found.high < cell.truth
            above += found.low > cell.truth
            widths.append(found.high - found.low)
            lines.append(values)
        per_seed.append(hits / (simulations // SEEDS))
        low, high = percentile(np.stack(lines), cell.statistic)
        plain.append(float(((low <= cell.truth) & (cell.truth <= high)).mean()))
        plain_widths.append(float((high - low).mean()))
    return {
        "group": cell.group,
        "cell": cell.name,
        "n": n,
        "truth": round(cell.truth, 5),
        "method": found.method,
        "simulations": simulations,
        "coverage": round(float(np.mean(per_seed)), 4),
        "lowest_seed": min(per_seed),
        "highest_seed": max(per_seed),
        "too_low": round(below / simulations, 4),
        "too_high": round(above / simulations, 4),
        "width": round(float(np.mean(widths)), 5),
        "percentile_bootstrap": {
            "coverage": round(float(np.mean(plain)), 4),
            "width": round(float(np.mean(plain_widths)), 5),
        },
        "goal": cell.goal,
        "seconds": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--simulations", type=int, default=10_000)
    options.add_argument("--fresh", action="store_true", help="forget the parts that are done")
    given = options.parse_args()
    if given.fresh:
        shutil.rmtree(PARTS, ignore_errors=True)
    PARTS.mkdir(parents=True, exist_ok=True)
    results = []
    for cell in cells():
        for n in SIZES:
            if n < cell.smallest:
                continue
            part = PARTS / f"{cell.name.replace(' ', '_').replace(',', '')}-{n}-{given.simulations}.json"
            if not part.is_file():
                made = json.dumps(simulate(cell, n, given.simulations))
                part.with_suffix(".new").write_text(made, encoding="utf-8")
                part.with_suffix(".new").replace(part)
            found = json.loads(part.read_text(encoding="utf-8"))
            results.append(found)
            fits = "" if not found["goal"] or GOAL[0] <= found["coverage"] <= GOAL[1] else "  OUTSIDE"
            plain = found["percentile_bootstrap"]["coverage"]
            print(
                f"{found['cell']:<40} n={n:<4} {found['coverage']:.4f}   percentile {plain:.4f}{fits}",
                file=sys.stderr,
            )
    asked = [found for found in results if found["goal"]]
    inside = [found for found in asked if GOAL[0] <= found["coverage"] <= GOAL[1]]
    beside = [f for f in asked if GOAL[0] <= f["percentile_bootstrap"]["coverage"] <= GOAL[1]]
    share = {
        "goal": list(GOAL),
        "cells": len(asked),
        "inside": len(inside),
        "outside": [f"{f['cell']}, n = {f['n']}: {f['coverage']}" for f in asked if f not in inside],
        "lowest": min(f["coverage"] for f in asked),
        "highest": max(f["coverage"] for f in asked),
        "percentile_bootstrap_inside": len(beside),
        "percentile_bootstrap_lowest": min(f["percentile_bootstrap"]["coverage"] for f in asked),
    }
    command = f"python benchmarks/coverage.py --simulations {given.simulations}"
    if given.simulations >= 10_000:
        machine.save("coverage", {"summary": share, "results": results}, command=command)
        picture(asked)
    print(json.dumps(share, indent=2))


def picture(results: list[dict[str, Any]]) -> None:
    """Coverage over n, a line a cell: ours, and the percentile bootstrap."""
    series: list[tuple[str, list[tuple[float, float]]]] = []
    for name in dict.fromkeys(found["cell"] for found in results):
        own = [found for found in results if found["cell"] == name]
        series.append(
            ("percentile bootstrap", [(f["n"], f["percentile_bootstrap"]["coverage"]) for f in own])
        )
        series.append(("Headrace", [(f["n"], f["coverage"]) for f in own]))
    drawn = lines_svg(
        series,
        title="How often a 95 % interval holds the truth",
        described="Coverage over the number of rows; each line is one kind of data.",
        x_label="rows",
        y_label="coverage",
        band=GOAL,
        y_range=(0.78, 1.0),
    )
    (machine.RESULTS / "coverage.svg").write_text(standalone(drawn), encoding="utf-8")


if __name__ == "__main__":
    main()
