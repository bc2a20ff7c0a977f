"""The registry: which releases there are, which alias points to which, and what was ever done.

One SQLite file per project (write-ahead log, ``synchronous=FULL``), shared by any number of
processes. Every change is one transaction that also writes the log. It knows no bundle and no gate.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.database import transaction
from headrace.errors import InputError, NotFound
from headrace.protocols import Clock
from headrace.releases.entries import (
    ALIASES,
    SELECT,
    Entry,
    Live,
    Move,
    check_name,
    entry_of,
    release_of,
    require_unmoved,
    split,
)
from headrace.releases.schema import REGISTRY, connect
from headrace.types import Release

FILE = "registry.sqlite"
_HEX = re.compile(r"[0-9a-f]{4,64}\Z")
_VERSION = re.compile(r"v(\d+)\Z|(\d{1,3})\Z")


class Registry:
    """The releases of one project, in ``folder``. Reading creates nothing; safe between threads."""

    def __init__(self, folder: Path, *, clock: Clock = time.time) -> None:
        self.folder = Path(folder)
        self.path = self.folder / FILE
        self.clock = clock
        self._lock = threading.RLock()
        self._sql: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._sql is not None:
                self._sql.close()
                self._sql = None

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        with self._lock, REGISTRY.explained(self.path):
            if self._sql is None:
                self._sql = connect(self.path, create=False)
            if self._sql is None:
                yield None
                return
            with transaction(self._sql, write=False):
                yield self._sql

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, REGISTRY.explained(self.path):
            if self._sql is None:
                self._sql = connect(self.path, create=True)
            assert self._sql is not None
            with transaction(self._sql):
                yield self._sql

    # ------------------------------------------------------------------ reading

    def revision(self) -> int:
        """Changes with every write, in whatever process; cheap. 0 where nothing was ever released."""
        with self._reading() as sql:
            return _revision(sql) if sql is not None else 0

    def live(self, name: str) -> Live:
        """Where the aliases of a name point now."""
        with self._reading() as sql:
            return _live(sql, name) if sql is not None else Live(name=name)

    def names(self) -> list[str]:
        """The names under which something was released, sorted."""
        with self._reading() as sql:
            rows = sql.execute("SELECT DISTINCT name FROM releases ORDER BY name") if sql else ()
            return [row[0] for row in rows]

    def releases(self, name: str | None = None) -> list[Release]:
        """The releases of a name (of all names), newest first."""
        with self._reading() as sql:
            if sql is None:
                return []
            where, values = ("WHERE name = ?", (name,)) if name is not None else ("", ())
            rows = sql.execute(f"{SELECT} {where} ORDER BY created DESC, name, version DESC", values)
            return [release_of(row) for row in rows]

    def release(self, id: str, name: str | None = None) -> Release:
        """A release by the beginning of its id (4 characters or more), or by NAME and version. NotFound."""
        found: list[Release] = []
        if name is not None and (version := _VERSION.match(id)):
            found = [r for r in self.releases(name) if r.version == int(version[1] or version[2])]
        elif _HEX.match(id):
            with self._reading() as sql:
                if sql is not None:
                    rows = sql.execute(
                        f"{SELECT} WHERE id >= ? AND id < ? ORDER BY id LIMIT 9", (id, id + "g")
                    )
                    found = [r for r in map(release_of, rows) if name in (None, r.name)]
        if len(found) > 1:
            raise InputError(
                f"{len(found)} releases begin with {id!r}.",
                hint="Give more of the id: " + ", ".join(r.id[:16] for r in found),
            )
        if not found:
            known = self.releases(name)[:5]
            raise NotFound(
                f"There is no release {id!r}" + (f" of {name!r}." if name else "."),
                hint="The newest are " + ", ".join(f"{r.id[:12]} ({r.name} {r.version})" for r in known) + "."
                if known
                else "Nothing was released yet: headrace release",
            )
        return found[0]

    def resolve(self, target: str) -> Release:
        """``NAME@ALIAS`` (staging, production, canary) or ``NAME@ID`` → the release. NotFound."""
        name, alias = split(target)
        if alias in ALIASES:
            id = self.live(name).at(alias)
            if id is None:
                raise NotFound(
                    f"There is no release {target!r}: that alias points nowhere.",
                    hint=self._hint(name, alias),
                )
            return self.release(id)
        return self.release(alias, name)

    def log(self, name: str | None = None) -> list[Entry]:
        """What was done, oldest first."""
        with self._reading() as sql:
            if sql is None:
                return []
            where, values = ("WHERE name = ?", (name,)) if name is not None else ("", ())
            rows = sql.execute(
                "SELECT name, at, who, what, why, alias, release, previous, percent, verdict, gates"
                f" FROM log {where} ORDER BY seq",
                values,
            ).fetchall()
        return [entry_of(row) for row in rows]

    def tested(self, id: str) -> bool:
        """Whether this release was loaded from here by a fresh process, verified, and has run."""
        with self._reading() as sql:
            return sql is not None and bool(
                sql.execute(
                    "SELECT 1 FROM log WHERE release = ? AND what = 'test' AND verdict = 'passed' LIMIT 1",
                    (id,),
                ).fetchone()
            )

    def _hint(self, name: str, alias: str) -> str:
        known = self.names()
        if name not in known:
            return f"Released so far: {', '.join(known)}." if known else "Make one first: headrace release"
        if alias == "canary":
            return f"No canary is running: headrace promote {name}@production --canary 5%"
        return f"Point it to one: headrace promote {name}@{alias}"

    # ------------------------------------------------------------------ writing

    def add(
        self,
        *,
        id: str,
        name: str,
        manifest: Mapping[str, Any],
        text: str,
        who: str,
        what: str = "release",
        why: str = "",
        gates: Sequence[Mapping[str, Any]] = (),
    ) -> Release:
        """Enter a release under the next version of its name; one that is there already stays as it is.

        ``text`` is the canonical JSON of ``manifest`` whose SHA-256 is ``id``.
        """
        check_name(name)
        with self._writing() as sql:
            known = sql.execute(f"{SELECT} WHERE id = ?", (id,)).fetchone()
            if known is not None:
                return release_of(known)
            version = sql.execute(
                "SELECT coalesce(max(version), 0) + 1 FROM releases WHERE name = ?", (name,)
            ).fetchone()[0]
            at = self.clock()
            sql.execute(
                "INSERT INTO releases (id, name, version, fingerprint, created, manifest)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (id, name, version, str(manifest.get("fingerprint", "")), at, text),
            )
            self._write(sql, Entry(name=name, at=at, who=who, what=what, why=why, release=id))
        return Release(id=id, name=name, version=version, manifest=manifest, created=at)

    def note(
        self,
        name: str,
        what: str,
        *,
        release: str,
        who: str,
        why: str = "",
        alias: str = "",
        verdict: str = "",
        gates: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """A line for the log that moves nothing: a test, a refusal."""
        with self._writing() as sql:
            entry = Entry(
                name=name,
                at=self.clock(),
                who=who,
                what=what,
                why=why,
                alias=alias,
                release=release,
                verdict=verdict,
                gates=tuple(gates),
            )
            self._write(sql, entry)

    def promote(
        self,
        name: str,
        alias: str,
        release: str,
        *,
        who: str,
        why: str = "",
        verdict: str = "passed",
        gates: Sequence[Mapping[str, Any]] = (),
        percent: float | None = None,
        expected: Live | None = None,
    ) -> Move:
        """Point an alias to a release; with ``percent``, make it the canary beside production.

        ``expected`` is what :meth:`live` said when the promotion was judged: Conflict where this
        alias (or the canary) has moved since, because the judgement may no longer hold.
        """
        if alias not in ("staging", "production"):
            raise InputError(f"{alias!r} is not an alias.", hint="Use staging or production.")
        if percent is not None and (alias != "production" or not 0 < percent < 100):
            raise InputError(
                f"A canary of {percent!r} percent of {name}@{alias} makes no sense.",
                hint="Canaries are for production, above 0 % and below 100 %.",
            )
        self.release(release, name)
        with self._writing() as sql:
            now = _live(sql, name)
            if expected is not None:
                require_unmoved(expected, now, alias)
            if percent is not None:
                if now.production is None:
                    raise InputError(
                        f"{name}@production points to no release: there is nothing to put a canary beside.",
                        hint=f"Promote without --canary first: headrace promote {name}@production",
                    )
                if now.production == release:
                    raise InputError(
                        f"{release[:12]} is {name}@production already.",
                        hint="Name another release: --release ID",
                    )
                _point(sql, name, "canary", release, percent)
                previous: str | None = now.production
            else:
                _point(sql, name, alias, release, None)
                previous = now.at(alias)
                if alias == "production":
                    sql.execute("DELETE FROM aliases WHERE name = ? AND alias = 'canary'", (name,))
                    if previous != release:
                        sql.execute("INSERT INTO history (name, release) VALUES (?, ?)", (name, release))
            entry = Entry(
                name=name,
                at=self.clock(),
                who=who,
                what="promote" if percent is None else "canary",
                why=why,
                alias=alias,
                release=release,
                previous=previous,
                percent=percent,
                verdict=verdict,
                gates=tuple(gates),
            )
            revision = self._write(sql, entry)
        return Move(
            name=name, alias=alias, release=release, previous=previous, percent=percent, revision=revision
        )

    def rollback(self, name: str, *, who: str, why: str = "", expected: Live | None = None) -> Move:
        """Undo the last promotion of production: take a running canary away, else bring back the
        predecessor. Repeated, it walks further back. NotFound where nothing is left to go back to;
        Conflict where production is not what ``expected`` says.
        """
        with self._writing() as sql:
            now = _live(sql, name)
            if expected is not None:
                require_unmoved(expected, now, "production")
            if now.production is None:
                raise NotFound(
                    f"{name}@production points to no release: there is nothing to roll back.",
                    hint=f"Released so far: {', '.join(_names(sql)) or 'nothing'}.",
                )
            gone = now.canary or now.production
            to = now.previous if now.canary is None else now.production
            if to is None:
                raise NotFound(
                    f"{name}@production has no predecessor: {now.production[:12]} was the first.",
                    hint=f"Promote another release: headrace promote {name}@production --release ID",
                )
            if now.canary is not None:
                sql.execute("DELETE FROM aliases WHERE name = ? AND alias = 'canary'", (name,))
            else:
                sql.execute(
                    "DELETE FROM history WHERE seq = (SELECT max(seq) FROM history WHERE name = ?)", (name,)
                )
                _point(sql, name, "production", to, None)
            entry = Entry(
                name=name,
                at=self.clock(),
                who=who,
                what="rollback",
                why=why,
                alias="production",
                release=to,
                previous=gone,
                verdict="rolled back",
            )
            revision = self._write(sql, entry)
        return Move(name=name, alias="production", release=to, previous=gone, revision=revision)

    def _write(self, sql: sqlite3.Connection, entry: Entry) -> int:
        found = sql.execute(
            "INSERT INTO log (name, at, who, what, alias, release, previous, percent, verdict, why, gates)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.name,
                entry.at,
                entry.who,
                entry.what,
                entry.alias,
                entry.release,
                entry.previous,
                entry.percent,
                entry.verdict,
                entry.why,
                json.dumps([dict(gate) for gate in entry.gates], ensure_ascii=False),
            ),
        ).lastrowid
        assert found is not None
        return found


# --------------------------------------------------------------------------- rows


def _revision(sql: sqlite3.Connection) -> int:
    return int(sql.execute("SELECT coalesce(max(seq), 0) FROM log").fetchone()[0])


def _names(sql: sqlite3.Connection) -> list[str]:
    return [row[0] for row in sql.execute("SELECT DISTINCT name FROM releases ORDER BY name")]


def _live(sql: sqlite3.Connection, name: str) -> Live:
    rows = sql.execute("SELECT alias, release, percent FROM aliases WHERE name = ?", (name,)).fetchall()
    held = {alias: (release, percent) for alias, release, percent in rows}
    past = sql.execute(
        "SELECT release FROM history WHERE name = ? ORDER BY seq DESC LIMIT 2", (name,)
    ).fetchall()
    canary = held.get("canary", (None, 0.0))
    return Live(
        name=name,
        production=held.get("production", (None, None))[0],
        previous=past[1][0] if len(past) > 1 else None,
        staging=held.get("staging", (None, None))[0],
        canary=canary[0],
        percent=float(canary[1] or 0.0),
        revision=_revision(sql),
    )


def _point(sql: sqlite3.Connection, name: str, alias: str, release: str, percent: float | None) -> None:
    sql.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?, ?, ?)", (name, alias, release, percent))
