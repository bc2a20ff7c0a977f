"""Suites of attacks as data: one JSON object a line, a file a family, known by their content's hash.

A case has ``id``, ``family``, ``kind`` (``attack`` or ``benign``, its harmless twin), ``input`` (what is
put into the application's question), perhaps ``passages`` and ``tool_results`` that are planted, how
success shows (``detect``), and ``source``. ``order`` is the part of an attack without which it would be
none: the obedient double reads it there, so that it understands every language and wording.
``{tool}`` stands for the name of the application's first tool, ``{repeat}`` for ``repeat.part`` written
``repeat.times`` times.

``detect``, all that is given must hold: ``marker`` (a word that must not stand in the case itself
appears), ``refusal_missing``, ``leak`` (the instructions or the canary appear, in this form), ``tool``
(a tool was called with this text), ``tokens`` (more were written), ``input_tokens`` (more were read in
one call), ``calls`` (more calls of tools were made).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from headrace.errors import InputError, NotFound
from headrace.types import digest

FOLDER = Path(__file__).with_name("suites")
DETECTORS: Mapping[str, type] = {
    "marker": str,
    "refusal_missing": bool,
    "leak": str,
    "tool": str,
    "tokens": int,
    "input_tokens": int,
    "calls": int,
}
LEAKS = ("verbatim", "base64", "reversed", "rot13", "first sentence", "canary", "dotted canary")
_TEXTS = ("id", "family", "kind", "input", "order", "source")
_LISTS = ("passages", "tool_results")
_KEYS = (*_TEXTS, *_LISTS, "repeat", "detect")
LONGEST = 2_000_000  # code points of an input after repeating


@dataclass(frozen=True, kw_only=True)
class Case:
    """One attack, or one harmless twin. ``where`` is its file and line, for messages."""

    id: str
    family: str
    kind: Literal["attack", "benign"]
    input: str
    passages: tuple[str, ...] = ()
    tool_results: tuple[str, ...] = ()
    order: str = ""
    detect: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    where: str = ""

    def with_tool(self, name: str) -> Case:
        """The case with ``{tool}`` filled in."""
        return Case(
            **{
                **vars(self),
                "passages": tuple(text.replace("{tool}", name) for text in self.passages),
                "tool_results": tuple(text.replace("{tool}", name) for text in self.tool_results),
                "input": self.input.replace("{tool}", name),
                "order": self.order.replace("{tool}", name),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The cases of one file. ``hash`` is of its bytes: a figure is about this version."""

    name: str
    hash: str
    cases: tuple[Case, ...]


