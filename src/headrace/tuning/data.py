"""Training data for a language model that answers: rows out of JSON lines, and their split.

One object a line, in one of these forms: ``instruction, context?, response`` (Dolly),
``instruction, input?, output`` (Alpaca), ``prompt, completion``, or ``messages`` that end with the
assistant's. Every problem is told with its line; nothing is skipped. Not here: tokens
(``examples.py``), training.
"""

from __future__ import annotations

import difflib
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from headrace.errors import InputError, NotFound
from headrace.ingest.clean import Duplicates
from headrace.text import normalise, shorten
from headrace.types import Message, digest

# (the instruction, what it is about, the answer), in the order in which they are tried
FORMS = (
    ("instruction", "context", "response"),
    ("instruction", "input", "output"),
    ("prompt", "", "completion"),
)
CONTEXT = "\n\nInput:\n"  # between an instruction and what it is about; kept in every artifact
SHOWN = 5  # problems told at once


def asked(instruction: str, context: str = "") -> str:
    """An instruction and what it is about as one message: the same for training and for asking."""
    return instruction.strip() + (CONTEXT + context.strip() if context.strip() else "")


@dataclass(frozen=True, kw_only=True)
class Row:
    """``messages`` are read, ``response`` is to be written. ``where`` is ``file.jsonl:12``."""

    messages: tuple[Message, ...]
    response: str
    where: str

    @cached_property
    def question(self) -> str:
        """All that is read, as one text."""
        return "\n".join(message.content for message in self.messages)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What a text-to-text model writes for each value of a column: 0 → negative, 1 → positive.

    Both ways, and so refused where two values share a word.
    """

    words: Mapping[str, str]

    def __post_init__(self) -> None:
        twice = [word for word, count in Counter(self.words.values()).items() if count > 1]
        if twice or not all(word.strip() for word in self.words.values()):
            raise InputError(
                f"{dict(self.words)!r} does not go there and back: {', '.join(twice) or 'a word is empty'}.",
                hint="Give each value a word of its own: --label 0=negative --label 1=positive",
            )

    def word(self, value: Any) -> str | None:
        """The word for a value of the column; None for one that is not known."""
        return self.words.get(str(value).strip())

    def value(self, word: str) -> str | None:
        """The value behind a word that a model wrote; None for any other text."""
        return {w.lower(): v for v, w in self.words.items()}.get(word.strip().lower())


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows to learn from and rows to judge by, which share nothing.

    ``groups`` has a label for each held-out row: rows that ask the same or nearly say the same are one
    group and lie on one side. ``repeated`` rows say word by word what an earlier one says (left out).
    """

    train: tuple[Row, ...]
    held_out: tuple[Row, ...]
    groups: tuple[int, ...]
    repeated: tuple[tuple[str, str], ...] = ()
    near: int = 0
    notes: tuple[str, ...] = field(default=())


# --------------------------------------------------------------------------- reading


def read(path: str | Path, *, labels: Labels | None = None) -> tuple[Row, ...]:
    """The rows of one file.

    ``labels`` turns the values of the answer's column into words. Raises NotFound where there is no
    such file, InputError for everything that is wrong in it, with the lines.
    """
    file = Path(path)
    rows: list[Row] = []
    problems: list[str] = []
    hint = "Correct the lines; nothing was trained."
    for where, record in _lines(file):
        try:
            rows.append(_row(record, where, labels))
        except InputError as error:
            problems.append(f"{where}: {error.message}")
            hint = error.hint or hint
    if problems:
        more = f"\nand {len(problems) - SHOWN} more lines" if len(problems) > SHOWN else ""
        raise InputError("\n".join(problems[:SHOWN]) + more, hint=hint)
    if not rows:
        raise InputError(f"{str(file)!r} holds no row.", hint="Write one JSON object a line.")
    return tuple(rows)


def hash_of(rows: Sequence[Row]) -> str:
    """SHA-256 over what is read and written, in the order of the lines."""
    return digest([[[m.role, m.content] for m in row.messages] + [row.response] for row in rows])


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    if not path.is_file():
        files = [p.name for p in path.parent.glob("*.jsonl")] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, files, n=1)
        raise NotFound(
            f"There is no file {str(path)!r} to learn from.",
            hint=f"Did you mean {str(path.parent / near[0])!r}?" if near else "Give a file of JSON lines.",
        )
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        try:
            yield where, json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise InputError(f"{where} is not UTF-8: {error.reason}.", hint="Save it as UTF-8.") from error
        except ValueError as error:
            raise InputError(
                f"{where} is not JSON: {error}.", hint="Each line is one JSON object."
            ) from error


def _row(record: Any, where: str, labels: Labels | None) -> Row:
    if not isinstance(record, Mapping):
        raise InputError(f"{record!r:.60} is not an object.")
    if "messages" in record:
        return _conversation(record["messages"], where, labels)
    for first, about, last in FORMS:
        if first in record and last in record:
            instruction = _text(record, first)
            context = _text(record, about, empty=True) if record.get(about) else ""
            return Row(
                messages=(Message(role="user", content=asked(instruction, context)),),
                response=_response(record[last], last, labels),
                where=where,
            )
    columns = ", ".join(map(str, record)) or "none"
    begun = [(first, last) for first, _, last in FORMS if first in record]
    if not begun:
        raise InputError(
            f"there is nothing to answer (columns: {columns}).",
            hint="Columns are instruction, context and response; prompt and completion; or messages.",
        )
    wanted = begun[0][1]
    free = [key for key in record if key not in ("instruction", "context", "input", "prompt", "id")]
    like = difflib.get_close_matches(wanted, free, n=1, cutoff=0.4) or free[:1]
    raise InputError(
        f"there is no column {wanted!r} with the answer (columns: {columns}).",
        hint=f"Rename {like[0]!r} to {wanted!r}, if that is the answer." if like else "Every row needs one.",
    )


