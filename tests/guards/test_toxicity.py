"""Toxicity by a classifier or by our list, and the censor."""

from __future__ import annotations

import pytest

from headrace.errors import InputError
from headrace.guards.toxicity import censor, findings, score, scores


def test_the_list_alone() -> None:
    assert score("") == 0.0
    assert score("The mill stands by the river.") == 0.0
    assert score("You are a fucking idiot.") > 0.9
    assert score("I will kill you") > 0.9
    assert score("Class, please assess the passage on Scunthorpe.") == 0.0
    assert score("مرحبا 🙂") == 0.0


def test_a_classifier_is_asked_once_and_checked() -> None:
    calls: list[list[str]] = []

    def judge(texts: object) -> list[float]:
        calls.append(list(texts))  # type: ignore[call-overload]
        return [0.7 for _ in calls[-1]]

    assert scores(["a", " ", "b"], judge) == [0.7, 0.0, 0.7]
    assert calls == [["a", "b"]]
    with pytest.raises(InputError, match="gave 3"):
        score("a", lambda texts: [3.0])
    with pytest.raises(InputError, match="2 scores for 1"):
        score("a", lambda texts: [0.1, 0.2])


def test_a_finding_at_the_threshold() -> None:
    assert findings("x", 0.49) == []
    assert findings("x", 0.2, 0.1)[0].severity == "warning"


def test_listed_words_masked_others_untouched() -> None:
    text = "Shit, this assessment of Scunthorpe is SHITTY; Dick assures us."
    assert censor(text, ["shit"]) == "****, this assessment of Scunthorpe is ******; Dick assures us."
    assert censor("sh1t and shiiit") == "**** and ******"
    assert censor("The blue mill, a Blue  Mill.", ["blue mill"]) == "The **** ****, a ****  ****."
    assert censor("heron", also=["heron"], mark="#") == "#####"
    assert censor("nothing here", []) == "nothing here"
    with pytest.raises(InputError):
        censor("x", [" "])


def test_the_head_that_ships() -> None:
    from headrace.models.toxic import classifier, clean

    judge = classifier(None)
    kind, unkind = judge(
        ["The mill stands by the river and turns slowly.", "you stupid bitch shut the fuck up"]
    )
    assert kind < 0.3 < 0.9 < unkind
    assert clean('!!! RT @some_one: "hello &amp; bye" https://t.example/x') == "hello & bye"
    assert len(judge(["word " * 1_000, "😀" * 3, "-"])) == 3
