"""Tables that a batch writes: JSON lines, csv and parquet as one file that appears whole, Delta by
appends that each carry the number of their shard and are made once.

A file is written beside its place, brought to the disk and renamed. A shard of a Delta table is one
commit with an application transaction (Delta protocol, "Transaction Identifiers"): whoever finds the
number there does not write it again. Not here: what is in the columns.
"""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.errors import DiskFull, InputError, StateError
from headrace.extras import need
from headrace.ops import tables
from headrace.ops.tables import BOOLEAN, INTEGER, JSON, NUMBER, TEXT, Column, Source, as_text, plain, utf8
from headrace.text import shorten


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """A full disk and a refused write as errors that say so."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"There is no room left for {str(path)!r}.") from error
        raise StateError(
            f"{str(path)!r} cannot be written: {error.strerror or error}.",
            hint="Check that the folder exists and may be written.",
        ) from error


def sync_folder(folder: Path) -> None:
    """Bring a rename to the disk."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def replace_with(path: Path, temporary: Path) -> None:
    """Put a finished file in its place: on the disk first, then under its name."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.absolute().parent)


# --------------------------------------------------------------------------- files


def write_file(
    path: Path,
    format: str,
    columns: Sequence[Column],
    rows: Iterable[Mapping[str, Any]],
    *,
    temporary: Path,
    source: Source | None = None,
    shard: int = 1000,
) -> None:
    """Write all rows and put the file in its place; an existing one is replaced at that moment.

    ``source`` is where the input columns come from: their Arrow types are kept in parquet.
    """
    with explained(path):
        if format == "parquet":
            _write_parquet(temporary, columns, rows, source, shard)
        elif format == "csv":
            _write_csv(temporary, columns, rows, "\t" if path.suffix.lower() == ".tsv" else ",")
        else:
            _write_jsonl(temporary, columns, rows)
        replace_with(path, temporary)


def _write_jsonl(path: Path, columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("wb") as file:
        for row in rows:
            file.write(json_line(row))


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=plain)  # made once: a third of the time


def json_line(value: Mapping[str, Any]) -> bytes:
    """One line of UTF-8; escaped where the text holds what UTF-8 cannot."""
    text = _ENCODER.encode(value)
    try:
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, default=plain).encode("ascii") + b"\n"


def _write_csv(
    path: Path, columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], delimiter: str
) -> None:
    names = [column.name for column in columns]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow([utf8(as_text(row.get(name))) for name in names])


def _write_parquet(
    path: Path,
    columns: Sequence[Column],
    rows: Iterable[Mapping[str, Any]],
    source: Source | None,
    shard: int,
) -> None:
    library, schema = tables.arrow(), arrow_schema(columns, source)
    parquet = need("pyarrow.parquet", extra="tables")
    with parquet.ParquetWriter(path, schema) as writer:
        for some in _parts(rows, shard):
            writer.write_batch(arrow_batch(library, schema, columns, some))


def _parts(rows: Iterable[Mapping[str, Any]], size: int) -> Iterator[list[Mapping[str, Any]]]:
    some: list[Mapping[str, Any]] = []
    for row in rows:
        some.append(row)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


# --------------------------------------------------------------------------- Arrow


def arrow_schema(columns: Sequence[Column], source: Source | None = None) -> Any:
    """The schema of these columns; input columns keep the type that they have in ``source``."""
    library = tables.arrow()
    known = {TEXT: library.string(), INTEGER: library.int64(), NUMBER: library.float64()}
    known |= {BOOLEAN: library.bool_(), JSON: library.string()}
    theirs = {item.name: item for item in source.schema} if source is not None and source.schema else {}
    return library.schema(
        [theirs.get(c.name) or library.field(c.name, known.get(c.type, known[JSON])) for c in columns]
    )


def arrow_batch(
    library: Any, schema: Any, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]
) -> Any:
    """Rows as one record batch; cells of text columns as text, of ``json`` columns as JSON text."""
    arrays = []
    for column, item in zip(columns, schema, strict=True):
        values: list[Any] = [row.get(column.name) for row in rows]
        if column.type in (TEXT, JSON):
            values = [
                None if v is None else utf8(_as_json(v) if column.type == JSON else as_text(v))
                for v in values
            ]
        try:
            arrays.append(library.array(values, type=item.type))
        except (library.ArrowInvalid, library.ArrowTypeError, OverflowError) as error:
            raise InputError(
                f"The column {column.name!r} holds a value that is no {item.type}: "
                f"{shorten(str(error), 120)}.",
                hint="Write to a .jsonl file, which holds any value.",
            ) from error
    return library.record_batch(arrays, schema=schema)


def _as_json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False)


# --------------------------------------------------------------------------- Delta


class DeltaOutput:
    """Appends to one Delta table, shard by shard, each once. ``job`` names the transactions."""

    def __init__(self, path: Path, job: str, columns: Sequence[Column], source: Source) -> None:
        self.path, self.application = path, f"headrace-batch-{job}"
        self._columns = columns
        self._schema = arrow_schema(columns, source)

    def last(self) -> int:
        """The number of the last shard of this job in the table; −1: none."""
        if not (self.path / tables.DELTA_LOG).is_dir():
            return -1
        found = tables.open_delta(self.path).transaction_version(self.application)
        return -1 if found is None else int(found)

    def append(self, shard: int, rows: Sequence[Mapping[str, Any]]) -> int:
        """Append a shard in one commit, unless it is there; returns the table's version."""
        library = tables.delta()
        if self.last() < shard:
            batch = arrow_batch(tables.arrow(), self._schema, self._columns, rows)
            with explained(self.path), _delta_errors(self.path):
                library.write_deltalake(
                    str(self.path),
                    tables.arrow().Table.from_batches([batch]),
                    mode="append",
                    commit_properties=self._properties(shard),
                )
        return int(tables.open_delta(self.path).version())

    def update(self, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
        """Put these rows in place of the ones with the same ``keys``, in one commit."""
        if not rows:
            return
        batch = arrow_batch(tables.arrow(), self._schema, self._columns, rows)
        same = " AND ".join(f'target."{key}" = source."{key}"' for key in keys)
        with explained(self.path), _delta_errors(self.path):
            found = tables.arrow().Table.from_batches([batch])
            table = tables.open_delta(self.path)
            merged = table.merge(found, same, source_alias="source", target_alias="target")
            merged.when_matched_update_all().execute()

    def _properties(self, shard: int) -> Any:
        library = tables.delta()
        return library.CommitProperties(
            custom_metadata={"headrace.shard": str(shard)},
            app_transactions=[library.Transaction(self.application, shard)],
        )


@contextmanager
def _delta_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except tables.delta().exceptions.DeltaError as error:
        said = str(error)
        if "No space left" in said:
            raise DiskFull(f"There is no room left for {str(path)!r}.") from error
        raise StateError(
            f"The Delta table {str(path)!r} took no rows: {shorten(said, 300)}.",
            hint="Run the same command again: what was committed is not written twice.",
        ) from error


# --------------------------------------------------------------------------- schemas


def check_schema(path: Path, format: str, columns: Sequence[Column], source: Source) -> None:
    """Refuse an existing parquet file or Delta table whose columns are other ones, with the differences."""
    if format not in ("parquet", "delta") or not path.exists():
        return
    if format == "delta" and not (path / tables.DELTA_LOG).is_dir():
        if any(path.iterdir()) if path.is_dir() else True:
            raise InputError(
                f"{str(path)!r} exists and is no Delta table.", hint="Name a new folder, or a Delta table."
            )
        return
    there = {c.name: _family(c.type) for c in tables.open_source(path, format).columns}
    here = {item.name: _family(str(item.type)) for item in arrow_schema(columns, source)}
    differ = [f"{n}: {there[n]} there, {t} here" for n, t in here.items() if n in there and there[n] != t]
    differ += [f"{n} ({t}) is not there" for n, t in here.items() if n not in there]
    differ += [f"{n} ({t}) is there only" for n, t in there.items() if n not in here]
    if differ:
        raise InputError(
            f"{str(path)!r} has other columns than this batch would write: {'; '.join(differ)}.",
            hint="Write to a new table, or bring the columns into line (--map, --prefix).",
        )


def _family(type: str) -> str:
    """Types that differ in a file and not in what they hold: the same word."""
    if type.startswith("timestamp"):
        return "timestamp with zone" if "tz=" in type else "timestamp"
    return {"large_string": "string", "string_view": "string", "large_binary": "binary"}.get(type, type)
