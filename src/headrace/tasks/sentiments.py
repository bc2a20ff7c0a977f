"""Sentiment: is a text positive or negative, by the linear head that ships with Headrace.

Long texts are judged as a whole: cut into windows of whole sentences, each judged, their log-odds
averaged by length. Without the embedder's weights the n-grams answer alone, and
:func:`judged_by` says so. It explains nothing and knows no third label.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, overload

from headrace import request, text, tracing
from headrace.protocols import Embedder
from headrace.tasks.given import each, project_embedder
from headrace.tasks.windows import PART, windows
from headrace.types import Finding

WINDOW = 60  # words: the head learned from single sentences, and the embedder reads about 180 words

Judged = list[dict[str, Any]]


@overload
def sentiment(given: str, *, embedder: Embedder | None = None) -> Judged: ...  # type: ignore[overload-overlap]
@overload
def sentiment(given: Sequence[str], *, embedder: Embedder | None = None) -> list[Judged]: ...
def sentiment(given: str | Sequence[str], *, embedder: Embedder | None = None) -> Judged | list[Judged]:
    """``[{"label", "score"}, …]`` with ``positive`` and ``negative``, best first; many texts, many lists.

    Scores sum to 1 and are calibrated on single English sentences (docs/reference/sentiment-head.md).
    ``embedder``: None takes the project's. Raises InputError for a text that is empty.
    """
    return each(given, lambda texts: _judge(texts, embedder))


def judged_by(embedder: Embedder | None = None) -> str:
    """What judges here: ``embedding and n-grams``, or ``n-grams alone`` and why."""
    from headrace.models.polarity import shipped

    found = embedder or project_embedder()
    if found is None:
        return "n-grams alone: there are no weights of the embedder (see: headrace doctor)"
    if found.identity.get("weights") != shipped().embedder:
        return f"n-grams alone: the head was trained on another embedder than {found.identity.get('name')!r}"
    return "embedding and n-grams"


def _judge(texts: Sequence[str], embedder: Embedder | None) -> list[Judged]:
    import numpy as np

    from headrace.models.polarity import probabilities, shipped

    head = shipped()
    chosen = embedder or project_embedder()
    how = judged_by(chosen)
    if chosen is None or how != "embedding and n-grams":
        chosen = None
        tracing.note("findings", Finding(guard="sentiment", message=f"Judged by {how}.", severity="note"))
        warnings.warn(f"Sentiment is judged by {how}.", stacklevel=5)
    owner, pieces = [], []
    for at, whole in enumerate(texts):
        for piece in windows(whole, WINDOW):
            owner.append(at)
            pieces.append(piece)
    logits = np.empty(len(pieces))
    for start in range(0, len(pieces), PART):
        request.checkpoint()
        part = pieces[start : start + PART]
        logits[start : start + PART] = head.logits(part, None if chosen is None else chosen.embed(part))
    lengths = np.array([max(1, len(text.words(piece))) for piece in pieces], float)
    total = np.bincount(owner, weights=logits * lengths, minlength=len(texts))
    positive = probabilities(total / np.bincount(owner, weights=lengths, minlength=len(texts)))
    return [_labels(float(score)) for score in positive]


def _labels(positive: float) -> Judged:
    found = [{"label": "positive", "score": positive}, {"label": "negative", "score": 1.0 - positive}]
    return found if positive >= 0.5 else found[::-1]
