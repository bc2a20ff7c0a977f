"""Makes the toxicity head that ships: src/headrace/models/toxicity.npz.

Toxic are the tweets that most judges of Davidson et al. (2017, MIT) called hateful or offensive; not
toxic the others, and ordinary sentences of four data sets whose licences allow it: rotten_tomatoes
(CC BY 4.0), gsm8k (MIT), seed tasks and expert tasks of instructions (Apache-2.0). Without these the
head believes that most texts are toxic: 83 % of the tweets are, because they were collected by a list
of offensive words. No word of the data goes into the file. How good the same training is on texts it
has not seen is what ``toxicity.py`` measures.

    python benchmarks/train_toxicity.py
"""

from __future__ import annotations

import csv
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedded import vectors
from headrace.models import polarity, toxic
from headrace.models.embedder import peek_identity
from headrace.settings import home

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ORDINARY = 8_000


@dataclass(frozen=True)
class Row:
    """``kind``: hate, offensive, neither (tweets), ordinary. ``source``: the data set."""

    text: str
    kind: str
    source: str

    @property
    def toxic(self) -> bool:
        return self.kind in ("hate", "offensive")


def tweets() -> list[Row]:
    """Davidson's tweets, cleaned; the same cleaned text once."""
    kinds = ("hate", "offensive", "neither")
    with (DATA / "davidson_hate" / "labeled_data.csv").open(encoding="utf-8", newline="") as file:
        found = {toxic.clean(row["tweet"]): kinds[int(row["class"])] for row in csv.DictReader(file)}
    return [Row(text, kind, "davidson") for text, kind in found.items() if text]


def ordinary() -> list[Row]:
    """Sentences of films' critics, sums and tasks: a fixed sample."""
    found: list[Row] = []
    for name, key, source in (
        ("rotten_tomatoes/rt_polarity.jsonl", "text", "rotten_tomatoes"),
        ("gsm8k/train.jsonl", "question", "gsm8k"),
        ("instructions/seed_tasks.jsonl", "instruction", "instructions"),
        ("instructions/user_oriented_instructions.jsonl", "instruction", "instructions"),
    ):
        for line in (DATA / name).read_text(encoding="utf-8").splitlines():
            text = toxic.clean(str(json.loads(line)[key]))[:400]
            if text:
                found.append(Row(text, "ordinary", source))
    order = np.random.default_rng(0).permutation(len(found))[:ORDINARY]
    return [found[i] for i in sorted(order.tolist())]


def read() -> list[Row]:
    """All rows that the head learns from."""
    return [*tweets(), *ordinary()]


def main() -> None:
    """Train, write, and print what was written."""
    rows = read()
    texts = [row.text for row in rows]
    made = vectors("toxicity", texts, "int8")
    began = time.monotonic()
    mark = str(peek_identity(home=home())["weights"])
    head = polarity.fit(texts, np.array([row.toxic for row in rows]), made, embedder=mark)
    head.save(toxic.FILE)
    size = toxic.FILE.stat().st_size
    digest = hashlib.sha256(toxic.FILE.read_bytes()).hexdigest()
    print(f"{toxic.FILE.name}: {size:,} bytes, sha256 {digest[:16]}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
