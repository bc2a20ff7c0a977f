"""Tables → one document per row: csv, tsv, jsonl. The id is ``path#row``.

The text is the column that holds text, with the title above it; where there is none, all columns
as ``name: value`` lines. All other columns are metadata. Not for numbers alone: a table is
searched here as text, row by row.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, TextIO

from headrace.errors import ReadError
from headrace.ingest.encoding import clean, stream
from headrace.matter import scalar
from headrace.types import Document, Section

TEXT = (
    "text",
    "content",
    "body",
    "passage",
    "contents",
    "document",
    "page_content",
    "abstract",
    "description",
)
TITLE = ("title", "heading", "headline", "subject", "name")
_LONGEST = 500  # code points; where all columns are text, longer values are not repeated as metadata


def read_csv(data: bytes, name: str) -> Iterator[Document]:
    """Comma, semicolon, tab or bar separated values; the first row names the columns."""
    if not data.strip():
        return
    file = stream(data, name)
    if csv.field_size_limit() < 1 << 30:  # the default refuses a field of 131,072 characters
        csv.field_size_limit(1 << 30)
    delimiter = "\t" if PurePath(name).suffix.lower() == ".tsv" else _delimiter(file)
    # in .tsv files of data sets a quotation mark is usually just a character
    plain = delimiter == "\t" and data.count(b'"') % 2 == 1
    table = csv.reader(
        file,
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
    )
    header: list[str] | None = None
    number = 0
    try:
        for cells in table:
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                if _names(cells):
                    header = [cell.strip() for cell in cells]
                    continue
                header = [f"column{i + 1}" for i in range(len(cells))]
            number += 1
            names = header + [f"column{i + 1}" for i in range(len(header), len(cells))]
            record = {n: scalar(c) for n, c in zip(names, cells, strict=False) if c.strip()}
            yield from _row(record, name, number, "row")
    except csv.Error as error:
        raise ReadError(
            f"{name!r} is not a table that can be read: line {table.line_num:,}: {error}.",
            hint="Check the quotation marks around that line.",
        ) from error


def _delimiter(file: TextIO) -> str:
    """The mark that cuts the first lines most evenly into the most columns."""
    sample = file.read(65536)
    file.seek(0)
    if len(sample) == 65536:
        sample = sample[: sample.rfind("\n") + 1] or sample
    best, score = ",", 1.0
    for mark in (",", ";", "\t", "|"):
        try:
            widths = [
                len(row)
                for row, _ in zip(csv.reader(io.StringIO(sample, newline=""), delimiter=mark), range(50))
            ]
        except csv.Error:
            continue
        width, times = Counter(w for w in widths if w).most_common(1)[0] if any(widths) else (1, 1)
        if width > 1 and (even := times / len(widths) * (1 + min(width, 20) / 20)) > score * 0.999:
            best, score = mark, even
    return best


def _names(cells: list[str]) -> bool:
    """Whether a first row names columns: short, all different, none empty, none a number."""
    names = [cell.strip() for cell in cells]
    return (
        len(set(names)) == len(names)
        and all(n and len(n) <= 64 and isinstance(scalar(n), str) for n in names)
        and not any(n.endswith((".", "!", "?")) and " " in n for n in names)
    )


def read_jsonl(data: bytes, name: str) -> Iterator[Document]:
    """One JSON value a line. Good lines are read even where others are broken; those are reported."""
    if not data.strip():
        return
    bad: list[str] = []
    good = 0
    for number, line in enumerate(stream(data, name), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            if good == 0 and not bad and (rows := _array(data)) is not None:
                for index, row in enumerate(rows, 1):
                    yield from _row(_record(row), name, index, "row")
                return
            bad.append(f"line {number:,}: {error}")
            continue
        good += 1
        yield from _row(_record(value), name, number, "row")
    if bad:
        raise ReadError(
            f"{name!r}: {len(bad):,} of {len(bad) + good:,} lines are not JSON; first {bad[0]}.",
            hint="Correct those lines; the others were read." if good else "",
        )


def _array(data: bytes) -> list[Any] | None:
    """The items where the whole file is one JSON array instead of lines."""
    if not data.lstrip().startswith(b"["):
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _record(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(_flat(value, ""))
    return {"text": clean(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}


def _flat(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Nested objects as ``outer.inner``; lists of plain values stay lists, others become JSON."""
    for key, item in value.items():
        name = clean(prefix + str(key))
        if isinstance(item, Mapping) and len(prefix) < 200:
            yield from _flat(item, f"{name}.")
        elif isinstance(item, str):
            yield name, clean(item)
        elif isinstance(item, list) and all(isinstance(i, (str, int, float, bool)) for i in item):
            yield name, [clean(i) if isinstance(i, str) else i for i in item]
        elif isinstance(item, (list, Mapping)):
            yield name, clean(json.dumps(item, ensure_ascii=False))
        elif item is not None:
            yield name, item


def _row(record: dict[str, Any], name: str, number: int, kind: str) -> Iterable[Document]:
    lower = {key.lower(): key for key in reversed(record)}
    text_key = next((lower[n] for n in TEXT if n in lower and _texts(record[lower[n]])), None)
    title_key = next((lower[n] for n in TITLE if n in lower and _texts(record[lower[n]])), None)
    title = str(record[title_key]).strip() if title_key is not None else ""
    metadata: dict[str, Any] = {
        "title": title or f"{PurePath(name).stem} {number}",
        "type": kind,
        "row": number,
    }
    if text_key is not None:
        body = _shown(record[text_key])
        metadata.update((k, v) for k, v in record.items() if k not in (text_key, title_key))
    else:
        body = "\n".join(f"{key}: {_shown(value)}" for key, value in record.items() if key != title_key)
        metadata.update(
            (k, v)
            for k, v in record.items()
            if k != title_key and not (isinstance(v, str) and len(v) > _LONGEST)
        )
    text = f"{title}\n\n{body}" if title and body else title or body
    if not text.strip():
        return
    sections = (Section(start=0, level=1, title=title[:200]),) if title and body else ()
    yield Document(text, metadata, id=f"{name}#{number}", media="text/plain", sections=sections)


def _texts(value: Any) -> bool:
    return (isinstance(value, str) and bool(value.strip())) or (
        isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)
    )


def _shown(value: Any) -> str:
    """A value as text; a list of sentences reads on as one text."""
    if isinstance(value, list):
        return " ".join(str(item).strip() for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
