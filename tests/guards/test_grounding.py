"""Sentences of answers against passages: numbers, dates and names exactly, the rest by words."""

from __future__ import annotations

import pytest

from headrace.guards.claims import facts
from headrace.guards.grounding import Sources, check, findings, score

PASSAGES = [
    "The library opened on 3 May 1987 and holds 1,200 books. Anna Berger led it until 1999; she then moved "
    "to Vienna.",
    "A loan lasts three weeks. Fines of 5 % of the price are due after that.",
]


def only(answer: str) -> tuple[str, int | None]:
    (found,) = check(answer, PASSAGES)
    return found.verdict, found.passage


@pytest.mark.parametrize(
    "answer",
    [
        "The library opened on 1987-05-03.",
        "The library opened on May 3, 1987.",
        "The library opened in May 1987.",
        "The library holds one thousand two hundred books.",
        "The library holds about 1230 books.",
        "Berger led the library until 1999.",
        "A loan lasts 3 weeks [2].",
        "Fines of five percent of the price are due.",
        "Fines of 5 per cent of the price are due after that.",
    ],
)
def test_another_form_of_the_same_fact_is_supported(answer: str) -> None:
    assert only(answer)[0] == "supported"


@pytest.mark.parametrize(
    ("answer", "passage"),
    [
        ("The library opened on 3 May 1978.", 0),
        ("The library opened on 3 June 1987.", 0),
        ("The library holds 12,000 books.", 0),
        ("Anna Holt led it until 1999.", 0),
        ("Anna Berger led it until 1987.", 0),  # a date of the passage, of something else
        ("A loan lasts three months.", 1),
        ("Fines of 15 % of the price are due after that.", 1),
        ("A loan does not last three weeks.", 1),
    ],
)
def test_another_fact_in_the_same_place_is_contradicted(answer: str, passage: int) -> None:
    assert only(answer) == ("contradicted", passage)


def test_an_addition_is_unsupported_and_not_called_false() -> None:
    found = check("The library, designed by Rudolf Kern, opened in May 1987.", PASSAGES)
    assert [s.verdict for s in found] == ["not verifiable"]
    assert "Rudolf Kern" in found[0].why
    assert only("The café on the roof serves excellent soup.")[0] == "not verifiable"


def test_sentences_scores_and_findings_have_their_places() -> None:
    answer = "A loan lasts three weeks. The library opened in 1988. Is that all?"
    found = check(answer, Sources(PASSAGES))
    assert [answer[s.start : s.end] for s in found] == [s.text for s in found]
    assert [s.claims for s in found] == [True, True, False]
    assert score(found) == 0.5
    (finding,) = findings(found)
    assert finding.severity == "warning"
    assert "'1988' in the answer, '3 May 1987' in the passage" in finding.message
    assert all(0.0 <= s.score <= 1.0 for s in found)
    assert found[0].score > 0.5 > found[1].score


def test_meaning_is_asked_where_words_do_not_tell() -> None:
    answer = "Borrowers may keep items nearly a month."
    assert only(answer)[0] == "not verifiable"

    def similar(said: str, others: object) -> list[float]:
        return [0.9 if "loan" in text else 0.1 for text in others]  # type: ignore[attr-defined]

    (found,) = check(answer, PASSAGES, similar)
    assert (found.verdict, found.passage) == ("supported", 1)


def test_nothing_to_check() -> None:
    assert check("", PASSAGES) == []
    assert score([]) is None
    (found,) = check("A loan lasts three weeks.", [])
    assert (found.verdict, found.passage) == ("not verifiable", None)


def test_other_scripts_and_signs() -> None:
    passages = ["הספרייה נפתחה בשנת 1987 📚 ויש בה 1,200 ספרים."]
    assert check("הספרייה נפתחה בשנת 1987 📚.", passages)[0].verdict == "supported"
    assert check("הספרייה נפתחה בשנת 1988 📚.", passages)[0].verdict == "contradicted"


def test_a_megabyte_of_passage() -> None:
    long = " ".join(f"Shelf number {i} holds {i * 7} books about topic {i % 97}." for i in range(22_000))
    assert len(long) > 1_000_000
    found = check("Shelf number 812 holds 5,684 books about topic 36.", [long])
    assert found[0].verdict == "supported"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,000 and 1 000 and one thousand", [1000.0, 1000.0, 1000.0]),
        ("$5.2 million or 5200000", [5_200_000.0, 5_200_000.0]),
        ("twenty-one and 21", [21.0, 21.0]),
        ("one of them left", []),
        ("the third or 3rd", [3.0, 3.0]),
        ("on 3 May 2019, on May 3rd, 2019, on 2019-05-03", [(2019, 5, 3)] * 3),
        ("in 1914–18", [(1914, None, None), (1918, None, None)]),
        ("the 16th century and the 1990s", [("century", 16), ("decade", 1990)]),
        ("You may march in May", [(None, 5, None)]),
        ("3/5/2019 is anybody's guess", [(2019, ("either", 3, 5), None)]),
    ],
)
def test_facts_have_one_normal_form(text: str, values: list[object]) -> None:
    assert [fact.value for fact in facts(text) if fact.kind != "name"] == values


def test_names() -> None:
    text = "Dr. Marie Curie's team met J. Smith of the University of Warsaw. However, rain fell."
    found = [fact for fact in facts(text) if fact.kind == "name"]
    assert found[0].value == ("marie", "curie")
    assert "However" not in {fact.text for fact in found}
    assert found[-1].value[-2:] == ("university", "warsaw")  # type: ignore[index]
