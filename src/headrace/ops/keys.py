"""API keys of a project: who may ask its server, and for what. Made, listed and revoked at any time.

A key is ``hr_ID_SECRET`` with a secret of 256 random bits, shown once. Stored is its SHA-256 alone,
in ``.headrace/keys.sqlite`` (mode 600): a secret that long cannot be found by trying, so a slow hash
would add nothing. A server sees a change of the file at its next request. Not here: what a request
needs which scope for (``web/security.py``).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import InputError, NewerVersion, NotFound, StateError
from headrace.settings import STATE

FILE = "keys.sqlite"
SCOPES = ("invoke", "feedback", "read", "admin")
USUAL = ("invoke", "feedback", "read")
USE_NOTED = 60.0  # seconds between two notes of a key's last use

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL, scopes TEXT NOT NULL,
    created REAL NOT NULL, used REAL, revoked REAL) WITHOUT ROWID
"""
_TOKEN = re.compile(r"hr_([0-9a-f]{12})_[A-Za-z0-9_-]{43}\Z")


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key without its secret. Times are seconds since the epoch; ``used`` is exact to a minute."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created: float
    used: float | None = None
    revoked: float | None = None

    def allows(self, scope: str) -> bool:
        """Whether it was made for this; ``admin`` is for everything."""
        return scope in self.scopes or "admin" in self.scopes


