"""Tables that a batch reads: JSON lines, csv, parquet and Delta, row by row in bounded memory.

A table is known before its rows are used: columns with types, number of rows, and a digest that says
whether it is the same table as before. Not here: writing (``tables_out.py``) and what an application
makes of a row (``batch.py``). Formats: https://jsonlines.org, RFC 4180, https://parquet.apache.org,
https://github.com/delta-io/delta/blob/master/PROTOCOL.md.
"""

from __future__ import annotations

import base64
import csv
import datetime as dt
import decimal
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError, InputError, NotFound, ReadError
from headrace.extras import need
from headrace.text import shorten
from headrace.types import digest

FORMATS = ("jsonl", "csv", "parquet", "delta")
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".delta": "delta",
}
DELTA_LOG = "_delta_log"
_VERSION = re.compile(r"^(?P<path>.+)@v(?P<version>\d+)$")
_PIECE = 1024  # rows of parquet that are in memory at a time
_CELL = 2**31 - 1  # characters of one csv cell at most; the csv module's own limit is 131,072

TEXT, INTEGER, NUMBER, BOOLEAN, JSON = "string", "int64", "double", "bool", "json"
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Column:
    """``type`` in Arrow's words; ``json`` is an object, a list, or values of several kinds."""

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.name} ({self.type})"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table that was looked at. ``version`` is of a Delta table; ``schema`` is Arrow's where it has one.

    ``digest`` is SHA-256 of the bytes of a file; of a Delta table that of its id and version.
    """

    path: Path
    format: str
    columns: tuple[Column, ...]
    count: int
    digest: str
    version: int | None = None
    schema: Any = field(default=None, repr=False, compare=False)
    stamp: tuple[int, int] | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """As a person writes it: the path, with the version of a Delta table."""
        return f"{self.path}@v{self.version}" if self.version is not None else str(self.path)

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows in order, each a new dict. ReadError where a row cannot be read or the file changed."""
        if self.stamp is not None and self.stamp != _stamp(self.path):
            raise ReadError(
                f"{str(self.path)!r} was changed while it was being read.",
                hint="Let nobody write to it, and run the same command again.",
            )
        return _ROWS[self.format](self)


def format_of(path: str | Path, given: str = "", *, option: str = "--format") -> str:
    """``jsonl``, ``csv``, ``parquet`` or ``delta``: what ``given`` says, else by suffix or folder."""
    if given:
        if given not in FORMATS:
            raise InputError(f"format={given!r} is not known.", hint=f"Known: {', '.join(FORMATS)}.")
        return given
    place = Path(path)
    if (place / DELTA_LOG).is_dir():
        return "delta"
    found = SUFFIXES.get(place.suffix.lower())
    if found is None:
        raise InputError(
            f"The name {str(path)!r} does not say what format it is.",
            hint=f"Let it end in {', '.join(SUFFIXES)}, or give {option} ({', '.join(FORMATS)}).",
        )
    return found


def open_source(given: str | Path, format: str = "") -> Source:
    """Look at the table behind a path, or ``folder@v3`` for a version of a Delta table.

    Files are read once from end to end: the digest, the number of rows, and for JSON lines the columns
    come from that; a broken row is found here, before anything was spent. Raises NotFound, ReadError
    (with the line), InputError, ExtraMissing.
    """
    path, version = Path(given), None
    if not path.exists() and (match := _VERSION.match(str(given))):
        path, version = Path(match["path"]), int(match["version"])
    if not path.exists():
        raise NotFound(f"There is no table {str(given)!r}.", hint="Check the path.")
    kind = format_of(path, format)
    if version is not None and kind != "delta":
        raise InputError(
            f"{str(given)!r}: only a Delta table has versions, and this is {kind}.", hint="Leave out @v."
        )
    if kind == "delta":
        return _open_delta(path, version)
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder, not a {kind} file.", hint="Name one file of it.")
    return {"jsonl": _open_jsonl, "csv": _open_csv, "parquet": _open_parquet}[kind](path)


