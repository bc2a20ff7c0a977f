"""How good is the sentiment head on sentences it has not seen? Ten folds over rotten_tomatoes.

Each fold trains a head as ``train_sentiment.py`` does, mixture and calibration included, on nine
tenths and judges the other tenth. Beside it: each of the two parts alone. The three settings of the
training (two penalties, the length of n-grams) were chosen on four of these folds, from a handful of
values; nothing else was looked at.

    python benchmarks/sentiment.py
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

import machine
from embedded import vectors
from headrace.measure.statistics import rate
from headrace.models import polarity
from headrace.models.heads import calibration_error, fit_binary, sigmoid
from train_sentiment import read

FOLDS = 10
RESAMPLES = 1_000
GOALS = {"accuracy": 0.805, "calibration_error": 0.03}


def figures(logits: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    """Accuracy (Wilson interval) and calibration error (bootstrap over rows)."""
    right = (logits > 0) == positive
    sure = sigmoid(np.abs(logits))
    accuracy = rate(int(right.sum()), len(right))
    drawn = np.random.default_rng(0).integers(len(right), size=(RESAMPLES, len(right)))
    errors = [calibration_error(sure[rows], right[rows]) for rows in drawn]
    return {
        "accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "calibration_error": calibration_error(sure, right),
        "calibration_error_95": float(np.quantile(errors, 0.95)),
        "n": len(right),
    }


def main() -> None:
    """Measure, print, save."""
    load = os.getloadavg()[0]
    texts, positive = read()
    made = vectors("rotten-tomatoes", texts, "int8")
    folds = np.random.default_rng(0).permutation(len(texts)) % FOLDS
    both, grams, vector = np.zeros(len(texts)), np.zeros(len(texts)), np.zeros(len(texts))
    seconds = []
    for fold in range(FOLDS):
        learn, judge = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        began = time.monotonic()
        head = polarity.fit([texts[i] for i in learn], positive[learn], made[learn])
        seconds.append(time.monotonic() - began)
        those = [texts[i] for i in judge]
        both[judge] = head.logits(those, made[judge])
        grams[judge] = head.logits(those, None)
        weights, _, constant = fit_binary(
            made[learn].astype(np.float64) * 8, None, positive[learn], ridge=polarity.VECTOR_RIDGE * 64
        )
        vector[judge] = made[judge] @ (weights * 8) + constant
        print(f"fold {fold + 1} of {FOLDS}, {seconds[-1]:.1f} s", flush=True)
    result = {
        "data": "rotten_tomatoes, 10,662 sentences, ten folds",
        "goals": GOALS,
        "head": figures(both, positive),
        "n-grams alone": figures(grams, positive),
        "embedding alone": figures(vector, positive),
        "seconds_of_training": float(np.median(seconds)),
        "bytes_of_the_file": polarity.FILE.stat().st_size,
        "load_at_start": load,
    }
    for name in ("head", "n-grams alone", "embedding alone"):
        got = result[name]
        print(
            f"{name:16} accuracy {got['accuracy']:.4f} [{got['low']:.4f}, {got['high']:.4f}]"
            f"  calibration error {got['calibration_error']:.4f}"
        )
    machine.save("sentiment", result, command="python benchmarks/sentiment.py")


if __name__ == "__main__":
    main()