class Keys:
    """The keys in one folder. Safe between threads and processes; reading creates nothing."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = folder / FILE
        self._clock = clock
        self._lock = threading.Lock()
        self._sql: sqlite3.Connection | None = None
        self._seen: int | None = None  # SQLite's data_version, with which ``_known`` was read
        self._known: dict[str, tuple[str, Key]] = {}  # id → (hash, key)
        self._noted: dict[str, float] = {}  # id → when its use was last written

    # ------------------------------------------------------------------ asking

    @property
    def any(self) -> bool:
        """Whether there is a key, or was one: whoever revokes the last one has not opened the door."""
        return bool(self._read())

    @property
    def good(self) -> bool:
        """Whether a key is there that is not revoked."""
        return any(key.revoked is None for _, key in self._read().values())

    def check(self, token: str) -> Key | None:
        """The key that this is, None where it is none of ours or was revoked. Compared in constant time."""
        shape = _TOKEN.match(token)
        stored, key = self._read().get(shape[1], ("", None)) if shape else ("", None)
        same = hmac.compare_digest(stored.encode(), hash_of(token).encode())
        if not same or key is None or key.revoked is not None:
            return None
        self._note(key.id)
        return key

    def get(self, id: str) -> Key | None:
        """A key by its id, None where it is not there or was revoked."""
        _, key = self._read().get(id, ("", None))
        return key if key is not None and key.revoked is None else None

    def list(self) -> Sequence[Key]:
        """All keys, revoked ones too, oldest first."""
        return sorted((key for _, key in self._read().values()), key=lambda key: key.created)

    # ------------------------------------------------------------------ changing

    def create(self, name: str, scopes: Sequence[str] = USUAL) -> tuple[str, Key]:
        """(the token, the key). The token cannot be shown again."""
        if not name.strip() or len(name) > 100 or not name.isprintable():
            raise InputError(f"{name!r} cannot be the name of a key.", hint="Name who or what will use it.")
        for scope in scopes:
            if scope not in SCOPES:
                raise InputError(f"{scope!r} is not a scope.", hint=f"Known: {', '.join(SCOPES)}.")
        if not scopes:
            raise InputError("A key without a scope opens nothing.", hint=f"Known: {', '.join(SCOPES)}.")
        token = f"hr_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"
        found = _TOKEN.match(token)
        assert found is not None
        ordered = tuple(scope for scope in SCOPES if scope in scopes)
        key = Key(id=found[1], name=name.strip(), scopes=ordered, created=self._clock())
        with self._writing() as sql:
            if sql.execute("SELECT 1 FROM keys WHERE name = ? AND revoked IS NULL", (key.name,)).fetchone():
                raise InputError(
                    f"There is a key {key.name!r} already.", hint="Revoke it first, or choose another name."
                )
            row = (key.id, key.name, hash_of(token), " ".join(ordered), key.created)
            sql.execute("INSERT INTO keys (id, name, hash, scopes, created) VALUES (?, ?, ?, ?, ?)", row)
        return token, key

    def revoke(self, given: str) -> Key:
        """By name or id: refused from now on, by servers that run, too. NotFound."""
        with self._writing() as sql:
            row = sql.execute(
                "SELECT id FROM keys WHERE (name = ? OR id = ?) AND revoked IS NULL", (given, given)
            ).fetchone()
            if row is None:
                names = [name for (name,) in sql.execute("SELECT name FROM keys WHERE revoked IS NULL")]
                raise NotFound(
                    f"There is no key {given!r}.",
                    hint=f"There are: {', '.join(sorted(names))}." if names else "There is none at all.",
                )
            sql.execute("UPDATE keys SET revoked = ? WHERE id = ?", (self._clock(), row[0]))
        return self._read()[row[0]][1]

    # ------------------------------------------------------------------ the file

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._sql is not None:
                self._sql.close()
                self._sql = None

    def _open(self, *, create: bool) -> sqlite3.Connection | None:
        if self._sql is None:
            if not create and not self.path.exists():
                return None
            if create and not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
            sql = sqlite3.connect(self.path, timeout=10.0, isolation_level=None, check_same_thread=False)
            try:
                self._migrate(sql)
            except BaseException:
                sql.close()
                raise
            self._sql = sql
        return self._sql

    def _migrate(self, sql: sqlite3.Connection) -> None:
        (version,) = sql.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise NewerVersion(
                f"{str(self.path)!r} is of version {version}; this Headrace knows {_VERSION}.",
                hint="Use the newer Headrace that wrote it.",
            )
        sql.execute("PRAGMA synchronous = FULL")
        if version < _VERSION:
            sql.execute(_TABLES)
            sql.execute(f"PRAGMA user_version = {_VERSION}")

    def _read(self) -> dict[str, tuple[str, Key]]:
        with self._lock, _explained(self.path):
            sql = self._open(create=False)
            if sql is None:
                return {}
            (seen,) = sql.execute("PRAGMA data_version").fetchone()
            if seen != self._seen:
                self._load(sql, seen)
            return self._known

    def _load(self, sql: sqlite3.Connection, seen: int) -> None:
        rows = sql.execute("SELECT id, hash, name, scopes, created, used, revoked FROM keys")
        self._known = {
            id: (
                stored,
                Key(id=id, name=name, scopes=tuple(scopes.split()), created=at, used=used, revoked=gone),
            )
            for id, stored, name, scopes, at, used, gone in rows
        }
        self._seen = seen

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _explained(self.path):
            sql = self._open(create=True)
            assert sql is not None
            sql.execute("BEGIN IMMEDIATE")
            try:
                yield sql
                sql.execute("COMMIT")
            except BaseException:
                sql.execute("ROLLBACK")
                raise
            finally:
                self._seen = None  # data_version is about other connections' changes only

    def _note(self, id: str) -> None:
        """Remember the use of a key, at most once a minute and off the road of the request."""
        now = self._clock()
        if now - self._noted.get(id, 0.0) < USE_NOTED:
            return
        self._noted[id] = now
        threading.Thread(target=self._write_use, args=(id, now), name="headrace-keys", daemon=True).start()

    def _write_use(self, id: str, now: float) -> None:
        try:
            with self._writing() as sql:
                sql.execute("UPDATE keys SET used = ? WHERE id = ?", (now, id))
        except StateError:  # a disk that is full or read-only: the key is good all the same
            self._noted.pop(id, None)


def hash_of(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def pass_secret(folder: Path) -> str:
    """What the passes of signed-in browsers are signed with: a file of its own, made when first needed.

    Not the keys' hashes: a copy of their file must not be enough to make a pass.
    """
    path = folder / "pass.secret"
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii")
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text := secrets.token_hex(32))
    return text


def keys_of(root: Path) -> Keys:
    """The keys of a project."""
    return Keys(root / STATE)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(
            f"The keys in {str(path)!r} cannot be used: {error}.",
            hint="Check that the file may be read and written, and that the disk has room.",
        ) from error
