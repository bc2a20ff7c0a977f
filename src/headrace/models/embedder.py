"""The embedder: texts to unit vectors with all-MiniLM-L6-v2, without torch.

Puts weights, tokenizer and graph together. It does not search, store or split; it does not know
which embedder a knowledge base was made with (that is the identity's business, see
``weights.identity_of``).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace import request
from headrace.errors import Corrupt, InputError
from headrace.models.weights import TOKENIZER_FILE, Weights, find_weights, identity_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headrace.models.runtime import Graph
    from headrace.models.tokens import Tokenizer
    from headrace.protocols import Progress
    from headrace.settings import Policy

PRECISIONS = ("f32", "bf16", "int8")
BATCH = 8  # texts run at once; measured best for sorted texts on few cores
STEP = 16  # lengths are padded to a multiple of this: OpenVINO pays for every new shape


def open_embedder(
    model: str = "", precision: str = "int8", *, home: Path, threads: int = 0, policy: Policy | str = "named"
) -> SentenceEmbedder:
    """An embedder, its weights found and checked; graph and tokenizer are loaded at first use.

    ``model``: "" (the packaged all-MiniLM-L6-v2), a folder or a hub id. ``precision``: ``f32``,
    ``bf16`` or ``int8``. ``home``: the folder per user, for the converted copy. ``threads``: 0 for
    one per core. Raises NotFound where there are no weights, Corrupt where they are not the
    published ones.
    """
    check_precision(precision)
    weights = find_weights(model, home=home, policy=policy)
    return SentenceEmbedder(weights, precision, home=home, threads=threads, policy=policy)


def peek_identity(
    model: str = "", precision: str = "int8", *, home: Path, policy: Policy | str = "named"
) -> Mapping[str, Any]:
    """The identity that :func:`open_embedder` would give, without tokenizer, graph or runtime."""
    check_precision(precision)
    return identity_of(find_weights(model, home=home, policy=policy), precision)


def check_precision(precision: str) -> None:
    """Raise InputError for a precision that does not exist."""
    if precision not in PRECISIONS:
        raise InputError(
            f"The precision {precision!r} is not known.",
            hint="Use 'int8' (fastest), 'bf16' or 'f32' (exact).",
        )


class SentenceEmbedder:
    """Implements :class:`headrace.protocols.Embedder`. Safe to share between threads.

    A text's vector does not depend on what else is embedded with it (see ``_batches``).
    """

    def __init__(
        self,
        weights: Weights,
        precision: str,
        *,
        home: Path,
        threads: int = 0,
        policy: Policy | str = "named",
    ) -> None:
        self.weights = weights
        self.precision = precision
        self.identity: Mapping[str, Any] = identity_of(weights, precision)
        self._home = home
        self._policy = policy
        self._threads = threads
        self._lock = threading.Lock()
        self._graph: Graph | None = None
        self._tokenizer: Tokenizer | None = None

    @property
    def dimension(self) -> int:
        return self.weights.shape.width

    @property
    def window(self) -> int:
        return self.weights.shape.window

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """(len(texts), dimension) float32, rows of unit length, in the order of ``texts``.

        What is beyond ``window`` tokens is cut. Checks for cancellation between batches.
        """
        import numpy as np

        if isinstance(texts, str):
            raise InputError(
                "embed takes a sequence of texts, and was given one text.", hint="Give it as [text]."
            )
        vectors = np.empty((len(texts), self.dimension), np.float32)
        if not texts:
            return vectors
        tokens = self.tokenizer.ids(texts)
        done = 0
        for rows in _batches([len(ids) for ids in tokens]):
            request.checkpoint()
            ids, mask = _padded([tokens[row] for row in rows])
            vectors[rows] = self.graph(ids, mask)
            done += len(rows)
            if progress is not None:
                progress(done, len(texts), "embedding")
        return vectors

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """(start, end) in code points of each token, special tokens left out, nothing cut."""
        return self.tokenizer.offsets(text)

    def warm(self) -> None:
        """Load tokenizer and graph now instead of at the first text."""
        self.embed(["warm"])

    @property
    def tokenizer(self) -> Tokenizer:
        """Loaded at first use, without the graph."""
        if self._tokenizer is None:
            with self._lock:
                if self._tokenizer is None:
                    self._tokenizer = self._open_tokenizer()
        return self._tokenizer

    @property
    def graph(self) -> Graph:
        """Loaded at first use; the converted copy is made where there is none."""
        if self._graph is None:
            with self._lock:
                if self._graph is None:
                    from headrace.models.converted import open_graph

                    self._graph = open_graph(
                        self.weights, self.precision, self._copy(), threads=self._threads
                    )
        return self._graph

    def _copy(self) -> Path:
        from headrace.models.converted import ensure

        return ensure(self.weights, self.precision, home=self._home, policy=self._policy)

    def _open_tokenizer(self) -> Tokenizer:
        from headrace.models.tokens import Tokenizer

        shape, digest = self.weights.shape, self.weights.tokenizer
        try:
            return Tokenizer(self.weights.folder / TOKENIZER_FILE, shape.window, digest)
        except Corrupt:
            if self.weights.source != "converted":
                raise
            # the copy is damaged: checking it makes it anew
            return Tokenizer(self._copy() / TOKENIZER_FILE, shape.window, digest)


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Row numbers in batches, longest first, so that little is padded."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    return [order[at : at + BATCH] for at in range(0, len(order), BATCH)]


def _padded(tokens: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    import numpy as np

    longest = max(len(ids) for ids in tokens)
    length = -(-longest // STEP) * STEP
    ids = np.zeros((len(tokens), length), np.int32)
    mask = np.zeros((len(tokens), length), np.float32)
    for row, found in enumerate(tokens):
        ids[row, : len(found)] = found
        mask[row, : len(found)] = 1
    return ids, mask
