"""Formats: older ledgers are brought up to date, newer ones refused with both versions named."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headrace.errors import NewerVersion
from headrace.ledger.database import Ledger
from headrace.ledger.migrations import LEDGER
from headrace.settings import LedgerSettings

from .conftest import make_trace


def number(path: Path, pragma: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def test_a_file_says_what_it_is(ledger: Ledger) -> None:
    ledger.record(make_trace())
    ledger.flush()
    assert number(ledger.path, "application_id") == LEDGER.application_id
    assert number(ledger.path, "user_version") == LEDGER.newest


def test_a_newer_ledger_is_refused_with_both_versions(ledger: Ledger) -> None:
    ledger.record(make_trace())
    ledger.close()
    with closing(sqlite3.connect(ledger.path)) as connection:
        connection.execute("PRAGMA user_version = 97")
    before = ledger.path.read_bytes()
    with pytest.raises(NewerVersion, match="97") as caught:
        Ledger.open(ledger.path, LedgerSettings())
    assert f"up to {LEDGER.newest}" in str(caught.value)
    ledger.record(make_trace())  # already running when the newer one came: tells, never raises
    assert not ledger.flush(30)
    assert "97" in ledger.problem
    ledger.close()
    assert ledger.path.read_bytes() == before
