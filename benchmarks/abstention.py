"""Does quoting keep quiet when nothing answers? SQuAD's questions asked where the answer is not.

* present: asked of the whole SQuAD base; an abstention here is a false one
* near: asked of the SQuAD base without the question's own article (a base of its own per article,
  so that the words' rarity is right, too)
* far: asked of the Python enhancement proposals

The logistic function of confidence is fitted on a fixed half of the articles (``--fit`` prints it),
and thresholds are taken there; everything reported is of the other half.

    python benchmarks/abstention.py           # reports; writes results/abstention.json and .svg
    python benchmarks/abstention.py --fit     # prints the constants for headrace/flows/quote.py
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

import machine
import squad
import stored
from embedded import CACHE, Known, vectors
from headrace.flows import asking, confidence, evidence, quote
from headrace.search.engine import Engine
from headrace.types import Passages
from quotes import TOP_K, base, known, share

GOALS = {"near": 0.85, "far": 0.98, "false abstentions": 0.10}
REPORTED = {"near": 500, "far": 500}
FITTED = {"present": 3_000, "near": 3_000, "far": 500}
FALSE = 0.10
AT_TEN = "10 % on the fit half"
RIDGE = 1e-3
MOST = 12  # constants, the bias included
CHUNKS = 20_000


def spread(questions: Sequence[squad.Question], count: int | None) -> list[squad.Question]:
    """``count`` questions (None: all), in the order of the hashes of their ids: no one chose them."""
    order = sorted(questions, key=lambda q: hashlib.sha256(q.id.encode()).hexdigest())
    return order[:count]


def seen(question: squad.Question, passages: Passages, embedder: Any) -> tuple[np.ndarray, np.ndarray]:
    """The signs of one question with vectors, and by words alone."""
    found = evidence.candidates(passages.items)
    asked = quote.read(question.text, passages, found)
    table = quote.measure(asked, passages.items, found, embedder)
    columns = quote.measure(asked, passages.items, found, None)
    return (
        confidence.signs(asked, passages.items, found, table, quote.rank(table, by_words=False)),
        confidence.signs(asked, passages.items, found, columns, quote.rank(columns, by_words=True)),
    )


def mark(*names: str) -> str:
    """Changes when the code or constants that make signs change."""
    sources = [Path(str(m.__file__)).read_bytes() for m in (evidence, asking, confidence)]
    constants = repr((quote.RANK, quote.RANK_BY_WORDS, names)).encode()
    return hashlib.sha256(b"".join([*sources, constants])).hexdigest()[:12]


class Signs:
    """Signs of one condition: (questions, 2, signs), and the article of each question."""

    def __init__(self, rows: Sequence[tuple[str, tuple[np.ndarray, np.ndarray]]]) -> None:
        self.articles = [article for article, _ in rows]
        self.values = np.array([pair for _, pair in rows])


def kept(data: squad.Squad, half: str, where: str, count: int | None, embedder: Known) -> Signs:
    """Signs of a half of the questions under a condition, kept under ``.bench/``."""
    path = CACHE / f"abstention-{half}-{where}-{mark(str(count))}.pickle"
    if not path.is_file():
        path.write_bytes(pickle.dumps(asked(data, spread(data.half(half), count), where, embedder)))
    return Signs(pickle.loads(path.read_bytes()))


def asked(data: squad.Squad, questions: Sequence[squad.Question], where: str, embedder: Known) -> list[Any]:
    """Ask them and look."""
    if where == "present":
        with base(data.paragraphs, embedder, titled=False) as engine:
            return [(q.title, seen(q, engine.search(q.text, TOP_K), embedder)) for q in questions]
    if where == "far":
        return far(questions, embedder)
    rows = []
    for title in sorted({q.title for q in questions}):
        others = [p for p in data.paragraphs if p.title != title]
        with base(others, embedder, titled=False) as engine:
            rows += [
                (title, seen(q, engine.search(q.text, TOP_K), embedder))
                for q in questions
                if q.title == title
            ]
    return rows


def far(questions: Sequence[squad.Question], embedder: Known) -> list[Any]:
    """Ask the Python enhancement proposals: 20,000 windows of 100 words (see ``stored.py``)."""
    folder = stored.prepare(CHUNKS) / "kb"
    with Engine.open(
        folder, name="peps", embedder=lambda: embedder, identity=lambda: embedder.identity
    ) as engine:
        found = [engine.search(q.text, TOP_K) for q in questions]
    sentences = list(dict.fromkeys(s.text for passages in found for s in evidence.candidates(passages.items)))
    table = Known("int8", [(sentences, vectors("peps-sentences", sentences, "int8"))])
    table.table.update({q.text: embedder.table[q.text] for q in questions})
    return [(q.title, seen(q, passages, table)) for q, passages in zip(questions, found, strict=True)]


# --------------------------------------------------------------------------- fitting


def fit(present: np.ndarray, absent: Sequence[np.ndarray], columns: np.ndarray) -> np.ndarray:
    """Logistic regression, both sides with the same weight, each absent condition with its share.

    Far questions are easy and the near ones decide, so the shares are 3 to 1 in the order given.
    """
    shares = np.array([3.0, 1.0])[: len(absent)]
    shares /= shares.sum()
    values = np.concatenate([present, *absent])
    labels = np.concatenate([np.ones(len(present)), np.zeros(sum(map(len, absent)))])
    counts = np.concatenate(
        [
            np.full(len(present), 1 / len(present)),
            *(np.full(len(a), s / len(a)) for a, s in zip(absent, shares)),
        ]
    )
    counts /= counts.sum()
    chosen = values * columns
    scale = chosen.std(axis=0) + 1e-9
    scale[0] = 1.0

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logit = chosen @ (weights / scale)
        value = float(
            counts @ (np.logaddexp(0, logit) - labels * logit) + RIDGE / 2 * weights[1:] @ weights[1:]
        )
        gap = counts * (1 / (1 + np.exp(-logit)) - labels)
        slope = chosen.T @ gap / scale + RIDGE * np.concatenate([[0.0], weights[1:]])
        return value, slope * columns

    best = minimize(loss, np.zeros(values.shape[1]), jac=True, method="L-BFGS-B").x
    return np.asarray(best / scale * columns)


def caught(present: np.ndarray, absent: np.ndarray, rate: float = FALSE) -> float:
    """The share of ``absent`` below the threshold that takes ``rate`` of ``present``."""
    return float((absent < np.quantile(present, rate)).mean())


def cross_validated(signs: dict[str, Signs], which: int, columns: np.ndarray, folds: int = 6) -> float:
    """Near abstentions at 10 % false ones, each article judged by constants fitted without it."""
    articles = sorted(set(signs["present"].articles))
    scores: dict[str, list[np.ndarray]] = {"present": [], "near": []}
    for fold in range(folds):
        out = set(articles[fold::folds])
        inside = {name: s.values[[a not in out for a in s.articles], which] for name, s in signs.items()}
        weights = fit(inside["present"], [inside["near"], inside["far"]], columns)
        for name in scores:
            values = signs[name].values[[a in out for a in signs[name].articles], which]
            scores[name].append(values @ weights)
    return caught(np.concatenate(scores["present"]), np.concatenate(scores["near"]))


def choose(signs: dict[str, Signs], which: int) -> np.ndarray:
    """Drop signs one by one, the least useful first, until ``MOST`` are left and none is idle."""
    usable = signs["present"].values[:, which].std(axis=0) > 1e-9
    usable[0] = True
    columns = usable.astype(float)
    best = cross_validated(signs, which, columns)
    while True:
        tried = []
        for at in np.flatnonzero(columns)[1:]:
            fewer = columns.copy()
            fewer[at] = 0
            tried.append((cross_validated(signs, which, fewer), int(at)))
        score, at = max(tried)
        if columns.sum() <= MOST and score < best - 0.001:
            print(f"# cross-validated within the fit half: near {best:.4f}")
            return columns
        columns[at] = 0
        best = max(score, best - 0.001)


def print_fit(signs: dict[str, Signs]) -> None:
    """The constants for ``flows/quote.py``."""
    for which, name in enumerate(("SURE", "SURE_BY_WORDS")):
        columns = choose(signs, which)
        values = {key: s.values[:, which] for key, s in signs.items()}
        weights = fit(values["present"], [values["near"], values["far"]], columns)
        rounded = np.round(weights, 2)
        print(f"{name} = {{")
        for sign, weight in zip(confidence.SIGNS, rounded, strict=True):
            if weight:
                print(f'    "{sign}": {float(weight)},')
        print("}")
        logits = {key: v @ rounded for key, v in values.items()}
        threshold = float(np.quantile(logits["present"], FALSE))
        print(f"THRESHOLD{name[4:]} = {1 / (1 + np.exp(-threshold)):.3f}")
        print(f"# on the fit half itself: near {caught(logits['present'], logits['near']):.4f}", end="")
        print(f", far {caught(logits['present'], logits['far']):.4f}", flush=True)


# --------------------------------------------------------------------------- reporting


def report(
    signs: dict[str, Signs], fitted: dict[str, Signs], which: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Shares with intervals at two thresholds, both from the fit half; and the confidences.

    The one in use, and the one that takes exactly 10 % there.
    """
    constants, in_use = (
        (quote.SURE, quote.THRESHOLD),
        (quote.SURE_BY_WORDS, quote.THRESHOLD_BY_WORDS),
    )[which]
    weights = quote.vector(constants, confidence.SIGNS)
    sure = {name: 1 / (1 + np.exp(-(s.values[:, which] @ weights))) for name, s in signs.items()}
    there = 1 / (1 + np.exp(-(fitted["present"].values[:, which] @ weights)))
    result: dict[str, Any] = {"constants": len(constants)}
    for name, threshold in (("in use", in_use), (AT_TEN, float(np.quantile(there, FALSE)))):
        result[name] = {
            "threshold": round(threshold, 3),
            **{
                "false abstentions" if where == "present" else where: share(
                    values < threshold, signs[where].articles
                )
                for where, values in sure.items()
            },
        }
    return result, sure


