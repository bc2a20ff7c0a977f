"""SQuAD dev as open search over its 2,067 paragraphs: is the gold paragraph among the first 1, 4, 10?

Fitted on a fixed half of the articles, reported on the other (see ``squad.py``); both halves'
paragraphs are in the base. Measured twice: paragraphs as they are, and under their article's title
as heading, as a reader would give it. Nothing is chosen here but the constants of relevance
(``--fit`` prints them), and these judge hits without ordering them.

    python benchmarks/squad_search.py            # int8
    python benchmarks/squad_search.py --fit      # and the constants for headrace/search/relevance.py
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

import machine
import squad
from embedded import vectors
from headrace.models.embedder import peek_identity
from headrace.search import relevance
from headrace.search.store import Block
from headrace.search.words import Words
from headrace.settings import home
from ranking import Candidates, candidates, difference, fused, reciprocal

GOAL = 0.95  # hybrid, gold paragraph in the top 4
DEPTHS = (1, 4, 10)
EVERY = 4  # relevance is fitted and judged on every 4th question of a half
JUDGED = 4  # hits of each question that relevance is fitted and judged on


class Base:
    """The 2,067 paragraphs, indexed; seq n is paragraph n − 1."""

    def __init__(self, data: squad.Squad, folder: Path, precision: str, *, titled: bool) -> None:
        self.data = data
        self.headings = [p.title.replace("_", " ") if titled else "" for p in data.paragraphs]
        self.words = Words(folder)
        rows = zip(data.paragraphs, self.headings, strict=True)
        self.words.apply([(n, p.text, heading) for n, (p, heading) in enumerate(rows, 1)], [], 1)
        matrix = vectors("squad-paragraphs", [p.text for p in data.paragraphs], precision)
        self.block = Block(np.arange(1, len(matrix) + 1), matrix)
        asked = vectors("squad-questions", [q.text for q in data.questions], precision)
        self.vectors = {q.id: row for q, row in zip(data.questions, asked, strict=True)}
        titles = np.array([p.title for p in data.paragraphs])
        self.without = {title: np.flatnonzero(titles != title) + 1 for title in set(titles.tolist())}

    def candidates(self, question: squad.Question, *, without_article: bool = False) -> Candidates:
        only = self.without[question.title] if without_article else None
        return candidates(self.words, self.block, question.text, self.vectors[question.id], only)

    def features(self, found: Candidates) -> np.ndarray:
        """(hits, 3): cosine, coverage, BM25 as a share of the ceiling, of the first hybrid hits."""
        seqs = fused(found)[:JUDGED]
        at = np.searchsorted(found.seqs, seqs)
        return np.stack(
            [found.cosine[at], found.coverage[at], found.bm25[at] / max(found.ceiling, 1e-9)], axis=1
        )


def hits(base: Base, questions: Sequence[squad.Question]) -> dict[str, np.ndarray]:
    """Per mode, the rank of the gold paragraph (0 is first; 1,000 where it is not a candidate)."""
    ranks: dict[str, list[int]] = {"dense": [], "words": [], "reciprocal rank": [], "hybrid": []}
    for question in questions:
        found, gold = base.candidates(question), int(question.paragraph) + 1
        for mode, ranking in (
            ("dense", found.dense),
            ("words", found.words),
            ("reciprocal rank", np.array(reciprocal(found))),
            ("hybrid", fused(found)),
        ):
            at = np.flatnonzero(ranking == gold)
            ranks[mode].append(int(at[0]) if len(at) else 1_000)
    return {mode: np.array(found) for mode, found in ranks.items()}


def examples(base: Base, questions: Sequence[squad.Question]) -> tuple[np.ndarray, np.ndarray]:
    """The first hits of each question, from the whole base and from the base without its article.

    The label says whether a hit is the gold paragraph: everything found without the article is
    wrong, however near it lies.
    """
    rows, labels = [], []
    for question in questions:
        gold = int(question.paragraph) + 1
        found = base.candidates(question)
        rows.append(base.features(found))
        labels.append(fused(found)[:JUDGED] == gold)
        near = base.features(base.candidates(question, without_article=True))
        rows.append(near)
        labels.append(np.zeros(len(near), bool))
    return np.concatenate(rows), np.concatenate(labels)


def fit(features: np.ndarray, labels: np.ndarray, columns: Sequence[int]) -> relevance.Calibration:
    """Logistic regression (maximum likelihood with a slight ridge) on the chosen columns."""
    chosen, target = features[:, list(columns)], labels.astype(float)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        logit = parameters[0] + chosen @ parameters[1:]
        probability = 1 / (1 + np.exp(-logit))
        value = np.mean(np.logaddexp(0, logit) - target * logit) + 1e-5 * (parameters[1:] ** 2).sum()
        gap = (probability - target) / len(target)
        slope = np.concatenate([[gap.sum()], chosen.T @ gap + 2e-5 * parameters[1:]])
        return float(value), slope

    best = minimize(loss, np.zeros(len(columns) + 1), jac=True, method="L-BFGS-B").x
    names = ("cosine", "coverage", "words")
    return relevance.Calibration(
        bias=round(float(best[0]), 2),
        **{names[c]: round(float(v), 2) for c, v in zip(columns, best[1:], strict=True)},
    )


def judge(fitted: relevance.Calibration, features: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """How good the probabilities are: area under the curve, Brier score, and bins side by side."""
    given = np.array([fitted(cosine=c, coverage=v, words=w) for c, v, w in features])
    order = np.argsort(given, kind="stable")
    ranks = np.empty(len(given))
    ranks[order] = np.arange(1, len(given) + 1)
    right, wrong = int(labels.sum()), int((~labels).sum())
    bins = np.clip((given * 10).astype(int), 0, 9)
    return {
        "hits": len(labels),
        "area under the curve": round(
            float((ranks[labels].sum() - right * (right + 1) / 2) / (right * wrong)), 4
        ),
        "brier": round(float(np.mean((given - labels) ** 2)), 4),
        "bins": [
            {
                "relevance": round(float(given[bins == n].mean()), 3),
                "share that is right": round(float(labels[bins == n].mean()), 3),
                "hits": int((bins == n).sum()),
            }
            for n in range(10)
            if (bins == n).any()
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=squad.DATA)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--fit", action="store_true")
    given = parser.parse_args()
    data = squad.load(given.data)
    halves = {name: data.half(name) for name in ("fit", "report")}
    result: dict[str, Any] = {"goal": {"hybrid, top 4": GOAL}, "precision": given.precision}
    with tempfile.TemporaryDirectory() as folder:
        for titled in (False, True):
            name = "under their titles" if titled else "paragraphs alone"
            base = Base(data, Path(folder) / name.replace(" ", "-"), given.precision, titled=titled)
            result[name] = report(base, halves["report"])
            print(f"{name}, {len(halves['report'])} questions: gold in the top 1 / 4 / 10")
            for mode, found in result[name]["gold paragraph"].items():
                print(f"  {mode:18}" + "".join(f"{value:8.4f}" for value in found.values()), flush=True)
            if not titled:
                result["relevance"] = judged(base, halves, given)
    print(f"written to {machine.save('squad_search', result, command='python benchmarks/squad_search.py')}")


def report(base: Base, questions: Sequence[squad.Question]) -> dict[str, Any]:
    """Shares of questions whose gold paragraph is among the first, per mode."""
    ranks = hits(base, questions)
    return {
        "questions": len(questions),
        "gold paragraph": {
            mode: {f"top {k}": round(float((found < k).mean()), 4) for k in DEPTHS}
            for mode, found in ranks.items()
        },
        "paired, top 4, hybrid - reciprocal rank": difference(
            (ranks["hybrid"] < 4).astype(float), (ranks["reciprocal rank"] < 4).astype(float)
        ),
    }


def judged(
    base: Base, halves: dict[str, tuple[squad.Question, ...]], given: argparse.Namespace
) -> dict[str, Any]:
    """Relevance as it is in use, on the report half; with ``--fit`` new constants from the fit half."""
    features, labels = examples(base, halves["report"][::EVERY])
    in_use = relevance.calibration(peek_identity(precision=given.precision, home=home()))
    found = {
        "in use": judge(in_use, features, labels),
        "words only, in use": judge(relevance.WORDS_ONLY, features, labels),
    }
    if given.fit:
        fit_features, fit_labels = examples(base, halves["fit"][::EVERY])
        few = fit_features[:, 1] < 0.5  # where the cosine has to speak for itself
        alone = fit(fit_features[few], fit_labels[few], (0,))
        fitted = replace(fit(fit_features, fit_labels, (0, 1)), alone=(alone.bias, alone.cosine))
        words = fit(fit_features, fit_labels, (1, 2))
        print(f"fitted: {fitted}\nwords only: {words}")
        found |= {
            "fitted": judge(fitted, features, labels),
            "words only, fitted": judge(words, features, labels),
        }
    for name, figures in found.items():
        print(f"relevance, {name}: area {figures['area under the curve']}, brier {figures['brier']}")
        print(
            "   " + "  ".join(f"{b['relevance']:.2f}→{b['share that is right']:.2f}" for b in figures["bins"])
        )
    return found


if __name__ == "__main__":
    main()
