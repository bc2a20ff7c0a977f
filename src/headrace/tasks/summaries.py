"""Summarize: sentences of the text, word for word, or a new text where a model is named.

Without a model the sentences are chosen by how near each is to the whole text's vector, where it
stands, and how long it is; each further one must add something (maximal marginal relevance). What
is kept stays in the text's order. After Carbonell and Goldstein, "The use of MMR", 1998, Radev et al.,
"Centroid-based summarization", 2004, and Edmundson, "New methods in automatic extracting", 1969.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headrace import request
from headrace.errors import InputError
from headrace.tasks.given import each, opened, project_embedder, side_by_side
from headrace.text import content_words
from headrace.text import sentences as split_sentences
from headrace.text import words as split_words
from headrace.types import Decoding, Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headrace.protocols import Embedder, Model
    from headrace.resources.handles import ModelHandle

DEFAULT_SENTENCES = 3
REPEATS = 2.0  # how much being like a sentence already chosen counts against one (per cosine)
SAME = 0.9  # a cosine above which two sentences say the same: taken only where nothing else is left


def summarize(
    given: str | Sequence[str],
    *,
    sentences: int | None = None,
    words: int | None = None,
    model: str | ModelHandle | Model | None = None,
    embedder: Embedder | None = None,
    decoding: Decoding | None = None,
) -> Any:
    """``[{"summary_text", "mode", "spans"}]`` of a text; many texts, a list of such lists.

    ``sentences``, ``words``: how much at most (three sentences where neither is given). Extractive:
    each span (start, end in code points) is a sentence of the text as it stands, and the summary
    is them in order; at least one is given, even where it is longer than ``words``. With a ``model``
    it is a new text (mode ``abstractive``, no spans), and ``words`` is asked of the model.
    """
    for name, number in (("sentences", sentences), ("words", words)):
        if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
            raise InputError(
                f"{name}={number!r} cannot be a budget.", hint="Give a whole number of 1 or more."
            )
    most = sentences if sentences is not None else (DEFAULT_SENTENCES if words is None else None)
    chosen = opened(model)
    if chosen is not None:
        ready = chosen
        return each(
            given,
            lambda texts: side_by_side(lambda text: _written(text, most, words, ready, decoding), texts),
        )
    found = embedder or project_embedder()
    return each(given, lambda texts: [_picked(text, most, words, found) for text in texts])


def _written(
    text: str, most: int | None, budget: int | None, model: Model, decoding: Decoding | None
) -> list[dict[str, Any]]:
    limit = f"at most {budget} words" if budget else f"at most {most} sentence{'s' if most != 1 else ''}"
    prompt = (
        f"Summarize the following text in {limit}. Say nothing that it does not say.\n\n{text}\n\nSummary:"
    )
    made = model.complete([Message("user", prompt)], decoding or Decoding(max_new_tokens=256))
    return [{"summary_text": made.text.strip(), "mode": "abstractive", "spans": [], "model": model.name}]


def _picked(
    text: str, most: int | None, budget: int | None, embedder: Embedder | None
) -> list[dict[str, Any]]:
    spans = split_sentences(text)
    chosen = pick([text[a:b] for a, b in spans], most=most, budget=budget, embedder=embedder)
    kept = [spans[i] for i in chosen]
    return [
        {
            "summary_text": " ".join(text[a:b] for a, b in kept),
            "mode": "extractive",
            "spans": [list(span) for span in kept],
        }
    ]


def pick(
    listed: Sequence[str], *, most: int | None, budget: int | None, embedder: Embedder | None
) -> list[int]:
    """Which sentences to keep, in their order; at least one."""
    vectors = _vectors(listed, embedder)
    return choose(listed, vectors, worth(listed, vectors), most=most, budget=budget)


def _vectors(listed: Sequence[str], embedder: Embedder | None) -> NDArray[np.float64]:
    """(n, d) unit vectors of the sentences; without an embedder, of the words they have."""
    import numpy as np

    if embedder is not None:
        return np.asarray(embedder.embed(list(listed)), np.float64)
    places: dict[str, int] = {}
    bags = [[places.setdefault(word, len(places)) % 4096 for word in content_words(s)] for s in listed]
    found = np.zeros((len(listed), min(4096, max(1, len(places)))))
    for row, bag in zip(found, bags, strict=True):
        row[bag] = 1.0
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))


# What a sentence is worth: weights of its features, fitted to ROUGE on the 619 abstracts of scitldr's
# development part (Apache-2.0) by benchmarks/summaries.py --fit; judged on its test part.
WORTH: Sequence[float] = (
    2.90,  # nearer to the whole text than its other sentences are
    0.31,  # the first
    -0.15,  # the last
    -0.55,  # from 0 at the beginning to 1 at the end
    0.76,  # the logarithm of its words
    0.81,  # ten words and more
    -1.02,  # per forty words
)
# Cue words, after Edmundson: what a text says about itself, and what continues something else.
CUES: Sequence[tuple[str, float]] = (
    (r"\b(?:we|our)\b", 0.93),
    (r"\bthis (?:paper|work|article|report|study)\b|\bin this\b", 0.65),
    (r"\b(?:propose|present|introduce|develop)s?d?\b", 0.85),
    (r"\b(?:show|demonstrate|find|found|conclude)s?d?\b", -0.16),
    (r"\b(?:however|but|although|unfortunately)\b", 0.27),
    (r"\b(?:for example|such as|e\.g)\b", -0.26),
    (r"^(?:this|these|it|they|here)\b", 0.66),
    (r"\b(?:therefore|thus|overall|in summary|in short|finally)\b", -0.19),
)


def features(listed: Sequence[str], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, features) of the sentences of one text, in the order of WORTH and CUES."""
    import numpy as np

    n = len(listed)
    middle = vectors.mean(axis=0)
    near = vectors @ middle / max(1e-12, float(np.linalg.norm(middle)))
    length = np.array([len(split_words(sentence)) for sentence in listed], float)
    at = np.arange(n)
    columns = [near - near.mean(), at == 0, (at == n - 1) & (n > 1), at / max(1, n - 1)]
    columns += [np.log1p(length), np.minimum(length, 10) / 10, length / 40]
    for pattern, _ in CUES:
        cue = re.compile(pattern, re.IGNORECASE)
        columns.append(np.array([cue.search(sentence) is not None for sentence in listed]))
    return np.stack(columns, axis=1).astype(np.float64)


