"""Does a quoted sentence contain the answer? SQuAD dev as open search over its 2,067 paragraphs.

Each question is asked of the whole base through the engine (top 4 passages), and ``quote`` picks
sentences from them. Counted: the first one, or one of the up to two that are quoted, contains a gold
answer as it stands. Constants are fitted on a fixed half of the articles (``--fit`` prints them, chosen by
cross-validation over articles within that half), and reported on the other half.

    python benchmarks/quotes.py            # reports; writes results/quotes.json
    python benchmarks/quotes.py --fit      # prints the constants for headrace/flows/quote.py
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

import machine
import squad
from embedded import CACHE, Known, Whole, vectors
from headrace.flows import asking, evidence, quote
from headrace.search.engine import Engine
from headrace.types import Document, Passages

GOALS = {"one sentence": 0.76, "two sentences": 0.84}
TOP_K = 4
RIDGE = 1e-3  # on standardised features
FOLDS = 6
RESAMPLES = 2_000
TIMED = 200
BY_WORDS = ("cosine", "before", "both", "passage")  # what is missing without an embedder
PRIORS = {"asks": -2.0, "echo": -2.0}  # too rare in this text to be fitted: set by hand


@dataclass(frozen=True)
class Row:
    """One question: the candidates' features, which of them contain a gold answer, and its article."""

    id: str
    article: str
    table: np.ndarray  # (candidates, features)
    right: np.ndarray  # (candidates,) bool
    found: bool  # a gold answer stands in the passages
    kind: str


def known(data: squad.Squad, precision: str = "int8") -> Known:
    """The embedder with every paragraph, question and sentence of the data set computed before."""
    paragraphs = [p.text for p in data.paragraphs]
    questions = [q.text for q in data.questions]
    sentences = list(
        dict.fromkeys(p.text[s:e] for p in data.paragraphs for s, e in evidence.split_units(p.text))
    )
    return Known(
        precision,
        [
            (sentences, vectors("squad-sentences", sentences, precision)),
            (paragraphs, vectors("squad-paragraphs", paragraphs, precision)),
            (questions, vectors("squad-questions", questions, precision)),
        ],
    )


@contextmanager
def base(paragraphs: Sequence[squad.Paragraph], embedder: Known, *, titled: bool) -> Iterator[Engine]:
    """A knowledge base of these paragraphs, one chunk each; ``titled``: under their article's title."""
    splitter = Whole(lambda document: str(document.metadata["title"]).replace("_", " ") if titled else "")
    with (
        tempfile.TemporaryDirectory() as folder,
        Engine.open(
            Path(folder) / "kb",
            name="squad",
            create=True,
            embedder=lambda: embedder,
            splitter=lambda: splitter,
            identity=lambda: embedder.identity,
        ) as engine,
    ):
        engine.add([Document(p.text, {"title": p.title}, p.id) for p in paragraphs])
        yield engine


def measured(question: squad.Question, passages: Passages, embedder: Known | None) -> Row:
    """What quoting sees of one question, and what would have been right."""
    found = evidence.candidates(passages.items)
    asked = quote.read(question.text, passages, found)
    return Row(
        id=question.id,
        article=question.title,
        table=quote.measure(asked, passages.items, found, embedder).astype(np.float32),
        right=np.array([any(a in s.text for a in question.answers) for s in found], dtype=bool),
        found=any(a in p.text for a in question.answers for p in passages),
        kind=asked.kind,
    )


