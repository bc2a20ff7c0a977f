"""Finding runs again: one by id or the beginning of one, many by what a list can filter by.

Functions over an open connection.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from headrace.errors import InputError, NotFound
from headrace.ledger.records import STATUSES, TraceRow
from headrace.text import normalise

FEEDBACK = ("up", "down", "any", "none")
_LAST = "\U0010ffff"

_LIST = """SELECT id, start, seconds, app, release, user, status, question, answer,
    (SELECT CASE count(DISTINCT value) WHEN 0 THEN '' WHEN 1 THEN min(value) ELSE 'mixed' END
     FROM feedback WHERE trace_id = traces.id AND current = 1) FROM traces"""


def resolve(connection: sqlite3.Connection, given: str) -> str | None:
    """The whole id behind an id or a unique beginning of one; None where there is none.

    InputError where several begin so, and where ``given`` is empty.
    """
    if not given:
        raise InputError(f"The trace id {given!r} is empty.", hint="Give an id or its beginning.")
    if connection.execute("SELECT 1 FROM traces WHERE id = ?", (given,)).fetchone():
        return given
    start = given.lower()
    rows = connection.execute(
        "SELECT id FROM traces WHERE id >= ? AND id < ? ORDER BY id LIMIT 4", (start, start + _LAST)
    ).fetchall()
    if len(rows) > 1:
        some = ", ".join(identity for (identity,) in rows[:3]) + (" and others" if len(rows) > 3 else "")
        raise InputError(f"Several traces begin with {given!r}: {some}.", hint="Give more characters.")
    return rows[0][0] if rows else None


def select(
    connection: sqlite3.Connection,
    *,
    limit: int,
    before: str | float | None,
    app: str | None,
    status: str | None,
    user: str | None,
    feedback: str | None,
    text: str | None,
    since: float | None,
) -> list[TraceRow]:
    """Rows of a list, newest first; see :meth:`headrace.ledger.database.Ledger.traces`."""
    where: list[str] = []
    values: list[Any] = []

    def both(condition: str, *of: Any) -> None:
        where.append(condition)
        values.extend(of)

    if isinstance(before, str):
        if (known := resolve(connection, before)) is None:
            raise NotFound(f"There is no trace {before!r} to list from.", hint="Begin at the newest.")
        both("(start, id) < (SELECT start, id FROM traces WHERE id = ?)", known)
    elif before is not None:
        both("start < ?", float(before))
    if since is not None:
        both("start >= ?", since)
    for name, value in (("app", app), ("status", status), ("user", user)):
        if value is not None:
            both(f"{name} = ?", value)
    if text is not None and (words := normalise(text)):
        both("instr(words, ?) > 0", words)
    votes = "EXISTS (SELECT 1 FROM feedback WHERE trace_id = traces.id AND current = 1"
    if feedback in ("up", "down"):
        both(f"{votes} AND value = ?)", feedback)
    elif feedback is not None:
        both(f"{votes})" if feedback == "any" else f"NOT {votes})")
    filtered = f" WHERE {' AND '.join(where)}" if where else ""
    rows = connection.execute(f"{_LIST}{filtered} ORDER BY start DESC, id DESC LIMIT ?", (*values, limit))
    return [
        TraceRow(
            id=row[0],
            start=row[1],
            seconds=row[2],
            app=row[3],
            release=row[4],
            user=row[5],
            status=row[6],
            question=row[7],
            answer=row[8],
            feedback=row[9],
        )
        for row in rows
    ]


def require_filters(*, limit: int, status: str | None, feedback: str | None) -> None:
    """InputError where a filter's value is not one of those that exist."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InputError(f"limit={limit!r} is not a whole number above 0.", hint="Give for example 50.")
    for name, value, known in (("status", status, STATUSES), ("feedback", feedback, FEEDBACK)):
        if value is not None and value not in known:
            raise InputError(f"{name}={value!r} is not known.", hint=f"Use one of {', '.join(known)}.")
