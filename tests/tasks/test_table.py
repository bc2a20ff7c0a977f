"""Tables: what is understood, what is refused, and that a query can only read."""

from __future__ import annotations

from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import InputError, ModelError, NotFound, ReadError
from headrace.models.scripted import ScriptedModel
from headrace.tasks.tables import _database, load, run, sql_in

CSV = """product,shop,unit price,sold,since
Lamp,North,12.5,30,2019
Chair,North,40,12,2020
Chair,South,38.5,20,2021
Desk,South,,4,2021
"O'Brien chair","North East",99,1,2022
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many rows are there?", 5),
        ("What is the average unit price?", 47.5),
        ("What is the total sold?", 67),
        ("What is the highest sold?", 30),
        ("What is the highest sold where shop is South?", 20),
        ("what was the lowest unit price in South", 38.5),
        ("Which product has the highest unit price?", "O'Brien chair"),
        ("Which product has the lowest sold in South?", "Desk"),
        ("What is the total sold for Chair?", 32),
        ("What is the total sold where product is not Chair?", 35),
        ("How many rows where unit price is over 20 and sold at least 12?", 2),
        ("How many rows where sold is between 10 and 25?", 2),
        ("How many different products?", 4),
        ("How many rows where product contains 'chair'?", 3),
        ("What is the sold of 'O'Brien chair'?", 1),
        ("what is the unit price of Desk", None),
        ("What are the products in South?", ["Chair", "Desk"]),
        ("sum of sold in 'North East'", 1),
        ("What is the shop of Lamp?", "North"),
        ("How many rows where since is 2021?", 2),
        ("How many rows where sold is less than 5?", 2),
    ],
)
def test_understood(shop: Path, question: str, answer: object) -> None:
    found = hr.tasks.table(question, shop)
    assert found["answer"] == answer, found["query"]
    assert found["query"].startswith("SELECT")
    assert set(found) == {"answer", "query", "columns", "rows"}


def test_groups_and_many_questions(shop: Path) -> None:
    found = hr.tasks.table(["total sold by shop", "average sold"], shop)
    assert found[0]["answer"] == [["North", 42], ["North East", 1], ["South", 24]]
    assert found[1]["answer"] == pytest.approx(13.4)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("What colour is the lamp?", "'colour' is no column"),
        ("What is the median sold?", "'median'"),
        ("total product", "does not hold numbers"),
        ("What is the sold and since?", "several columns"),
        ("average total sold", "several things"),
        ("How many rows over 5?", "belongs to no column"),
        ("total sold in North and South", "two things at once"),
        ("shop by", "which column"),
        ("rows", "no column to answer with"),
        ("Who had the highest sold?", "which column to answer with"),
        ("Which product has the most sold?", "'most'"),
        ("How many products?", "how many different product"),
        ("What is the highest product?", "does not hold numbers"),
        ("What is the sold of 'Sofa'?", "no column"),
        ("; DROP TABLE data", "'DROP'"),
        ("🎉 כמה?", "is no column"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(shop: Path, question: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        hr.tasks.table(question, shop)
    assert "unit price" in caught.value.hint


ATTACKS = [
    "DELETE FROM data",
    "UPDATE data SET sold = 0",
    "INSERT INTO data VALUES (1,2,3,4,5)",
    "DROP TABLE data",
    "CREATE TABLE x (y)",
    "ATTACH DATABASE 'out.db' AS o",
    "PRAGMA query_only = OFF",
    "PRAGMA table_info(data)",
    "SELECT 1; DELETE FROM data",
    "SELECT * FROM sqlite_master",
    "SELECT load_extension('x')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('x', 'y')",
    "SELECT randomblob(100000000)",
    "SELECT zeroblob(1000000000)",
    "VACUUM INTO 'copy.db'",
    "BEGIN",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "EXPLAIN SELECT 1",
    "SELECT fts3_tokenizer('x')",
    "SELECT * FROM pragma_database_list",
    "not sql",
    "",
]


@pytest.mark.parametrize("query", ATTACKS)
def test_a_query_only_reads(shop: Path, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with _database(load(shop)) as database:
        with pytest.raises(InputError):
            run(database, query)
        assert run(database, "SELECT SUM(sold) FROM data")["answer"] == 67
    assert [path.name for path in tmp_path.iterdir()] == ["shop.csv"]


def test_a_query_that_never_ends_is_stopped(shop: Path) -> None:
    joined = " , ".join(f"data AS t{i}" for i in range(30))
    with _database(load(shop)) as database, pytest.raises(InputError, match="refused: interrupted"):
        run(database, f"SELECT count(*) FROM {joined}")


def test_a_model_writes_the_query(shop: Path) -> None:
    model = ScriptedModel('Here:\n```sql\nSELECT MAX("sold") FROM data;\n```')
    assert hr.tasks.table("What sold best?", shop, model=model)["answer"] == 30
    assert '"unit price" number' in model.calls[0].messages[0].content
    twice = ScriptedModel(["SELECT price FROM data", "SELECT COUNT(*) FROM data"])
    assert hr.tasks.table("How many?", shop, model=twice)["answer"] == 5
    assert "no such column" in twice.calls[1].messages[-1].content
    with pytest.raises(ModelError, match="no query that may run"):
        hr.tasks.table("How many?", shop, model=ScriptedModel("DROP TABLE data"))
    assert sql_in("no query here") == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no heading"),
        ("a,a\n1,2\n", "twice"),
        ("a,b\n1\n", "row 2 has 1 cells"),
        ("a,b\n1,2\n1,2,3\n", "row 3 has 3 cells"),
    ],
)
def test_broken_tables(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ReadError, match=said):
        hr.tasks.table("how many rows", tmp_path / "t.csv")


def test_thousands_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('town,people\nA,"1,200"\nB,900\nC,\n', encoding="utf-8")
    assert hr.tasks.table("which town has the highest people", tmp_path / "t.csv")["answer"] == "A"
    assert hr.tasks.table("total people", tmp_path / "t.csv")["answer"] == 2100
    assert hr.tasks.table("what is the town where people is over 1,000", tmp_path / "t.csv")["answer"] == "A"


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        hr.tasks.table("how many rows", tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"a\xff\xfe\n1")
    with pytest.raises(ReadError, match="UTF-8"):
        hr.tasks.table("how many rows", tmp_path / "t.csv")


def test_semicolons_byte_order_mark_and_names_that_need_quotes(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('﻿Stadt;"Preis ""neu"""\nKöln;3\nBonn;5\n', encoding="utf-8")
    assert hr.tasks.table("total Preis neu", path)["answer"] == 8
    assert hr.tasks.table("what is the Preis neu of Köln", path)["answer"] == 3
