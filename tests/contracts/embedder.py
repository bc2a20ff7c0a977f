"""What every embedder has to hold to; subclasses give one by a fixture named ``candidate``."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.protocols import Embedder

TEXTS = [
    "The tide turns every six hours.",
    "",
    "Boats leave the harbour at high water, and come back when it falls.",
    "A",
    "La marée monte deux fois par jour. " * 20,
    "潮は一日に二度満ちる。",
    "🚢⚓",
]


class EmbedderContract:
    """Inherit, and define a fixture ``candidate``. ``tolerance``: how far a batch may move a vector."""

    tolerance = 1e-5

    def test_is_an_embedder(self, candidate: Any) -> None:
        assert isinstance(candidate, Embedder)
        assert candidate.dimension > 0
        assert candidate.window > 2
        assert {"name", "precision"} <= set(candidate.identity)

    def test_shape_type_and_unit_length(self, candidate: Any) -> None:
        vectors = candidate.embed(TEXTS)
        assert vectors.shape == (len(TEXTS), candidate.dimension)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)
        assert candidate.embed([]).shape == (0, candidate.dimension)

    def test_order_and_batch_make_no_difference(self, candidate: Any) -> None:
        together = candidate.embed(TEXTS)
        alone = np.concatenate([candidate.embed([text]) for text in TEXTS])
        backwards = candidate.embed(TEXTS[::-1])[::-1]
        for other in (alone, backwards):
            assert float((together * other).sum(axis=1).min()) >= 1 - self.tolerance

    def test_the_same_text_has_the_same_vector(self, candidate: Any) -> None:
        first, second = candidate.embed(["tide"]), candidate.embed(["tide"])
        np.testing.assert_array_equal(first, second)

    def test_threads_may_share_it(self, candidate: Any) -> None:
        expected = candidate.embed(TEXTS)
        results: list[Any] = []

        def work() -> None:
            results.append(candidate.embed(TEXTS))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 4
        for vectors in results:
            np.testing.assert_array_equal(vectors, expected)

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.differing_executors, HealthCheck.function_scoped_fixture],
    )
    @given(text=st.text(max_size=400))
    def test_offsets_are_places_in_the_text(self, candidate: Any, text: str) -> None:
        last = 0
        for start, end in candidate.offsets(text):
            assert 0 <= start <= end <= len(text)
            assert start >= last or start == end
            last = max(last, start)
