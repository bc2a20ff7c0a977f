"""Formats: older ledgers are brought up to date, newer ones refused with both versions named."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headrace.errors import NewerVersion
from headrace.ledger.database import Ledger
from headrace.ledger.migrations import APPLICATION_ID, MIGRATIONS, check, migrate
from headrace.settings import LedgerSettings

from .conftest import make_trace


def number(path: Path, pragma: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def test_a_file_says_what_it_is(ledger: Ledger) -> None:
    ledger.record(make_trace())
    ledger.flush()
    assert number(ledger.path, "application_id") == APPLICATION_ID
    assert number(ledger.path, "user_version") == len(MIGRATIONS)


def test_a_newer_ledger_is_refused_with_both_versions(ledger: Ledger) -> None:
    ledger.record(make_trace())
    ledger.close()
    with closing(sqlite3.connect(ledger.path)) as connection:
        connection.execute("PRAGMA user_version = 97")
    before = ledger.path.read_bytes()
    with pytest.raises(NewerVersion, match="97") as caught:
        Ledger.open(ledger.path, LedgerSettings())
    assert f"up to {len(MIGRATIONS)}" in str(caught.value)
    ledger.record(make_trace())  # already running when the newer one came: tells, never raises
    assert not ledger.flush(30)
    assert "97" in ledger.problem
    ledger.close()
    assert ledger.path.read_bytes() == before


def test_steps_are_taken_once_in_order_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "some.sqlite"
    first = (("CREATE TABLE t (x)", "INSERT INTO t VALUES (1)"),)
    second = (*first, ("ALTER TABLE t ADD COLUMN y", "UPDATE t SET y = x + 1"))
    broken = (*second, ("INSERT INTO t VALUES (5, 5)", "INSERT INTO nowhere VALUES (1)"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert check(connection, path) == 0
        migrate(connection, path, first)
        migrate(connection, path, second)
        migrate(connection, path, second)
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection, path, broken)
        assert connection.execute("SELECT x, y FROM t").fetchall() == [(1, 2)]
        assert check(connection, path, 2) == 2
        with pytest.raises(NewerVersion):
            migrate(connection, path, first)