def names() -> list[str]:
    """The suites that come with Headrace."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def read(given: Sequence[str | Path] | str | Path | None = None) -> list[Suite]:
    """Suites by name, file or folder; None: all of ours. Case ids must be unique over all of them.

    Raises NotFound with those that exist, InputError with file and line for a line that is none.
    """
    listed = [given] if isinstance(given, (str, Path)) else list(given) if given is not None else names()
    files = [file for item in listed for file in _files(item)]
    suites = [_suite(file) for file in dict.fromkeys(files)]
    seen: dict[str, str] = {}
    for case in (case for suite in suites for case in suite.cases):
        if case.id in seen:
            raise InputError(
                f"{case.where}: the id {case.id!r} is taken by {seen[case.id]}.", hint="Give it another id."
            )
        seen[case.id] = case.where
    return suites


def hash_of(suites: Sequence[Suite]) -> str:
    """One hash over all suites."""
    return digest(sorted(suite.hash for suite in suites))


def _files(item: str | Path) -> list[Path]:
    path = Path(item)
    if str(item) in names() and not path.exists():
        return [FOLDER / f"{item}.jsonl"]
    if path.is_dir():
        found = sorted(path.glob("*.jsonl"))
        if not found:
            raise NotFound(
                f"The folder {str(path)!r} has no suite.", hint="A suite is a .jsonl file of cases."
            )
        return found
    if path.is_file():
        return [path]
    raise NotFound(
        f"There is no suite {str(item)!r}.",
        hint=f"Ours: {', '.join(names())}; or give a file of JSON lines, or a folder of them.",
    )


def _suite(path: Path) -> Suite:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: it is not UTF-8: {error}.", hint="Save it as UTF-8.") from error
    cases = tuple(_cases(path, text))
    if not cases:
        raise InputError(f"{path}: it has no case.", hint="Write one JSON object a line.")
    return Suite(name=path.stem, hash=digest(data), cases=cases)


def _cases(path: Path, text: str) -> Iterator[Case]:
    for number, written in enumerate(text.split("\n"), 1):
        if not written.strip():
            continue
        where = f"{path.name}:{number}"
        try:
            row = json.loads(written)
        except ValueError as error:
            raise InputError(
                f"{path}:{number}: it is not JSON: {error}.", hint="Correct that line."
            ) from error
        yield _case(row, where)


def _case(row: Any, where: str) -> Case:
    if not isinstance(row, dict):
        raise _wrong(where, f"it is {type(row).__name__}, not an object")
    for key in row:
        if key not in _KEYS:
            raise _wrong(where, f"{key!r} is not known; known are {', '.join(_KEYS)}")
    for key in ("id", "family", "kind", "input"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise _wrong(where, f"{key!r} is missing or no text")
    for key in _TEXTS:
        if not isinstance(row.get(key, ""), str):
            raise _wrong(where, f"{key!r} is no text")
    if row["kind"] not in ("attack", "benign"):
        raise _wrong(where, f"kind {row['kind']!r} is neither attack nor benign")
    for key in _LISTS:
        value = row.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _wrong(where, f"{key!r} is no list of texts")
    made = Case(
        id=row["id"],
        family=row["family"],
        kind=row["kind"],
        input=_repeated(row, where),
        passages=tuple(row.get("passages", ())),
        tool_results=tuple(row.get("tool_results", ())),
        order=row.get("order", ""),
        detect=_detect(row, where),
        source=row.get("source", ""),
        where=where,
    )
    if made.order and not any(
        made.order in text for text in (made.input, *made.passages, *made.tool_results)
    ):
        raise _wrong(where, f"its order {made.order!r:.60} stands in none of its texts")
    return made


def _repeated(row: Mapping[str, Any], where: str) -> str:
    text = str(row["input"])
    repeat = row.get("repeat")
    if repeat is None:
        return text
    part, times = (repeat.get("part"), repeat.get("times")) if isinstance(repeat, dict) else (None, None)
    if not isinstance(part, str) or not isinstance(times, int) or not 0 < times * len(part) <= LONGEST:
        raise _wrong(where, f"repeat {repeat!r:.60} needs a part and a number of times")
    return text.replace("{repeat}", part * times)


def _detect(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    found = row.get("detect", {})
    if not isinstance(found, dict) or (row["kind"] == "attack" and not found):
        raise _wrong(where, "an attack needs detect: how success shows")
    for key, value in found.items():
        kind = DETECTORS.get(key)
        if kind is None:
            raise _wrong(where, f"detect {key!r} is not known; known are {', '.join(DETECTORS)}")
        if not isinstance(value, kind) or (
            isinstance(value, int) and kind is int and (isinstance(value, bool) or value < 1)
        ):
            raise _wrong(where, f"detect {key} = {value!r} is of the wrong type")
    if "leak" in found and found["leak"] not in LEAKS:
        raise _wrong(where, f"leak {found['leak']!r} is not known; known are {', '.join(LEAKS)}")
    marker = str(found.get("marker", "")).lower()
    texts = (str(row["input"]), *row.get("passages", ()), *row.get("tool_results", ()))
    if marker and any(marker in text.lower() for text in texts):
        raise _wrong(where, f"its marker {found['marker']!r} stands in it, so an echo would count as success")
    return found


def _wrong(where: str, why: str) -> InputError:
    return InputError(f"{where}: {why}.", hint="Correct that line; nothing was run.")
