"""Which embedder fits these documents: the same questions and passages, one embedder after the other.

A table of models against hit@k and nDCG@10 on one's own data, each set against the first on the same
questions. Loads no torch; what is compared is what the runtime computes. Nothing is trained here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InputError
from headrace.measure.statistics import Interval, mean, rate
from headrace.measure.verdict import Verdict, paired
from headrace.models.embedder import open_embedder
from headrace.protocols import Progress
from headrace.settings import Policy
from headrace.tuning.mining import ndcg, ranks
from headrace.tuning.pairs import Corpus, Question

HITS = (1, 3, 10)
MARGIN = 0.01  # of nDCG@10: what is less is no difference that matters


@dataclass(frozen=True, kw_only=True)
class Place:
    """One embedder. ``hits``: by k, the share of questions with a right document among the first k.
    ``against_first``: its nDCG@10 minus the first model's, paired; None for the first itself.
    ``passages_per_second`` as this machine was while it ran."""

    model: str
    name: str
    weights: str
    dimension: int
    ndcg: Interval
    hits: dict[str, Interval]
    against_first: Verdict | None
    passages_per_second: float


def rank_embedders(
    models: Sequence[str],
    questions: Sequence[Question],
    corpus: Corpus,
    *,
    precision: str,
    home: Path,
    threads: int = 0,
    policy: Policy | str = "named",
    phase: Callable[[str], AbstractContextManager[Progress | None]] = lambda title: nullcontext(),
) -> list[Place]:
    """A place per model, best nDCG@10 first. "" is the packaged embedder. All are opened before any
    work is done, so that a wrong name costs no minutes."""
    if len(set(models)) != len(models) or not models:
        raise InputError(f"{list(models)!r} are not models to compare.", hint="Name each one once.")
    opened = [open_embedder(m, precision, home=home, threads=threads, policy=policy) for m in models]
    same = [min(q.documents) for q in questions]
    first: list[float] = []
    places = []
    for model, embedder in zip(models, opened, strict=True):
        began = time.monotonic()
        with phase(f"embedding with {embedder.weights.name}") as progress:
            vectors: NDArray[np.float32] = embedder.embed(corpus.texts, progress)
        seconds = time.monotonic() - began
        asked = embedder.embed([q.text for q in questions])
        scores = ndcg(questions, corpus.documents, asked, vectors)
        best = ranks(questions, corpus.documents, asked, vectors, max(HITS))
        verdict = None
        if first:
            verdict = paired(scores, first, direction="higher", margin=MARGIN, bounds=(0, 1), clusters=same)
        first = first or scores
        places.append(
            Place(
                model=model or embedder.weights.name,
                name=embedder.weights.name,
                weights=embedder.weights.sha256,
                dimension=embedder.dimension,
                ndcg=mean(scores, bounds=(0, 1), clusters=same),
                hits={f"hit@{k}": rate(sum(r is not None and r <= k for r in best), len(best)) for k in HITS},
                against_first=verdict,
                passages_per_second=round(len(corpus) / max(seconds, 1e-6), 1),
            )
        )
    return sorted(places, key=lambda place: -(place.ndcg.value or 0.0))
