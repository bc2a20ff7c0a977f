"""Many texts from one path, each with a name and, where there is one, a group. Splits and cleans nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import InputError, NotFound, ReadError

_FILES = frozenset((".txt", ".md", ".rst", ".py", ".csv", ".html", ""))


@dataclass(frozen=True, kw_only=True)
class Named:
    """A text, its name, and the group that it belongs to ("" where there is none)."""

    name: str
    text: str
    group: str = ""


def texts_in(path: Path) -> list[Named]:
    """Of a folder each text file, its folder the group; of a jsonl file each row (``text``, and ``label`` for
    the group); of another file each line. InputError where there is no text."""
    found = list(_folder(path) if path.is_dir() else _file(path))
    if not any(each.text.strip() for each in found):
        raise InputError(f"{str(path)!r} holds no text.", hint="Name a text file, or a folder that has some.")
    return found


def _folder(path: Path) -> Iterator[Named]:
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        if file.suffix.lower() in _FILES and file.is_file() and not inside.name.startswith("."):
            group = inside.parts[0] if len(inside.parts) > 1 else ""
            text = file.read_text(encoding="utf-8", errors="replace")
            yield Named(name=inside.as_posix(), text=text, group=group)


def _file(path: Path) -> Iterator[Named]:
    if not path.is_file():
        raise NotFound(
            f"There is no file {str(path)!r}.", hint="Name a text file, or a folder that has some."
        )
    if path.suffix != ".jsonl":
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if line.strip():
                yield Named(name=f"line {number}", text=line)
        return
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise ReadError(
                f"Line {number} of {str(path)!r} has no text.", hint='A line is {"text": "…", "label": "…"}.'
            )
        yield Named(name=f"line {number}", text=row["text"], group=str(row.get("label") or ""))
