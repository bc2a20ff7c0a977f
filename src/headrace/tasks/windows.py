"""Long texts in pieces that an embedder reads whole, and one vector for the whole of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace import request, text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headrace.protocols import Embedder

WORDS = 120  # about 160 tokens: within the window of the packaged embedder
PART = 256  # pieces between two looks at whether the run was cancelled


def windows(whole: str, longest: int = WORDS) -> list[str]:
    """A text in pieces of at most ``longest`` words, cut between sentences where there is a choice."""
    spans: list[tuple[int, int, int]] = []  # start, end, words
    for start, end in text.sentences(whole):
        words = text.word_spans(whole[start:end])
        cuts = [start + words[i][0] for i in range(longest, len(words), longest)]
        edges = [start, *cuts, end]
        spans += [
            (edges[i], edges[i + 1], max(1, min(longest, len(words) - i * longest)))
            for i in range(len(edges) - 1)
        ]
    pieces: list[tuple[int, int]] = []
    room = 0
    for start, end, count in spans:
        if pieces and count <= room:
            pieces[-1] = (pieces[-1][0], end)
            room -= count
        else:
            pieces.append((start, end))
            room = longest - count
    return [whole[start:end] for start, end in pieces] or [whole]


def whole_vectors(texts: Sequence[str], embedder: Embedder) -> NDArray[np.float64]:
    """(n, dimension) unit vectors: of a long text, the mean of its windows weighted by their words."""
    import numpy as np

    owner, pieces = [], []
    for at, whole in enumerate(texts):
        for piece in windows(whole):
            owner.append(at)
            pieces.append(piece)
    found = np.zeros((len(texts), embedder.dimension))
    for start in range(0, len(pieces), PART):
        request.checkpoint()
        part = pieces[start : start + PART]
        weights = np.array([max(1, len(text.words(piece))) for piece in part], float)
        np.add.at(found, owner[start : start + PART], embedder.embed(part) * weights[:, None])
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))
