"""Personal data: found in labelled sentences, all copies masked, look-alikes left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import InputError
from headrace.guards import personal

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "personal.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["text"][:40])
def test_labelled_sentences(row: dict[str, Any]) -> None:
    found = [vars(one) for one in personal.locate(row["text"])]
    assert found == row["findings"]


def test_every_copy_has_the_same_mark() -> None:
    text = "Mail a@b.example, then A@B.example; ring +49 30 901820 or +49-30-901820. The a@b.example box."
    masked, found = personal.mask(text)
    assert masked == "Mail [EMAIL_1], then [EMAIL_1]; ring [PHONE_1] or [PHONE_1]. The [EMAIL_1] box."
    assert [text[one.start : one.end] for one in found][:2] == ["a@b.example", "A@B.example"]


def test_a_copy_without_its_cue_is_masked_too() -> None:
    masked, _ = personal.mask("The password is Tr0ub4dor&3. Later someone typed Tr0ub4dor&3 into the chat.")
    assert masked == "The password is [PASSWORD_1]. Later someone typed [PASSWORD_1] into the chat."


def test_findings_never_hold_the_value() -> None:
    (finding,) = personal.find("SSN 536-22-8726")
    assert "536" not in finding.message
    assert (finding.start, finding.end) == (4, 15)


def test_kinds_can_be_chosen() -> None:
    masked, found = personal.mask("a@b.example from 203.0.113.77", ["ip"])
    assert masked == "a@b.example from [IP_1]"
    assert len(found) == 1
    with pytest.raises(InputError, match="'colour'"):
        personal.locate("x", ["colour"])


def test_proofs() -> None:
    assert personal.luhn("4111111111111111")
    assert not personal.luhn("4111111111111112")
    assert personal.iban("DE89 3704 0044 0532 0130 00")
    assert not personal.iban("DE88 3704 0044 0532 0130 00")
    assert personal.locate("SSN 666-12-3456, 900-12-3456, 123-00-4567") == []
    assert personal.locate("card 4111 1111 1111 1112") == []


@pytest.mark.parametrize(
    "text",
    [
        "Please tell me your social security number.",
        "What is your SSN?",
        "To go on, I need your date of birth and your password.",
        "Could you share your passport number?",
    ],
)
def test_an_answer_that_asks_for_personal_data_is_blocked(text: str) -> None:
    (finding, *_) = personal.requests(text)
    assert finding.severity == "block"


@pytest.mark.parametrize(
    "text",
    [
        "Never share your password with anybody.",
        "Your passport was returned on Monday.",
        "Employees give notice two weeks ahead.",
        "Do not enter your card number on other sites.",
    ],
)
def test_advice_and_news_are_not_requests(text: str) -> None:
    assert personal.requests(text) == []


def test_empty_and_a_megabyte() -> None:
    assert personal.mask("") == ("", [])
    long = "The mill stands by the river, number 12 of 40. " * 22_000 + "Write to a@b.example."
    assert [one.kind for one in personal.locate(long)] == ["email"]
