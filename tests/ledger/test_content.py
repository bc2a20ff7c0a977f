"""With content switched off no text that anybody wrote is in the file."""

from __future__ import annotations

from pathlib import Path

from headrace.ledger.content import is_summary, without_content
from headrace.ledger.database import Ledger
from headrace.types import Answer, Citation, Finding, Span, Trace, to_json

from .conftest import NOW, OpenLedger, make_trace

SECRET = "zebra"  # in every text below, and in nothing else


def secretive() -> Trace:
    cited = Citation(
        number=1, document="d.md", heading=SECRET, start=0, end=9, text=SECRET, score=0.5, relevance=0.9
    )
    return make_trace(
        inputs={"question": f"Is a {SECRET} striped?", "table": [{SECRET: 3}], "age": 41},
        output=Answer(
            text=f"A {SECRET} is.",
            citations=(cited,),
            findings=(Finding(guard="leakage", message=f"says {SECRET}"),),
        ),
        error=f"input-error: '{SECRET}' does not fit",
        record={
            "prompts": [{"hash": "a" * 64, "messages": [{"role": "user", "content": SECRET}]}],
            "passages": [{"document": "d.md", "score": 0.4, "text": SECRET, "metadata": {SECRET: SECRET}}],
            "models": [{"name": "scripted:echo", "claimed": False}],
            "answers": [SECRET, [SECRET]],
        },
        spans=(
            Span(
                id="00000000000000a1",
                parent=None,
                name="retrieve",
                kind="retrieve",
                start=NOW,
                seconds=0.1,
                attributes={"query": SECRET, "top_k": 4, "filters": {"name": SECRET}, "mode": "hybrid"},
                error=f"ValueError: {SECRET}",
            ),
        ),
    )


def everything(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_nothing_that_was_written_stays(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(content=False)
    trace = secretive()
    ledger.record(trace)
    ledger.flush()
    found = ledger.trace(trace.id)
    assert found is not None
    assert SECRET not in repr(found)
    assert SECRET.encode() not in everything(ledger.path)
    row = ledger.traces()[0]
    assert (row.question, row.status) == ("", "error")
    assert row.answer.startswith("input-error: ")
    assert ledger.traces(text=SECRET) == []


def test_what_made_the_answer_is_still_told(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(content=False)
    trace = secretive()
    ledger.record(trace)
    found = ledger.trace(trace.id)
    assert found is not None
    assert found.record["prompts"][0]["hash"] == "a" * 64
    assert found.record["models"] == [{"name": "scripted:echo", "claimed": False}]
    assert found.record["passages"][0]["document"] == "d.md"
    assert found.record["passages"][0]["score"] == 0.4
    assert found.output["citations"][0]["start"] == 0
    assert found.output["findings"][0]["guard"] == "leakage"
    assert found.inputs["question"]["length"] == len(f"Is a {SECRET} striped?")
    assert all(is_summary(value) for value in found.inputs.values())
    assert found.spans[0].attributes["top_k"] == 4
    assert found.spans[0].attributes["mode"] == "hybrid"
    assert found.context == {"user": "ana", "session": "s1"}


def test_equal_texts_are_recognised_within_one_ledger_only(tmp_path: Path, open_ledger: OpenLedger) -> None:
    def mark(ledger: Ledger, question: str) -> str:
        trace = make_trace(inputs={"question": question})
        ledger.record(trace)
        found = ledger.trace(trace.id)
        assert found is not None
        return str(found.inputs["question"]["hash"])

    one = open_ledger(tmp_path / "1" / "l.sqlite", content=False)
    two = open_ledger(tmp_path / "2" / "l.sqlite", content=False)
    assert mark(one, "same") == mark(one, "same") != mark(one, "other")
    assert mark(one, "same") != mark(two, "same")


def test_an_abstention_is_still_one() -> None:
    trace = make_trace(output=Answer(text="Nothing about zebras.", abstained=True))
    assert without_content(trace, b"k").output["abstained"] is True


def test_taking_content_out_twice_changes_nothing_more() -> None:
    once = without_content(make_trace(), b"k")
    twice = without_content(once, b"k")
    assert to_json(twice.record) == to_json(once.record)
    assert to_json(twice.spans) == to_json(once.spans)
