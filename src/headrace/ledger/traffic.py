"""Counting runs and votes of a time: sums per release and per step of time, and what quantiles need.

Read from the narrow table ``figures`` (see ``figures.py``), so that a hundred thousand runs take a
fraction of a second and no trace is opened. Functions over an open connection; what the numbers
mean, intervals and alarms included, is the business of whoever asks.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Count, sum and sum of squares of a quantity: enough for a mean and its spread."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            n=self.n + other.n, total=self.total + other.total, squares=self.squares + other.squares
        )


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What runs add up to. ``priced`` of them have a known ``cost`` (US dollars).

    ``asked``: length of the question in code points; ``relevance``: of the best passage.
    """

    runs: int = 0
    errors: int = 0
    abstained: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    priced: int = 0
    cost: float = 0.0
    asked: Moments = field(default_factory=Moments)
    relevance: Moments = field(default_factory=Moments)

    def __add__(self, other: Sums) -> Sums:
        return Sums(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Sums)})


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """The runs of one application in ``[since, until)``.

    ``sums`` per (release, step): step n covers ``[n·every, (n+1)·every)`` seconds since the epoch.
    ``seconds`` per (release, step): how long each run took. ``problems`` per release: error class →
    runs. ``first`` per release: when it first answered in this time. A release that is none (the
    working copy) is "".
    """

    since: float
    until: float
    every: float
    sums: Mapping[tuple[str, int], Sums]
    seconds: Mapping[tuple[str, int], array[float]]
    problems: Mapping[str, Mapping[str, int]]
    first: Mapping[str, float]


class Vote(NamedTuple):
    """A vote that counts, the latest of its user on a trace; ``release`` answered."""

    at: float
    up: bool
    release: str
    user: str
    id: str


_WHERE = "FROM figures WHERE app = ? AND start >= ? AND start < ?"


def traffic(
    connection: sqlite3.Connection,
    app: str,
    since: float,
    until: float,
    every: float,
    *,
    with_seconds: bool = True,
) -> Traffic:
    """See :class:`Traffic`. ``every`` in seconds. Without ``with_seconds`` those are empty: quicker."""
    values = (app, since, until)
    sums: dict[tuple[str, int], Sums] = {}
    seconds: dict[tuple[str, int], array[float]] = {}
    # A row of Python per run would take most of the time; as JSON they come in one piece.
    listed = "json_group_array(seconds)" if with_seconds else "'[]'"
    first: dict[str, float] = {}
    for row in connection.execute(
        f"""SELECT release, CAST(start / ? AS INTEGER) AS step, count(*), sum(status = 'error'),
            sum(status = 'abstained'), sum(input_tokens), sum(output_tokens), count(cost), total(cost),
            count(asked), total(asked), total(asked * asked),
            count(relevance), total(relevance), total(relevance * relevance), min(start),
            {listed}
            {_WHERE} GROUP BY release, step""",
        (every, *values),
    ):
        sums[row[0], row[1]] = Sums(
            runs=row[2],
            errors=row[3],
            abstained=row[4],
            input_tokens=row[5],
            output_tokens=row[6],
            priced=row[7],
            cost=row[8],
            asked=Moments(n=row[9], total=row[10], squares=row[11]),
            relevance=Moments(n=row[12], total=row[13], squares=row[14]),
        )
        first[row[0]] = min(row[15], first.get(row[0], row[15]))
        seconds[row[0], row[1]] = array("d", json.loads(row[16]))
    problems: dict[str, dict[str, int]] = {}
    for release, problem, runs in connection.execute(
        f"SELECT release, problem, count(*) {_WHERE} AND status = 'error' "
        "GROUP BY release, problem ORDER BY count(*) DESC, problem",
        values,
    ):
        problems.setdefault(release, {})[problem] = runs
    return Traffic(
        since=since, until=until, every=every, sums=sums, seconds=seconds, problems=problems, first=first
    )


def votes(connection: sqlite3.Connection, app: str, since: float, until: float) -> list[Vote]:
    """The votes that count on runs of an application, in the order in which they were given."""
    rows = connection.execute(
        "SELECT feedback.at, feedback.value = 'up', traces.release, feedback.user, feedback.id FROM feedback "
        "JOIN traces ON traces.id = feedback.trace_id WHERE feedback.current = 1 AND traces.app = ? "
        "AND feedback.at >= ? AND feedback.at < ? ORDER BY feedback.at, feedback.seq",
        (app, since, until),
    )
    return [Vote(at, up == 1, release, user, id) for at, up, release, user, id in rows]


def apps(connection: sqlite3.Connection) -> list[str]:
    """The applications that have runs."""
    return [name for (name,) in connection.execute("SELECT DISTINCT app FROM figures ORDER BY app")]