def worth(listed: Sequence[str], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) how much each sentence says of the whole; only differences mean something."""
    import numpy as np

    weights = np.array([*WORTH, *(weight for _, weight in CUES)])
    return np.asarray(features(listed, vectors) @ weights)


def choose(
    listed: Sequence[str],
    vectors: NDArray[np.float64],
    scores: NDArray[np.float64],
    *,
    most: int | None,
    budget: int | None,
) -> list[int]:
    """The best sentences within the budget that do not repeat each other, in the text's order."""
    import numpy as np

    limit = len(listed) if most is None else min(most, len(listed))
    left = budget if budget is not None else None
    lengths = [len(split_words(sentence)) for sentence in listed]
    repeats = np.zeros(len(listed))
    open_ = np.ones(len(listed), bool)
    chosen: list[int] = []
    while len(chosen) < limit and open_.any():
        request.checkpoint()
        best = int(np.argmax(np.where(open_, scores - REPEATS * repeats - 100.0 * (repeats > SAME), -np.inf)))
        open_[best] = False
        if left is not None and chosen and lengths[best] > left:
            continue
        if left is not None and not chosen and lengths[best] > left and (fits := _fitting(lengths, left)):
            best = max(fits, key=lambda i: float(scores[i]))  # something within the budget, where there is
            open_[best] = False
        chosen.append(best)
        left = None if left is None else left - lengths[best]
        repeats = np.maximum(repeats, vectors @ vectors[best])
    return sorted(chosen)


def _fitting(lengths: Sequence[int], left: int) -> list[int]:
    return [i for i, length in enumerate(lengths) if 0 < length <= left]