# --------------------------------------------------------------------------- JSON lines


def _open_jsonl(path: Path) -> Source:
    stamp, count, hashed = _stamp(path), 0, hashlib.sha256()
    kinds: dict[str, set[str]] = {}
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            hashed.update(raw)
            if not raw.strip():
                continue
            count += 1
            for key, value in _parsed(path, number, raw).items():
                kinds.setdefault(key, set()).add(_kind(value))
    return Source(
        path=path,
        format="jsonl",
        columns=tuple(Column(name=name, type=_common(found)) for name, found in kinds.items()),
        count=count,
        digest=hashed.hexdigest(),
        stamp=stamp,
    )


def _jsonl_rows(source: Source) -> Iterator[dict[str, Any]]:
    with source.path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if raw.strip():
                yield _parsed(source.path, number, raw)


def _parsed(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise ReadError(
            f"{path}, line {number}: not UTF-8 (byte {error.start}).", hint="Save the file as UTF-8."
        ) from None
    except ValueError as error:
        shown = shorten(raw.decode("utf-8", "replace").strip(), 60)
        raise ReadError(
            f"{path}, line {number}: not JSON ({error}): {shown!r}.", hint="Write one JSON object a line."
        ) from None
    if not isinstance(found, dict):
        raise ReadError(
            f"{path}, line {number}: {shorten(json.dumps(found), 60)} is not an object.",
            hint='Write one JSON object a line, for example {"question": "…"}.',
        )
    return found


def _kind(value: Any) -> str:
    if value is None:
        return ""
    return {str: TEXT, bool: BOOLEAN, int: INTEGER, float: NUMBER}.get(type(value), JSON)


def _common(kinds: set[str]) -> str:
    found = kinds - {""}
    if not found:
        return TEXT
    if len(found) == 1:
        return next(iter(found))
    return NUMBER if found == {INTEGER, NUMBER} else JSON


# --------------------------------------------------------------------------- csv


def _open_csv(path: Path) -> Source:
    stamp, hashed = _stamp(path), hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hashed.update(piece)
    names: Sequence[str] = ()
    count = 0
    for number, cells in _cells(path):
        if number == 0:
            names = _unique(path, cells)
        else:
            count += 1
    return Source(
        path=path,
        format="csv",
        columns=tuple(Column(name=name, type=TEXT) for name in names),
        count=count,
        digest=hashed.hexdigest(),
        stamp=stamp,
    )


def _csv_rows(source: Source) -> Iterator[dict[str, Any]]:
    names = [column.name for column in source.columns]
    for number, cells in _cells(source.path):
        if number:
            yield dict(zip(names, cells, strict=True))


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(0, the headings), (1, first row), …; blank lines are left out."""
    csv.field_size_limit(_CELL)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    number, expected = 0, 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                if not cells:
                    continue
                expected = expected or len(cells)
                if len(cells) != expected:
                    raise ReadError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells under {expected} headings.",
                        hint="Put cells that hold the separator or a line break in double quotes.",
                    )
                yield number, cells
                number += 1
        except UnicodeDecodeError as error:
            raise ReadError(
                f"{path}, after line {reader.line_num}: not UTF-8 ({error.reason}).",
                hint="Save the file as UTF-8.",
            ) from None
        except csv.Error as error:
            raise ReadError(
                f"{path}, line {reader.line_num}: not csv ({error}).",
                hint="Is it cut off, or a quote not doubled?",
            ) from None


def _unique(path: Path, names: Sequence[str]) -> Sequence[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"{path} has two columns of the name {twice[0]!r}.", hint="Give each column a name of its own."
        )
    return names


# --------------------------------------------------------------------------- parquet and Delta


def arrow() -> Any:
    """pyarrow, or ExtraMissing."""
    return need("pyarrow", extra="tables", for_what="Reading and writing parquet and Delta tables")


def delta() -> Any:
    """deltalake, or ExtraMissing."""
    return need("deltalake", extra="tables", for_what="Reading and writing Delta tables")


def _open_parquet(path: Path) -> Source:
    arrow()
    parquet = need("pyarrow.parquet", extra="tables")
    stamp, hashed = _stamp(path), hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hashed.update(piece)
    try:
        with parquet.ParquetFile(path) as found:
            schema, count = found.schema_arrow, found.metadata.num_rows
    except (OSError, ValueError) as error:
        raise _unreadable(path, "parquet", error) from error
    return Source(
        path=path,
        format="parquet",
        columns=_columns(schema),
        count=count,
        digest=hashed.hexdigest(),
        schema=schema.remove_metadata(),
        stamp=stamp,
    )


def _parquet_rows(source: Source) -> Iterator[dict[str, Any]]:
    parquet = need("pyarrow.parquet", extra="tables")
    try:
        with parquet.ParquetFile(source.path) as found:
            for batch in found.iter_batches(batch_size=_PIECE):
                yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise _unreadable(source.path, "parquet", error) from error


def open_delta(path: Path, version: int | None = None) -> Any:
    """The DeltaTable in a folder, at a version. NotFound where there is none, ReadError: broken."""
    library = delta()
    try:
        return library.DeltaTable(str(path), version=version)
    except library.exceptions.TableNotFoundError as error:
        raise NotFound(
            f"{str(path)!r} is no Delta table: it has no {DELTA_LOG}.", hint="Check the path."
        ) from error
    except library.exceptions.DeltaError as error:
        raise _unreadable(path, "Delta", error) from error


def _open_delta(path: Path, version: int | None) -> Source:
    arrow()
    if version is not None and version > (newest := open_delta(path).version()):
        raise NotFound(f"{str(path)!r} has no version {version}.", hint=f"It has versions up to {newest}.")
    table = open_delta(path, version)
    data = _dataset(path, table)
    return Source(
        path=path,
        format="delta",
        columns=_columns(data.schema),
        count=data.count_rows(),
        digest=digest([str(table.metadata().id), table.version()]),
        version=table.version(),
        schema=data.schema.remove_metadata(),
    )


def _delta_rows(source: Source) -> Iterator[dict[str, Any]]:
    data = _dataset(source.path, open_delta(source.path, source.version))
    # The log is replayed from its end: turned round, rows come in the order in which they were written.
    for fragment in reversed(list(data.get_fragments())):
        for batch in fragment.to_batches(schema=data.schema, batch_size=_PIECE):
            yield from batch.to_pylist()


def _dataset(path: Path, table: Any) -> Any:
    try:
        return table.to_pyarrow_dataset()
    except delta().exceptions.DeltaError as error:
        raise _unreadable(path, "Delta", error) from error


def _columns(schema: Any) -> tuple[Column, ...]:
    return tuple(Column(name=item.name, type=str(item.type)) for item in schema)


def _unreadable(path: Path, kind: str, error: Exception) -> HeadraceError:
    return ReadError(
        f"{str(path)!r} cannot be read as {kind}: {shorten(str(error), 200)}.",
        hint="Is it whole, and in that format?",
    )


_ROWS = {"jsonl": _jsonl_rows, "csv": _csv_rows, "parquet": _parquet_rows, "delta": _delta_rows}


# --------------------------------------------------------------------------- cells


def plain(value: Any) -> Any:
    """A cell as JSON data: dates as ISO text, bytes as base64, decimals as text, nothing lost."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return str(value)


def as_text(value: Any) -> str:
    """A cell as one text: "" for nothing, JSON for objects and lists."""
    found = plain(value)
    if found is None:
        return ""
    if isinstance(found, str):
        return found
    return json.dumps(found, ensure_ascii=False)


def utf8(text: str) -> str:
    """The text without halves of surrogate pairs, which no file of UTF-8 can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
