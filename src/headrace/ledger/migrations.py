"""The ledger's tables, one numbered step after another.

Not here: what is written into them (``records.py``, ``feedback.py``).
"""

from __future__ import annotations

from headrace.database import Format, Step
from headrace.ledger import figures

# ``body`` is the whole trace: JSON in UTF-8, deflated; the other columns are what lists show and
# filter by, and can be made again from it. ``words`` is normalised text for searching.
# ``current`` is 1 for the latest vote of one user on one trace.
_STEPS: tuple[Step, ...] = (
    (
        """CREATE TABLE traces (
            id TEXT PRIMARY KEY, start REAL NOT NULL, seconds REAL NOT NULL,
            app TEXT NOT NULL, release TEXT NOT NULL, user TEXT NOT NULL, session TEXT NOT NULL,
            status TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL,
            bytes INTEGER NOT NULL, words TEXT NOT NULL, body BLOB NOT NULL)""",
        "CREATE INDEX traces_by_time ON traces (start, id)",
        "CREATE INDEX traces_by_user ON traces (user) WHERE user <> ''",
        """CREATE TABLE feedback (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, trace_id TEXT NOT NULL,
            value TEXT NOT NULL CHECK (value IN ('up', 'down')), comment TEXT NOT NULL,
            correction TEXT NOT NULL, user TEXT NOT NULL, at REAL NOT NULL, current INTEGER NOT NULL)""",
        "CREATE INDEX feedback_by_trace ON feedback (trace_id, user)",
        "CREATE INDEX feedback_by_user ON feedback (user) WHERE user <> ''",
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
        "CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
        "INSERT INTO secrets VALUES ('key', randomblob(32))",
        """CREATE TABLE tombstones (
            hash TEXT NOT NULL, at REAL NOT NULL, traces INTEGER NOT NULL, feedback INTEGER NOT NULL)""",
    ),
    (*figures.TABLE, figures.fill),
)

LEDGER = Format(
    application_id=0x48524C47,  # "HRLG"
    noun="ledger",
    steps=_STEPS,
    foreign="Move it away: the next run begins a new ledger.",
    newer="Use the newer Headrace that wrote it, or move the file away to begin a new ledger.",
    damaged="Move the file away (keep it with its -wal): the next run begins a new ledger.",
)
