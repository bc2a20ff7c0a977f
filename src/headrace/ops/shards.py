"""What a batch keeps while it is not finished: a folder beside its output.

``OUT.batch/job.json`` says which job it is. Each row goes to the log of its shard when it begins and
when it is finished, one ``write`` each: what was written outlives the process at once. A shard whose
rows are all there is written anew in order, brought to the disk (fsync), renamed, and then named in
the manifest; losing power costs the open shards, a kill only the rows in flight. Knows nothing of
applications and of tables.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.errors import Corrupt, NewerVersion
from headrace.ops.tables_out import explained, json_line, sync_folder

SUFFIX = ".batch"
JOB, MANIFEST = "job.json", "manifest.jsonl"
_FINISHED = "finished-"  # and the id of a job that is done
FORMAT = 1

Record = dict[str, Any]  # what is kept of a finished row; "row" is its number, from 0


@dataclass
class Totals:
    """Sums over finished rows. ``cost`` in US dollars; ``priced`` counts the rows whose cost is known."""

    rows: int = 0
    failed: int = 0
    cost: float = 0.0
    priced: int = 0
    dearest: float = 0.0

    def add(self, record: Mapping[str, Any], sign: int = 1) -> None:
        self.rows += sign
        self.failed += sign * (record["error"] is not None)
        if record["cost"] is not None:
            self.priced += sign
            self.cost += sign * record["cost"]
            self.dearest = max(self.dearest, record["cost"])


@dataclass
class _Open:
    """A shard whose rows are not all there."""

    number: int
    size: int
    handle: int
    records: dict[int, Record] = field(default_factory=dict)
    again: int = 0  # rows that were begun, lost and begun again


class Shards:
    """The folder of one job, used under the writer's lock. Threads may begin and finish rows.

    ``totals`` are of all rows that are kept, ``begun`` the rows that an earlier process had begun and
    not finished, ``kept`` how many rows were there when it was opened, ``again`` how many rows of the
    job were begun anew because a process was stopped within them.
    """

    def __init__(self, folder: Path, *, rows: int, size: int) -> None:
        self.folder, self.rows, self.size = folder, rows, size
        self.count = -(-rows // size)
        self.totals = Totals()
        self.begun: set[int] = set()
        self.again = 0
        self._done: set[int] = set()
        self._open: dict[int, _Open] = {}
        self._lock = threading.Lock()
        self._read()
        self.kept = self.totals.rows

    # ------------------------------------------------------------------ what is there

    def _read(self) -> None:
        """Take over what an earlier process left: whole shards by the manifest, else row by row."""
        for line in _lines(self.folder / MANIFEST):
            if self._path(line["shard"]).is_file():
                self._done.add(line["shard"])
            self.again += line["again"]
        for number in self._done:
            for record in self.records(number):
                self.totals.add(record)
        for path in self.folder.glob("*.log"):
            number = int(path.stem)
            if number in self._done:
                path.unlink()
                continue
            shard = self._opened(number)
            begun: set[int] = set()
            for line in _lines(path):
                if "begin" in line:
                    shard.again += line["begin"] in begun
                    begun.add(line["begin"])
                else:
                    shard.records[line["row"]] = line
            for record in shard.records.values():
                self.totals.add(record)
            self.begun |= begun - set(shard.records)
            self.again += shard.again

    @property
    def complete(self) -> bool:
        """Whether every row is there, on the disk."""
        return len(self._done) == self.count

    def known(self, row: int) -> bool:
        """Whether the result of a row is kept."""
        number = row // self.size
        if number in self._done:
            return True
        shard = self._open.get(number)
        return shard is not None and row in shard.records

    def records(self, number: int) -> list[Record]:
        """The rows of a finished shard, in order."""
        found = list(_lines(self._path(number), whole=True))
        if [record["row"] for record in found] != list(range(*self._range(number))):
            raise Corrupt(
                f"{str(self._path(number))!r} does not hold the rows of its shard.",
                hint=f"Remove that file and run the same command again: {self.size} rows are computed anew.",
            )
        return found

    def all(self) -> Iterator[Record]:
        """Every record that is kept, in order; shards that are open included."""
        for number in range(self.count):
            if number in self._done:
                yield from self.records(number)
            elif number in self._open:
                yield from sorted(self._open[number].records.values(), key=lambda record: record["row"])

    # ------------------------------------------------------------------ rows

    def begin(self, row: int) -> None:
        """Note that a row is being computed."""
        with self._lock:
            shard = self._opened(row // self.size)
            if row in self.begun:
                shard.again += 1
                self.again += 1
        self._append(shard, b'{"begin":%d}\n' % row)

    def finish(self, record: Record) -> int | None:
        """Keep a row's result; the number of its shard where that has all its rows now."""
        with self._lock:
            shard = self._opened(record["row"] // self.size)
        self._append(shard, json_line(record))
        with self._lock:
            shard.records[record["row"]] = record
            self.totals.add(record)
            return shard.number if len(shard.records) == shard.size else None

    def whole(self) -> list[int]:
        """Open shards that have all their rows: an earlier process was stopped right before sealing them."""
        with self._lock:
            return [s.number for s in self._open.values() if len(s.records) == s.size]

    def seal(self, number: int) -> None:
        """Bring a shard with all its rows to the disk, in order, and name it in the manifest."""
        shard = self._open[number]
        path = self._path(number)
        temporary = path.with_suffix(".tmp")
        with explained(path):
            with temporary.open("wb") as file:
                for row in sorted(shard.records):
                    file.write(json_line(shard.records[row]))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            failed = sum(record["error"] is not None for record in shard.records.values())
            self._note({"shard": number, "rows": shard.size, "failed": failed, "again": shard.again})
        with self._lock:
            self._done.add(number)
            del self._open[number]
        os.close(shard.handle)
        self._log(number).unlink(missing_ok=True)

    def reopen(self) -> int:
        """Give up the results of the failed rows, to compute them again; how many they are."""
        given_up = 0
        for number in range(self.count):
            records = self.records(number) if number in self._done else self._open.get(number)
            if records is None:
                continue
            listed = records if isinstance(records, list) else list(records.records.values())
            wrong = [record for record in listed if record["error"] is not None]
            if not wrong:
                continue
            given_up += len(wrong)
            right = [record for record in listed if record["error"] is None]
            if (open_ := self._open.pop(number, None)) is not None:
                os.close(open_.handle)
            # First the log of what stays, then away with the shard: a kill in between loses nothing.
            temporary = self._log(number).with_suffix(".tmp")
            with explained(temporary):
                temporary.write_bytes(b"".join(json_line(record) for record in right))
                os.replace(temporary, self._log(number))
                self._path(number).unlink(missing_ok=True)
            self._done.discard(number)
            self._opened(number).records.update({record["row"]: record for record in right})
            for record in wrong:
                self.totals.add(record, -1)
        self.kept = self.totals.rows
        return given_up

    def close(self) -> None:
        """Let go of the logs."""
        for shard in self._open.values():
            os.close(shard.handle)
        self._open.clear()

    def clear(self) -> None:
        """Remove the results; what the job was stays."""
        self.close()
        for path in self.folder.iterdir():
            if path.suffix in (".rows", ".log", ".tmp") or path.name == MANIFEST:
                path.unlink()
        self._done.clear()

    # ------------------------------------------------------------------ files

    def _opened(self, number: int) -> _Open:
        shard = self._open.get(number)
        if shard is None:
            first, last = self._range(number)
            with explained(self._log(number)):
                handle = os.open(self._log(number), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
                length = os.fstat(handle).st_size
                if length and os.pread(handle, 1, length - 1) != b"\n":  # a kill tore the last line
                    os.write(handle, b"\n")
            shard = self._open[number] = _Open(number=number, size=last - first, handle=handle)
        return shard

    def _append(self, shard: _Open, line: bytes) -> None:
        with explained(self._log(shard.number)):
            written = os.write(shard.handle, line)
            if written != len(line):  # the disk is full: the torn line is passed over when it is read
                os.write(shard.handle, b"\n" + line)

    def _note(self, line: Mapping[str, Any]) -> None:
        path = self.folder / MANIFEST
        with path.open("ab") as file:
            file.write(json_line(line))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.folder)

    def _range(self, number: int) -> tuple[int, int]:
        return number * self.size, min(self.rows, (number + 1) * self.size)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.rows"

    def _log(self, number: int) -> Path:
        return self.folder / f"{number:06d}.log"


def _lines(path: Path, *, whole: bool = False) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file; a torn one is passed over, unless the file must be ``whole``."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                found = json.loads(line)
            except ValueError:
                if whole:
                    raise Corrupt(
                        f"{path}, line {number}, is damaged.",
                        hint="Remove that file and run the same command again: its rows are computed anew.",
                    ) from None
                continue
            yield found


def folder_of(output: Path) -> Path:
    """Where the job of an output keeps its state: ``answers.parquet`` → ``answers.parquet.batch``."""
    absolute = output.absolute()
    return absolute.with_name(absolute.name + SUFFIX)


def read_job(folder: Path) -> dict[str, Any] | None:
    """What job a folder belongs to; None where there is none."""
    path = folder / JOB
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        newer = found["format"] > FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(
            f"{str(path)!r} is damaged: {error}.",
            hint=f"Remove {str(folder)!r}: its rows are computed anew.",
        ) from error
    if newer:
        raise NewerVersion(
            f"{str(path)!r} was written by a newer Headrace.",
            hint=f"Use that one, or remove {str(folder)!r}.",
        )
    return found


def recall(folder: Path, job: str) -> dict[str, Any] | None:
    """A finished job of this output that was not the last one."""
    path = folder / f"{_FINISHED}{job}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write_job(folder: Path, job: Mapping[str, Any]) -> None:
    """Say what job a folder belongs to, atomically."""
    path = folder / JOB
    temporary = path.with_suffix(".tmp")
    with explained(path):
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, **job}, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(folder)


def empty(folder: Path) -> None:
    """Remove all that an earlier job left, except the lock that this process holds and the notes of
    what is finished."""
    last = read_job(folder)
    if last is not None and last["state"] == "finished":
        os.replace(folder / JOB, folder / f"{_FINISHED}{last['job']}.json")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock" and not path.name.startswith(_FINISHED):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
