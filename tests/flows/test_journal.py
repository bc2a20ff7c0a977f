"""The journal's file: an older format begins anew, a newer one or something else is refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headrace.errors import Corrupt, NewerVersion
from headrace.flows.journal import JOURNAL, Journal


def database(path: Path, *, owner: int, version: int) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE rows (subject TEXT, inputs TEXT, body BLOB NOT NULL)")
        connection.execute("CREATE TABLE marks (subject TEXT)")
        connection.execute("INSERT INTO rows VALUES ('a', 'b', x'00')")
        connection.execute(f"PRAGMA application_id = {owner}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
    return path


def test_an_older_cache_begins_anew(tmp_path: Path) -> None:
    path = database(tmp_path / "rows.sqlite", owner=JOURNAL.application_id, version=JOURNAL.newest - 1)
    journal = Journal(path)
    assert journal.read("a", ["b"]) == {}
    assert journal.begun("a") == set()
    journal.close()
    with closing(sqlite3.connect(path)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        assert tables == ["rows"]
        assert connection.execute("PRAGMA user_version").fetchone() == (JOURNAL.newest,)
    Journal(path).close()


def test_a_newer_one_and_another_database_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NewerVersion, match=f"format {JOURNAL.newest + 1}"):
        Journal(database(tmp_path / "new.sqlite", owner=JOURNAL.application_id, version=JOURNAL.newest + 1))
    with pytest.raises(Corrupt, match="something else"):
        Journal(database(tmp_path / "other.sqlite", owner=7, version=1))
