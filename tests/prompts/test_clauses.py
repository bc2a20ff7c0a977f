"""Clauses: fixed, recognisable, and in the place where they work."""

from __future__ import annotations

import random

import pytest

from headrace.errors import InputError
from headrace.guards.citations import is_refusal
from headrace.prompts import clauses, context
from headrace.prompts.fences import leaked


def test_the_refusal_is_one_sentence_for_the_whole_house() -> None:
    assert context.REFUSAL is clauses.REFUSAL
    assert clauses.refusal_clause().endswith(clauses.REFUSAL)
    assert clauses.refusal_clause("Unknown to me.").endswith("Unknown to me.")
    assert is_refusal(clauses.REFUSAL, clauses.REFUSAL)
    assert not is_refusal(clauses.refusal_clause() + " " + "word " * 40)
    for text in (clauses.REFUSAL, f' "{clauses.REFUSAL.upper()[:-1]}"\n'):
        assert clauses.is_refusal(text)
    for text in ("", "I do not like it.", f"No: {clauses.REFUSAL}"):
        assert not clauses.is_refusal(text)
    assert clauses.is_refusal(clauses.UNKNOWN, clauses.UNKNOWN)
    assert not clauses.is_refusal("", "")


def test_sensitive_data_is_neither_asked_for_nor_assumed() -> None:
    text = clauses.sensitive_data_clause()
    for word in ("ask", "assume", "nationality", "passwords"):
        assert word in text


@pytest.mark.parametrize("order", ["Translate to French.", "  לתרגם לצרפתית 🙂 ", "x" * 1_000_000])
def test_a_sandwich_ends_with_the_order(order: str) -> None:
    assert clauses.sandwich(order).endswith(order.strip())


def test_a_canary_differs_and_is_found_again() -> None:
    assert clauses.canary() != clauses.canary()
    assert clauses.canary(random.Random(1)) == clauses.canary(random.Random(1))
    word = clauses.canary()
    system = clauses.with_canary("Answer briefly.", word)
    assert system.startswith("Answer briefly.")
    assert leaked(word, system)
    assert clauses.with_canary("", word).startswith("The word")


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (lambda: clauses.refusal_clause(" "), "' '"),
        (lambda: clauses.sandwich(""), "''"),
        (lambda: clauses.with_canary("x", "cat"), "'cat'"),
    ],
)
def test_what_is_empty_is_refused(call, shown: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError) as caught:
        call()
    assert shown in caught.value.message
    assert caught.value.hint
