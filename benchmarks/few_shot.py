"""Learning labels from a few examples: the six question types of trec_qc, 8 and 16 examples a label.

Ten draws of examples from the training part, each judged on the 500 questions of the test part;
beside it logistic regression on the same vectors alone, fitted by the same code. The settings of
the head were chosen on these draws from a handful of values. With ``--setfit`` SetFit learns from the
first draws too, in an environment of its own (see peers.py), with its defaults and one epoch.

    python benchmarks/few_shot.py                 # a minute
    python benchmarks/few_shot.py --setfit 3      # the first three draws: about ten minutes more
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import machine
import peers
from embedded import Known, vectors
from headrace.measure.statistics import mean
from headrace.models.heads import fit_softmax
from headrace.tasks.classes import train

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "trec_qc"
DRAWS = 10
COUNTS = (8, 16)
GOALS = {"above logistic regression": 0.03, "8": 0.63, "16": 0.68}


def read(part: str) -> tuple[list[str], list[str]]:
    """Questions and their coarse types."""
    rows = [json.loads(line) for line in (DATA / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows], [row["coarse"] for row in rows]


def interval(values: list[float]) -> dict[str, Any]:
    """Mean over the draws with its interval."""
    found = mean(values)
    return {"value": found.value, "low": found.low, "high": found.high, "draws": values}


def setfit(draws: list[Any], asked: list[Any]) -> dict[str, Any]:
    """SetFit on the same examples: mean accuracy and seconds, and what was installed."""
    about = peers.about(peers.LEARNERS)["setfit"]
    if "not_installed" in about:
        raise SystemExit(f"SetFit cannot be installed here: {about['not_installed']}")
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in (("draws", draws), ("test", asked)):
            Path(folder, name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        side = Path(__file__).parent / "peers" / "setfit_side.py"
        ran = subprocess.run(
            [peers.interpreter("setfit"), side, peers.model_folder(), f"{folder}/draws", f"{folder}/test"],
            env=peers.environment(),
            cwd=folder,
            stdout=subprocess.PIPE,
            check=True,
        )
    found = json.loads(ran.stdout.splitlines()[-1])
    return {
        "value": float(np.mean([one["accuracy"] for one in found])),
        "seconds_of_training": float(np.median([one["seconds"] for one in found])),
        "draws": found,
        "installed": about,
    }


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--setfit", type=int, default=0, metavar="N", help="SetFit on the first N draws too")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    (texts, types), (asked, truth) = read("train"), read("test")
    learn, judge = vectors("trec-train", texts, "int8"), vectors("trec-test", asked, "int8")
    known = Known("int8", [(texts, learn), (asked, judge)])
    labels = sorted(set(types))
    wanted = np.array([labels.index(label) for label in truth])
    result: dict[str, Any] = {"goals": GOALS, "load_at_start": load}
    for count in COUNTS:
        ours, plain, seconds, drawn = [], [], [], []
        for seed in range(DRAWS):
            rng = np.random.default_rng(seed)
            rows = np.concatenate(
                [rng.permutation([i for i, t in enumerate(types) if t == label])[:count] for label in labels]
            )
            pairs = [(texts[i], types[i]) for i in rows]
            drawn.append([{"text": text, "label": label} for text, label in pairs])
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
            f" [{got['difference']['low']:+.3f}, {got['difference']['high']:+.3f}]",
            flush=True,
        )
        if options.setfit:
            side = setfit(drawn[: options.setfit], [{"text": t, "label": y} for t, y in zip(asked, truth)])
            got["setfit"] = side | {"head_on_the_same_draws": float(np.mean(ours[: options.setfit]))}
            print(
                f"   SetFit on the first {options.setfit} draws: {side['value']:.3f} in"
                f" {side['seconds_of_training']:.0f} s; the head there"
                f" {got['setfit']['head_on_the_same_draws']:.3f}"
            )
    command = "python benchmarks/few_shot.py" + (f" --setfit {options.setfit}" if options.setfit else "")
    machine.save("few_shot", result, command=command)


if __name__ == "__main__":
    main()
