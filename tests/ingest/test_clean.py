"""Duplicates: exact and near, and that different texts are left alone."""

from __future__ import annotations

import random

import numpy as np
import pytest

from headrace.ingest.clean import SHINGLE, Duplicates, resemblance, signature
from headrace.text import words

VOCABULARY = [f"{a}{b}" for a in "ba ce di fo gu ha ki lo mu ne".split() for b in "rn st ld mp nt sk".split()]


def prose(seed: int, count: int = 200) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=count)


def jaccard(one: str, other: str) -> float:
    a, b = (
        {tuple(w[i : i + SHINGLE]) for i in range(len(w) - SHINGLE + 1)} for w in (words(one), words(other))
    )
    return len(a & b) / len(a | b)


def test_exact_duplicates_whatever_case_and_spaces() -> None:
    seen = Duplicates()
    assert seen.add("a", "Water runs.") is None
    assert seen.add("b", "water\n  RUNS.") == "a"
    assert seen.add("c", "water runs") is None
    assert seen.add("d", "Water runs.") == "a"
    assert seen.groups() == (("a", "b", "d"),)


def test_near_duplicates_and_strangers() -> None:
    seen = Duplicates()
    text = prose(1)
    assert seen.add("a", " ".join(text)) is None
    assert seen.add("b", " ".join(prose(2))) is None
    assert seen.add("a2", " ".join([*text[:100], "changed", *text[101:]])) == "a"
    assert seen.add("half", " ".join([*text[:100], *prose(3, 100)])) is None
    assert seen.groups() == (("a", "a2"),)


def test_short_texts_are_compared_exactly_only() -> None:
    seen = Duplicates()
    assert seen.add("a", "name: wheel\nyear: 1900") is None
    assert seen.add("b", "name: wheel\nyear: 1901") is None
    assert seen.groups() == ()
    assert signature("too short") is None


def test_the_same_id_again_is_no_duplicate() -> None:
    seen = Duplicates()
    seen.add("a", "Water runs.")
    assert seen.add("a", "Water runs.") == "a"
    assert seen.groups() == ()


@pytest.mark.parametrize("kept", [50, 120, 170, 190])
def test_signatures_estimate_the_jaccard_similarity(kept: int) -> None:
    errors = []
    for seed in range(20):
        text = prose(seed)
        one, other = " ".join(text), " ".join([*text[:kept], *prose(seed + 1000, 200 - kept)])
        first, second = signature(one), signature(other)
        assert first is not None
        assert second is not None
        errors.append(resemblance(first, second) - jaccard(one, other))
    assert abs(float(np.mean(errors))) < 0.03
    assert float(np.std(errors)) < 0.07


def test_long_texts_are_hashed_piece_by_piece() -> None:
    text = prose(5, 60_000)  # more than two pieces, and many blocks
    one, other = signature(" ".join(text)), signature("\n".join(text).upper())
    assert one is not None
    assert other is not None
    assert resemblance(one, other) == 1.0


def test_thousands_of_texts() -> None:
    seen = Duplicates()
    for number in range(5000):  # more than two sorted runs of the index
        assert seen.add(f"d{number}", " ".join(prose(number, 40))) is None
    for number in range(0, 5000, 250):
        text = prose(number, 40)
        assert seen.add(f"again{number}", " ".join([*text[:39], "else"])) == f"d{number}"
    assert len(seen.groups()) == 20
