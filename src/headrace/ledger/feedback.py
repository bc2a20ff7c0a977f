"""Votes: people's thumbs on runs, each kept, the latest of a user counting.

Functions over an open connection; when a vote is acknowledged is the business of ``database.py``.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

from headrace.errors import InputError
from headrace.types import Feedback

By = Literal["app", "release", "day"]
_GROUPS = {
    "": "''",
    "app": "traces.app",
    "release": "traces.release",
    "day": "strftime('%Y-%m-%d', feedback.at, 'unixepoch')",  # UTC
}
_COLUMNS = "id, trace_id, value, comment, correction, user, at"


@dataclass(frozen=True, kw_only=True)
class FeedbackCount:
    """Votes that count, of one group: an application, a release or a day (UTC)."""

    group: str
    up: int
    down: int


def require_value(value: object) -> None:
    """Raise InputError unless ``value`` is ``up`` or ``down``."""
    if value not in ("up", "down"):
        raise InputError(f"The feedback {value!r} is not known.", hint="Send 'up' or 'down'.")


def insert(connection: sqlite3.Connection, vote: Feedback) -> None:
    """Within the caller's transaction. The user's earlier votes on the trace count no longer."""
    connection.execute(
        "UPDATE feedback SET current = 0 WHERE trace_id = ? AND user = ?", (vote.trace_id, vote.user)
    )
    connection.execute(
        f"INSERT INTO feedback ({_COLUMNS}, current) VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
        (vote.id, vote.trace_id, vote.value, vote.comment, vote.correction, vote.user, vote.at),
    )


def by_id(connection: sqlite3.Connection, identity: str) -> Feedback | None:
    """The vote with this id."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM feedback WHERE id = ?", (identity,)).fetchone()
    return None if row is None else _vote(row)


def of_trace(connection: sqlite3.Connection, trace_id: str) -> list[Feedback]:
    """All votes on a trace, oldest first, superseded ones too."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM feedback WHERE trace_id = ? ORDER BY seq", (trace_id,))
    return [_vote(row) for row in rows]


def counts(
    connection: sqlite3.Connection, *, app: str | None, since: float | None, by: By | None
) -> list[FeedbackCount]:
    """Votes that count, per group, groups in order. Without ``by`` there is one group, ""."""
    if (by or "") not in _GROUPS:
        raise InputError(f"Votes cannot be counted by {by!r}.", hint="Use 'app', 'release' or 'day'.")
    where = ["feedback.current = 1"]
    values: list[Any] = []
    if app is not None:
        where.append("traces.app = ?")
        values.append(app)
    if since is not None:
        where.append("feedback.at >= ?")
        values.append(since)
    rows = connection.execute(
        f"SELECT {_GROUPS[by or '']} AS g, sum(value = 'up'), sum(value = 'down') FROM feedback "
        f"JOIN traces ON traces.id = feedback.trace_id WHERE {' AND '.join(where)} GROUP BY g ORDER BY g",
        values,
    ).fetchall()
    found = [FeedbackCount(group=group, up=up, down=down) for group, up, down in rows]
    return found or ([] if by else [FeedbackCount(group="", up=0, down=0)])


def _vote(row: tuple[Any, ...]) -> Feedback:
    identity, trace_id, value, comment, correction, user, at = row
    return Feedback(
        id=identity, trace_id=trace_id, value=value, comment=comment, correction=correction, user=user, at=at
    )
