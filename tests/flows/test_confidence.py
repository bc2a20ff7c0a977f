"""The signs that abstention rests on, each on a text where it must speak."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.flows import quote as quoting
from headrace.flows.confidence import SIGNS, probability, signs
from headrace.flows.evidence import FEATURES, candidates
from headrace.types import Passage


def seen(question: str, *texts: str) -> dict[str, float]:
    """Signs by name, by words alone."""
    passages = [
        Passage(text=t, score=1.0, relevance=1.0, document=f"{n}", start=0, end=len(t))
        for n, t in enumerate(texts)
    ]
    found = candidates(passages)
    asked = quoting.read(question, passages, found)
    table = quoting.measure(asked, passages, found, None)
    given = signs(asked, passages, found, table, quoting.rank(table, by_words=True))
    return dict(zip(SIGNS, given.tolist(), strict=True))


def test_a_name_that_stands_nowhere_is_missing() -> None:
    known = seen("When did Berta Quist open the mill?", "Berta Quist opened the mill in 1911.")
    unknown = seen("When did Otto Varg open the mill?", "Berta Quist opened the mill in 1911.")
    assert (known["missing"], known["names"]) == (0, 0)
    assert unknown["names"] > 0
    assert unknown["missing"] >= unknown["names"]
    assert unknown["rarest"] == 1


def test_cover_counts_the_neighbourhood_and_own_only_the_sentence() -> None:
    given = seen("When did the mill at Hallby open?", "The mill at Hallby is old. It did open in 1911.")
    assert given["cover"] == pytest.approx(1)
    assert 0 < given["own"] <= given["cover"]


def test_kind_is_seen_only_where_it_is_new() -> None:
    assert seen("How many looms are there?", "There are 40 looms.")["kind"] == 1
    assert seen("Are there 40 looms, or how many?", "There are 40 looms.")["kind"] == 0
    assert seen("What is a loom?", "A loom weaves cloth.")["untyped"] == 1


def test_one_passage_leads_by_itself_and_equal_ones_do_not() -> None:
    text = "The mill opened in 1911."
    assert seen("When did the mill open?", text)["lead"] == 1
    assert seen("When did the mill open?", text, text)["lead"] == pytest.approx(0)


def test_probability_is_the_logistic_function_and_never_overflows() -> None:
    assert probability(np.array([0.0]), np.array([1.0])) == 0.5
    assert probability(np.array([1.0]), np.array([1e9])) == pytest.approx(1)
    assert probability(np.array([-1.0]), np.array([1e9])) == pytest.approx(0)


def test_every_constant_belongs_to_a_feature_or_a_sign() -> None:
    assert set(quoting.RANK) <= set(FEATURES)
    assert set(quoting.RANK_BY_WORDS) <= set(FEATURES[4:])  # the first four need an embedder
    assert set(quoting.SURE) <= set(SIGNS)
    assert set(quoting.SURE_BY_WORDS) <= set(SIGNS) - {"passage", "ahead", "sentence"}
    assert len(quoting.SURE) <= 12
