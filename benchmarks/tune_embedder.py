"""Tune the embedder on SciFact's train claims; nDCG@10 on its test claims, before and after.

    python benchmarks/tune_embedder.py           # a tenth of the abstracts, one epoch: does it run?
    python benchmarks/tune_embedder.py --full    # the whole of it; this is the figure in the docs

Train claims that a test claim gives away (the same words, or four fifths of them: a claim and its
negation) are left out. Everything that is chosen is chosen on train claims; the test claims are
looked at once, at the end. Of the test claims, those whose abstract no train claim is about are
shown for themselves too. Time: wall clock from the untouched base to the measured artifact, and
what all cores together worked, which does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import machine
from headrace.measure.verdict import paired
from headrace.models.embedder import open_embedder
from headrace.search.store import Block
from headrace.search.words import Words
from headrace.settings import home
from headrace.tuning.contrastive import Recipe
from headrace.tuning.embedder import MARGIN, EmbedderTuning, Tuned
from headrace.tuning.mining import ndcg
from headrace.tuning.pairs import Corpus, Question, leaks
from headrace.types import to_json
from ranking import candidates, fused
from scifact import DATA, Scifact, load
from scifact import ndcg as graded

CACHE = Path(__file__).resolve().parents[1] / ".bench"
GOALS = {"difference": 0.02, "minutes": 25, "parity": 0.999}


def questions(data: Scifact, split: str) -> list[Question]:
    return [
        Question(data.claims[claim], frozenset(grades), f"{split} claim {claim}")
        for claim, grades in data.judged[split].items()
    ]


@contextmanager
def phase(title: str) -> Iterator[Any]:
    began = last = time.monotonic()

    def tell(done: int, total: int, what: str) -> None:
        nonlocal last
        if time.monotonic() - last > 20 or done == total:
            last = time.monotonic()
            print(f"{title}: {done} of {total} {what}, {last - began:.0f} s", file=sys.stderr, flush=True)

    yield tell


def compared(after: Sequence[float], before: Sequence[float]) -> dict[str, Any]:
    found = paired(after, before, direction="higher", margin=MARGIN, bounds=(0, 1))
    return {
        "baseline": round(float(np.mean(before)), 4),
        "tuned": round(float(np.mean(after)), 4),
        **{key: round(v, 4) if isinstance(v, float) else v for key, v in to_json(found).items()},
    }


def in_other_ways(corpus: Corpus, tuning: EmbedderTuning, precisions: Sequence[str]) -> dict[str, Any]:
    """Dense and hybrid search of base and tuned on the test claims, in the precisions asked for."""
    test = tuning.test
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as at:
        words = Words(Path(at) / "words")
        words.apply([(seq, text, "") for seq, text in enumerate(corpus.texts, 1)], [], 1)
        for precision in ["int8", *precisions]:
            dense, hybrid = {}, {}
            for name, model in (("base", ""), ("tuned", str(tuning.out))):
                if precision == "int8":
                    asked, vectors = tuning.ranked[name]
                else:
                    opened = open_embedder(model, precision, home=home() if not model else Path(at) / "home")
                    with phase(f"{name} {precision}") as tell:
                        vectors = opened.embed(corpus.texts, tell)
                    asked = opened.embed([q.text for q in test])
                dense[name] = ndcg(test, corpus.documents, asked, vectors)
                block = Block(np.arange(1, len(vectors) + 1), vectors)
                rankings = [
                    fused(candidates(words, block, q.text, vector))[:10]
                    for q, vector in zip(test, asked, strict=True)
                ]
                hybrid[name] = [
                    graded([corpus.documents[seq - 1] for seq in ranking], dict.fromkeys(q.documents, 1))
                    for q, ranking in zip(test, rankings, strict=True)
                ]
            found[f"dense, {precision}"] = compared(dense["tuned"], dense["base"])
            found[f"hybrid, {precision}"] = compared(hybrid["tuned"], hybrid["base"])
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--full", action="store_true")
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--precisions", nargs="*", default=[], help="f32, bf16: rank in these too, later")
    arguments.add_argument("--keep", type=Path, help="leave the artifact here")
    arguments.add_argument("--rate", type=float, default=Recipe().rate)
    arguments.add_argument("--epochs", type=int, default=Recipe().epochs)
    given = arguments.parse_args()
    data = load(given.data)
    train, test = questions(data, "train"), questions(data, "test")
    recipe = Recipe(rate=given.rate, epochs=given.epochs)
    rows = list(range(len(data.ids)))
    if not given.full:
        train, test = train[:120], test[:60]
        judged = {name for q in [*train, *test] for name in q.documents}
        rows = [row for row in rows if data.ids[row] in judged or row % 20 == 0]
        recipe = Recipe(epochs=1)
    corpus = Corpus(tuple(data.texts[r] for r in rows), tuple(data.ids[r] for r in rows), "scifact")
    CACHE.mkdir(exist_ok=True)
    folder = given.keep or CACHE / "tuned-scifact"
    if not given.keep:
        shutil.rmtree(folder, ignore_errors=True)
    tuning = EmbedderTuning(
        train,
        corpus,
        test=test,
        out=folder,
        home=home(),
        recipe=recipe,
        drop_shared=True,
        licence="claims CC-BY-4.0, abstracts ODC-By-1.0",
    )
    result: Tuned = tuning.run(phase)
    known = {name for q in tuning.train for name in q.documents}
    known |= {name for q in tuning.validation for name in q.documents}
    new = [row for row, q in zip(result.rows, tuning.test, strict=True) if not q.documents & known]
    shared = leaks(train, test)
    found: dict[str, Any] = {
        "goals": GOALS,
        "full": given.full,
        "settings": asdict(recipe),
        "left out of train": {how: sum(h == how for _, _, h in shared) for how in ("same", "near")},
        "plan": to_json(result.plan),
        "test ndcg@10, dense, int8": {
            "baseline": to_json(result.baseline),
            "tuned": to_json(result.tuned),
            "difference": to_json(result.difference),
        },
        "test claims about abstracts without a train claim": compared(
            [row["tuned"] for row in new], [row["baseline"] for row in new]
        ),
        "chosen": result.chosen,
        "tried on validation": result.tried,
        "parity": result.parity,
        "seconds": result.seconds,
        "cpu seconds": result.cpu_seconds,
        "resumed": result.resumed,
        "losses": [round(loss, 4) for loss in result.losses],
    }
    save(found, given.full)
    found["in other ways"] = in_other_ways(corpus, tuning, given.precisions)
    save(found, given.full)
    for name in ("seconds", "cpu seconds", "parity", "chosen", "test ndcg@10, dense, int8"):
        print(f"{name}: {json.dumps(found[name])}")
    print(f"on new abstracts: {found['test claims about abstracts without a train claim']}")
    for name, values in found.get("in other ways", {}).items():
        print(f"{name:16}{values['baseline']:.4f} → {values['tuned']:.4f}", end="  ")
        print(f"{values['difference']:+.4f} [{values['low']:+.4f}, {values['high']:+.4f}]")


def save(found: dict[str, Any], full: bool) -> None:
    if full:
        path = machine.save("tune_embedder", found, command="python benchmarks/tune_embedder.py --full")
        print(f"written to {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
