"""Fusion on fixed bounds, and reciprocal rank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.search import fuse


def test_convex_is_the_weighted_sum_of_cosine_and_the_share_of_the_ceiling() -> None:
    fused = fuse.convex(np.array([0.8, 0.2]), np.array([5.0, 10.0]), 20.0, weight=0.4)
    assert fused.tolist() == pytest.approx([0.4 * 0.8 + 0.6 * 0.25, 0.4 * 0.2 + 0.6 * 0.5])


def test_a_candidate_without_a_vector_is_judged_by_its_words() -> None:
    fused = fuse.convex(np.array([np.nan]), np.array([10.0]), 20.0, weight=0.4)
    assert fused.tolist() == pytest.approx([0.3])


def test_a_question_without_known_words_is_judged_by_its_vector() -> None:
    assert fuse.convex(np.array([0.5]), np.array([0.0]), 0.0, weight=0.4).tolist() == pytest.approx([0.2])


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 30)), min_size=2, max_size=20),
    st.floats(0.0, 1.0),
)
def test_no_candidate_changes_the_score_of_another(pairs: list[tuple[float, float]], weight: float) -> None:
    cosine, bm25 = np.array(pairs).T
    together = fuse.convex(cosine, bm25, 30.0, weight)
    alone = [fuse.convex(cosine[i : i + 1], bm25[i : i + 1], 30.0, weight)[0] for i in range(len(pairs))]
    assert together.tolist() == alone
    assert np.all(together <= 1.0 + 1e-12)


def test_reciprocal_rank_adds_up_over_rankings_and_breaks_ties_by_item() -> None:
    fused = fuse.reciprocal_rank([[7, 3, 5], [3, 7]], constant=60)
    assert [item for item, _ in fused] == [3, 7, 5]
    assert fused[0][1] == pytest.approx(1 / 61 + 1 / 62)
    assert fused[0][1] == fused[1][1]
    assert fused[2][1] == pytest.approx(1 / 63)
    assert fuse.reciprocal_rank([]) == []
