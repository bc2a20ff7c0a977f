"""Examples from files: every problem told with its line, ids that stay, one hash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.errors import InputError, NotFound
from headrace.evaluation import dataset
from headrace.types import Example


def write(path: Path, *lines: Any) -> Path:
    path.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines),
        encoding="utf-8",
    )
    return path


GOOD = {
    "inputs": {"question": "How long?"},
    "expectations": {"answer": "16 weeks", "documents": ["a.md"]},
    "id": "x",
}


def test_lines_become_examples(tmp_path: Path) -> None:
    file = write(tmp_path / "e.jsonl", GOOD, "", {"inputs": {"question": "Why?"}})
    read = dataset.read(file)
    assert [e.id for e in read] == ["x", read[1].id]
    assert read[1].id.startswith("sha256:")
    assert read[0].expectations == GOOD["expectations"]
    assert read.where(1) == f"{file}:3"
    assert read.source == str(file)


def test_ids_that_are_missing_come_from_the_content(tmp_path: Path) -> None:
    one = dataset.read(
        write(tmp_path / "a.jsonl", {"inputs": {"question": "A?"}}, {"inputs": {"question": "B?"}})
    )
    two = dataset.read(
        write(tmp_path / "b.jsonl", {"inputs": {"question": "B?"}}, {"inputs": {"question": "A?"}})
    )
    assert {e.id for e in one} == {e.id for e in two}
    assert one.hash == two.hash, "the order of the lines does not matter"
    changed = dataset.read(
        write(tmp_path / "c.jsonl", {"inputs": {"question": "C?"}}, {"inputs": {"question": "A?"}})
    )
    assert changed.hash != one.hash


def test_a_folder_gives_all_its_files(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"inputs": {"question": "A?"}})
    write(tmp_path / "b.jsonl", {"inputs": {"question": "B?"}})
    assert len(dataset.read(tmp_path)) == 2
    with pytest.raises(NotFound, match="no examples"):
        dataset.read([])
    (tmp_path / "sub").mkdir()
    with pytest.raises(NotFound, match="no examples in .*sub"):
        dataset.read(tmp_path / "sub")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"inputs": {"question": "x"}', r"e\.jsonl:2 is not JSON"),
        ("[1, 2]", r"e\.jsonl:2: \[1, 2\] is not an object"),
        ({"expectations": {}}, r"e\.jsonl:2: there are no inputs"),
        ({"inputs": {}}, "there are no inputs"),
        ({"inputs": "How?"}, "inputs is 'How\\?', not an object"),
        (
            {"inputs": {"question": "x"}, "expectation": {}},
            "'expectation' is not known: did you mean 'expectations'",
        ),
        (
            {"inputs": {"question": "x"}, "expectations": {"anwser": "y"}},
            "'anwser' is not known: did you mean 'answer",
        ),
        (
            {"inputs": {"question": "x"}, "expectations": {"documents": "a.md"}},
            "'documents' is 'a.md', not a list",
        ),
        ({"inputs": {"question": "x"}, "expectations": {"answer": ""}}, "'answer' is '', not a text"),
        ({"inputs": {"question": "x"}, "expectations": {"unanswerable": 1}}, "not true or false"),
        ({"inputs": {"question": "x"}, "expectations": [1]}, "expectations is \\[1\\], not an object"),
        ({"inputs": {"question": "x"}, "id": ["a"]}, "id is \\['a'\\]"),
        (
            {"inputs": {"question": "x"}, "expectations": {"answer": "y", "unanswerable": True}},
            "unanswerable and expects an answer",
        ),
        (GOOD, r"e\.jsonl:2: the id 'x' is that of .*e\.jsonl:1 too"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, line: Any, said: str) -> None:
    file = write(tmp_path / "e.jsonl", GOOD, line)
    with pytest.raises(InputError, match=said) as caught:
        dataset.read(file)
    assert caught.value.hint


def test_the_same_example_twice_without_ids(tmp_path: Path) -> None:
    line = {"inputs": {"question": "A?"}}
    with pytest.raises(InputError, match="the same as .*:1"):
        dataset.read(write(tmp_path / "e.jsonl", line, line))


def test_many_problems_are_told_at_once_but_not_all(tmp_path: Path) -> None:
    file = write(tmp_path / "e.jsonl", *({"inputs": {}} for _ in range(9)))
    with pytest.raises(InputError) as caught:
        dataset.read(file)
    assert "e.jsonl:5" in caught.value.message
    assert "e.jsonl:6" not in caught.value.message
    assert "and 4 more" in caught.value.message


def test_files_that_are_not_there_or_not_text(tmp_path: Path) -> None:
    write(tmp_path / "questions.jsonl", GOOD)
    with pytest.raises(NotFound) as missing:
        dataset.read(tmp_path / "question.jsonl")
    assert "questions.jsonl" in missing.value.hint
    (tmp_path / "latin.jsonl").write_bytes('{"inputs": {"q": "größe"}}'.encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        dataset.read(tmp_path / "latin.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="holds no example"):
        dataset.read(tmp_path / "empty.jsonl")


def test_inputs_that_do_not_fit_the_application(tmp_path: Path) -> None:
    @hr.app
    def ask(question: str, top_k: int = 4) -> str:
        return question * top_k

    file = write(
        tmp_path / "e.jsonl",
        GOOD,
        {"inputs": {"query": "x"}},
        {"inputs": {"question": "x", "top_k": "many"}},
    )
    with pytest.raises(InputError) as caught:
        dataset.read(file).arguments(ask.signature)
    assert f"{file}:2" in caught.value.message
    assert f"{file}:3" in caught.value.message
    assert "It takes: question" in caught.value.hint
    good = dataset.read(write(tmp_path / "g.jsonl", GOOD))
    assert good.arguments(ask.signature) == [{"question": "How long?", "top_k": 4}]


def test_examples_made_in_python() -> None:
    read = dataset.of([Example(inputs={"question": "A?"}), {"inputs": {"question": "B?"}, "id": "b"}])
    assert [e.inputs["question"] for e in read] == ["A?", "B?"]
    assert read[1].id == "b"
    with pytest.raises(InputError, match="example 1: there are no inputs"):
        dataset.of([{"question": "A?"}])
    with pytest.raises(InputError, match="no examples"):
        dataset.of([])


def test_the_first_of_many() -> None:
    read = dataset.of([{"inputs": {"question": str(i)}} for i in range(5)])
    assert len(read.first(2)) == 2
    assert read.first(None) is read
