"""The toxicity head: how likely people would call a text offensive or hateful.

The same two regressions as ``polarity`` (its ``fit``), over the embedder's vector and hashed n-grams,
trained by ``benchmarks/train_toxicity.py`` and described, with its errors, in
docs/reference/toxicity-head.md. No word stands in the file. It gives a number; what to do about one is
``guards/toxicity``'s and the application's business.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from headrace.models.polarity import Polarity, probabilities
from headrace.protocols import Embedder

FILE = Path(__file__).with_name("toxicity.npz")
WINDOW = 1_200  # code points that one vector stands for

_HANDLE = re.compile(r"\bRT\b\s*(?=@)|@\w+:?|https?://\S+|&#\d+;|#(?=\w)")


def clean(text: str) -> str:
    """The words: without the marks of one platform (handles, links, "RT") that the head must not learn."""
    return " ".join(_HANDLE.sub(" ", html.unescape(text)).strip("!\"“”' ").split())


@lru_cache(maxsize=1)
def shipped() -> Polarity:
    """The head that comes with Headrace, read once per process."""
    return Polarity.read(FILE)


def classifier(embedder: Embedder | None) -> Callable[[Sequence[str]], list[float]]:
    """``texts → probabilities`` of being toxic, for ``guards.toxicity``; the highest window of a long text.

    An ``embedder`` that the head was not trained on is not asked: n-grams then answer alone.
    """
    head = shipped()
    used = embedder if embedder is not None and embedder.identity.get("weights") == head.embedder else None

    def judge(texts: Sequence[str]) -> list[float]:
        owner: list[int] = []
        pieces: list[str] = []
        for at, text in enumerate(texts):
            plain = clean(text)
            for start in range(0, max(1, len(plain)), WINDOW):
                owner.append(at)
                pieces.append(plain[start : start + WINDOW] or "-")
        found = [0.0] * len(texts)
        for start in range(0, len(pieces), 256):
            part = pieces[start : start + 256]
            scores = probabilities(head.logits(part, None if used is None else used.embed(part)))
            for at, score in zip(owner[start : start + 256], scores.tolist(), strict=True):
                found[at] = max(found[at], score)
        return found

    return judge
