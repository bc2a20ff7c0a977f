"""Reports on disk: one folder per report, written whole or not at all, never changed afterwards.

``.headrace/reports/<id>/`` holds ``report.json`` (what was measured, about what, with which
settings) and ``rows.jsonl`` (one line per example, down to its steps). Plain files, so that any
tool can read them. Not here: making a report (``evaluation``) and judging one (``measure``, gates).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.errors import Conflict, Corrupt, InputError, NewerVersion, NotFound
from headrace.types import Report, to_json

FORMAT = 1
HEAD, ROWS = "report.json", "rows.jsonl"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_UNFINISHED = ".new-"
# Named here, because within the class ``list`` is the method.
_Names = list[str]
_Found = list[Report]
_Problems = list[tuple[str, str]]
_FIELDS = ("id", "kind", "subject", "examples", "settings", "measurements", "created")


class Reports:
    """The reports of one project. Reading a folder that does not exist shows none and creates nothing.

    Safe to use from several processes: a report appears by one rename, after its files are on the
    disk.

    >>> Reports(Path("nowhere")).list()
    []
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    # ------------------------------------------------------------------ writing

    def save(self, report: Report) -> Path:
        """Write a report; its folder. When this returns it is on the disk (fsync).

        Saving the same report again changes nothing; another one under the same id is a Conflict.
        """
        _require_name(report.id)
        folder = self.folder / report.id
        rows = b"".join(_line(row) for row in report.rows)
        head = {"format": FORMAT, **{name: to_json(getattr(report, name)) for name in _FIELDS}}
        head["rows"] = {"count": len(report.rows), "sha256": hashlib.sha256(rows).hexdigest()}
        if (folder / HEAD).exists():
            return self._same(folder, head)
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f"{_UNFINISHED}{report.id}-{os.getpid()}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)  # rows hold what people asked, and passages of documents
        try:
            _write(unfinished / ROWS, rows)
            _write(unfinished / HEAD, json.dumps(head, indent=1).encode() + b"\n")
            _sync_folder(unfinished)
            try:
                os.rename(unfinished, folder)
            except OSError:
                if (folder / HEAD).exists():  # another process saved it meanwhile
                    return self._same(folder, head)
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        _sync_folder(self.folder)
        return folder

    def _same(self, folder: Path, head: Mapping[str, Any]) -> Path:
        if _head(folder) != json.loads(json.dumps(head)):
            raise Conflict(
                f"There is another report {folder.name!r} already.", hint="A report is never changed."
            )
        return folder

    # ------------------------------------------------------------------ reading

    def load(self, given: str) -> Report:
        """The report with this id, or the only one whose id begins so, rows included.

        Raises NotFound (with those that exist), InputError where several begin so, Corrupt where a
        file is damaged and NewerVersion where a newer Headrace wrote it.
        """
        folder = self._folder(given)
        head = _head(folder)
        return replace(_report(folder, head), rows=tuple(_rows(folder, head)))

    def head(self, given: str) -> Report:
        """As :meth:`load`, without the rows."""
        folder = self._folder(given)
        return _report(folder, _head(folder))

    def exists(self, given: str) -> bool:
        """Whether :meth:`load` would find exactly one report."""
        return len(self._matching(given)) == 1

    def list(
        self,
        app: str | None = None,
        kind: str | None = None,
        subject: str | None = None,
        limit: int = 50,
    ) -> _Found:
        """The newest reports, without their rows; every filter narrows. ``app`` is ``settings["app"]``.

        Reports that cannot be read are left out; :meth:`damaged` names them.
        """
        found = [report for report, _ in self._heads() if report is not None]
        kept = [
            report
            for report in found
            if (app is None or report.settings.get("app") == app)
            and (kind is None or report.kind == kind)
            and (subject is None or report.subject == subject)
        ]
        return sorted(kept, key=lambda r: (r.created, r.id), reverse=True)[:limit]

    def damaged(self) -> _Problems:
        """(id, what is wrong) of each report whose head cannot be read."""
        return [problem for _, problem in self._heads() if problem is not None]

    def rows_path(self, given: str) -> Path:
        """The file with the rows, one JSON object a line."""
        return self._folder(given) / ROWS

    def _heads(self) -> Iterator[tuple[Report | None, tuple[str, str] | None]]:
        for name in self._names():
            folder = self.folder / name
            try:
                yield _report(folder, _head(folder)), None
            except (Corrupt, NewerVersion) as error:
                yield None, (name, error.message)

    def _names(self) -> _Names:
        try:
            with os.scandir(self.folder) as items:
                return sorted(item.name for item in items if _NAME.match(item.name) and item.is_dir())
        except FileNotFoundError:
            return []

    def _matching(self, given: str) -> _Names:
        if given and (self.folder / given / HEAD).is_file() and _NAME.match(given):
            return [given]
        return [name for name in self._names() if name.startswith(given)] if given else []

    def _folder(self, given: str) -> Path:
        names = self._matching(given)
        if len(names) > 1:
            some = ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")
            raise InputError(f"Several reports begin with {given!r}: {some}.", hint="Give more characters.")
        if not names:
            latest = ", ".join(report.id[:16] for report in self.list(limit=3))
            raise NotFound(
                f"There is no report {given!r}.",
                hint=f"The newest are: {latest}." if latest else "Make one with: headrace eval",
            )
        return self.folder / names[0]


def _require_name(given: str) -> None:
    if not _NAME.match(given):
        raise InputError(
            f"{given!r} cannot be the id of a report.", hint="Use headrace.tracing.new_id(), for example."
        )


def _line(value: Any) -> bytes:
    try:  # rows are nearly always plain already: the encoder goes through them by itself
        text = json.dumps(value, allow_nan=False, default=to_json, **_COMPACT)
    except (ValueError, TypeError):  # not a number, or a key that is no string
        text = json.dumps(to_json(value), **_COMPACT)
    return text.encode("utf-8", "surrogatepass") + b"\n"


_COMPACT: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":")}


def _write(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there; NTFS journals the rename
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _head(folder: Path) -> dict[str, Any]:
    path = folder / HEAD
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise _corrupt(folder, f"{HEAD} is missing") from None
    except ValueError as error:
        raise _corrupt(folder, f"{HEAD} is not JSON: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("format"), int):
        raise _corrupt(folder, f"{HEAD} is not the head of a report")
    if data["format"] > FORMAT:
        raise NewerVersion(
            f"The report {folder.name!r} has format {data['format']}; this Headrace knows formats up to "
            f"{FORMAT}.",
            hint="Use the newer Headrace that wrote it.",
        )
    return data


def _report(folder: Path, head: Mapping[str, Any]) -> Report:
    try:
        return Report(
            **{name: head[name] for name in _FIELDS if name != "measurements"},
            measurements=tuple(head["measurements"]),
        )
    except (KeyError, TypeError) as error:
        raise _corrupt(folder, f"{HEAD} lacks {error}") from error


def _rows(folder: Path, head: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        data = (folder / ROWS).read_bytes()
    except FileNotFoundError:
        raise _corrupt(folder, f"{ROWS} is missing") from None
    if hashlib.sha256(data).hexdigest() != head.get("rows", {}).get("sha256"):
        raise _corrupt(folder, f"{ROWS} is not what was written ({len(data):,} bytes)")
    for line in data.splitlines():
        yield json.loads(line.decode("utf-8", "surrogatepass"))


def _corrupt(folder: Path, what: str) -> Corrupt:
    return Corrupt(
        f"The report {folder.name!r} is damaged: {what}.",
        hint=f"Remove {str(folder)!r} and evaluate again; the results of rows are cached.",
    )
