"""What an answer scores. The cases of SQuAD's rules are our own sentences."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import headrace as hr
from headrace.errors import ExtraMissing, InputError, NotFound
from headrace.measure import overlap, squad
from headrace.measure.metrics import Observed, abstained, get, is_document, names, of, text_of
from headrace.types import Answer, Citation, Example, Score, Usage


def example(**expectations: Any) -> Example:
    return Example(inputs={"question": "?"}, expectations=expectations)


def said(output: Any, **more: Any) -> Observed:
    return Observed(output=output, **more)


def value(name: str, expected: Example, observed: Observed) -> float | None:
    found = get(name).score(expected, observed)
    assert found.name == name
    return found.value


def citing(*documents: str) -> Answer:
    cited = [
        Citation(number=i, document=d, heading="", start=0, end=1, text="x", score=1.0, relevance=1.0)
        for i, d in enumerate(documents, start=1)
    ]
    return Answer(text="Thirty days. [1]", citations=tuple(cited))


DECLINED = Answer(text="Nothing about this was found.", abstained=True)

# --------------------------------------------------------------------------- SQuAD's rules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Great\tHeron.", "great heron"),
        ("an apple, a pear and the plum", "apple pear and plum"),
        ("Ann-Marie's", "annmaries"),  # punctuation leaves no space
        ("theatre another", "theatre another"),  # articles are whole words
        ("A", ""),
        ("$1,200.50", "120050"),
        ("«Straße» – café", "«straße» – café"),  # only ASCII punctuation goes
        ("a-the-b", "atheb"),  # punctuation first, then articles
    ],
)
def test_normalising(text: str, expected: str) -> None:
    assert squad.normalised(text) == expected


@pytest.mark.parametrize(
    ("answer", "gold", "f1"),
    [
        ("thirty days", "Thirty days.", 1.0),
        ("the thirty days", "thirty working days", 0.8),  # 2 of 2, 2 of 3
        ("about thirty days of leave", "thirty days", 2 * (2 / 5) / (2 / 5 + 1)),
        ("ten ten", "ten", 2 * 0.5 / 1.5),  # a word counts as often as both have it
        ("ten ten", "ten ten ten", 0.8),
        ("never", "always", 0.0),
        ("the", "a", 1.0),  # both empty
        ("the", "days", 0.0),
    ],
)
def test_f1(answer: str, gold: str, f1: float) -> None:
    assert squad.f1(answer, gold) == pytest.approx(f1)
    assert squad.f1(gold, answer) == pytest.approx(f1)
    assert value("answer_f1", example(answer=gold), said(answer)) == pytest.approx(f1)


def test_the_best_gold_answer_counts() -> None:
    gold = example(answers=["thirty", "30 days"], answer="a month")
    assert value("exact_match", gold, said("30 days!")) == 1.0
    assert value("exact_match", gold, said("The month")) == 1.0
    assert value("exact_match", gold, said("31 days")) == 0.0
    assert value("answer_f1", gold, said("31 days")) == 0.5
    assert value("contains", gold, said("You get 30 days, always.")) == 1.0
    assert value("contains", gold, said("You get 130 days.")) == 0.0  # whole words only
    assert value("contains", example(answer="the"), said("the end")) == 0.0


@pytest.mark.parametrize("name", ["exact_match", "answer_f1", "contains", "rouge_l", "bleu", "abstention"])
def test_unanswerable_examples_reward_abstention(name: str) -> None:
    none, some = example(unanswerable=True), example(answer="thirty days")
    assert value(name, none, said(DECLINED)) == 1.0
    assert value(name, none, said("")) == 1.0
    assert value(name, none, said("Thirty days.")) == 0.0
    assert value(name, some, said(DECLINED)) == 0.0
    assert value(name, some, said("thirty days")) > 0.2  # type: ignore[operator]
    assert value(name, example(), said("thirty days")) is None


# --------------------------------------------------------------------------- overlap


def test_rouge_l_by_its_library() -> None:
    gold = example(answer="The river rose by two metres in the night")
    # 7 words in common order; 8 said, 9 expected
    found = value("rouge_l", gold, said("The river rose two metres in the morning"))
    assert found == pytest.approx(2 * (7 / 8) * (7 / 9) / (7 / 8 + 7 / 9))
    assert overlap.rouge_l("a stone", ["two boats", "a stone"]) == 1.0


def test_bleu_by_its_library() -> None:
    text = "the boats left the harbour before dawn"
    assert value("bleu", example(answer=text), said(text)) == pytest.approx(1.0)
    assert value("bleu", example(answer=text), said("nobody saw anything at all")) < 0.1  # type: ignore[operator]
    half = value("bleu", example(answers=[text]), said("the boats left the harbour at noon today"))
    # 5 of 8 words, 4 of 7 pairs, 3 of 6, 2 of 5; no brevity penalty
    assert half == pytest.approx((5 / 8 * 4 / 7 * 3 / 6 * 2 / 5) ** 0.25)
    assert "tok:13a" in overlap.bleu_signature()


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    overlap._rouge.cache_clear()
    for name in [m for m in sys.modules if m.split(".")[0] == "rouge_score"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    with pytest.raises(ExtraMissing, match=r"headrace\[eval\]"):
        get("rouge_l").score(example(answer="x"), said("x"))


# --------------------------------------------------------------------------- retrieval and citations


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        ("docs/leave.md", "leave.md", True),
        ("docs/leave.md", "docs/leave.md", True),
        ("docs/leave.md", "./docs/leave.md", True),
        ("docs\\leave.md", "docs/leave.md", True),
        ("docs/leave.md", "eave.md", False),
        ("leave.md", "docs/leave.md", False),
        ("docs/faq.csv#3", "faq.csv", True),
        ("docs/faq.csv#3", "faq.csv#3", True),
        ("docs/faq.csv#3", "faq.csv#4", False),
        ("docs/leave.md", "", False),
    ],
)
def test_documents_match_by_path_or_its_end(found: str, expected: str, same: bool) -> None:
    assert is_document(found, expected) is same


def test_hit_at_k_counts_the_first_k_passages() -> None:
    passages = [{"document": f"docs/{name}.md"} for name in ("pay", "travel", "leave")]
    asked = example(documents=["leave.md", "absent.md"])
    assert value("hit@3", asked, said("x", passages=passages)) == 1.0
    assert value("hit@2", asked, said("x", passages=passages)) == 0.0
    assert value("hit@10", asked, said("x")) == 0.0
    assert value("hit@3", example(documents=["a/leave.md"]), said("x", passages=passages)) == 0.0
    assert value("hit@3", example(answer="x"), said("x", passages=passages)) is None
    assert get("hit@3").score(asked, said("x", passages=passages)).why == "place 3"


def test_citation_precision() -> None:
    asked = example(documents=["leave.md"])
    assert value("citation_precision", asked, said(citing("docs/leave.md", "docs/pay.md"))) == 0.5
    assert value("citation_precision", asked, said(citing())) == 0.0
    assert value("citation_precision", asked, said(DECLINED)) is None
    assert value("citation_precision", example(), said(citing("a"))) is None
    as_data = {"text": "x", "citations": [{"document": "docs/leave.md"}]}
    assert value("citation_precision", asked, said(as_data)) == 1.0


# --------------------------------------------------------------------------- spending, failures


def test_latency_tokens_and_cost() -> None:
    seen = said("x", seconds=0.25, usage=Usage(input_tokens=90, output_tokens=10, cost=0.002))
    assert value("latency", example(), seen) == 0.25
    assert value("latency_p95", example(), seen) == 0.25
    assert value("tokens", example(), seen) == 100.0
    assert value("cost", example(), seen) == 0.002
    assert value("tokens", example(), said("x")) is None
    assert value("cost", example(), said("x", usage=Usage(input_tokens=3))) is None
    assert (get("latency").kind, get("latency").q, get("latency_p95").q) == ("quantile", 0.5, 0.95)


def test_a_failed_run_scores_zero_and_costs_nothing_known() -> None:
    failed = Observed(error="ModelTimeout: no answer", seconds=0.01, usage=Usage(input_tokens=5))
    full = example(answer="x", documents=["d"])
    for name in ("exact_match", "answer_f1", "contains", "rouge_l", "bleu", "abstention", "hit@1"):
        assert value(name, full, failed) == 0.0
        assert value(name, example(), failed) is None
    assert value("citation_precision", full, failed) == 0.0
    assert value("exact_match", example(unanswerable=True), failed) == 0.0  # an error is no abstention
    for name in ("latency", "latency_p95", "tokens", "cost"):
        assert value(name, full, failed) is None


# --------------------------------------------------------------------------- names


def test_unknown_names_list_the_nearest_first() -> None:
    with pytest.raises(NotFound) as caught:
        get("exact-match")
    assert "'exact-match'" in caught.value.message
    assert caught.value.hint.startswith("Known: exact_match, ")
    for bad in ("hit@0", "hit@", "hit@x", "hit@-1", ""):
        with pytest.raises(NotFound):
            get(bad)


def test_every_metric_says_what_it_is() -> None:
    for name in [*names()[:-1], "hit@4"]:
        found = get(name)
        assert found.name == name
        assert found.source
        assert found.margin > 0
        assert (found.unit == "share") is (found.direction == "higher")


# --------------------------------------------------------------------------- outputs, users' metrics


def test_text_of_any_output() -> None:
    assert text_of("plain") == "plain"
    assert text_of(citing()) == "Thirty days. [1]"
    assert text_of(DECLINED) == text_of(None) == text_of({"text": "x", "abstained": True}) == ""
    assert text_of({"answer": "yes", "score": 3}) == "yes"
    assert text_of({"label": "positive"}) == '{"label": "positive"}'
    assert text_of(["a", 2]) == '["a", 2]'
    assert abstained("  ")
    assert not abstained([])


def test_a_users_function_is_a_metric() -> None:
    def short(example: Example, output: Any) -> bool:
        """Whether the answer is short."""
        return len(output) < 10

    found = of(short)
    assert (found.name, found.direction, found.margin, found.source) == (
        "short",
        "higher",
        0.05,
        "Whether the answer is short.",
    )
    assert found.score(example(), said("brief")) == Score(name="short", value=1.0)
    assert found.score(example(), Observed(error="boom")).value == 0.0

    @hr.metric(direction="lower", margin=2.0, unit="words")
    def length(example: Example, output: str) -> int:
        return len(output.split())

    assert length(example(), "one two") == 2
    assert (of(length).direction, of(length).margin, of(length).unit) == ("lower", 2.0, "words")
    assert of(length).score(example(), Observed(error="boom")).value is None
    assert of(hr.metric(short)).name == "short"


def test_what_a_users_function_may_return() -> None:
    def scored(given: Any) -> Score:
        return of(lambda example, output: given).score(example(), said("x"))

    assert scored(None).value is None
    assert scored(np.float32(0.5)).value == 0.5
    assert scored(np.bool_(True)).value == 1.0
    assert scored(Score(name="other", value=0.3, why="so")) == Score(name="<lambda>", value=0.3, why="so")
    for wrong in (float("nan"), float("inf"), "good", [1.0]):
        with pytest.raises(InputError, match="returned"):
            scored(wrong)
    with pytest.raises(ZeroDivisionError):  # the row is the caller's to fail
        of(lambda example, output: 1 / 0).score(example(), said("x"))
    with pytest.raises(InputError, match="direction"):
        hr.metric(direction="up")  # type: ignore[call-overload]
    with pytest.raises(InputError, match="margin"):
        hr.metric(margin=-1)


def test_naming_metrics_loads_nothing_heavy() -> None:
    code = (
        "import sys, headrace\nheadrace.metric\n"
        "assert not {'numpy', 'rouge_score', 'sacrebleu', 'nltk'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
