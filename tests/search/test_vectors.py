"""Exact vector search: the same as sorting all distances, whatever the blocks and masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.search import vectors


@dataclass
class Rows:
    seqs: NDArray[np.int64]
    matrix: NDArray[np.float32]


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make(seed: int, sizes: list[int], dimension: int = 12) -> tuple[list[Rows], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    blocks, next_seq = [], 1
    for size in sizes:
        steps = random.integers(1, 4, size)
        seqs = next_seq + np.cumsum(steps)
        next_seq = int(seqs[-1]) + 1 if size else next_seq
        matrix = random.standard_normal((size, dimension)).astype(np.float32)
        if size > 3:
            matrix[-1] = matrix[0]  # an exact tie
        blocks.append(Rows(seqs.astype(np.int64), unit(matrix) if size else matrix))
    return blocks, unit(random.standard_normal((1, dimension)).astype(np.float32))[0]


def by_hand(
    blocks: list[Rows], query: NDArray[np.float32], metric: str, dead: set[int], only: set[int] | None
) -> list[tuple[float, int]]:
    found = []
    for block in blocks:
        for seq, row in zip(block.seqs.tolist(), block.matrix.astype(np.float64)):
            if seq in dead or (only is not None and seq not in only):
                continue
            score = {
                "cosine": float(row @ query),
                "l2": -float(np.sqrt(((row - query) ** 2).sum())),
                "l1": -float(np.abs(row - query).sum()),
            }[metric]
            found.append((score, seq))
    return sorted(found, reverse=True)


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    depth=st.integers(1, 90),
    metric=st.sampled_from(vectors.METRICS),
    share=st.sampled_from([None, 0.0, 0.05, 0.5, 1.0]),
    dying=st.sampled_from([0.0, 0.3]),
)
def test_finds_what_sorting_everything_finds(
    seed: int, sizes: list[int], depth: int, metric: str, share: float | None, dying: float
) -> None:
    blocks, query = make(seed, sizes)
    random = np.random.default_rng(seed + 1)
    seqs = np.concatenate([block.seqs for block in blocks])
    dead = seqs[random.random(len(seqs)) < dying]
    only = None if share is None else seqs[random.random(len(seqs)) < share]
    hits = vectors.search(blocks, query, depth, metric=metric, dead=dead, only=only)
    expected = by_hand(
        blocks, query, metric, set(dead.tolist()), None if only is None else set(only.tolist())
    )
    assert len(hits.seqs) == min(depth, len(expected))
    assert np.allclose(hits.scores, [score for score, _ in expected[:depth]], atol=2e-5)
    scores = {seq: score for score, seq in expected}
    assert np.allclose(hits.scores, [scores[seq] for seq in hits.seqs.tolist()], atol=2e-5)
    assert np.all(np.diff(hits.scores) <= 0)


def test_equal_scores_are_ordered_by_seq_even_at_the_cut() -> None:
    row = unit(np.ones((1, 8), np.float32))
    blocks = [
        Rows(np.array([5, 9, 11], np.int64), np.repeat(row, 3, axis=0)),
        Rows(np.array([12, 40], np.int64), np.repeat(row, 2, axis=0)),
    ]
    assert vectors.search(blocks, row[0], 4).seqs.tolist() == [5, 9, 11, 12]
    assert vectors.search(blocks, row[0], 2).seqs.tolist() == [5, 9]


@pytest.mark.parametrize("seed", range(5))
def test_on_unit_vectors_cosine_and_l2_give_the_same_order(seed: int) -> None:
    blocks, query = make(seed, [40, 25])
    cosine = vectors.search(blocks, query, 65, metric="cosine")
    l2 = vectors.search(blocks, query, 65, metric="l2")
    assert cosine.seqs.tolist() == l2.seqs.tolist()
    assert np.allclose(1 - l2.scores**2 / 2, cosine.scores, atol=1e-5)


def test_the_order_does_not_depend_on_how_rows_lie_in_blocks() -> None:
    (block,), query = make(3, [60])
    halves = [Rows(block.seqs[:31], block.matrix[:31]), Rows(block.seqs[31:], block.matrix[31:])]
    for metric in vectors.METRICS:
        whole = vectors.search([block], query, 60, metric=metric)
        parts = vectors.search(halves, query, 60, metric=metric)
        assert whole.seqs.tolist() == parts.seqs.tolist()


def test_scores_of_named_rows_and_nan_for_unknown_ones() -> None:
    blocks, query = make(1, [10, 10])
    wanted = np.array([blocks[1].seqs[3], 10_000, blocks[0].seqs[0], 0], np.int64)
    scores = vectors.scores(blocks, query, wanted)
    assert np.isnan(scores).tolist() == [False, True, False, True]
    assert scores[0] == pytest.approx(float(blocks[1].matrix[3] @ query), abs=1e-5)
    assert scores[2] == pytest.approx(float(blocks[0].matrix[0] @ query), abs=1e-5)


def test_nothing_to_search_gives_nothing() -> None:
    blocks, query = make(1, [0])
    assert len(vectors.search(blocks, query, 5).seqs) == 0
    assert len(vectors.search([], query, 5).seqs) == 0
    assert np.isnan(vectors.scores([], query, np.array([1], np.int64))).all()


def test_many_rows_at_once_are_measured_in_slices_without_a_seam() -> None:
    random = np.random.default_rng(0)
    matrix = unit(random.standard_normal((8_192 + 37, 4)).astype(np.float32))
    block = Rows(np.arange(1, len(matrix) + 1), matrix)
    hits = vectors.search([block], matrix[8_200], 1, metric="l1")
    assert hits.seqs.tolist() == [8_201]
