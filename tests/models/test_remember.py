"""An embedder that remembers: exact, bounded, shared by threads, and it computes a text once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.embedder import EmbedderContract
from headrace.errors import InputError
from headrace.models.embedder import SentenceEmbedder
from headrace.models.remember import LONGEST, RememberingEmbedder


class TestContract(EmbedderContract):
    @pytest.fixture
    def candidate(self, embedder: SentenceEmbedder) -> RememberingEmbedder:
        return RememberingEmbedder(embedder, most=50)


class Counting:
    """Counts what it is asked to compute; the vector says the text's length."""

    identity: Mapping[str, Any] = {"name": "counting"}
    dimension, window = 2, 256

    def __init__(self) -> None:
        self.asked: list[str] = []

    def offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return [(0, len(text))]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return np.array([[len(text), 1.0] for text in texts], np.float32)


def test_a_text_is_computed_once_and_stands_where_it_was_asked_for() -> None:
    inner = Counting()
    remembering = RememberingEmbedder(inner)
    first = remembering.embed(["one", "three", "one", ""])
    assert inner.asked == ["one", "three", ""]
    np.testing.assert_array_equal(first[:, 0], [3, 5, 3, 0])
    again = remembering.embed(["", "seven", "three"])
    assert inner.asked == ["one", "three", "", "seven"]
    np.testing.assert_array_equal(again[:, 0], [0, 5, 5])
    again[:] = -1  # the caller's to change
    np.testing.assert_array_equal(remembering.embed(["three"])[:, 0], [5])


def test_the_least_recently_used_go_first_and_long_texts_are_not_kept() -> None:
    inner = Counting()
    remembering = RememberingEmbedder(inner, most=2)
    remembering.embed(["a", "bb"])
    remembering.embed(["a"])
    remembering.embed(["ccc"])
    inner.asked.clear()
    remembering.embed(["a", "ccc"])
    assert inner.asked == []
    remembering.embed(["bb"])
    assert inner.asked == ["bb"]
    long = "x" * (LONGEST + 1)
    remembering.embed([long])
    remembering.embed([long])
    assert inner.asked == ["bb", long, long]


def test_nothing_and_no_sequence(embedder: SentenceEmbedder) -> None:
    remembering = RememberingEmbedder(embedder)
    assert remembering.embed([]).shape == (0, embedder.dimension)
    with pytest.raises(InputError, match="takes a sequence"):
        remembering.embed("one text")
