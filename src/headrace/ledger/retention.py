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
import json
import sqlite3
import zlib
from dataclasses import dataclass
from typing import Any

from headrace.database import transaction
from headrace.ledger.content import without_content
from headrace.ledger.records import to_row, trace_from_json, trace_to_json, unpack
from headrace.settings import LedgerSettings
from headrace.types import Trace

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
    mark = tombstone(connection, user)
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


def tombstone(connection: sqlite3.Connection, name: str) -> str:
    """HMAC-SHA-256 of what was erased, under the ledger's own key."""
    (key,) = connection.execute("SELECT value FROM secrets WHERE name = 'key'").fetchone()
    return hmac.new(key, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def forget_document(connection: sqlite3.Connection, document: str, now: float) -> Forgotten:
    """Erase the texts of every trace that holds this document, its id included; figures and votes stay.

    Such a trace keeps what it was made with; its record says ``forgotten``, with the tombstone, and it
    cannot be replayed. Comments and corrections on it go too: they may quote the document.
    """
    (key,) = connection.execute("SELECT value FROM secrets WHERE name = 'key'").fetchone()
    mark = tombstone(connection, document)
    needle = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
    traces = votes = 0
    last = ""
    while True:
        some = connection.execute(
            "SELECT id, body FROM traces WHERE id > ? ORDER BY id LIMIT ?", (last, STEP)
        ).fetchall()
        if not some:
            break
        last = some[-1][0]
        holding = [(id, body) for id, body in some if needle in zlib.decompress(body)]
        if not holding:
            continue
        with transaction(connection):
            for id, body in holding:
                row = to_row(_without(unpack(body), document, key, mark, now), content=False)
                connection.execute(
                    "UPDATE traces SET question = ?, answer = ?, bytes = ?, words = ?, body = ? WHERE id = ?",
                    (*row[8:], id),
                )
                traces += 1
                votes += connection.execute(
                    "UPDATE feedback SET comment = '', correction = '' "
                    "WHERE trace_id = ? AND (comment <> '' OR correction <> '')",
                    (id,),
                ).rowcount
    with transaction(connection):
        connection.execute("INSERT INTO tombstones VALUES (?, ?, ?, ?)", (mark, now, traces, votes))
    give_back(connection)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return Forgotten(traces=traces, feedback=votes, tombstone=mark)


def _without(trace: Trace, document: str, key: bytes, mark: str, now: float) -> Trace:
    bare = without_content(trace, key)
    data = renamed(trace_to_json(bare), document, f"forgotten:{mark[:16]}")
    data["record"]["forgotten"] = [*data["record"].get("forgotten", ()), {"hash": mark, "at": now}]
    return trace_from_json(data)


def renamed(value: Any, name: str, mark: str) -> Any:
    """JSON data with every string that is ``name`` replaced, keys included."""
    if isinstance(value, str):
        return mark if value == name else value
    if isinstance(value, dict):
        return {renamed(key, name, mark): renamed(item, name, mark) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, name, mark) for item in value]
    return value


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