def cosine_only(signs: dict[str, Signs], fitted: dict[str, Signs]) -> dict[str, Any]:
    """What one threshold on the best passage's cosine gives, fitted and reported the same way."""
    at = confidence.SIGNS.index("passage")
    threshold = float(np.quantile(fitted["present"].values[:, 0, at], FALSE))
    return {
        "false abstentions" if name == "present" else name: round(
            float((s.values[:, 0, at] < threshold).mean()), 4
        )
        for name, s in signs.items()
    }


def curve(sure: dict[str, np.ndarray], threshold: float, path: Path) -> None:
    """Abstentions that are right against false ones, as the threshold moves: an SVG drawn by hand."""
    width, height, left, top = 640, 400, 60, 30
    right, bottom, widest = width - 150, height - 55, 0.3

    def x(rate: float) -> float:
        return left + rate / widest * (right - left)

    def y(rate: float) -> float:
        return bottom - (rate - 0.5) / 0.5 * (bottom - top)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12" role="img" aria-label="Right abstentions against false abstentions">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for step in range(0, 31, 5):
        at = x(step / 100)
        parts.append(f'<line x1="{at:.1f}" y1="{top}" x2="{at:.1f}" y2="{bottom}" stroke="#dddddd"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#333333">{step} %</text>'
        )
    for step in range(50, 101, 10):
        at = y(step / 100)
        parts.append(f'<line x1="{left}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}" stroke="#dddddd"/>')
        parts.append(
            f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end" fill="#333333">{step} %</text>'
        )
    for name, colour, words in (
        ("near", "#1f5fa8", "own article missing"),
        ("far", "#a8461f", "another domain"),
    ):
        cuts = np.quantile(sure["present"], np.linspace(0, widest, 121))
        points = [(float((sure["present"] < c).mean()), float((sure[name] < c).mean())) for c in cuts]
        line = " ".join(f"{x(a):.1f},{y(max(b, 0.5)):.1f}" for a, b in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        a, b = float((sure["present"] < threshold).mean()), float((sure[name] < threshold).mean())
        parts.append(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="4" fill="{colour}"/>')
        shown = points[-1][1] - (0.04 if name == "near" else 0.0)
        parts.append(f'<text x="{right + 8}" y="{y(shown) + 4:.1f}" fill="{colour}">{words}</text>')
    middle = (left + right) / 2
    parts.append(
        f'<text x="{middle}" y="{height - 15}" text-anchor="middle" fill="#333333">false abstentions '
        "(the answer is there); dots: the threshold in use</text>"
    )
    parts.append(f'<text x="{left}" y="{top - 12}" fill="#333333">abstains where nothing answers</text>')
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=squad.DATA)
    parser.add_argument("--fit", action="store_true")
    given = parser.parse_args()
    data = squad.load(given.data)
    embedder = known(data)
    fitted = {name: kept(data, "fit", name, FITTED[name], embedder) for name in ("present", "near", "far")}
    if given.fit:
        print_fit(fitted)
        return
    counts = {"present": None, **REPORTED}
    signs = {name: kept(data, "report", name, counts[name], embedder) for name in counts}
    result: dict[str, Any] = {"goals": GOALS, "top_k": TOP_K, "far base": f"{CHUNKS} windows of 100 words"}
    result["with vectors"], sure = report(signs, fitted, 0)
    result["by words alone"], _ = report(signs, fitted, 1)
    result["one threshold on the cosine"] = cosine_only(signs, fitted)
    for name in ("with vectors", "by words alone"):
        for at in ("in use", AT_TEN):
            figures = {k: result[name][at][k]["share"] for k in ("false abstentions", "near", "far")}
            print(f"{name}, {at}: {figures}")
    print("cosine alone", result["one threshold on the cosine"])
    curve(sure, quote.THRESHOLD, machine.RESULTS / "abstention.svg")
    print(f"written to {machine.save('abstention', result, command='python benchmarks/abstention.py')}")


if __name__ == "__main__":
    main()
