"""The verbs: what an extension has to offer, one to three methods each.

A protocol is added when two real implementations exist. ``tests/contracts/`` has one test class
per protocol that every implementation, plugins too, inherits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from headrace.types import Chunk, Completion, Decoding, Document, Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]


@runtime_checkable
class Reader(Protocol):
    """Turns the bytes of one file into documents.

    ``name`` is the path for messages and suffix only; a reader opens nothing. Most formats give
    one document; jsonl and csv give one per row. Raises :class:`~headrace.errors.ReadError`.
    """

    def __call__(self, data: bytes, name: str) -> Iterator[Document]: ...


@runtime_checkable
class Splitter(Protocol):
    """Cuts a document into chunks, none longer than the limit it was built with.

    ``identity`` goes into the knowledge base's record and decides whether chunks can be reused.
    """

    @property
    def identity(self) -> Mapping[str, Any]: ...
    def split(self, document: Document) -> list[Chunk]: ...


@runtime_checkable
class Embedder(Protocol):
    """Texts to unit vectors.

    ``identity`` (weights hash, pooling, window, precision class, name) is stored with a knowledge
    base; vectors of different identities never meet. ``window`` is the longest text in tokens,
    special tokens included; what is beyond it is cut. ``offsets`` gives the (start, end) code
    points of each token, special tokens excluded: splitting counts by it.
    """

    @property
    def identity(self) -> Mapping[str, Any]: ...
    @property
    def dimension(self) -> int: ...
    @property
    def window(self) -> int: ...
    def embed(self, texts: Sequence[str]) -> Vectors: ...  # (len(texts), dimension), unit length
    def offsets(self, text: str) -> Sequence[tuple[int, int]]: ...


@runtime_checkable
class Model(Protocol):
    """A language model. ``name`` is ``provider:model``; ``window`` None means unknown.

    ``identity`` says what made the text: for local weights their hash, for a remote model what
    its server claims (``{"claimed": True, …}``). A model that can also has
    ``logprobs(prompt, continuation)`` → natural logarithms per token.
    """

    @property
    def name(self) -> str: ...
    @property
    def window(self) -> int | None: ...
    @property
    def identity(self) -> Mapping[str, Any]: ...
    def complete(self, messages: Sequence[Message], decoding: Decoding) -> Completion: ...
    def stream(self, messages: Sequence[Message], decoding: Decoding) -> ModelStream: ...
    def count(self, text: str) -> int: ...


class ModelStream(Protocol):
    """An iterator of text pieces; after the last one, ``completion`` holds the whole.

    ``close`` stops the generation (and the request behind it).
    """

    def __iter__(self) -> Iterator[str]: ...
    def __next__(self) -> str: ...
    @property
    def completion(self) -> Completion: ...
    def close(self) -> None: ...


class Progress(Protocol):
    """Told about long work: ``done`` of ``total`` units (None: unknown), and what is at hand."""

    def __call__(self, done: int, total: int | None, what: str) -> None: ...


Clock = Callable[[], float]
