"""Runs become examples: once, checked, and never against what a person has written already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.errors import InputError
from headrace.evaluation import curate, dataset
from headrace.ledger.content import without_content
from headrace.types import Example, Feedback, Trace

TRACE = Trace(
    id="0192f3c1a2b37c4d0000000000000000",
    start=1.0,
    seconds=0.1,
    subject={"app": "handbook"},
    inputs={"question": "How long is parental leave?"},
    output={"text": "27 days"},
)


def vote(correction: str, value: str = "down") -> Feedback:
    return Feedback(trace_id=TRACE.id, value=value, correction=correction)  # type: ignore[arg-type]


def test_the_correction_of_a_vote_is_what_is_expected() -> None:
    example, source = curate.example_of(TRACE, [vote("old"), vote("16 weeks"), vote("", "up")])
    assert example.inputs == {"question": "How long is parental leave?"}
    assert example.expectations == {"answer": "16 weeks"}
    assert example.id == "trace-0192f3c1a2b37c4d"
    assert source == "correction"


def test_what_is_given_wins_over_the_correction() -> None:
    example, source = curate.example_of(TRACE, [vote("old")], answer="16 weeks", documents=["docs/leave.md"])
    assert example.expectations == {"answer": "16 weeks", "documents": ["docs/leave.md"]}
    assert source == "given"
    assert curate.example_of(TRACE, unanswerable=True)[0].expectations == {"unanswerable": True}


def test_without_any_right_answer_there_is_no_example() -> None:
    with pytest.raises(InputError, match="Nobody has said") as caught:
        curate.example_of(TRACE, [vote("")])
    assert "--answer" in caught.value.hint
    with pytest.raises(InputError, match="has no answer"):
        curate.example_of(TRACE, answer="x", unanswerable=True)
    with pytest.raises(InputError, match="holds no texts"):
        curate.example_of(without_content(TRACE, b"key"), answer="x")


def test_adding_is_idempotent_and_keeps_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "evals" / "questions.jsonl"
    example, _ = curate.example_of(TRACE, answer="16 weeks")
    assert curate.add(file, example).added
    first = file.read_bytes()
    assert not curate.add(file, example).added
    assert file.read_bytes() == first
    other = Example(id="other", inputs={"question": "Another?"}, expectations={"unanswerable": True})
    file.write_bytes(first.rstrip(b"\n"))  # a last line without its end
    assert curate.add(file, other).added
    assert [e.id for e in dataset.read(file)] == ["trace-0192f3c1a2b37c4d", "other"]
    assert [p.name for p in file.parent.iterdir()] == ["questions.jsonl"]


def test_the_same_question_under_another_id_is_there_already(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    line = {
        "id": "q4",
        "inputs": TRACE.inputs,
        "expectations": {"answer": "16 weeks", "documents": ["docs/leave.md"]},
    }
    file.write_text(json.dumps(line) + "\n")
    done = curate.add(file, curate.example_of(TRACE, answer="16 weeks")[0])
    assert (done.added, done.example.id) == (False, "q4")
    with pytest.raises(InputError, match=r"q\.jsonl:1 asks the same and expects something else"):
        curate.add(file, curate.example_of(TRACE, answer="18 weeks")[0])
    assert len(file.read_text().splitlines()) == 1


def test_a_damaged_file_is_not_made_worse(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text("{not json\n")
    with pytest.raises(InputError, match="not JSON"):
        curate.add(file, curate.example_of(TRACE, answer="x")[0])
    assert file.read_text() == "{not json\n"
    with pytest.raises(InputError, match="not a text"):
        curate.add(tmp_path / "new.jsonl", Example(id="e", inputs={"q": "x"}, expectations={"answer": " "}))
    assert not (tmp_path / "new.jsonl").exists()
