"""Table: a question about a csv file → a checked, read-only query → the value, with the query shown.

Without a model a few forms of question are understood (``questions.py``); with one, it writes the
SQL. Either way the query runs on a copy of the table in memory, where an authorizer lets through
reading that one table and harmless functions, and nothing else; steps and rows are limited.
"""

from __future__ import annotations

import csv
import io
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import InputError, ModelError, NotFound, ReadError
from headrace.tasks.given import each, opened
from headrace.tasks.questions import name, understand
from headrace.text import normalise, shorten
from headrace.types import Decoding, Message

if TYPE_CHECKING:
    from headrace.protocols import Model
    from headrace.resources.handles import ModelHandle

TABLE = "data"
MOST_BYTES = 200_000_000
MOST_ROWS = 1_000  # of a result
STEPS = 50_000_000  # of SQLite's machine, for one query
MOST_VALUES = 20_000  # different texts of a column that a question may name
FUNCTIONS = frozenset(
    "abs avg ceil coalesce count date floor group_concat ifnull iif instr length like lower ltrim max min "
    "nullif printf format replace round rtrim strftime substr substring sum total trim upper".split()
)


@dataclass(frozen=True)
class Loaded:
    """A table in memory: its columns (name → holds numbers) and rows."""

    columns: Mapping[str, bool]
    rows: Sequence[Sequence[Any]]


def table(
    given: str | Sequence[str],
    table: str | Path | Loaded,
    *,
    model: str | ModelHandle | Model | None = None,
) -> Any:
    """``{"answer", "query", "columns", "rows"}`` for a question about a csv file; many, a list of them.

    ``answer`` is the value where the query gives one, a list where it gives several, None where it
    gives none. Raises InputError for a question that is not understood, or a query that would do
    anything but read; ModelError where the model's query does not run.
    """
    loaded = table if isinstance(table, Loaded) else load(table)
    chosen = opened(model)
    with _database(loaded) as database:

        def one(question: str) -> dict[str, Any]:
            if chosen is not None:
                return _by_model(question, loaded, database, chosen)
            query = understand(question, loaded.columns, _values(loaded)).sql(TABLE)
            return run(database, query)

        return each(given, lambda texts: [one(text) for text in texts], "question")


# --------------------------------------------------------------------------- reading


def load(path: str | Path) -> Loaded:
    """A csv file: its first row names the columns; a column of numbers becomes numbers, "" is nothing."""
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{str(path)!r} is larger than {MOST_BYTES:,} bytes.", hint="Ask a part of it.")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {str(path)!r}.", hint="Give a csv file.") from error
    except UnicodeDecodeError as error:
        raise ReadError(f"{str(path)!r} is not UTF-8 (byte {error.start}).", hint="Convert it.") from error
    return read(text, path.name)


def read(text: str, name: str = "The table") -> Loaded:
    """The same from csv text that is at hand; ``name`` is for messages."""
    try:
        dialect: Any = csv.Sniffer().sniff(text[:4096], ",;\t|")
    except csv.Error:
        dialect = csv.excel
    reader = csv.reader(io.StringIO(text, newline=""), dialect)
    try:
        heading = [cell.strip() for cell in next(reader, [])]
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise ReadError(
            f"{name} line {reader.line_num} is not csv: {error}", hint="Check its quotes."
        ) from error
    _check_heading(name, heading)
    for at, row in enumerate(rows, start=2):
        if len(row) != len(heading):
            raise ReadError(
                f"{name} row {at} has {len(row)} cells and the heading {len(heading)}.",
                hint="Quote cells that contain the delimiter.",
            )
    typed = [_typed([row[i].strip() for row in rows]) for i in range(len(heading))]
    columns = {column: numbers for column, (numbers, _) in zip(heading, typed, strict=True)}
    return Loaded(columns, list(zip(*(cells for _, cells in typed), strict=True)))


def _check_heading(name: str, heading: Sequence[str]) -> None:
    if not heading or not any(heading):
        raise ReadError(f"{name} has no heading.", hint="The first row names the columns.")
    folded = [cell.lower() for cell in heading]
    if twice := [cell for cell in heading if folded.count(cell.lower()) > 1]:
        raise ReadError(f"{name} names the column {twice[0]!r} twice.", hint="Rename one of them.")


def _typed(cells: Sequence[str]) -> tuple[bool, list[Any]]:
    """Whether all cells that are not empty are numbers, and the cells so read."""
    found: list[Any] = []
    for cell in cells:
        if not cell:
            found.append(None)
        elif re.fullmatch(r"[+-]?\d{1,15}", cell):
            found.append(int(cell))
        elif re.fullmatch(r"[+-]?\d{1,3}(,\d{3}){1,4}", cell):  # thousands apart
            found.append(int(cell.replace(",", "")))
        elif re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", cell):
            found.append(float(cell))
        else:
            return False, [text or None for text in cells]
    return any(cell is not None for cell in found), found


