"""Tables: what is written in one format and read in another is the same, and broken ones are named."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import DiskFull, InputError, NotFound, ReadError
from headrace.ops import tables, tables_out
from headrace.ops.tables import Column, format_of, open_source

ROWS: list[dict[str, Any]] = [
    {"id": 1, "text": "Grüße, „Ω“ 🙂", "score": 0.5, "ok": True, "extra": {"a": [1, None]}},
    {"id": 2, "text": 'a "quoted"\nline, with\ta tab', "score": None, "ok": None, "extra": None},
    {"id": 3, "text": "שלום עולם", "score": -1e-9, "ok": False, "extra": []},
]
COLUMNS = (
    Column(name="id", type="int64"),
    Column(name="text", type="string"),
    Column(name="score", type="double"),
    Column(name="ok", type="bool"),
    Column(name="extra", type="json"),
)


def written(path: Path, rows: list[dict[str, Any]], columns: tuple[Column, ...] = COLUMNS) -> Path:
    kind = format_of(path)
    if kind == "delta":
        pytest.importorskip("deltalake")
        source = tables.Source(path=path, format="jsonl", columns=columns, count=len(rows), digest="")
        tables_out.DeltaOutput(path, "job", columns, source).append(0, rows)
        return path
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    tables_out.write_file(path, kind, columns, rows, temporary=path.with_suffix(".part"))
    return path


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.tsv", "t.parquet", "t.delta"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    source = open_source(written(tmp_path / name, ROWS))
    assert source.count == 3
    assert [c.name for c in source.columns] == [c.name for c in COLUMNS]
    found = list(source.rows())
    assert [row["text"] for row in found] == [row["text"] for row in ROWS]
    for row, before in zip(found, ROWS, strict=True):
        extra = row["extra"]
        if source.format != "jsonl":
            assert extra in (None, "") if before["extra"] is None else json.loads(extra) == before["extra"]
        else:
            assert extra == before["extra"]
        if source.format == "csv":
            assert row["id"] == str(before["id"])
            assert row["score"] == ("" if before["score"] is None else str(before["score"]))
        else:
            assert {k: row[k] for k in ("id", "score", "ok")} == {k: before[k] for k in ("id", "score", "ok")}


def test_types_of_json_lines_are_found(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1, "b": 1, "c": "x"}\n\n{"a": 2.5, "b": true, "d": null}\n', encoding="utf-8")
    assert [str(c) for c in open_source(path).columns] == [
        "a (double)",
        "b (json)",
        "c (string)",
        "d (string)",
    ]


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    one, two = written(tmp_path / "1.jsonl", ROWS), written(tmp_path / "2.jsonl", ROWS)
    assert open_source(one).digest == open_source(two).digest
    assert open_source(written(tmp_path / "3.jsonl", ROWS[:2])).digest != open_source(one).digest


def test_a_file_that_changes_while_it_is_used(tmp_path: Path) -> None:
    path = written(tmp_path / "t.jsonl", ROWS)
    source = open_source(path)
    path.write_text("{}\n")
    with pytest.raises(ReadError, match="changed while"):
        source.rows()


def test_a_cell_of_a_megabyte(tmp_path: Path) -> None:
    row = {**ROWS[0], "text": "ü" * 1_000_000}
    for name in ("t.jsonl", "t.csv", "t.parquet"):
        found = next(open_source(written(tmp_path / name, [row])).rows())
        assert found["text"] == row["text"], name


def test_half_a_surrogate_pair_does_not_stop_a_file(tmp_path: Path) -> None:
    row = {**ROWS[0], "text": "a\ud83d b"}
    assert next(open_source(written(tmp_path / "t.jsonl", [row])).rows())["text"] == "a\ud83d b"
    assert next(open_source(written(tmp_path / "t.csv", [row])).rows())["text"] == "a\ufffd b"


def test_parquet_keeps_the_types_of_its_input(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    day = dt.datetime(2026, 3, 1, 12, 30)
    table = arrow.table(
        {
            "when": arrow.array([day], arrow.timestamp("us")),
            "price": arrow.array([decimal.Decimal("1.50")]),
            "tags": arrow.array([["a", "b"]]),
            "raw": arrow.array([b"\x00\xff"]),
            "n": arrow.array([7], arrow.int16()),
        }
    )
    parquet.write_table(table, tmp_path / "in.parquet")
    source = open_source(tmp_path / "in.parquet")
    columns = (*source.columns, Column(name="answer", type="string"))
    rows = [{**row, "answer": "x"} for row in source.rows()]
    out = tmp_path / "out.parquet"
    tables_out.write_file(out, "parquet", columns, rows, temporary=tmp_path / "part", source=source)
    again = parquet.read_table(out)
    assert again.drop_columns("answer").equals(table)
    plain = [tables.plain(value) for value in rows[0].values()]
    assert plain == ["2026-03-01T12:30:00", "1.50", ["a", "b"], "AP8=", 7, "x"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "line 2: not JSON"),
        ("t.jsonl", b'{"a": 1}\n[1]\n', "line 2: .* is not an object"),
        ("t.jsonl", b'{"a": "\xff"}\n', "line 1: not UTF-8"),
        ("t.csv", b"a,b\n1\n", "line 2: 1 cells under 2 headings"),
        ("t.csv", b"a,a\n1,2\n", "two columns of the name 'a'"),
        ("t.csv", b'a,b\n1,"2\n', "not csv"),
        ("t.csv", b"a,b\n1,\xff\n", "not UTF-8"),
        ("t.parquet", b"PAR1 no", "cannot be read as parquet"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, name: str, text: bytes, said: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(text)
    with pytest.raises((ReadError, InputError), match=said):
        open_source(tmp_path / name)


def test_names_that_mean_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no table"):
        open_source(tmp_path / "none.csv")
    (tmp_path / "t.xlsx").write_text("x")
    with pytest.raises(InputError, match="does not say what format"):
        open_source(tmp_path / "t.xlsx")
    with pytest.raises(InputError, match="is not known"):
        open_source(tmp_path / "t.xlsx", "excel")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        open_source(tmp_path / "d.csv")
    with pytest.raises(NotFound):
        open_source(f"{tmp_path / 't.csv'}@v3")


def test_versions_of_a_delta_table(tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    place = tmp_path / "t"
    source = tables.Source(path=place, format="jsonl", columns=COLUMNS, count=0, digest="")
    for job in ("one", "two"):
        table = tables_out.DeltaOutput(place, job, COLUMNS, source)
        assert table.last() == -1
        table.append(0, ROWS[:2])
        table.append(0, ROWS[:2])  # it is there
        table.append(1, ROWS[2:])
        assert table.last() == 1
    now = open_source(place)
    assert (now.version, now.count) == (3, 6)
    assert [row["id"] for row in now.rows()] == [1, 2, 3, 1, 2, 3]  # in the order of writing
    before = open_source(f"{place}@v1")
    assert (before.version, before.count) == (1, 3)
    assert before.digest != now.digest == open_source(f"{place}@v3").digest
    with pytest.raises(NotFound, match="no version 9"):
        open_source(f"{place}@v9")


def test_other_columns_are_refused_with_the_differences(tmp_path: Path) -> None:
    path = written(tmp_path / "t.parquet", ROWS)
    source = tables.Source(path=path, format="jsonl", columns=COLUMNS, count=0, digest="")
    tables_out.check_schema(path, "parquet", COLUMNS, source)
    other = (
        Column(name="id", type="string"),
        *COLUMNS[1:4],
        Column(name="new", type="double"),
    )
    with pytest.raises(InputError) as caught:
        tables_out.check_schema(path, "parquet", other, source)
    said = caught.value.message
    assert "id: int64 there, string here" in said
    assert "new (double) is not there" in said
    assert "extra (string) is there only" in said


def test_a_value_that_does_not_fit_its_column(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match="'id' holds a value that is no int64"):
        written(tmp_path / "t.parquet", [{**ROWS[0], "id": "seven"}])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_leaves_the_output_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("before")
    with pytest.raises(DiskFull, match="no room left"):
        tables_out.write_file(path, "jsonl", COLUMNS, ROWS * 1000, temporary=Path("/dev/full"))
    assert path.read_text() == "before"
