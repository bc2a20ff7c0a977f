"""How good is the toxicity head on texts it has not seen, and on whom does it err?

Five folds over its training rows (Davidson's tweets and ordinary sentences), each row judged by a head
that had not seen it, at the threshold of 0.5; and the head that ships on texts of kinds it never saw:
sentences of SQuAD's paragraphs and of Wikipedia texts of BOLD (encyclopedia), and of scientific
abstracts (scifact). *Found* is of tweets called hateful or offensive by most judges, *false alarms* of
all others.

Dialect: false alarms among harmless tweets with common marks of African American English (a short
list of ours: spellings and forms, no offensive words) against the other harmless tweets. That such
sets teach detectors to call this dialect offensive is known (Sap et al., ACL 2019); here is how much.

    python benchmarks/toxicity.py
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

import machine
import squad
from embedded import vectors
from headrace.measure.statistics import rate
from headrace.models import polarity, toxic
from headrace.models.heads import calibration_error, sigmoid
from headrace.text import sentences
from train_toxicity import DATA, read

FOLDS = 5
THRESHOLD = 0.5
OTHERS = 1_500
DIALECT = re.compile(
    r"\b(?:ain'?t|finna|gon|gone be|bout to|tryna|dat|dis|dem|dey|da|wit|y'?all|imma|ima|iont|ion|tho|doe|"
    r"(?:he|she|they|we|it) be|be like|lil|homie|bruh|fam|wassup|errbody|er'?body|cuz|nuffin|sumn|"
    r"talkin|doin|gettin)\b",
    re.IGNORECASE,
)


def interval(good: int, n: int) -> dict[str, Any]:
    found = rate(good, n)
    return {"share": found.value, "low": found.low, "high": found.high, "n": n}


def area(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve, by ranks (Mann and Whitney), ties halved."""
    order = np.argsort(scores, kind="stable")
    _, inverse, counts = np.unique(scores[order], return_inverse=True, return_counts=True)
    ranks = np.empty(len(scores))
    ranks[order] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    yes = int(positive.sum())
    no = len(positive) - yes
    return float((ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def elsewhere() -> dict[str, list[str]]:
    """Texts of kinds that the head never saw, none of them meant to offend."""
    rng = np.random.default_rng(0)

    def some(texts: list[str]) -> list[str]:
        return [texts[i] for i in sorted(rng.permutation(len(texts))[:OTHERS].tolist())]

    paragraphs = [p.text for p in squad.load().paragraphs]
    bold = json.loads((DATA / "bold" / "wikipedia" / "race_wiki.json").read_text(encoding="utf-8"))
    people = [text for group in bold.values() for texts in group.values() for text in texts]
    corpus = (DATA / "scifact" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    science = [json.loads(line)["text"] for line in corpus]
    return {
        "SQuAD sentences": some([p[a:b] for p in paragraphs for a, b in sentences(p)]),
        "BOLD, Wikipedia on people by ethnicity": some(people),
        "SciFact sentences": some([t[a:b] for t in science[:1000] for a, b in sentences(t)]),
    }


def main() -> None:
    """Measure, print, save."""
    rows = read()
    texts = [row.text for row in rows]
    made = vectors("toxicity", texts, "int8")
    positive = np.array([row.toxic for row in rows])
    folds = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    both, grams = np.zeros(len(rows)), np.zeros(len(rows))
    for fold in range(FOLDS):
        learn, judge = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        head = polarity.fit([texts[i] for i in learn], positive[learn], made[learn])
        those = [texts[i] for i in judge]
        both[judge], grams[judge] = head.logits(those, made[judge]), head.logits(those, None)
        print(f"fold {fold + 1} of {FOLDS}", flush=True)
    flagged = sigmoid(both) >= THRESHOLD
    kinds = np.array([row.kind for row in rows])
    sources = np.array([row.source for row in rows])
    neither = kinds == "neither"
    dialect = np.array([DIALECT.search(text) is not None for text in texts])
    tweets = sources == "davidson"

    def alarms(mask: np.ndarray) -> dict[str, Any]:
        return interval(int(flagged[mask].sum()), int(mask.sum()))

    shipped = toxic.shipped()
    unseen = {}
    for name, others in elsewhere().items():
        scores = sigmoid(shipped.logits(others, vectors(f"toxicity-{name.split()[0]}", others, "int8")))
        unseen[name] = interval(int((scores >= THRESHOLD).sum()), len(others))
    result: dict[str, Any] = {
        "threshold": THRESHOLD,
        "rows": len(rows),
        "found": {
            "hate": alarms(kinds == "hate"),
            "offensive": alarms(kinds == "offensive"),
            "n-grams alone": interval(int((grams[positive] >= 0).sum()), int(positive.sum())),
        },
        "false_alarms": {
            "tweets called neither": alarms(neither),
            "ordinary sentences": alarms(kinds == "ordinary"),
            "n-grams alone": interval(int((grams[~positive] >= 0).sum()), int((~positive).sum())),
            **unseen,
        },
        "dialect": {"with marks": alarms(neither & dialect), "without": alarms(neither & ~dialect)},
        "area_tweets": area(both[tweets], positive[tweets]),
        "area_tweets_n-grams": area(grams[tweets], positive[tweets]),
        "calibration_error_tweets": calibration_error(
            sigmoid(np.abs(both))[tweets], ((both > 0) == positive)[tweets]
        ),
        "bytes_of_the_file": toxic.FILE.stat().st_size,
    }
    for part in ("found", "false_alarms", "dialect"):
        for name, one in result[part].items():
            print(
                f"{part:13} {name:40} {one['share']:.3f} [{one['low']:.3f}, {one['high']:.3f}] of {one['n']}"
            )
    print(
        f"area under ROC, tweets {result['area_tweets']:.3f}, "
        f"n-grams alone {result['area_tweets_n-grams']:.3f}"
    )
    machine.save("toxicity", result, command="python benchmarks/toxicity.py")


if __name__ == "__main__":
    main()