def code_mark() -> str:
    """Changes when the code that makes features changes."""
    sources = [Path(str(m.__file__)) for m in (evidence, asking)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def rows_of(data: squad.Squad, half: str, embedder: Known, *, titled: bool, every: int) -> list[Row]:
    """Rows of every ``every``-th question of a half, kept under ``.bench/``."""
    path = CACHE / f"quotes-{half}-{'titled' if titled else 'plain'}-{every}-{code_mark()}.pickle"
    if path.is_file():
        return list(pickle.loads(path.read_bytes()))
    with base(data.paragraphs, embedder, titled=titled) as engine:
        rows = [measured(q, engine.search(q.text, top_k=TOP_K), embedder) for q in data.half(half)[::every]]
    path.write_bytes(pickle.dumps(rows))
    return rows


# --------------------------------------------------------------------------- fitting


def fit(rows: Sequence[Row], columns: np.ndarray) -> np.ndarray:
    """A conditional logit: the probability of a sentence among its question's, summed over right ones.

    Sentences of questions that no candidate answers say nothing and are left out. ``columns`` is
    1 for features that may be used.
    """
    rows = [row for row in rows if row.right.any()]
    table = np.concatenate([row.table for row in rows]).astype(np.float64)
    right = np.concatenate([row.right for row in rows])
    group = np.repeat(np.arange(len(rows)), [len(row.right) for row in rows])
    starts = np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1])
    spread = table.std(axis=0) + 1e-9
    scaled = (table - table.mean(axis=0)) / spread * columns

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = scaled @ weights
        powers = np.exp(scores - np.maximum.reduceat(scores, starts)[group])
        whole, good = np.add.reduceat(powers, starts), np.add.reduceat(powers * right, starts)
        value = float((np.log(whole) - np.log(good)).mean() + RIDGE / 2 * weights @ weights)
        gap = powers / whole[group] - powers * right / good[group]
        return value, scaled.T @ gap / len(rows) + RIDGE * weights

    best = minimize(loss, np.zeros(table.shape[1]), jac=True, method="L-BFGS-B").x
    return np.asarray(best / spread * columns)


def hits(rows: Sequence[Row], weights: np.ndarray) -> np.ndarray:
    """(rows, 2) bool: the first, and one of the first two sentences contain a gold answer."""
    found = np.zeros((len(rows), 2), dtype=bool)
    for i, row in enumerate(rows):
        chosen = quote.pick(row.table @ weights, 2) if len(row.table) else []
        found[i] = row.right[chosen[:1]].any(), row.right[chosen].any()
    return found


def cross_validated(rows: Sequence[Row], columns: np.ndarray) -> np.ndarray:
    """The two shares, each article judged by constants that were fitted without it."""
    articles = sorted({row.article for row in rows})
    parts = []
    for fold in range(FOLDS):
        out = set(articles[fold::FOLDS])
        weights = fit([row for row in rows if row.article not in out], columns)
        parts.append(hits([row for row in rows if row.article in out], weights))
    return np.asarray(np.concatenate(parts).mean(axis=0))


def usable(*, by_words: bool) -> np.ndarray:
    """1 for the features that are fitted."""
    out = {*PRIORS, *(BY_WORDS if by_words else ())}
    return np.array([float(name not in out) for name in evidence.FEATURES])


def print_fit(rows: Sequence[Row]) -> None:
    """The constants for ``flows/quote.py``, and what they would give on articles not seen."""
    for name, by_words in (("RANK", False), ("RANK_BY_WORDS", True)):
        columns = usable(by_words=by_words)
        one, two = cross_validated(rows, columns)
        weights = fit(rows, columns)
        print(f"# cross-validated within the fit half: one {one:.4f}, two {two:.4f}")
        print(f"{name} = {{")
        for feature, weight in zip(evidence.FEATURES, weights, strict=True):
            value = PRIORS.get(feature, round(float(weight), 2))
            if value:
                print(f'    "{feature}": {value},')
        print("}", flush=True)


# --------------------------------------------------------------------------- reporting


