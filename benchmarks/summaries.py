"""One sentence out of an abstract: scitldr test, ROUGE beside the first sentence and TextRank.

618 abstracts, each with one reference or more; the score is the best over the references, as the
data set's authors do it. TextRank is ours here, after Mihalcea and Tarau, 2004: words in common over
the logarithms of the lengths, damping 0.85. The weights of ``headrace.tasks.summaries`` were fitted on
the development part (``--fit``, some minutes).

    python benchmarks/summaries.py          # reports; writes results/summaries.json
    python benchmarks/summaries.py --fit    # prints the weights
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

import machine
from embedded import vectors
from headrace.measure.statistics import mean
from headrace.models.heads import minimise, softmax
from headrace.tasks.summaries import choose, features, worth
from headrace.text import words

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "scitldr"
KINDS = ("rouge1", "rouge2", "rougeL")
Abstract = tuple[list[str], np.ndarray, list[str]]


def read(part: str) -> list[Abstract]:
    """Sentences, their vectors, the references."""
    lines = (DATA / f"scitldr-a.{part}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    made = vectors(f"scitldr-{part}", [s for row in rows for s in row["source"]], "int8").astype(float)
    ends = np.cumsum([len(row["source"]) for row in rows])
    return [
        (row["source"], made[end - len(row["source"]) : end], row["target"])
        for row, end in zip(rows, ends, strict=True)
    ]


def textrank(listed: Sequence[str]) -> int:
    """The sentence of the highest rank."""
    bags, n = [set(words(s)) for s in listed], len(listed)
    likes = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            if min(len(bags[i]), len(bags[j])) > 1:
                shared = len(bags[i] & bags[j])
                likes[i, j] = likes[j, i] = shared / (np.log(len(bags[i])) + np.log(len(bags[j])))
    moves = likes / np.maximum(likes.sum(axis=1, keepdims=True), 1e-12)
    rank = np.full(n, 1 / n)
    for _ in range(60):
        rank = 0.15 / n + 0.85 * moves.T @ rank
    return int(rank.argmax())


def rouge(scorer: RougeScorer, text: str, references: Sequence[str]) -> list[float]:
    """F of each kind, the best over the references."""
    scores = [scorer.score(reference, text) for reference in references]
    return [max(score[kind].fmeasure for score in scores) for kind in KINDS]


def fit(scorer: RougeScorer) -> None:
    """Weights under which a sentence's share of the worth follows its ROUGE."""
    rows = read("dev")
    tables = [features(listed, made) for listed, made, _ in rows]
    wanted = [
        softmax(40.0 * np.array([[np.mean(rouge(scorer, s, refs)) for s in listed]]))[0]
        for listed, _, refs in rows
    ]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope = 0.5 * float(w @ w), w.copy()
        for table, share in zip(tables, wanted, strict=True):
            p = softmax((table @ w)[None])[0]
            total -= float(share @ np.log(p + 1e-12))
            slope = slope + table.T @ (p - share)
        return total, slope

    print(minimise(loss, np.zeros(tables[0].shape[1]), tolerance=1e-2).round(2).tolist())


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fit", action="store_true")
    scorer = RougeScorer(list(KINDS), use_stemmer=True)
    if parser.parse_args().fit:
        fit(scorer)
        return
    load = os.getloadavg()[0]
    scores: dict[str, list[list[float]]] = {"summarize": [], "textrank": [], "first sentence": []}
    for listed, made, references in read("test"):
        ours = choose(listed, made, worth(listed, made), most=1, budget=None)[0]
        for name, at in (("summarize", ours), ("textrank", textrank(listed)), ("first sentence", 0)):
            scores[name].append(rouge(scorer, listed[at], references))
    result: dict[str, Any] = {"data": "scitldr-a test, one sentence each", "load_at_start": load}
    table = {name: np.array(rows) for name, rows in scores.items()}
    for name, rows in table.items():
        for column, kind in enumerate(KINDS):
            for label, values in ((name, rows), (f"summarize minus {name}", table["summarize"] - rows)):
                if label.endswith("minus summarize"):
                    continue
                found = mean(values[:, column].tolist())
                result.setdefault(label, {})[kind] = {
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "n": found.n,
                }
    for label, kinds in result.items():
        if isinstance(kinds, dict):
            cells = [f"{k} {v['value']:+.3f} [{v['low']:+.3f}, {v['high']:+.3f}]" for k, v in kinds.items()]
            print(f"{label:30} {'  '.join(cells)}")
    machine.save("summaries", result, command="python benchmarks/summaries.py")


if __name__ == "__main__":
    main()
