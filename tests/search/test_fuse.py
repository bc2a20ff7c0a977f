"""Fusion on fixed bounds, and reciprocal rank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.search import fuse


def test_convex_is_the_weighted_sum_of_cosine_bm25_and_coverage_on_their_own_bounds() -> None:
    fused = fuse.convex(
        np.array([0.8, 0.2]), np.array([5.0, 10.0]), np.array([0.5, 1.0]), 20.0, weight=0.4, share=0.25
    )
    first = 0.4 * 0.8 + 0.6 * (0.75 * 0.25 + 0.25 * 0.5)
    assert fused.tolist() == pytest.approx([first, 0.4 * 0.2 + 0.6 * (0.75 * 0.5 + 0.25 * 1.0)])


def test_a_candidate_without_a_vector_is_judged_by_its_words() -> None:
    fused = fuse.convex(np.array([np.nan]), np.array([10.0]), np.array([1.0]), 20.0, weight=0.4, share=0.5)
    assert fused.tolist() == pytest.approx([0.45])


def test_a_question_without_known_words_is_judged_by_its_vector() -> None:
    nothing = np.array([0.0])
    assert fuse.convex(np.array([0.5]), nothing, nothing, 0.0, weight=0.4).tolist() == pytest.approx([0.2])


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 30), st.floats(0, 1)), min_size=2, max_size=20),
    st.floats(0.0, 1.0),
)
def test_no_candidate_changes_the_score_of_another(
    rows: list[tuple[float, float, float]], weight: float
) -> None:
    cosine, bm25, coverage = np.array(rows).T
    together = fuse.convex(cosine, bm25, coverage, 30.0, weight)
    for at in range(len(rows)):
        own = slice(at, at + 1)
        assert fuse.convex(cosine[own], bm25[own], coverage[own], 30.0, weight)[0] == together[at]
    assert np.all(together <= 1.0 + 1e-12)


def test_reciprocal_rank_adds_up_over_rankings_and_breaks_ties_by_item() -> None:
    fused = fuse.reciprocal_rank([[7, 3, 5], [3, 7]], constant=60)
    assert [item for item, _ in fused] == [3, 7, 5]
    assert fused[0][1] == pytest.approx(1 / 61 + 1 / 62)
    assert fused[0][1] == fused[1][1]
    assert fused[2][1] == pytest.approx(1 / 63)
    assert fuse.reciprocal_rank([]) == []
