"""Paths → the files to read, in a fixed order. Looks at names and stat only; opens nothing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from headrace import plugins
from headrace.errors import InputError, NotFound
from headrace.protocols import Reader

JUNK = frozenset(("node_modules", "__pycache__", "site-packages", "venv"))  # and everything hidden


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file to read. ``path`` is absolute, links resolved; ``given`` as a person would name it."""

    path: str
    given: str
    size: int
    mtime_ns: int
    suffix: str
    reader: Reader


@dataclass
class Walk:
    """What a walk met. ``folders`` are the roots, ``unreadable`` folders that could not be listed."""

    files: list[Found] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)

    def notes(self) -> tuple[str, ...]:
        """Files that were left out because no reader knows their ending."""
        if not self.unknown:
            return ()
        kinds = ", ".join(f"{n} × {kind}" for kind, n in sorted(self.unknown.items()))
        return (f"left out, no reader knows their ending: {kinds}",)


def walk(paths: Sequence[Path | str]) -> Walk:
    """All files below the paths that a reader knows, each once.

    Hidden ones and folders of tools are left out. A file that is named by itself is always taken,
    as text where its ending is unknown. Links are followed, loops are not. Raises NotFound.
    """
    found = Walk()
    readers: dict[str, Reader | None] = {}
    seen: set[str] = set()
    for path in paths:
        name = os.path.expanduser(os.fspath(path))
        given = PurePath(name).as_posix()
        absolute = os.path.realpath(name)
        if _legible(absolute) != absolute:
            raise InputError(f"The path {_legible(absolute)!r} cannot be used.", hint=_ILLEGIBLE)
        try:
            stat = os.stat(absolute)
        except (OSError, ValueError) as error:
            raise NotFound(
                f"There is no file or folder {os.fspath(path)!r}.",
                hint=f"Looked for {absolute}. Paths start at the current folder.",
            ) from error
        if os.path.isdir(absolute):
            found.folders.append(absolute)
            _folder(absolute, given, found, readers, seen)
        elif absolute not in seen:
            seen.add(absolute)
            suffix = os.path.splitext(absolute)[1].lower()
            reader = _reader(suffix, readers) or plugins.get("readers", ".txt")
            found.files.append(_found(absolute, given, stat, suffix, reader))
    return found


def _folder(path: str, given: str, found: Walk, readers: dict[str, Reader | None], seen: set[str]) -> None:
    if path in seen:  # reached before, by another path or around a loop of links
        return
    seen.add(path)
    try:
        with os.scandir(path) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        found.unreadable.append(path)
        found.failed.append((given, f"The folder cannot be listed: {error.strerror or error}."))
        return
    prefix = "" if given == "." else given.rstrip("/") + "/"
    for entry in children:
        name = entry.name
        if name.startswith(".") or name in JUNK:
            continue
        below, shown = entry.path, prefix + name
        if (legible := _legible(shown)) != shown or _legible(below) != below:
            found.failed.append((legible, _ILLEGIBLE))
            continue
        try:
            if entry.is_symlink():
                below = os.path.realpath(below)
            if entry.is_dir():
                _folder(below, shown, found, readers, seen)
                continue
            suffix = os.path.splitext(name)[1].lower()
            reader = _reader(suffix, readers)
            if reader is None:
                found.unknown[suffix or "no ending"] += 1
            elif below not in seen and entry.is_file():
                seen.add(below)
                found.files.append(_found(below, shown, entry.stat(), suffix, reader))
        except OSError as error:
            found.failed.append((shown, f"It cannot be read: {error.strerror or error}."))


_ILLEGIBLE = "Its name is not valid UTF-8, so no answer could cite it: rename it."


def _legible(name: str) -> str:
    """The name, bytes that are no UTF-8 written as escapes (Python holds them as lone surrogates)."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _reader(suffix: str, readers: dict[str, Reader | None]) -> Reader | None:
    if suffix not in readers:
        readers[suffix] = plugins.get("readers", suffix) if plugins.knows("readers", suffix) else None
    return readers[suffix]


def _found(path: str, given: str, stat: os.stat_result, suffix: str, reader: Reader) -> Found:
    return Found(
        path=path, given=given, size=stat.st_size, mtime_ns=stat.st_mtime_ns, suffix=suffix, reader=reader
    )
