"""A few numbers per run, in a narrow table of their own: what monitoring counts without opening a trace.

``traces`` holds the record, deflated, some kilobytes a run; a question about a week would have to
walk through all of it. ``figures`` has one row of about a hundred bytes a run, in the order
(application, time), and no text that anybody wrote. Runs of an evaluation are not in it. A row leaves
with its trace (a trigger).

Here: how a row is made from a trace, and how the rows of an older ledger are filled in. Counting
them is ``traffic.py``.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping
from typing import Any

from headrace.ledger.content import error_kind, is_summary
from headrace.ledger.records import question_of, status_of
from headrace.request import EVALUATION

COLUMNS = (
    "app, start, id, release, status, problem, seconds, asked, relevance, input_tokens, output_tokens, cost"
)

# problem: the class of the error, "" where there was none. seconds: of the whole run. asked: length of
# the question in code points, NULL where no text was asked. relevance: of the best passage, NULL where
# nothing was searched. cost: US dollars, NULL where no price is known.
TABLE = (
    """CREATE TABLE figures (
        app TEXT NOT NULL, start REAL NOT NULL, id TEXT NOT NULL, release TEXT NOT NULL,
        status TEXT NOT NULL, problem TEXT NOT NULL, seconds REAL NOT NULL, asked INTEGER,
        relevance REAL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cost REAL,
        PRIMARY KEY (app, start, id)) WITHOUT ROWID""",
    """CREATE TRIGGER figures_leave AFTER DELETE ON traces BEGIN
        DELETE FROM figures WHERE app = OLD.app AND start = OLD.start AND id = OLD.id; END""",
    """CREATE TRIGGER figures_move AFTER UPDATE OF app, start ON traces BEGIN
        DELETE FROM figures WHERE app = OLD.app AND start = OLD.start AND id = OLD.id; END""",
    "CREATE INDEX feedback_by_time ON feedback (at) WHERE current = 1",
)
INSERT = f"INSERT OR REPLACE INTO figures ({COLUMNS}) VALUES ({', '.join('?' * len(COLUMNS.split(',')))})"


def of(data: Mapping[str, Any], app: str, release: str) -> tuple[Any, ...]:
    """The values of ``COLUMNS`` from a trace as plain data; ``app`` and ``release`` as its row has them."""
    record = data["record"] if isinstance(data["record"], Mapping) else {}
    used = [item for item in _listed(record, "usage") if isinstance(item, Mapping)]
    costs = [float(item["cost"]) for item in used if _is_number(item.get("cost"))]
    error = data["error"]
    return (
        app,
        float(data["start"]),
        data["id"],
        release,
        status_of(data),
        (error_kind(str(error)) or "error") if error is not None else "",
        float(data["seconds"]),
        _asked(data["inputs"]),
        _best(record, data["spans"]),
        sum(int(item.get("input_tokens") or 0) for item in used),
        sum(int(item.get("output_tokens") or 0) for item in used),
        sum(costs) if costs else None,
    )


def counts(data: Mapping[str, Any]) -> bool:
    """Whether a trace is traffic: a run that measures is not."""
    context = data.get("context")
    return not (isinstance(context, Mapping) and context.get("session") == EVALUATION)


def _best(record: Mapping[str, Any], spans: Any) -> float | None:
    """The relevance of the best passage, also of one that a threshold kept back; 0 where none was found."""
    found: list[Any] = [
        item.get("relevance") for item in _listed(record, "passages") if isinstance(item, Mapping)
    ]
    for span in spans if isinstance(spans, (list, tuple)) else ():
        if isinstance(span, Mapping) and span.get("kind") == "retrieve":
            found.append((span.get("attributes") or {}).get("best_relevance"))
    numbers = [float(value) for value in found if _is_number(value)]
    if numbers:
        return max(numbers)
    return 0.0 if _listed(record, "kb_versions") else None


def _asked(inputs: Any) -> int | None:
    """The length of the question; of one whose text was not kept, the length that was noted."""
    if not isinstance(inputs, Mapping):
        return None
    if (question := question_of(inputs)) and not any(is_summary(value) for value in inputs.values()):
        return len(question)
    for value in inputs.values():
        if is_summary(value) and value["type"] == "str":
            return int(value["length"])
    return None


def _listed(record: Mapping[str, Any], name: str) -> list[Any]:
    value = record.get(name)
    return list(value) if isinstance(value, (list, tuple)) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def fill(connection: sqlite3.Connection) -> None:
    """Rows for the traces of an older ledger, from their bodies; part of a migration's transaction."""
    last = ""
    while True:
        some = connection.execute(
            "SELECT id, app, release, body, start, status, seconds FROM traces "
            "WHERE id > ? ORDER BY id LIMIT 500",
            (last,),
        ).fetchall()
        if not some:
            return
        last = some[-1][0]
        connection.executemany(INSERT, [made for row in some if (made := _of_row(*row)) is not None])


def _of_row(
    id: str, app: str, release: str, body: bytes, start: float, status: str, seconds: float
) -> tuple[Any, ...] | None:
    """The figures of a stored trace, None where it is no traffic; of one whose body cannot be read,
    what its row says."""
    try:
        data = json.loads(zlib.decompress(body).decode("utf-8", "surrogatepass"))
        return of(data, app, release) if counts(data) else None
    except (zlib.error, ValueError, KeyError, TypeError):
        problem = "error" if status == "error" else ""
        return (app, start, id, release, status, problem, seconds, None, None, 0, 0, None)