def _text(record: Mapping[str, Any], key: str, *, empty: bool = False) -> str:
    value = record[key]
    if not isinstance(value, str) or not (empty or value.strip()):
        raise InputError(f"{key} is {value!r:.60}, not a text.")
    return value


def _response(value: Any, key: str, labels: Labels | None) -> str:
    if labels is not None:
        word = labels.word(value)
        if word is None:
            raise InputError(
                f"{key} is {value!r:.60}, for which no word is given (known: {', '.join(labels.words)}).",
                hint="Name a word for every value: --label VALUE=WORD",
            )
        return word
    if isinstance(value, (int, float)):
        raise InputError(
            f"{key} is the number {value!r}, not a text.",
            hint="Say what the model is to write for it: --label 0=negative --label 1=positive",
        )
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{key} is {value!r:.60}: there is nothing to learn to write.")
    return value.strip()


def _conversation(turns: Any, where: str, labels: Labels | None) -> Row:
    if not isinstance(turns, list) or len(turns) < 2:
        raise InputError("messages is not a list of at least a question and an answer.")
    read: list[Message] = []
    for turn in turns:
        role = turn.get("role") if isinstance(turn, Mapping) else None
        if role not in ("system", "user", "assistant") or not isinstance(turn.get("content"), str):
            raise InputError(f"{turn!r:.60} is no message with role and content.")
        read.append(Message(role=role, content=turn["content"]))
    if read[-1].role != "assistant":
        raise InputError(f"the last message is the {read[-1].role}'s: there is no answer to learn to write.")
    return Row(
        messages=tuple(read[:-1]), response=_response(read[-1].content, "the answer", labels), where=where
    )


# --------------------------------------------------------------------------- splitting


def split(rows: Sequence[Row], *, share: float, seed: int) -> Split:
    """Hold out ``share`` of the rows (0 to 1), drawn with ``seed``, so that the two sides share nothing.

    Rows that ask the same, or of which one nearly says what the other says (``ingest.clean``), stay
    together. Raises InputError where the rows cannot be parted so.
    """
    if not 0 < share < 1:
        raise InputError(f"A share of {share!r} cannot be held out.", hint="Give a number between 0 and 1.")
    kept, repeated = _distinct(rows)
    labels, near = _groups(kept)
    members: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    order = sorted(members)
    random.Random(seed).shuffle(order)
    wanted = max(1, round(share * len(kept)))
    out: set[int] = set()
    for label in order:
        if len(out) + len(members[label]) <= wanted:
            out.update(members[label])
        if len(out) >= wanted:
            break
    if not out or len(out) == len(kept):
        raise InputError(
            f"{len(kept)} rows in {len(members)} groups that share nothing leave none to judge by.",
            hint="Give more rows that differ, or a file of its own to judge by: --held-out FILE.jsonl",
        )
    held = sorted(out)
    return Split(
        train=tuple(row for index, row in enumerate(kept) if index not in out),
        held_out=tuple(kept[index] for index in held),
        groups=tuple(labels[index] for index in held),
        repeated=tuple(repeated),
        near=near,
    )


def apart(train: Sequence[Row], held_out: Sequence[Row]) -> Split:
    """Two files as a split; refused, with the rows, where they share any.

    A row is shared where the other file asks the same, or nearly says the same.
    """
    kept, repeated = _distinct(train)
    judged, again = _distinct(held_out)
    labels, near = _groups([*kept, *judged])
    first: dict[int, Row] = {}
    for label, row in zip(labels, kept, strict=False):
        first.setdefault(label, row)
    shared = [
        (row, first[label]) for label, row in zip(labels[len(kept) :], judged, strict=True) if label in first
    ]
    if shared:
        lines = [
            f"{row.where} is like {other.where}: {shorten(row.question, 60)!r}"
            for row, other in shared[: SHOWN * 2]
        ]
        more = f"\nand {len(shared) - len(lines)} more" if len(shared) > len(lines) else ""
        raise InputError(
            f"{len(shared)} of {len(judged)} held-out rows are among those to learn from:\n"
            + "\n".join(lines)
            + more,
            hint="Take them out of one of the files: figures on rows that were learned say nothing.",
        )
    return Split(
        train=tuple(kept),
        held_out=tuple(judged),
        groups=tuple(labels[len(kept) :]),
        repeated=(*repeated, *again),
        near=near,
    )


def _distinct(rows: Sequence[Row]) -> tuple[list[Row], list[tuple[str, str]]]:
    """Rows without those that repeat one word by word, and (row, the earlier one) of these."""
    seen: dict[str, Row] = {}
    kept, repeated = [], []
    for row in rows:
        key = normalise(row.question) + "\0" + normalise(row.response)
        if key in seen:
            repeated.append((row.where, seen[key].where))
        else:
            seen[key] = row
            kept.append(row)
    return kept, repeated


def _groups(rows: Sequence[Row]) -> tuple[list[int], int]:
    """A label for each row, the same for rows that must not be parted; how many joined another."""
    parent = list(range(len(rows)))

    def find(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    questions: dict[str, int] = {}
    whole = Duplicates()
    for index, row in enumerate(rows):
        key = normalise(row.question)
        like = whole.add(str(index), f"{row.question}\n{row.response}")
        for other in (questions.setdefault(key, index), index if like is None else int(like)):
            parent[find(index)] = find(other)
    labels = [find(index) for index in range(len(rows))]
    return labels, len(rows) - len(set(labels))
