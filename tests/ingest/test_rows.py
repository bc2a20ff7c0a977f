"""Tables: a document a row, the text column chosen, everything else metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.reader import ReaderContract
from headrace.errors import ReadError
from headrace.ingest.rows import read_csv, read_jsonl


class TestCsv(ReaderContract):
    name = "notes/sample.csv"

    @pytest.fixture
    def reader(self) -> Any:
        return read_csv

    @pytest.fixture
    def sample(self) -> bytes:
        return b"id,title,text\n1,On headrace,The headrace brings water.\n2,Wheel,It turns.\n"


class TestJsonl(TestCsv):
    name = "notes/sample.jsonl"

    @pytest.fixture
    def reader(self) -> Any:
        return read_jsonl

    @pytest.fixture
    def sample(self) -> bytes:
        return (
            b'{"_id": "a", "title": "On headrace", "text": "The headrace brings water."}\n"plain headrace"\n'
        )


def test_a_text_column_and_metadata_with_types() -> None:
    text = 'title,Text,year,price,zip,note\nOne,"Water, ""clear""\nand cold",2020,1.5,01234,\n'
    text += "Two,Stone,1999,2,0,x\n"
    one, two = read_csv(text.encode(), "a/b.csv")
    assert one.id == "a/b.csv#1"
    assert one.text == 'One\n\nWater, "clear"\nand cold'
    assert one.sections[0].title == "One"
    assert one.metadata == {
        "title": "One",
        "type": "row",
        "row": 1,
        "year": 2020,
        "price": 1.5,
        "zip": "01234",
    }
    assert two.id == "a/b.csv#2"
    assert two.metadata["note"] == "x"


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(mark: str) -> None:
    text = "\r\n".join(mark.join(row) for row in (["part", "metres"], ["race", "120"], ["pit", "4"]))
    first, second = read_csv(text.encode(), "a.csv")
    assert first.text == "part: race\nmetres: 120"
    assert second.metadata["metres"] == 4


def test_a_table_in_another_encoding() -> None:
    text = "teil;länge\nmühle;3\n"
    for codec in ("utf-16", "utf-8-sig", "cp1252"):
        [row] = read_csv(text.encode(codec), "a.csv")
        assert row.text == "teil: mühle\nlänge: 3"


def test_rows_without_a_header_and_ragged_rows() -> None:
    first, second, third = read_csv(b"1,2\n3,4,5\n\n6\n", "a.csv")
    assert first.text == "column1: 1\ncolumn2: 2"
    assert second.text == "column1: 3\ncolumn2: 4\ncolumn3: 5"
    assert third.text == "column1: 6"


def test_a_field_longer_than_the_default_of_the_standard_library() -> None:
    [row] = read_csv(b"text\n" + b"word " * 60_000 + b"\n", "a.csv")
    assert len(row.text) == 299_999 or len(row.text) == 300_000


def test_tab_separated_text_with_lone_quotation_marks() -> None:
    rows = list(read_csv(b'id\ttext\n1\t"said she\n2\tall fine\n3\tgone\n', "a.tsv"))
    assert [row.text for row in rows] == ['"said she', "all fine", "gone"]


def test_jsonl_fields() -> None:
    rows = [
        {"title": "T", "content": "C", "tags": ["a", "b"], "author": {"name": "Ana"}, "none": None, "n": 3},
        ["not", "an object"],
        {"sentences": ["a", "b"], "ok": True},
        {"text": "lone \ud800 surrogate and \u0000"},
    ]
    data = "\n\n".join(json.dumps(row) for row in rows).encode()
    documents = list(read_jsonl(data, "a.jsonl"))
    assert documents[0].text == "T\n\nC"
    assert documents[0].metadata["tags"] == ["a", "b"]
    assert documents[0].metadata["author.name"] == "Ana"
    assert documents[0].metadata["n"] == 3
    assert "none" not in documents[0].metadata
    assert documents[1].text == '["not", "an object"]'
    assert documents[2].text == "sentences: a b\nok: true"
    assert documents[3].text == "lone \ufffd surrogate and \ufffd"
    assert [document.id for document in documents] == [f"a.jsonl#{n}" for n in (1, 3, 5, 7)]


def test_broken_lines_are_counted_and_the_others_read() -> None:
    reading = read_jsonl(b'{"text": "good"}\n{bad}\n{"text": "also good"}\nworse\n', "a.jsonl")
    assert next(reading).text == "good"
    assert next(reading).text == "also good"
    with pytest.raises(ReadError, match=r"2 of 4 lines are not JSON; first line 2"):
        next(reading)


def test_a_json_array_under_the_wrong_ending() -> None:
    data = json.dumps([{"text": "one"}, {"text": "two"}], indent=2).encode()
    assert [document.text for document in read_jsonl(data, "a.jsonl")] == ["one", "two"]


def test_real_tables(shared: Path) -> None:
    data = (shared / "data/scifact/corpus.jsonl").read_bytes()
    documents = list(read_jsonl(data, "corpus.jsonl"))
    assert len(documents) == 5183
    assert all(document.sections and document.metadata["_id"] for document in documents)
    tables = sorted((shared / "data/tables").glob("*.csv"))
    assert len(tables) > 3
    for path in tables:
        rows = list(read_csv(path.read_bytes(), path.name))
        assert len(rows) == sum(1 for line in path.read_text().splitlines() if line.strip()) - 1
