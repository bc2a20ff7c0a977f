"""What leaves the ledger: by age, by size, and when a person asks to be forgotten.

By age: every trace older than ``retention_days`` goes, its feedback with it; a vote on a run that
nobody can look up serves no one, and the promise is about personal data. By size: while the file
uses more than ``retention_mb`` (1 MB = 10^6 bytes), the oldest traces without feedback go first,
then the oldest with feedback. Numbers mean themselves: 0 keeps nothing, ``inf`` everything.

The space of removed rows is overwritten (``secure_delete``) and given back to the file system.
"""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
from dataclasses import dataclass

from headrace.ledger.transaction import transaction
from headrace.settings import LedgerSettings

STEP = 500  # rows in one transaction, so that other processes get their turn
ROOM = 0.9  # what is full is emptied to this part of the limit


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What an erasure removed. ``tombstone`` is the keyed hash that is left of the user."""

    traces: int
    feedback: int
    tombstone: str


def prune(connection: sqlite3.Connection, settings: LedgerSettings, now: float) -> int:
    """Apply both limits; returns how many traces were removed. ``now`` in seconds since the epoch."""
    removed = 0
    oldest = now - settings.retention_days * 86400
    while some := _ids(connection, "start < ? ORDER BY start", (oldest,)):
        removed += _remove(connection, some)
    limit = settings.retention_mb * 1e6
    if _used(connection) > limit:
        for condition in ("NOT EXISTS", "EXISTS"):
            removed += _shrink(connection, condition, limit * ROOM)
    if removed:
        give_back(connection)
    return removed


def _shrink(connection: sqlite3.Connection, condition: str, goal: float) -> int:
    """Remove the oldest traces (with or without feedback) until the file uses ``goal`` bytes."""
    removed = 0
    while (excess := _used(connection) - goal) > 0:
        rows = connection.execute(
            f"SELECT id, bytes + length(words) FROM traces WHERE {condition} "
            "(SELECT 1 FROM feedback WHERE trace_id = traces.id) ORDER BY start, id LIMIT ?",
            (STEP,),
        ).fetchall()
        some = []
        for identity, size in rows:
            some.append(identity)
            excess -= size
            if excess <= 0:
                break
        if not some:
            break
        removed += _remove(connection, some)
    return removed


def forget_user(connection: sqlite3.Connection, user: str, now: float) -> Forgotten:
    """Remove the traces of a user, all feedback on them, and the user's votes elsewhere.

    Leaves a tombstone: HMAC-SHA-256 of the name under the ledger's own key, the time and the
    counts, so that the erasure can be shown to whoever asks with the name in hand.
    """
    (key,) = connection.execute("SELECT value FROM secrets WHERE name = 'key'").fetchone()
    mark = hmac.new(key, user.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
    with transaction(connection):
        mine = "SELECT id FROM traces WHERE user = ?"
        votes = connection.execute(
            f"DELETE FROM feedback WHERE user = ? OR trace_id IN ({mine})", (user, user)
        ).rowcount
        traces = connection.execute("DELETE FROM traces WHERE user = ?", (user,)).rowcount
        connection.execute("INSERT INTO tombstones VALUES (?, ?, ?, ?)", (mark, now, traces, votes))
    give_back(connection)
    # The log still has the pages as they were before; an empty log has nothing.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return Forgotten(traces=traces, feedback=votes, tombstone=mark)


def give_back(connection: sqlite3.Connection) -> None:
    """Return the pages of removed rows to the file system."""
    # executescript steps to the end; execute would free one page and stop.
    connection.executescript("PRAGMA incremental_vacuum")


def _ids(connection: sqlite3.Connection, where: str, values: tuple[float, ...]) -> list[str]:
    rows = connection.execute(f"SELECT id FROM traces WHERE {where} LIMIT {STEP}", values)
    return [identity for (identity,) in rows]


def _remove(connection: sqlite3.Connection, identities: list[str]) -> int:
    marks = ", ".join("?" * len(identities))
    with transaction(connection):
        connection.execute(f"DELETE FROM feedback WHERE trace_id IN ({marks})", identities)
        return connection.execute(f"DELETE FROM traces WHERE id IN ({marks})", identities).rowcount


def _used(connection: sqlite3.Connection) -> int:
    """Bytes of the pages in use; pages that wait to be given back are not."""
    one = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    }
    return int((one["page_count"] - one["freelist_count"]) * one["page_size"])