def _values(loaded: Loaded) -> dict[str, dict[str, str]]:
    """Column → its texts, normalised → as they stand; of columns with not too many."""
    found: dict[str, dict[str, str]] = {}
    for at, (column, numbers) in enumerate(loaded.columns.items()):
        if numbers:
            continue
        texts = {row[at] for row in loaded.rows if row[at] is not None}
        if len(texts) <= MOST_VALUES:
            found[column] = {normalise(text): text for text in texts}
    return found


# --------------------------------------------------------------------------- running


@contextmanager
def _database(loaded: Loaded) -> Iterator[sqlite3.Connection]:
    """The table in a database in memory that from then on only reads."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        columns = ", ".join(f"{name(c)} {'NUMERIC' if n else 'TEXT'}" for c, n in loaded.columns.items())
        database.execute(f"CREATE TABLE {name(TABLE)} ({columns})")
        marks = ", ".join("?" * len(loaded.columns))
        database.executemany(f"INSERT INTO {name(TABLE)} VALUES ({marks})", loaded.rows)
        database.execute("PRAGMA query_only = ON")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000_000)
        database.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100)
        database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        database.set_authorizer(_allowed)
        yield database


def _allowed(
    action: int, first: str | None, second: str | None, database: str | None, trigger: str | None
) -> int:
    """SQLite asks this of each thing that a query would do."""
    if action == sqlite3.SQLITE_SELECT:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_READ and (first or "").lower() == TABLE:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in FUNCTIONS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def run(database: sqlite3.Connection, query: str) -> dict[str, Any]:
    """Run one reading query. InputError where it would do anything else, or too much."""
    if not re.match(r"\s*(select|with)\b", query, re.IGNORECASE):
        raise InputError(f"Only a SELECT may run, not {shorten(query, 60)!r}.", hint="Write one SELECT.")
    steps = 0

    def counted() -> int:
        nonlocal steps
        steps += 100_000
        return int(steps > STEPS)

    database.set_progress_handler(counted, 100_000)
    try:
        with closing(database.execute(query)) as cursor:
            rows = cursor.fetchmany(MOST_ROWS + 1)
            columns = [entry[0] for entry in cursor.description or ()]
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise InputError(
            f"The query was refused: {error}: {shorten(query, 120)}",
            hint="One SELECT on the table 'data', with the usual functions, is what may run.",
        ) from error
    finally:
        database.set_progress_handler(None, 0)
    if not columns:
        raise InputError(f"The query reads nothing: {shorten(query, 120)}", hint="Write one SELECT.")
    if len(rows) > MOST_ROWS:
        raise InputError(f"The query gives more than {MOST_ROWS:,} rows.", hint="Ask for fewer.")
    plain: Any = [list(row) if len(row) > 1 else row[0] for row in rows]
    answer = None if not plain else plain[0] if len(plain) == 1 else plain
    return {"answer": answer, "query": query, "columns": columns, "rows": [list(row) for row in rows]}


# --------------------------------------------------------------------------- by a model


def _by_model(question: str, loaded: Loaded, database: sqlite3.Connection, model: Model) -> dict[str, Any]:
    """The model writes the query; where it does not run it is told why, once."""
    kinds = "\n".join(f"  {name(c)} {'number' if n else 'text'}" for c, n in loaded.columns.items())
    shown = "\n".join(", ".join(map(str, row)) for row in loaded.rows[:3])
    prompt = (
        f"Write one SQLite SELECT that answers the question. The table is {name(TABLE)}, with the columns\n"
        f"{kinds}\nIts first rows:\n{shown}\n\nQuestion: {' '.join(question.split())}\n"
        "Answer with the SQL alone."
    )
    turns = [Message("user", prompt)]
    why = ""
    for _ in range(2):
        written = model.complete(turns, Decoding(max_new_tokens=300)).text
        query = sql_in(written)
        try:
            if not query:
                raise InputError(f"There is no SELECT in {shorten(written, 80)!r}.")
            return run(database, query)
        except InputError as error:
            why = error.message
            turns += [Message("assistant", written), Message("user", f"{why}\nWrite it again.")]
    raise ModelError(
        f"{model.name} wrote no query that may run: {why}",
        hint="Ask in one of the forms that need no model, or use a model that writes SQL.",
    )


def sql_in(written: str) -> str:
    """The query in a model's text, fences and the closing semicolon left out; "" where there is none."""
    fenced = re.search(r"```(?:sql\w*)?\s*(.*?)```", written, re.DOTALL | re.IGNORECASE)
    text = (fenced[1] if fenced else written).strip()
    found = re.search(r"\b(select|with)\b.*", text, re.DOTALL | re.IGNORECASE)
    return found[0].strip().rstrip(";").strip() if found else ""
