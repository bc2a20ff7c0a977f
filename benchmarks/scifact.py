"""SciFact, nDCG@10: dense, words, reciprocal rank and the default fusion, on the same candidates.

Everything that is chosen (the weight of the fusion, the constant of reciprocal rank) is chosen on
the train queries; the test queries are only reported. Differences are paired per query, with
bootstrap intervals. The default setting is run through the engine as well, to show that what is
measured here is what a search gives.

    python benchmarks/scifact.py                      # int8, f32 and bf16
    python benchmarks/scifact.py --precisions int8
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import machine
from embedded import Known, Whole, vectors
from headrace.search import fuse
from headrace.search.engine import Engine
from headrace.search.store import Block
from headrace.search.words import Words
from headrace.types import Document
from ranking import candidates, difference, fused, reciprocal

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "scifact"
GOALS = {"dense": 0.645, "words": 0.675, "hybrid": 0.73}
WEIGHTS = [round(0.05 * n, 2) for n in range(21)]
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of coverage in the words' part


@dataclass(frozen=True, kw_only=True)
class Scifact:
    ids: list[str]
    texts: list[str]
    claims: dict[str, str]
    judged: dict[str, dict[str, dict[str, int]]]  # train, test → claim → abstract → grade


def load(folder: Path) -> Scifact:
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    claims = [
        json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    judged: dict[str, dict[str, dict[str, int]]] = {}
    for split in ("train", "test"):
        judged[split] = defaultdict(dict)
        for line in (folder / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]:
            claim, abstract, grade = line.split("\t")
            judged[split][claim][abstract] = int(grade)
    return Scifact(
        ids=[row["_id"] for row in rows],
        texts=[f"{row['title']}\n{row['text']}" for row in rows],
        claims={claim["_id"]: claim["text"] for claim in claims},
        judged=judged,
    )


def ndcg(ranking: Sequence[str], grades: dict[str, int], depth: int = 10) -> float:
    """trec_eval's ndcg_cut: gain is the grade, discount 1 / log2(1 + rank)."""
    gained = sum(grades.get(item, 0) / math.log2(at + 2) for at, item in enumerate(ranking[:depth]))
    best = sorted(grades.values(), reverse=True)[:depth]
    return gained / sum(grade / math.log2(at + 2) for at, grade in enumerate(best))


