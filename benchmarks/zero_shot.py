"""Choosing among six labels that nobody trained on: which article is a paragraph of SQuAD from?

The labels are the titles of six of the 48 articles, drawn 60 times; a paragraph is judged by its vector
and the titles', as ``hr.tasks.classify`` does. Half of the draws choose the one constant
(``SHARPNESS``, by log loss), the other half reports accuracy and calibration.

    python benchmarks/zero_shot.py
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

import machine
import squad
from embedded import vectors
from headrace.measure.statistics import mean
from headrace.models.heads import calibration_error, softmax
from headrace.tasks.classes import SHARPNESS, TEMPLATE

DRAWS, LABELS = 60, 6
TRIED = (20.0, 30.0, 40.0, 50.0)


def main() -> None:
    """Measure, print, save."""
    load = os.getloadavg()[0]
    data = squad.load()
    titles = sorted({paragraph.title for paragraph in data.paragraphs})
    made = vectors("squad-paragraphs", [paragraph.text for paragraph in data.paragraphs], "int8")
    named = vectors("squad-titles", [TEMPLATE.format(t.replace("_", " ").lower()) for t in titles], "int8")
    cosines = made.astype(float) @ named.astype(float).T
    article = np.array([titles.index(paragraph.title) for paragraph in data.paragraphs])
    rng = np.random.default_rng(0)
    losses: dict[float, list[float]] = {sharp: [] for sharp in TRIED}
    accuracies, sure, right = [], [], []
    for draw in range(DRAWS):
        chosen = rng.choice(len(titles), LABELS, replace=False)
        rows = np.flatnonzero(np.isin(article, chosen))
        wanted = np.array([int(np.flatnonzero(chosen == a)[0]) for a in article[rows]])
        here = cosines[np.ix_(rows, chosen)]
        if draw < DRAWS // 2:
            for sharp in TRIED:
                shares = softmax(sharp * here)[np.arange(len(rows)), wanted]
                losses[sharp].append(float(-np.log(np.maximum(shares, 1e-12)).mean()))
            continue
        shares = softmax(SHARPNESS * here)
        hits = shares.argmax(axis=1) == wanted
        accuracies.append(float(hits.mean()))
        sure.append(shares.max(axis=1))
        right.append(hits)
    found = mean(accuracies)
    error = calibration_error(np.concatenate(sure), np.concatenate(right))
    result: dict[str, Any] = {
        "data": f"SQuAD dev, {LABELS} titles of {len(titles)}, {DRAWS // 2} draws reported",
        "accuracy": found.value,
        "low": found.low,
        "high": found.high,
        "calibration_error": error,
        "log_loss_of_the_other_draws": {str(k): float(np.mean(v)) for k, v in losses.items()},
        "load_at_start": load,
    }
    print(f"accuracy {found.value:.3f} [{found.low:.3f}, {found.high:.3f}], calibration error {error:.3f}")
    print(result["log_loss_of_the_other_draws"])
    machine.save("zero_shot", result, command="python benchmarks/zero_shot.py")


if __name__ == "__main__":
    main()
