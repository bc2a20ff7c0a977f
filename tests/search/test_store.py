"""Opening, snapshots and pinned versions."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from headrace.errors import Corrupt, NewerVersion, NotFound, StateError
from headrace.search import schema
from headrace.search.store import Store
from headrace.types import Document, Section

from .store_kit import Base


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return Base(tmp_path / "kb")


def test_opening_never_creates(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        Store.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_an_empty_file_was_never_finished(tmp_path: Path) -> None:
    (tmp_path / schema.FILE).touch()
    with pytest.raises(NotFound, match="never finished"):
        Store.open(tmp_path)
    with Store.open(tmp_path, create=True) as store:
        assert store.info().documents == 0


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / schema.FILE).write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    with pytest.raises(Corrupt, match="damaged"):
        Store.open(tmp_path)


def test_a_database_of_somebody_else(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / schema.FILE)
    other.execute("CREATE TABLE notes (text)")
    other.close()
    with pytest.raises(Corrupt, match="not a knowledge base"):
        Store.open(tmp_path, create=True)


def test_a_damaged_header(base: Base) -> None:
    base.store.close()
    path = base.folder / schema.FILE
    data = bytearray(path.read_bytes())
    data[0:16] = b"x" * 16
    path.write_bytes(data)
    with pytest.raises(Corrupt):
        Store.open(base.folder)


def test_a_newer_format_names_both_versions(base: Base) -> None:
    base.store.close()
    newer = sqlite3.connect(base.folder / schema.FILE)
    newer.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 7}")
    newer.close()
    with pytest.raises(NewerVersion) as caught:
        Store.open(base.folder)
    assert f"format {len(schema.MIGRATIONS) + 7}" in caught.value.message
    assert f"up to {len(schema.MIGRATIONS)}" in caught.value.message


def test_an_older_format_is_brought_up(base: Base) -> None:
    base.store.close()
    path = base.folder / schema.FILE
    connection = schema.connect(path)
    newer = (*schema.MIGRATIONS, "CREATE TABLE extra (x);\nINSERT INTO extra VALUES (1);")
    schema.prepare(connection, path, migrations=newer)
    assert schema.user_version(connection) == len(newer)
    assert connection.execute("SELECT x FROM extra").fetchall() == [(1,)]
    schema.prepare(connection, path, migrations=newer)  # a second time it does nothing
    assert connection.execute("SELECT x FROM extra").fetchall() == [(1,)]
    connection.close()
    with pytest.raises(NewerVersion):
        Store.open(base.folder)


def test_a_migration_that_fails_leaves_the_old_file(base: Base) -> None:
    base.store.close()
    path = base.folder / schema.FILE
    connection = schema.connect(path)
    broken = (*schema.MIGRATIONS, "CREATE TABLE extra (x);\nINSERT INTO nowhere VALUES (1);")
    with pytest.raises(StateError):
        schema.prepare(connection, path, migrations=broken)
    assert schema.user_version(connection) == len(schema.MIGRATIONS)
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'").fetchone() == (0,)
    connection.close()
    base.reopen()


def test_a_document_comes_back_as_it_was(base: Base) -> None:
    text = "# Ränder\n\nEine Zeile.\r\nNoch eine\tmit 😀 und \x00 Null.\n"
    document = Document(
        text,
        {"year": 2020, "tags": ["a", None], "title": "Ränder"},
        "docs/r.md",
        media="text/markdown",
        sections=(Section(start=0, level=1, title="Ränder"),),
    )
    with base.writer() as writer:
        writer.put([document])
    with base.store.snapshot() as snapshot:
        assert snapshot.get("docs/r.md") == document
        assert snapshot.get("docs/r") is None
        rows = snapshot.rows(snapshot.select("1").tolist())
        assert {row.title for row in rows.values()} == {"Ränder"}
        assert all(row.text == text[row.start : row.end] for row in rows.values())


def test_select_by_metadata(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document(f"text {n}\nmore {n}\n", {"year": 2000 + n}, f"d{n}") for n in range(5)])
    with base.store.snapshot() as snapshot:
        seqs = snapshot.select("json_extract(d.metadata, '$.year') >= ?", (2003,))
        assert {row.document for row in snapshot.rows(seqs.tolist()).values()} == {"d3", "d4"}
        assert len(seqs) == 4
        assert snapshot.select("d.id = ?", ("no",)).tolist() == []


def test_a_snapshot_does_not_move(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\n", id="a")])
        with base.store.snapshot() as snapshot:
            writer.put([Document("two\n", id="a"), Document("three\n", id="b")])
            old = snapshot.get("a")
            assert old is not None
            assert old.text == "one\n"
            assert list(snapshot.ids()) == ["a"]
            assert sum(len(block) for block in snapshot.blocks()) == 1
    assert base.live() == {"a": "two\n", "b": "three\n"}


def test_an_older_snapshot_keeps_its_tail_while_newer_ones_are_taken(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\n", id="a")])
        with base.store.snapshot() as old:
            writer.put([Document("two\n", id="b")])
            with base.store.snapshot() as new:
                assert sum(map(len, new.blocks())) == 2
            assert sum(map(len, old.blocks())) == 1
            writer.delete(["a"])
            assert old.dead().tolist() == []
            with base.store.snapshot() as new:
                assert new.dead().tolist() == [1]


def test_threads_share_a_store(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document(f"text {n}\n", id=f"d{n}") for n in range(20)])
    troubles: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(20):
                assert len(base.live()) >= 20
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    with base.writer() as writer:
        for n in range(20, 40):
            writer.put([Document(f"text {n}\n", id=f"d{n}")])
            if n % 8 == 0:
                writer.publish()
    for thread in threads:
        thread.join()
    assert not troubles, troubles[0]
    assert len(base.live()) == 40


def test_nested_snapshots(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\n", id="a")])
        first = writer.publish()
        writer.put([Document("two\n", id="b")])
    with base.store.snapshot() as head, base.store.snapshot(first) as pinned:
        assert list(head.ids()) == ["a", "b"]
        assert list(pinned.ids()) == ["a"]


def test_what_a_version_says_about_itself(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\n", id="a")])
        with base.store.snapshot() as snapshot:
            assert snapshot.version.version is None
            assert snapshot.version.corpus == ""
        number = writer.publish()
    with base.store.snapshot() as snapshot:
        assert snapshot.version.version == number
        assert snapshot.version.name == "kb"
        assert snapshot.version.commit == snapshot.commit
        assert snapshot.version.embedder.startswith("hash-one f32 (")
        assert snapshot.version.corpus == base.store.versions()[-1].corpus != ""


def test_info_counts_files(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\ntwo\n", id="a")])
        writer.publish()
    info = base.store.info()
    assert (info.documents, info.chunks, info.version, info.tail) == (1, 2, 1, 2)
    assert info.bytes >= (base.folder / schema.FILE).stat().st_size > 0


def test_the_blocks_are_read_only(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("".join(f"line {n}\n" for n in range(5000)), id="a")])
    with base.store.snapshot() as snapshot:
        block = snapshot.blocks()[0]
        assert len(block) == 5000
        with pytest.raises(ValueError, match="read-only"):
            block.matrix[0, 0] = np.float32(1)