def measure(data: Scifact, words: Words, precision: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Figures for one precision, and nDCG per test claim for the paired comparisons."""
    matrix = vectors("scifact-abstracts", data.texts, precision)
    claims = vectors("scifact-claims", list(data.claims.values()), precision)
    place = {claim: at for at, claim in enumerate(data.claims)}
    block = Block(np.arange(1, len(matrix) + 1), matrix)
    found = {
        split: {c: candidates(words, block, data.claims[c], claims[place[c]]) for c in judged}
        for split, judged in data.judged.items()
    }

    def scored(split: str, ranked: Any) -> np.ndarray:
        judged = data.judged[split]
        return np.array(
            [ndcg([data.ids[seq - 1] for seq in ranked(found[split][c])[:10]], judged[c]) for c in judged]
        )

    curve = {
        (weight, share): float(scored("train", lambda f, w=weight, s=share: fused(f, w, s)).mean())
        for weight in WEIGHTS
        for share in SHARES
    }
    chosen = max(curve, key=lambda pair: curve[pair])
    constants = {k: float(scored("train", lambda f, k=k: reciprocal(f, k)).mean()) for k in (10, 20, 30, 60)}
    constant = max(constants, key=lambda k: constants[k])
    per_claim = {
        "dense": scored("test", lambda f: f.dense),
        "words": scored("test", lambda f: f.words),
        "reciprocal rank": scored("test", lambda f: reciprocal(f, constant)),
        "hybrid": scored("test", lambda f: fused(f, fuse.DENSE_WEIGHT)),
        "hybrid, best of train": scored("test", lambda f: fused(f, *chosen)),
        "hybrid without coverage": scored("test", lambda f: fused(f, fuse.DENSE_WEIGHT, 0.0)),
    }
    figures = {
        "test ndcg@10": {name: round(float(values.mean()), 4) for name, values in per_claim.items()},
        "train ndcg@10 by weight on dense, share of coverage": {
            f"{weight}, {share}": round(value, 4) for (weight, share), value in curve.items()
        },
        "best of train": chosen,
        "in use": (fuse.DENSE_WEIGHT, fuse.COVERAGE_SHARE),
        "train ndcg@10 by constant of reciprocal rank": {str(k): round(v, 4) for k, v in constants.items()},
        "paired": {
            "hybrid - reciprocal rank": difference(per_claim["hybrid"], per_claim["reciprocal rank"]),
            "hybrid - dense": difference(per_claim["hybrid"], per_claim["dense"]),
            "hybrid - words": difference(per_claim["hybrid"], per_claim["words"]),
            "hybrid - without coverage": difference(
                per_claim["hybrid"], per_claim["hybrid without coverage"]
            ),
        },
    }
    return figures, per_claim


def through_the_engine(data: Scifact, precision: str) -> dict[str, Any]:
    """The same test claims asked of a real knowledge base, with the time that a search takes."""
    known = Known(
        precision,
        [
            (data.texts, vectors("scifact-abstracts", data.texts, precision)),
            (list(data.claims.values()), vectors("scifact-claims", list(data.claims.values()), precision)),
        ],
    )
    judged = data.judged["test"]
    with (
        tempfile.TemporaryDirectory() as folder,
        Engine.open(
            Path(folder) / "kb",
            name="scifact",
            create=True,
            embedder=lambda: known,
            splitter=Whole,
            identity=lambda: known.identity,
        ) as engine,
    ):
        engine.add([Document(text, id=id) for id, text in zip(data.ids, data.texts, strict=True)])
        result: dict[str, Any] = {}
        for mode in ("dense", "lexical", "hybrid"):
            scores, began = [], time.perf_counter()
            for claim in judged:
                found = engine.search(data.claims[claim], 10, mode=mode)
                scores.append(ndcg([passage.document for passage in found], judged[claim]))
            result[mode] = {
                "test ndcg@10": round(float(np.mean(scores)), 4),
                "ms a search, question embedded before": round(
                    1000 * (time.perf_counter() - began) / len(judged), 2
                ),
            }
    return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--precisions", nargs="+", default=["int8", "f32", "bf16"])
    given = arguments.parse_args()
    data = load(given.data)
    with tempfile.TemporaryDirectory() as folder:
        words = Words(Path(folder) / "words")
        words.apply([(seq, text, "") for seq, text in enumerate(data.texts, 1)], [], 1)
        measured = {precision: measure(data, words, precision) for precision in given.precisions}
    result: dict[str, Any] = {
        "goals": GOALS,
        "by precision": {precision: figures for precision, (figures, _) in measured.items()},
        "through the engine": {given.precisions[0]: through_the_engine(data, given.precisions[0])},
    }
    if {"int8", "f32"} <= set(measured):
        result["paired, int8 - f32"] = {
            name: difference(measured["int8"][1][name], measured["f32"][1][name])
            for name in ("dense", "hybrid")
        }
    path = machine.save("scifact", result, command="python benchmarks/scifact.py")
    print(f"{'nDCG@10 on test':24}" + "".join(f"{precision:>9}" for precision in measured))
    for name in next(iter(measured.values()))[1]:
        row = "".join(f"{figures['test ndcg@10'][name]:9.4f}" for figures, _ in measured.values())
        print(f"{name:24}{row}   {'goal ' + str(GOALS[name]) if name in GOALS else ''}")
    for precision, (figures, _) in measured.items():
        print(f"{precision}: best on train {figures['best of train']}, in use {figures['in use']}")
        for name, gap in figures["paired"].items():
            print(f"  {name:28}{gap['difference']:+.4f}  [{gap['low']:+.4f}, {gap['high']:+.4f}]")
    for name, gap in result.get("paired, int8 - f32", {}).items():
        print(f"int8 - f32, {name:22}{gap['difference']:+.4f}  [{gap['low']:+.4f}, {gap['high']:+.4f}]")
    for mode, values in result["through the engine"][given.precisions[0]].items():
        print(f"engine, {mode:16}{values}")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
