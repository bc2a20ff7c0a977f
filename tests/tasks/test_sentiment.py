"""Sentiment: shapes, both ways of judging, long and odd texts."""

from __future__ import annotations

import numpy as np
import pytest

import headrace as hr
from headrace.errors import InputError
from headrace.tasks import sentiments
from headrace.tasks.windows import windows
from headrace.text import words

GOOD = "A warm, funny and moving film with a wonderful cast."
BAD = "A dull, lifeless mess that wastes everybody's time."


def test_one_text_and_many(embedder) -> None:  # type: ignore[no-untyped-def]
    one = hr.tasks.sentiment(GOOD, embedder=embedder)
    assert [set(item) for item in one] == [{"label", "score"}] * 2
    assert [item["label"] for item in one] == ["positive", "negative"]
    assert sum(item["score"] for item in one) == pytest.approx(1)
    many = hr.tasks.sentiment([GOOD, BAD], embedder=embedder)
    assert [found[0]["label"] for found in many] == ["positive", "negative"]
    assert many[0][0]["score"] == pytest.approx(one[0]["score"])
    assert hr.tasks.sentiment([]) == []


def test_without_an_embedder_the_ngrams_answer_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentiments, "project_embedder", lambda: None)
    with pytest.warns(UserWarning, match="n-grams alone"):
        found = hr.tasks.sentiment([GOOD, BAD])
    assert [item[0]["label"] for item in found] == ["positive", "negative"]


def test_another_embedder_is_not_used() -> None:
    class Other:
        def __init__(self) -> None:
            self.identity = {"name": "other", "weights": "x"}

        def embed(self, texts: list[str]) -> np.ndarray:
            raise AssertionError("vectors of another model mean nothing to the head")

    with pytest.warns(UserWarning, match="'other'"):
        assert len(hr.tasks.sentiment(GOOD, embedder=Other())) == 2  # type: ignore[arg-type]


def test_a_long_text_is_judged_as_a_whole(embedder) -> None:  # type: ignore[no-untyped-def]
    mostly_bad = " ".join([GOOD, *[BAD] * 60])
    assert hr.tasks.sentiment(mostly_bad, embedder=embedder)[0]["label"] == "negative"
    assert hr.tasks.sentiment(" ".join([BAD, *[GOOD] * 60]), embedder=embedder)[0]["label"] == "positive"


def test_a_megabyte_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentiments, "project_embedder", lambda: None)
    with pytest.warns(UserWarning, match="n-grams alone"):
        found = hr.tasks.sentiment((BAD + " ") * 20_000)
    assert found[0]["label"] == "negative"


@pytest.mark.parametrize(
    "text", ["🎉🎉🎉", "فيلم رائع وممتع للغاية", "١٢٣", "?!", "a" * 50_000, "日本語の映画"]
)
def test_odd_texts_have_a_score(text: str, embedder) -> None:  # type: ignore[no-untyped-def]
    found = hr.tasks.sentiment(text, embedder=embedder)
    assert {item["label"] for item in found} == {"positive", "negative"}
    assert all(0 <= item["score"] <= 1 for item in found)


@pytest.mark.parametrize("bad", ["", "  \n\t", ["fine", ""], [3], 3, None, {"text": "a"}, b"bytes", "a\0b"])
def test_what_is_no_text_is_refused(bad: object) -> None:
    with pytest.raises(InputError):
        hr.tasks.sentiment(bad)  # type: ignore[call-overload]


def test_the_text_that_is_empty_is_named() -> None:
    with pytest.raises(InputError, match="number 2"):
        hr.tasks.sentiment(["fine", " "])


@pytest.mark.parametrize(
    "text", ["One. " * 500, "word " * 500, "x" * 3000, "\n\n- a\n- b", "Mr. Smith went. " * 90]
)
def test_windows_hold_the_whole_text_and_no_more(text: str) -> None:
    pieces = windows(text, 40)
    assert words(" ".join(pieces)) == words(text)
    assert all(len(words(piece)) <= 40 for piece in pieces)
