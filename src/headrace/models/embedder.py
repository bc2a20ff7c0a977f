"""The embedder: texts to unit vectors with all-MiniLM-L6-v2, without torch.

Puts weights, tokenizer and graph together. It does not search, store or split; it does not know
which embedder a knowledge base was made with (that is the identity's business, see
``weights.identity_of``).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace import request
from headrace.errors import Corrupt, HeadraceError, InputError
from headrace.models.weights import TOKENIZER_FILE, Weights, find_weights, identity_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headrace.models.runtime import Graph
    from headrace.models.tokens import Tokenizer
    from headrace.protocols import Progress
    from headrace.settings import Policy

PRECISIONS = ("f32", "bf16", "int8")
TOKENS = 1024  # a batch holds about this many: enough to work on, little enough for the cache
BATCH = 32  # and at most this many texts
STEP = 16  # lengths are padded to a multiple of this: other lengths are up to 40 % slower
PART = 2048  # texts that are sorted by length together; bounds the memory for tokens
STREAMS = 8  # batches run side by side at most, each on its share of the threads


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

    A text's vector does not depend on what else is embedded with it: rows of a batch meet nowhere
    in the graph, and 8-bit rounding is on fixed grids or row by row.
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
        self._tokenizer_lock = threading.Lock()
        self._graph: Graph | None = None
        self._bulk_graph: Graph | None = None
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
        if self._graph is None and texts:
            self._load_side_by_side()
        done = 0
        for start in range(0, len(texts), PART):
            tokens = self.tokenizer.ids(texts[start : start + PART])
            batches = _batches([len(ids) for ids in tokens])
            graph = self.graph if len(batches) == 1 else self.bulk_graph
            results = graph.map(_inputs(tokens, batches))
            for rows, found in zip(batches, results, strict=True):
                vectors[[start + row for row in rows]] = found
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

    def _load_side_by_side(self) -> None:
        """Tokenizer and graph at the same time: both leave the interpreter free while they load."""

        def load() -> None:
            with suppress(HeadraceError, OSError, RuntimeError, ValueError):
                _ = self.graph  # what went wrong is met again below, by whoever asked

        thread = threading.Thread(target=load, name="headrace-embedder", daemon=True)
        thread.start()
        try:
            _ = self.tokenizer
        finally:
            thread.join()
        _ = self.graph

    @property
    def tokenizer(self) -> Tokenizer:
        """Loaded at first use, without the graph."""
        if self._tokenizer is None:
            with self._tokenizer_lock:
                if self._tokenizer is None:
                    self._tokenizer = self._open_tokenizer()
        return self._tokenizer

    @property
    def graph(self) -> Graph:
        """For one batch: all threads work on it. Loaded at first use, converted where needed."""
        if self._graph is None:
            with self._lock:
                if self._graph is None:
                    self._graph = self._open_graph(1)
        return self._graph

    @property
    def bulk_graph(self) -> Graph:
        """For many batches: one thread each, which wastes none of their time on waiting."""
        streams = min(self._threads or cpu_count(), STREAMS)
        if streams == 1:
            return self.graph
        if self._bulk_graph is None:
            with self._lock:
                if self._bulk_graph is None:
                    self._bulk_graph = self._open_graph(streams)
        return self._bulk_graph

    def _open_graph(self, streams: int) -> Graph:
        from headrace.models.converted import open_graph

        return open_graph(self.weights, self.precision, self._copy(), threads=self._threads, streams=streams)

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


def cpu_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Row numbers in batches of like length, longest first, so that little is padded."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    batches = []
    at = 0
    while at < len(order):
        size = min(BATCH, max(1, TOKENS // _padded_length(lengths[order[at]])))
        batches.append(order[at : at + size])
        at += size
    return batches


def _padded_length(length: int) -> int:
    return -(-length // STEP) * STEP


def _inputs(
    tokens: Sequence[Sequence[int]], batches: Sequence[Sequence[int]]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """Token ids (n, t) and mask (n, t) of each batch; cancellation is noticed here."""
    import numpy as np

    for rows in batches:
        request.checkpoint()
        length = _padded_length(max(len(tokens[row]) for row in rows))
        ids = np.zeros((len(rows), length), np.int32)
        mask = np.zeros((len(rows), length), np.float32)
        for at, row in enumerate(rows):
            ids[at, : len(tokens[row])] = tokens[row]
            mask[at, : len(tokens[row])] = 1
        yield ids, mask
