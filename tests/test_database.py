"""SQLite files of ours: steps, strangers, newer formats, and SQLite's complaints in our words."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.database import Format, patiently, transaction
from headrace.errors import Corrupt, DiskFull, Locked, NewerVersion, StateError

FIRST = (("CREATE TABLE t (x)", "INSERT INTO t VALUES (1)"),)
SHELF = Format(
    application_id=7, noun="shelf", steps=FIRST, foreign="Move it.", newer="Update.", damaged="Restore it."
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.sqlite"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0.1)) as connection:
        yield connection


def test_steps_are_taken_once_in_order_and_whole(path: Path, connection: sqlite3.Connection) -> None:
    second = replace(SHELF, steps=(*FIRST, ("ALTER TABLE t ADD COLUMN y", "UPDATE t SET y = x + 1")))
    broken = replace(
        SHELF, steps=(*second.steps, ("INSERT INTO t VALUES (5, 5)", "INSERT INTO nowhere VALUES (1)"))
    )
    assert SHELF.check(connection, path) == 0
    SHELF.migrate(connection, path)
    second.migrate(connection, path)
    second.migrate(connection, path)
    with pytest.raises(sqlite3.OperationalError):
        broken.migrate(connection, path)
    assert connection.execute("SELECT x, y FROM t").fetchall() == [(1, 2)]
    assert second.check(connection, path) == 2
    with pytest.raises(NewerVersion, match="format 2; .* up to 1"):
        SHELF.migrate(connection, path)


def test_a_step_can_be_a_function_and_part_of_a_larger_transaction(
    path: Path, connection: sqlite3.Connection
) -> None:
    asked = replace(SHELF, steps=(*FIRST, (lambda sql: sql.execute("INSERT INTO t VALUES (2)"),)))
    fails = replace(asked, steps=(*asked.steps, ("SELECT * FROM nowhere",)))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"), transaction(connection):
        fails.migrate(connection, path)
    assert SHELF.check(connection, path) == 0  # taken back with the rest
    with transaction(connection):
        asked.migrate(connection, path)
    assert connection.execute("SELECT x FROM t").fetchall() == [(1,), (2,)]


def test_a_strangers_file_is_left_alone(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(Corrupt, match="not a shelf") as caught:
        SHELF.migrate(connection, path)
    assert caught.value.hint == "Move it."
    assert path.read_bytes() == before


def test_many_processes_may_begin_at_once(path: Path) -> None:
    failed: list[BaseException] = []

    def begin() -> None:
        try:
            with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as mine:
                SHELF.migrate(mine, path)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_what_sqlite_complains_of_is_said_in_our_words(path: Path, connection: sqlite3.Connection) -> None:
    SHELF.migrate(connection, path)
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        transaction(other),
        pytest.raises(Locked, match="shelf .*busy"),
        SHELF.explained(path),
    ):
        connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match="nowhere"), SHELF.explained(path):
        connection.execute("SELECT * FROM nowhere")
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(DiskFull, match="could not grow"), SHELF.explained(path), transaction(connection):
        connection.executemany("INSERT INTO t VALUES (zeroblob(4000))", [()] * 9)
    path.write_bytes(b"not a database at all, surely" * 100)
    with (
        closing(sqlite3.connect(path)) as damaged,
        pytest.raises(Corrupt, match="damaged") as caught,
        SHELF.explained(path),
    ):
        damaged.execute("SELECT * FROM t")
    assert caught.value.hint == "Restore it."


def test_patience_ends_with_another_error(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        patiently(connection, "SELECT * FROM nowhere")
