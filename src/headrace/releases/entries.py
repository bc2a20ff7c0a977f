"""The words of the registry: where aliases point, what a move did, a line of the log, and names.

Plain data and checks; nothing here opens a file.
"""

from __future__ import annotations

import datetime
import getpass
import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.errors import Conflict, InputError
from headrace.types import Release

ALIASES = ("staging", "production", "canary")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*\Z")
_TAKEN = ("export", "import", "show", "verify")  # words of `headrace releases`


@dataclass(frozen=True, kw_only=True)
class Live:
    """Where a name's aliases point (release ids, None: nowhere) at one ``revision`` of the registry.

    ``canary`` takes ``percent`` of the users besides ``production``; ``previous`` is what a
    rollback would bring back.
    """

    name: str
    production: str | None = None
    previous: str | None = None
    staging: str | None = None
    canary: str | None = None
    percent: float = 0.0
    revision: int = 0

    def at(self, alias: str) -> str | None:
        """The release behind ``staging``, ``production`` or ``canary``."""
        found: str | None = getattr(self, alias)
        return found


@dataclass(frozen=True, kw_only=True)
class Move:
    """What a promotion or a rollback did: ``alias`` went from ``previous`` to ``release``."""

    name: str
    alias: str
    release: str
    previous: str | None
    percent: float | None = None
    revision: int = 0


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the log. ``what``: release, import, test, promote, canary, refuse, rollback."""

    name: str
    at: float
    who: str
    what: str
    why: str
    alias: str = ""
    release: str | None = None
    previous: str | None = None
    percent: float | None = None
    verdict: str = ""
    gates: tuple[Mapping[str, Any], ...] = ()

    def __json__(self) -> dict[str, Any]:
        when = datetime.datetime.fromtimestamp(self.at, datetime.UTC)
        return {
            "who": self.who,
            "when": when.isoformat(timespec="milliseconds"),
            "what": self.what,
            "why": self.why,
            "alias": self.alias,
            "release_id": self.release,
            "previous": self.previous,
            "percent": self.percent,
            "verdict": self.verdict,
            "gates": list(self.gates),
        }


def split(target: str) -> tuple[str, str]:
    """``NAME@ALIAS`` → (name, alias). InputError where it is none."""
    name, at, alias = target.partition("@")
    if not at or not name or not alias:
        raise InputError(
            f"{target!r} does not name a release.",
            hint="Write NAME@ALIAS, for example handbook@production, or NAME@ID.",
        )
    return name, alias


def check_name(name: str) -> None:
    """Raise InputError unless releases can be kept under this name."""
    if not _NAME.match(name) or len(name) > 100 or name in _TAKEN:
        raise InputError(
            f"{name!r} cannot be the name of a release.",
            hint="Use letters, digits, '_', '-' and '.', beginning with a letter, and none of the words "
            + ", ".join(_TAKEN)
            + ".",
        )


def require_unmoved(expected: Live, now: Live, alias: str) -> None:
    """Raise Conflict where this alias (for production, the canary too) is not what was expected."""
    for part in {alias, "canary"} if alias == "production" else {alias}:
        before, after = expected.at(part), now.at(part)
        if before != after:
            raise Conflict(
                f"{now.name}@{part} has moved while this promotion was judged:"
                f" {(before or 'nothing')[:12]} then, {(after or 'nothing')[:12]} now.",
                hint="Nothing was changed. Look at `headrace releases "
                f"{now.name}`, and promote again if you still want to.",
            )


def whoami() -> str:
    """``user@machine``, for the log."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}"


# --------------------------------------------------------------------------- rows

SELECT = "SELECT id, name, version, created, manifest FROM releases"


def release_of(row: tuple[str, str, int, float, str]) -> Release:
    """A release from its row (``SELECT``)."""
    return Release(id=row[0], name=row[1], version=row[2], created=row[3], manifest=json.loads(row[4]))


def entry_of(row: tuple[Any, ...]) -> Entry:
    """A line of the log from its row."""
    name, at, who, what, why, alias, release, previous, percent, verdict, gates = row
    return Entry(
        name=name,
        at=at,
        who=who,
        what=what,
        why=why,
        alias=alias,
        release=release,
        previous=previous,
        percent=percent,
        verdict=verdict,
        gates=tuple(json.loads(gates)),
    )
