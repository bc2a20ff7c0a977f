"""The ledger: what every run of an application did, and what people said about it.

One SQLite file (WAL). Traces are written off the road from question to answer (``writer.py`` says
what that promises); feedback is different: it is acknowledged only when it is on the disk. Several
processes may write one ledger. Reading one that does not exist shows an empty one and creates
nothing. Not here: collecting a trace (``headrace.tracing``).
"""

from __future__ import annotations

import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from headrace.database import transaction
from headrace.errors import InputError, NotFound
from headrace.ledger import feedback as votes
from headrace.ledger import queries, retention, traffic
from headrace.ledger.connection import explained, open_for_reading, open_for_writing
from headrace.ledger.content import Mask
from headrace.ledger.feedback import By, FeedbackCount
from headrace.ledger.records import TraceRow, settled, unpack
from headrace.ledger.retention import Forgotten
from headrace.ledger.traffic import Traffic, Vote
from headrace.ledger.writer import Writer
from headrace.settings import LedgerSettings
from headrace.tracing import new_id
from headrace.types import Feedback, Trace

__all__ = ["FeedbackCount", "Forgotten", "Ledger", "TraceRow"]

READ_FLUSH_SECONDS = 5.0  # how long a reader waits for this process's own traces


class Ledger:
    """Traces and feedback of one project. Safe to share between threads.

    >>> from headrace.settings import LedgerSettings
    >>> ledger = Ledger.open(Path("nowhere") / "ledger.sqlite", LedgerSettings())
    >>> ledger.count(), ledger.exists
    (0, False)
    """

    def __init__(
        self, path: Path, settings: LedgerSettings, clock: Callable[[], float], mask: Mask | None = None
    ) -> None:
        self.path = path
        self.settings = settings
        self._clock = clock
        self._writer = Writer(path, settings, clock, mask)
        # A ledger that nobody holds any more lets go of its thread and its file.
        weakref.finalize(self, self._writer.ask_to_stop).atexit = False

    @classmethod
    def open(
        cls,
        path: Path,
        settings: LedgerSettings,
        *,
        clock: Callable[[], float] = time.time,
        mask: Mask | None = None,
    ) -> Ledger:
        """The ledger at ``path``. The file is made by the first trace or vote.

        ``mask`` takes personal data out of a text, for settings that ask for it.

        Raises NewerVersion where a newer Headrace wrote it, Corrupt where it is damaged.
        """
        ledger = cls(path.absolute(), settings, clock, mask)
        with ledger._reading(flush=False):
            return ledger

    # ------------------------------------------------------------------ writing

    @property
    def enabled(self) -> bool:
        """False where ``[ledger] enabled`` is off: ``record`` does nothing, runs have no trace id."""
        return self.settings.enabled

    @property
    def exists(self) -> bool:
        """Whether there is a file already."""
        return self.path.exists()

    @property
    def problem(self) -> str:
        """Why traces could not be written lately; "" where they could."""
        return self._writer.problem

    @property
    def dropped(self) -> int:
        """Traces that were never written: the queue was full, or the file could not be used."""
        with self._reading(flush=False) as connection:
            if connection is None:
                return self._writer.dropped
            row = connection.execute("SELECT value FROM counters WHERE name = 'dropped'").fetchone()
            return (int(row[0]) if row else 0) + self._writer.dropped

    def record(self, trace: Trace) -> None:
        """Hand a finished run over. Returns at once: never blocks, never raises.

        Inputs and output are taken as they are now; everything else is the ledger's to read later.
        """
        if not self.settings.enabled:
            return
        try:
            item = (trace, settled(trace.inputs), settled(trace.output))
        except Exception as error:  # noqa: BLE001  an application's own objects; the answer goes on
            self._writer.refuse(error)
        else:
            self._writer.put(item)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait (at most ``timeout`` seconds) until what was recorded is committed.

        False where it is not: the time was too short, or ``problem`` says why.
        """
        return self._writer.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Flush and let go of the file. A later ``record`` opens it again."""
        return self._writer.stop(timeout)

    # ------------------------------------------------------------------ reading

    def count(self) -> int:
        """How many traces there are."""
        with self._reading() as connection:
            if connection is None:
                return 0
            return int(connection.execute("SELECT count(*) FROM traces").fetchone()[0])

    def trace(self, given: str) -> Trace | None:
        """The trace with this id, or the only one whose id begins so; None where there is none.

        Ids begin with the time: 12 characters are the millisecond, 16 tell runs apart. Raises
        InputError where several begin so.
        """
        with self._reading() as connection:
            if connection is None or (known := queries.resolve(connection, given)) is None:
                return None
            row = connection.execute("SELECT body FROM traces WHERE id = ?", (known,)).fetchone()
            return None if row is None else unpack(row[0])

    def traces(
        self,
        *,
        limit: int = 50,
        before: str | float | None = None,
        app: str | None = None,
        status: str | None = None,
        user: str | None = None,
        feedback: str | None = None,
        text: str | None = None,
        since: float | None = None,
    ) -> list[TraceRow]:
        """Runs, newest first; every filter narrows.

        ``before``: the id of the last row of the page before, or a time (seconds since the
        epoch, as ``since``). ``status``: ok, error, abstained. ``feedback``: up, down, any, none.
        ``text`` is looked for in inputs and answers, whatever its case.
        """
        queries.require_filters(limit=limit, status=status, feedback=feedback)
        with self._reading() as connection:
            if connection is None:
                return []
            return queries.select(
                connection,
                limit=limit,
                before=before,
                app=app,
                status=status,
                user=user,
                feedback=feedback,
                text=text,
                since=since,
            )

    # ------------------------------------------------------------------ feedback

    def add_feedback(self, feedback: Feedback) -> Feedback:
        """Write a vote; when this returns it is on the disk (``synchronous=FULL``).

        ``trace_id`` may be a unique beginning; ``at`` and ``id`` are filled in where they are
        missing. The same ``id`` again returns the stored vote, so that a sender may repeat itself.
        Every vote is kept; the latest of a user on a trace counts. Where content is switched off,
        comment and correction are not kept. Raises InputError for another value than up or down,
        NotFound for an unknown trace.
        """
        votes.require_value(feedback.value)
        # The vote may be quicker than the trace: both are under way from the same answer.
        self._writer.flush(READ_FLUSH_SECONDS)
        unknown = NotFound(
            f"There is no trace {feedback.trace_id!r} in the ledger.",
            hint="Its time may be over ([ledger] retention_days), or tracing was off.",
        )
        if not self.exists:
            raise unknown
        with self._writing() as connection:
            if feedback.id and (known := votes.by_id(connection, feedback.id)) is not None:
                return known
            if (trace_id := queries.resolve(connection, feedback.trace_id)) is None:
                raise unknown
            at = feedback.at or self._clock()
            keep = self.settings.content
            vote = replace(
                feedback,
                trace_id=trace_id,
                comment=feedback.comment if keep else "",
                correction=feedback.correction if keep else "",
                at=at,
                id=feedback.id or new_id(at),
            )
            with transaction(connection):
                votes.insert(connection, vote)
            return vote

    def feedback(self, trace_id: str) -> list[Feedback]:
        """All votes on a trace (id or unique beginning), oldest first."""
        with self._reading() as connection:
            if connection is None or (known := queries.resolve(connection, trace_id)) is None:
                return []
            return votes.of_trace(connection, known)

    def feedback_counts(
        self, *, app: str | None = None, since: float | None = None, by: By | None = None
    ) -> list[FeedbackCount]:
        """Votes that count: one sum, or one per ``app``, ``release`` or ``day`` (UTC)."""
        with self._reading() as connection:
            if connection is None:
                return [] if by else [FeedbackCount(group="", up=0, down=0)]
            return votes.counts(connection, app=app, since=since, by=by)

    def release_of(self, trace_id: str) -> str | None:
        """The release that made a trace; None for a working copy's, and where there is no such trace."""
        with self._reading(flush=False) as connection:
            if connection is None:
                return None
            row = connection.execute("SELECT release FROM traces WHERE id = ?", (trace_id,)).fetchone()
            return row[0] or None if row is not None else None

    # ------------------------------------------------------------------ counting

    def traffic(
        self, app: str, *, since: float, until: float, every: float = 86400.0, with_seconds: bool = True
    ) -> Traffic:
        """Runs of an application in ``[since, until)``, added up per release and per ``every`` seconds.

        ``with_seconds``: also how long each run took, which quantiles need.
        """
        with self._reading() as connection:
            if connection is None:
                return Traffic(
                    since=since, until=until, every=every, sums={}, seconds={}, problems={}, first={}
                )
            return traffic.traffic(connection, app, since, until, every, with_seconds=with_seconds)

    def votes(self, app: str, *, since: float, until: float) -> list[Vote]:
        """The votes that count on runs of an application, oldest first."""
        with self._reading() as connection:
            return [] if connection is None else traffic.votes(connection, app, since, until)

    def apps(self) -> list[str]:
        """The applications that have runs here."""
        with self._reading() as connection:
            return [] if connection is None else traffic.apps(connection)

    # ------------------------------------------------------------------ what leaves

    def prune(self, now: float | None = None) -> int:
        """Apply the limits of ``[ledger]`` now; returns how many traces were removed."""
        self._writer.flush(READ_FLUSH_SECONDS)
        if not self.exists:
            return 0
        with self._writing() as connection:
            return retention.prune(connection, self.settings, self._clock() if now is None else now)

    def forget_user(self, user: str) -> Forgotten:
        """Erase a user's traces and votes; a keyed hash of the name stays as a tombstone."""
        if not user:
            raise InputError(f"The user {user!r} is empty.", hint="Name the user to forget.")
        self._writer.flush(READ_FLUSH_SECONDS)
        if not self.exists:
            return Forgotten(traces=0, feedback=0, tombstone="")
        with self._writing() as connection:
            return retention.forget_user(connection, user, self._clock())

    def forget_document(self, document: str) -> Forgotten:
        """Erase the texts of all traces that hold a document; makes a ledger where there is none, for
        the tombstone's key."""
        if not document:
            raise InputError(f"The document {document!r} is empty.", hint="Name the document to forget.")
        self._writer.flush(READ_FLUSH_SECONDS)
        with self._writing() as connection:
            return retention.forget_document(connection, document, self._clock())

    # ------------------------------------------------------------------ connections

    @contextmanager
    def _reading(self, *, flush: bool = True) -> Iterator[sqlite3.Connection | None]:
        """A short-lived connection (0.3 ms): none is shared by threads or inherited by children."""
        if flush:
            self._writer.flush(READ_FLUSH_SECONDS)
        with explained(self.path):
            connection = open_for_reading(self.path)
            try:
                yield connection
            finally:
                if connection is not None:
                    connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path):
            connection = open_for_writing(self.path, durable=True)
            try:
                yield connection
            finally:
                connection.close()
