"""Why an answer came out as it did: each way in which it can go wrong, and none that is invented."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.ops.why import Step, Why, explain
from headrace.types import Feedback, Span, Trace

PASSAGES = [
    {"kb": "kb", "document": "a.md", "heading": "A", "start": 0, "end": 9, "score": 0.9, "relevance": 0.4},
    {"kb": "kb", "document": "b.md", "heading": "", "start": 0, "end": 9, "score": 0.5, "relevance": 0.1},
]


def span(name: str, kind: str, seconds: float = 0.01, **more: Any) -> Span:
    parent = more.pop("parent", "root")
    error = more.pop("error", None)
    return Span(
        id=name, parent=parent, name=name, kind=kind, start=1.0, seconds=seconds, attributes=more, error=error
    )


def quoted(abstained: bool = False, confidence: float | None = 0.8) -> dict[str, Any]:
    return {
        "text": "27 days [1].",
        "abstained": abstained,
        "citations": [] if abstained else [{"number": 1}],
        "answered_by": "quotes",
        "confidence": confidence,
    }


def trace(*spans: Span, **changes: Any) -> Trace:
    given: dict[str, Any] = {
        "id": "0" * 32,
        "start": 1.0,
        "seconds": 0.1,
        "subject": {"app": "handbook", "release": "r1", "fingerprint": "f"},
        "inputs": {"question": "How many days?"},
        "output": quoted(),
        "record": {"passages": PASSAGES, "kb_versions": [{"name": "kb", "version": 3}]},
        "spans": (*spans, Span(id="root", parent=None, name="handbook", kind="app", start=1.0, seconds=0.1)),
    }
    return Trace(**{**given, **changes})


SEARCH = span("retrieve", "retrieve", kb="kb", outcome="ok", passages=2)


def step(found: Why, name: str) -> Step:
    return next(s for s in found.steps if s.name == name)


def test_nothing_looks_wrong() -> None:
    found = explain(trace(SEARCH, span("answer", "step", threshold=0.44)))
    assert found.wrong is None
    assert found.said == "Nothing looks wrong in this record."
    assert step(found, "quote").numbers == {"confidence": 0.8, "threshold": 0.44}
    assert [item["rank"] for item in found.found] == [1, 2]
    assert found.made_by["release"] == "r1"
    assert found.made_by["knowledge"] == [{"name": "kb", "version": 3}]


def test_a_vote_alone_makes_nothing_wrong() -> None:
    found = explain(trace(SEARCH), [Feedback(trace_id="0" * 32, value="down", comment="no")])
    assert found.wrong is None
    assert "voted down" in found.said


def test_nothing_relevant_enough_was_found() -> None:
    search = span(
        "retrieve",
        "retrieve",
        outcome="below threshold",
        passages=0,
        best_relevance=0.12,
        score_threshold=0.3,
    )
    found = explain(trace(search, record={}, output=quoted(True, None)))
    assert found.wrong == "search"
    assert "the best passage has relevance 0.12, the threshold is 0.30" in found.said


@pytest.mark.parametrize(
    ("facts", "verdict", "words"),
    [
        ({"outcome": "empty", "passages": 0}, "stopped", "nothing was found"),
        ({"outcome": "timeout", "passages": 0}, "wrong", "did not finish in time"),
        ({"outcome": "partial", "passages": 2}, "wrong", "cut a part"),
        ({"outcome": "ok", "passages": 2, "error": "Locked: busy"}, "wrong", "failed: Locked: busy"),
    ],
)
def test_searches_that_did_not_go_well(facts: dict[str, Any], verdict: str, words: str) -> None:
    found = explain(trace(span("retrieve", "retrieve", **facts)))
    assert found.wrong == "search"
    assert step(found, "search").verdict == verdict
    assert words in found.said


def test_found_but_the_sentence_scored_below_the_threshold() -> None:
    found = explain(trace(SEARCH, span("answer", "step", threshold=0.44), output=quoted(True, 0.21)))
    assert step(found, "search").verdict == "ok"
    assert found.wrong == "quote"
    assert "0.21, below the threshold of 0.44" in found.said
    assert "relevance 0.40" in found.said


def test_a_threshold_that_was_not_recorded_is_not_invented() -> None:
    found = explain(trace(SEARCH, output=quoted(True, 0.21)))
    assert "threshold" not in found.said


def test_the_model_was_asked_but_its_citation_did_not_check() -> None:
    message = "[7] was cited, but the prompt held 1, 2: removed."
    record = {
        "passages": PASSAGES,
        "findings": [
            {"guard": "citations", "message": message, "severity": "warning"},
            {"guard": "citations", "message": "This sentence cites nothing.", "severity": "note"},
        ],
    }
    model = span("complete", "model", model="m", output_tokens=9, finish="stop")
    found = explain(trace(SEARCH, model, record=record, output={**quoted(), "answered_by": "m"}))
    assert found.wrong == "citations"
    assert found.said == f"citations: {message}"
    assert step(found, "model").verdict == "ok"


def test_the_model_refused_or_was_cut_off() -> None:
    model = span("complete", "model", model="m", output_tokens=9, finish="stop")
    found = explain(trace(SEARCH, model, output={**quoted(True, None), "answered_by": "m"}))
    assert found.wrong == "model"
    assert "replied that the passages do not contain the answer" in found.said
    cut = span("complete", "model", model="m", output_tokens=512, finish="length")
    found = explain(trace(SEARCH, cut, output={**quoted(), "answered_by": "m"}))
    assert "cut off after 512 tokens" in found.said


def test_passages_that_did_not_fit() -> None:
    record = {"passages": PASSAGES, "contexts": [{"kept": [1], "dropped": [2], "tokens": 99}]}
    found = explain(trace(SEARCH, record=record))
    assert found.wrong == "prompt"
    assert "passages 2 did not fit" in found.said


def test_an_error_is_placed_in_the_innermost_span() -> None:
    inner = span("complete", "model", error="ModelTimeout: 3 s", parent="answer", model="m")
    outer = span("answer", "step", error="ModelTimeout: 3 s")
    root = Span(
        id="root", parent=None, name="h", kind="app", start=1.0, seconds=0.1, error="ModelTimeout: 3 s"
    )
    found = explain(trace(spans=(inner, outer, root), error="model-timeout: 3 s", output=None))
    assert found.wrong == "error"
    assert "in complete (model)" in found.said
    assert "model-timeout: 3 s" in found.said


def test_slow_names_the_span_that_took_the_time() -> None:
    spans = (
        span("retrieve", "retrieve", seconds=3.0, outcome="ok", passages=2),
        span("embed", "embed", seconds=2.9, parent="retrieve"),
        Span(id="root", parent=None, name="handbook", kind="app", start=1.0, seconds=3.2),
    )
    found = explain(trace(spans=spans, seconds=3.2), usual=0.5)
    assert found.wrong == "time"
    assert "slow: 3.200 s, most of it in embed (2.900 s, 91%)" in found.said
    assert explain(trace(spans=spans, seconds=3.2), usual=4.0).wrong is None
    assert explain(trace(spans=spans, seconds=3.2)).wrong is None  # nothing to compare with


def test_a_record_without_texts_is_explained_too() -> None:
    gone = {"type": "str", "length": 40, "hash": "ab"}
    record = {
        "passages": [{**PASSAGES[0], "text": gone}],
        "findings": [{"guard": "citations", "message": gone, "severity": "warning"}],
    }
    found = explain(trace(SEARCH, record=record, inputs={"question": gone}))
    assert found.said == "citations: (the message was not kept)"


def test_an_application_that_searches_nothing() -> None:
    found = explain(trace(record={}, output="some text"))
    assert step(found, "search").verdict == "not recorded"
    assert found.wrong is None
