"""Training data: forms of rows, errors with lines, labels there and back, sides that share nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import InputError, NotFound
from headrace.tuning import data
from headrace.tuning.data import Labels, Row
from headrace.types import Message


def file_of(tmp_path: Path, *records: Any, name: str = "rows.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def row(question: str, answer: str, where: str = "") -> Row:
    return Row(messages=(Message("user", question),), response=answer, where=where or question)


def test_four_forms_of_a_row(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where is the mill?"},
        {"role": "assistant", "content": " By the river. "},
    ]
    found = data.read(
        file_of(
            tmp_path,
            {"instruction": "Name the river.", "context": "The Aare is long.", "response": "Aare"},
            {"instruction": "Count.", "input": "", "output": "one two"},
            {"prompt": "The mill", "completion": "stands."},
            {"messages": turns},
        )
    )
    assert found[0].question == data.asked("Name the river.", "The Aare is long.")
    assert "Input:" in found[0].question
    assert [r.response for r in found] == ["Aare", "one two", "stands.", "By the river."]
    assert found[1].question == "Count."
    assert [m.role for m in found[3].messages] == ["system", "user"]
    assert found[2].where == "rows.jsonl:3"


@pytest.mark.parametrize(
    ("record", "said", "hint"),
    [
        ({"instruction": "Do.", "answer": "Done."}, "no column 'response'", "Rename 'answer'"),
        ({"prompt": "Do."}, "no column 'completion'", "Every row needs one"),
        ({"text": "Do."}, "nothing to answer (columns: text)", "instruction, context and response"),
        ({"instruction": "Do.", "response": " "}, "nothing to learn to write", ""),
        ({"instruction": "", "response": "Done."}, "instruction is ''", ""),
        ({"instruction": "Do.", "response": 1}, "the number 1", "--label"),
        ({"messages": [{"role": "user", "content": "a"}] * 2}, "the last message is the user's", ""),
        ({"messages": "no"}, "not a list", ""),
        ([1], "not an object", ""),
    ],
)
def test_bad_rows_are_told_with_their_line(tmp_path: Path, record: Any, said: str, hint: str) -> None:
    good = {"instruction": "Do.", "response": "Done."}
    with pytest.raises(InputError, match=r"rows\.jsonl:2: ") as told:
        data.read(file_of(tmp_path, good, record))
    assert said in told.value.message
    assert hint in told.value.hint


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file_of(tmp_path, {"prompt": "a", "completion": "b"}, name="rows.jsonl")
    with pytest.raises(NotFound, match="There is no file") as told:
        data.read(tmp_path / "row.jsonl")
    assert "rows.jsonl" in told.value.hint
    (tmp_path / "bad.jsonl").write_bytes(b'{"prompt": "\xff"}\n')
    with pytest.raises(InputError, match="bad.jsonl:1 is not UTF-8"):
        data.read(tmp_path / "bad.jsonl")
    (tmp_path / "torn.jsonl").write_text('{"prompt": "a"', encoding="utf-8")
    with pytest.raises(InputError, match="torn.jsonl:1 is not JSON"):
        data.read(tmp_path / "torn.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match="holds no row"):
        data.read(tmp_path / "empty.jsonl")


def test_labels_become_words_and_words_labels(tmp_path: Path) -> None:
    labels = Labels(words={"0": "negative", "1": "positive", "-1": "unknown"})
    rows = [{"prompt": f"film {value}", "completion": value} for value in (0, 1, -1)]
    found = data.read(file_of(tmp_path, *rows), labels=labels)
    assert [r.response for r in found] == ["negative", "positive", "unknown"]
    assert [labels.value(r.response) for r in found] == ["0", "1", "-1"]
    assert labels.value("Positive ") == "1"
    assert labels.value("a long story") is None
    with pytest.raises(InputError, match="for which no word is given"):
        data.read(file_of(tmp_path, {"prompt": "film", "completion": 2}), labels=labels)
    with pytest.raises(InputError, match="there and back"):
        Labels(words={"0": "same", "1": "same"})


def test_a_split_is_seeded_and_shares_nothing() -> None:
    long = " ".join(f"word{i}" for i in range(90))
    rows = [row(f"question {i}", f"answer {i}") for i in range(40)]
    rows += [row("question 3", "another answer"), row("question 5", "answer 5", "again")]
    rows += [row("tell", long), row("tell me", long + " today")]
    found = data.split(rows, share=0.2, seed=1)
    assert found.repeated == (("again", "question 5"),)
    assert found.near == 2
    assert len(found.train) + len(found.held_out) == len(rows) - 1
    assert 1 <= len(found.held_out) <= 9
    questions = {r.question for r in found.train}
    assert not questions & {r.question for r in found.held_out}
    for seed in range(12):  # pairs that say the same always lie on one side
        side = {r.question for r in data.split(rows, share=0.3, seed=seed).held_out}
        assert ("tell" in side) == ("tell me" in side)
    assert data.split(rows, share=0.2, seed=1) == found
    assert data.split(rows, share=0.2, seed=2) != found


def test_a_split_that_leaves_nothing_is_refused() -> None:
    same = [row("tell", f"answer {i}", str(i)) for i in range(9)]
    with pytest.raises(InputError, match="leave none to judge by"):
        data.split(same, share=0.2, seed=0)
    with pytest.raises(InputError, match="A share of 0"):
        data.split(same, share=0, seed=0)


def test_two_files_that_share_rows_are_refused_with_the_rows() -> None:
    long = " ".join(f"word{i}" for i in range(90))
    train = [row("one", "1", "train:1"), row("two", "2", "train:2"), row("tell", long, "train:3")]
    judged = [
        row("three", "3", "test:1"),
        row(" One", "other", "test:2"),
        row("say", long + " now", "test:3"),
    ]
    with pytest.raises(InputError) as told:
        data.apart(train, judged)
    assert "2 of 3" in told.value.message
    assert "test:2 is like train:1" in told.value.message
    assert "test:3 is like train:3" in told.value.message
    assert "test:1" not in told.value.message
    apart = data.apart(train, judged[:1])
    assert (len(apart.train), len(apart.held_out), len(apart.groups)) == (3, 1, 1)