def wilson(count: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson, JASA 1927)."""
    share, square = count / n, z * z / n
    middle = (share + square / 2) / (1 + square)
    half = z * np.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    return round(float(middle - half), 4), round(float(middle + half), 4)


def clustered(values: np.ndarray, articles: Sequence[str]) -> tuple[float, float]:
    """95 % interval of a mean by resampling whole articles: their questions are not independent."""
    names = sorted(set(articles))
    place = {name: i for i, name in enumerate(names)}
    index = np.array([place[a] for a in articles])
    sums = np.bincount(index, weights=values.astype(float), minlength=len(names))
    counts = np.bincount(index, minlength=len(names))
    draws = np.random.default_rng(0).integers(0, len(names), (RESAMPLES, len(names)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


def share(values: np.ndarray, articles: Sequence[str]) -> dict[str, Any]:
    """A share with both intervals."""
    return {
        "share": round(float(values.mean()), 4),
        "n": len(values),
        "wilson": wilson(int(values.sum()), len(values)),
        "by article": clustered(values, articles),
    }


def report(rows: Sequence[Row]) -> dict[str, Any]:
    """The shares of one half with the constants that are in use."""
    articles = [row.article for row in rows]
    result: dict[str, Any] = {
        "questions": len(rows),
        "the passages contain it": round(float(np.mean([row.found for row in rows])), 4),
        "the first sentence of the best passage": round(
            float(np.mean([row.right[:1].any() for row in rows])), 4
        ),
    }
    for name, constants in (("with vectors", quote.RANK), ("by words alone", quote.RANK_BY_WORDS)):
        weights = quote.vector(constants, evidence.FEATURES)
        found = hits(rows, weights)
        quoted = [len(quote.pick(row.table @ weights, 2)) if len(row.table) else 0 for row in rows]
        result[name] = {
            "one sentence": share(found[:, 0], articles),
            "two sentences": share(found[:, 1], articles),
            "sentences quoted": round(float(np.mean(quoted)), 3),
        }
        if name == "with vectors":
            kinds = sorted({row.kind for row in rows})
            result["one sentence, by kind of question"] = {
                kind or "any": {
                    "n": sum(row.kind == kind for row in rows),
                    "share": round(
                        float(np.mean([f[0] for f, row in zip(found, rows) if row.kind == kind])), 4
                    ),
                }
                for kind in kinds
            }
    return result


def timed(data: squad.Squad, embedder: Known) -> Mapping[str, Any]:
    """Milliseconds of ``quote`` alone on 4 found passages, nothing cached."""
    asked = data.half("report")[:: max(1, len(data.half("report")) // TIMED)][:TIMED]
    with base(data.paragraphs, embedder, titled=False) as engine:
        found = [engine.search(q.text, top_k=TOP_K) for q in asked]
    result = {}
    for name, used in (("with vectors", embedder.real), ("by words alone", None)):
        quote.quote(asked[0].text, found[0], embedder=used)  # loads tokenizer and graph
        spent = []
        for question, passages in zip(asked, found):
            asking.analysed.cache_clear()
            asking.stems_of.cache_clear()
            began = time.perf_counter()
            quote.quote(question.text, passages, embedder=used)
            spent.append((time.perf_counter() - began) * 1_000)
        result[name] = {
            "p50": round(statistics.median(spent), 1),
            "p95": round(float(np.quantile(spent, 0.95)), 1),
            "questions": len(spent),
            "load": round(os.getloadavg()[0], 1),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=squad.DATA)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--every", type=int, default=1, help="take every n-th question only")
    given = parser.parse_args()
    data = squad.load(given.data)
    embedder = known(data)
    if given.fit:
        print_fit(rows_of(data, "fit", embedder, titled=False, every=given.every))
        return
    result: dict[str, Any] = {"goals": GOALS, "precision": "int8", "top_k": TOP_K}
    for titled in (False, True):
        name = "under their titles" if titled else "paragraphs alone"
        result[name] = report(rows_of(data, "report", embedder, titled=titled, every=given.every))
        print(name, {k: result[name]["with vectors"][k]["share"] for k in GOALS}, flush=True)
    result["milliseconds"] = timed(data, embedder)
    print(f"written to {machine.save('quotes', result, command='python benchmarks/quotes.py')}")


if __name__ == "__main__":
    main()
