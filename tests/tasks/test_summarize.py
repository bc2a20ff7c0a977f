"""Summaries: verbatim, in order, within the budget; by a model where one is named."""

from __future__ import annotations

import pytest

import headrace as hr
from headrace.errors import InputError
from headrace.models.scripted import ScriptedModel
from headrace.tasks import summaries
from headrace.text import words

TEXT = (
    "Bridges wear out sooner than their builders thought. Salt on winter roads eats the steel. "
    "We present a paint that tells inspectors where steel is bare. It costs no more than usual paint. "
    "Trials on nine bridges found every bare spot, and no bridge had to be closed. "
    "We present a paint that shows inspectors where steel is bare. The towns will use it from next year on."
)


def test_sentences_of_the_text_in_order(embedder) -> None:  # type: ignore[no-untyped-def]
    (found,) = hr.tasks.summarize(TEXT, sentences=3, embedder=embedder)
    assert found["mode"] == "extractive"
    assert len(found["spans"]) == 3
    assert found["spans"] == sorted(found["spans"])
    pieces = [TEXT[start:end] for start, end in found["spans"]]
    assert found["summary_text"] == " ".join(pieces)
    assert all(piece.endswith(".") and piece in TEXT for piece in pieces)
    assert sum("paint that" in piece for piece in pieces) == 1  # the same thing is not said twice


def test_budgets(embedder) -> None:  # type: ignore[no-untyped-def]
    for budget in (7, 10, 25, 60):
        (found,) = hr.tasks.summarize(TEXT, words=budget, embedder=embedder)
        assert 0 < len(words(found["summary_text"])) <= budget
    (one,) = hr.tasks.summarize(TEXT, words=2, embedder=embedder)
    assert len(one["spans"]) == 1  # no sentence is that short: one is given all the same
    assert len(hr.tasks.summarize(TEXT, embedder=embedder)[0]["spans"]) == 3
    assert (
        hr.tasks.summarize("One sentence only.", embedder=embedder)[0]["summary_text"] == "One sentence only."
    )


def test_many_texts_and_no_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "project_embedder", lambda: None)
    found = hr.tasks.summarize([TEXT, "Short. Texts too."], sentences=1)
    assert [len(item[0]["spans"]) for item in found] == [1, 1]
    assert found[0][0]["summary_text"] in TEXT


def test_a_model_writes() -> None:
    model = ScriptedModel(" Paint shows bare steel. ")
    (found,) = hr.tasks.summarize(TEXT, words=9, model=model)
    assert (found["summary_text"], found["mode"], found["spans"]) == (
        "Paint shows bare steel.",
        "abstractive",
        [],
    )
    assert "at most 9 words" in model.calls[0].messages[0].content


@pytest.mark.parametrize("options", [{"sentences": 0}, {"words": -1}, {"words": True}, {"sentences": 1.5}])
def test_bad_budgets(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="budget"):
        hr.tasks.summarize(TEXT, **options)


@pytest.mark.parametrize(
    "text", ["🎉 🎉", "הספר הזה טוב. הסוף חלש.", "x" * 20_000, "- a\n- b\n- c\n- d\n- e"]
)
def test_odd_texts(text: str, embedder) -> None:  # type: ignore[no-untyped-def]
    (found,) = hr.tasks.summarize(text, sentences=1, embedder=embedder)
    assert found["summary_text"]
    assert found["summary_text"] in text
