"""Quotes are exact slices, the best first; what nothing answers is not answered."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import InputError
from headrace.flows import quote as quoting
from headrace.flows.asking import kind_of, matched, read_question, stems_of
from headrace.flows.evidence import COLUMN, candidates, covered, features, split_units
from headrace.flows.quote import quote
from headrace.text import stem
from headrace.types import Answer, Passage, Passages

HANDBOOK = """\
# Staff handbook

The handbook applies to everybody who works at the mill. It was last changed in March 2021.

## Leave

Full-time staff are entitled to 28 days of paid leave a year. Part-time staff get leave in proportion
to their hours. Requests go to the line manager at least two weeks ahead.

- Parental leave lasts 14 weeks.
- Unpaid leave is agreed with the head of department, Ingrid Solberg.

## Safety

Visitors must wear a helmet because parts of the old crane may fall. The first-aid room is next to the
lock house in Malmö. Do you know where the exits are?
"""


def passages_of(text: str, document: str = "handbook.md", offset: int = 0) -> list[Passage]:
    """One passage per section of a text, as if the document began ``offset`` code points earlier."""
    cuts = [0, *(i + 1 for i in range(len(text)) if text.startswith("\n## ", i)), len(text)]
    return [
        Passage(
            text=text[a:b],
            score=1.0 - 0.1 * n,
            relevance=0.5,
            document=document,
            start=offset + a,
            end=offset + b,
            heading=text[a:b].partition("\n")[0].strip("# "),
        )
        for n, (a, b) in enumerate(pairwise(cuts))
    ]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How many days of paid leave do full-time staff get?", "28 days"),
        ("How long does parental leave last?", "14 weeks"),
        ("Who agrees to unpaid leave?", "Ingrid Solberg"),
        ("When was the handbook last changed?", "March 2021"),
        ("Why must visitors wear a helmet?", "old crane"),
        ("Where is the first-aid room?", "Malmö"),
    ],
)
@pytest.mark.parametrize("with_vectors", [True, False], ids=["vectors", "words"])
def test_the_first_quote_answers(question, expected, with_vectors, request) -> None:  # type: ignore[no-untyped-def]
    embedder = request.getfixturevalue("embedder") if with_vectors else None
    answer = quote(question, passages_of(HANDBOOK, offset=1_000), embedder=embedder)
    assert not answer.abstained, answer.text
    assert expected in answer.citations[0].text
    assert expected in answer.text
    assert answer.answered_by == "quotes"
    for citation in answer.citations:
        assert HANDBOOK[citation.start - 1_000 : citation.end - 1_000] == citation.text
        assert citation.heading
        assert f"[{citation.number}]" in answer.text


@pytest.mark.parametrize(
    "question",
    [
        "Who won the ice hockey championship in 1994?",
        "What is the boiling point of tungsten?",
        "How many moons does Jupiter have?",
    ],
)
@pytest.mark.parametrize("with_vectors", [True, False], ids=["vectors", "words"])
def test_what_nothing_answers_is_an_abstention(question, with_vectors, request) -> None:  # type: ignore[no-untyped-def]
    embedder = request.getfixturevalue("embedder") if with_vectors else None
    answer = quote(question, passages_of(HANDBOOK), embedder=embedder)
    assert answer.abstained
    assert answer.citations == ()
    assert answer.confidence is not None
    assert 0 <= answer.confidence < 0.5


def test_an_abstention_says_what_was_looked_for_and_the_nearest_place() -> None:
    answer = quote("Who won the hockey championship?", passages_of(HANDBOOK))
    assert answer.abstained
    assert "'hockey'" in answer.text
    assert "'championship'" in answer.text
    assert "handbook.md, Staff handbook" in answer.text


def test_a_threshold_of_0_always_quotes_and_of_1_never() -> None:
    found = passages_of(HANDBOOK)
    assert not quote("What is the boiling point of tungsten?", found, threshold=0).abstained
    assert quote("How long does parental leave last?", found, threshold=1).abstained


def test_at_most_as_many_quotes_as_asked_for() -> None:
    found = passages_of(HANDBOOK)
    question = "How many days of paid leave do full-time staff get?"
    assert len(quote(question, found, sentences=1).citations) == 1
    assert 1 <= len(quote(question, found, sentences=3).citations) <= 3
    with pytest.raises(InputError, match="sentences=0"):
        quote(question, found, sentences=0)


def test_no_passages_is_an_abstention_that_names_the_nearest_hit_below_the_threshold() -> None:
    near = passages_of(HANDBOOK)[1]
    answer = quote("How much is lunch?", Passages(outcome="below threshold", fallback=(near,)))
    assert answer.abstained
    assert answer.confidence == 0
    assert "handbook.md, Leave" in answer.text
    assert "'lunch'" in quote("How much is lunch?", []).text


def test_the_rarity_of_words_comes_from_the_index_where_there_is_one() -> None:
    units = [stems_of("anything at all")]
    asked = read_question("Which lock house?", units, {"lock": 1.5, stem("house"): 0.01})
    assert {t.word: t.weight for t in asked.terms} == {"lock": 1.5, "house": 0.05}
    assert {t.word for t in read_question("Which lock house?", units).terms} == {"lock", "house"}


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("When did the mill open?", "time"),
        ("In what year did it open?", "time"),
        ("How many looms are there?", "number"),
        ("What is the number of looms?", "number"),
        ("Who built it?", "name"),
        ("Where is the mill?", "place"),
        ("Why did it close?", "reason"),
        ("What is a loom?", ""),
        ("Was ist ein Webstuhl?", ""),
    ],
)
def test_the_kind_of_answer(question: str, kind: str) -> None:
    assert kind_of(question) == kind


def test_relatives_of_a_word_count_less_than_the_word() -> None:
    stems = stems_of("The election was held in spring.")
    assert matched("election", stems) == 1
    assert 0 < matched("elector", stems) < 1
    assert matched("elephant", stems) == 0


def test_headings_rules_and_list_marks_are_not_quoted() -> None:
    text = "Title\n=====\n\n# Heading\nOne here. Two here.\n\n- a point\n2. another point\n\n---\n"
    text += "| a |\n```sh\nls -l\n```\n"
    assert [text[a:b] for a, b in split_units(text)] == [
        "One here.",
        "Two here.",
        "a point",
        "another point",
        "| a |",
        "ls -l",
    ]


def test_a_text_without_any_mark_is_cut_at_white_space() -> None:
    text = "word " * 1_000
    spans = split_units(text)
    assert len(spans) > 1
    assert all(0 < b - a <= 1_200 for a, b in spans)
    assert " ".join(text[a:b] for a, b in spans).split() == text.split()


def test_a_place_that_two_passages_share_is_a_candidate_once() -> None:
    text = "One is here. Two is here. Three is here."
    parts = [
        Passage(text=text[:25], score=1, relevance=1, document="d", start=0, end=25),
        Passage(text=text[13:], score=1, relevance=1, document="d", start=13, end=len(text)),
    ]
    assert [s.text for s in candidates(parts)] == ["One is here.", "Two is here.", "Three is here."]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Wie viele Tage Urlaub gibt es?", "Es gibt 30 Tage Urlaub im Jahr. Das Tor ist blau."),
        ("Combien de jours de congé y a-t-il ?", "Il y a 25 jours de congé par an. La porte est bleue."),
        ("休暇は何日ありますか。", "休暇は二十日あります。門は青いです。"),
        ("كم عدد أيام الإجازة؟", "عدد أيام الإجازة ثلاثون يوما. الباب أزرق."),
    ],
)
def test_other_languages_are_answered_sensibly(embedder, question: str, text: str) -> None:  # type: ignore[no-untyped-def]
    passage = Passage(text=text, score=1, relevance=1, document="d", start=0, end=len(text))
    answer = quote(question, [passage], embedder=embedder, threshold=0)
    best = answer.citations[0]
    assert best.start == 0
    assert text[best.start : best.end] == best.text


def test_an_endless_or_empty_question_is_refused() -> None:
    with pytest.raises(InputError, match=r"100,000 characters.*8,192"):
        quote("why " * 25_000, [])
    for empty in ("", " \n"):
        with pytest.raises(InputError, match="empty"):
            quote(empty, [])
    with pytest.raises(InputError, match="not text"):
        quote(3, [])  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [["a text"], "a text", 7, [None]])
def test_what_are_no_passages_is_refused_with_the_way_out(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="not a Passage") as caught:
        quote("What is it?", wrong)
    assert "KnowledgeBase.search" in caught.value.hint


def test_without_an_embedder_the_cosines_are_left_at_0() -> None:
    found = candidates(passages_of(HANDBOOK))
    asked = quoting.read("How long is parental leave?", passages_of(HANDBOOK), found)
    table = features(asked, passages_of(HANDBOOK), found, None)
    assert table.shape[0] == len(found)
    assert not table[:, :4].any()
    assert table[:, 4:].any()


def test_of_very_many_sentences_the_likely_ones_are_looked_at_and_the_rest_costs_nothing() -> None:
    class Counting:
        """Counts what it is given; equal vectors say nothing."""

        identity: ClassVar[dict[str, Any]] = {}
        dimension, window, texts = 2, 256, 0

        def embed(self, texts: Sequence[str]) -> Any:
            self.texts += len(texts)
            return np.tile(np.array([1.0, 0.0], dtype=np.float32), (len(texts), 1))

        def offsets(self, text: str) -> list[tuple[int, int]]:
            return []

    text = " ".join(f"Loom {n} stands in hall {n % 7}." for n in range(3_000))
    text += " The mill at Hallby opened in 1911."
    passage = Passage(text=text, score=1, relevance=1, document="d", start=0, end=len(text))
    counting = Counting()
    answer = quote("When did the mill at Hallby open?", [passage], embedder=counting, threshold=0)
    assert answer.citations[0].text == "The mill at Hallby opened in 1911."
    assert counting.texts == 1 + quoting.MOST


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.text(min_size=1, max_size=80).filter(str.strip), st.integers(0, 50))
def test_any_text_gives_exact_slices(text: str, question: str, start: int) -> None:
    passage = Passage(text=text, score=1, relevance=1, document="d", start=start, end=start + len(text))
    answer: Answer = quote(question, [passage], threshold=0, sentences=5)
    for citation in answer.citations:
        assert citation.text == text[citation.start - start : citation.end - start]
        assert citation.text.strip() == citation.text != ""


def test_what_is_covered_is_the_feature_of_that_name() -> None:
    passages = passages_of("The lock opens at six. The keeper lives in the tower. At six the bell rings.")
    found = candidates(passages)
    asked = quoting.read("When does the keeper open the lock?", passages, found)
    table = features(asked, passages, found, None)
    np.testing.assert_allclose(covered(asked, found), table[:, COLUMN["cover"]])
    assert len(found) == 3
