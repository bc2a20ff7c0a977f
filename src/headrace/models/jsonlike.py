"""JSON as models write it: within prose or fences, with a comma too many, with Python's words.

Finds values, guesses none: what is not there is not made up, and a text that breaks off is not closed.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn

LONGEST = 2_000_000  # code points of a reply that are read
_STARTS = 40  # places at which a value is looked for
_LITERAL = 100_000  # code points that are tried as Python's own notation
_FENCE = re.compile(r"^[ \t]*(```|~~~)[ \t]*[\w+-]*[ \t]*\n(.*?)^[ \t]*\1", re.MULTILINE | re.DOTALL)
_THOUGHT = ("<think>", "</think>")  # what reasoning models write before the answer
_STRING = r'"(?:[^"\\]|\\.)*"'
_LOOSE = re.compile(
    rf"({_STRING})|,(?=\s*[}}\]])|\b(True|False|None)\b|(//[^\n]*|/\*.{{0,500}}?\*/)", re.DOTALL
)
_WORDS = {"True": "true", "False": "false", "None": "null"}


@dataclass(frozen=True)
class Found:
    """A value in a text, or why there is none. ``whole``: it is all of the text or of a fence."""

    value: Any = None
    problem: str = ""
    whole: bool = False


def candidates(text: str) -> Iterator[Found]:
    """The values that a text may mean, best first; at least one, perhaps with a problem only."""
    if len(text) > LONGEST:
        yield Found(problem=f"the text has {len(text)} characters; at most {LONGEST} are read")
        return
    if text.lstrip().startswith(_THOUGHT[0]) and _THOUGHT[1] in text:
        text = text.partition(_THOUGHT[1])[2]
    text = text.strip().removeprefix("\ufeff").strip()
    if not text:
        yield Found(problem="the text is empty")
        return
    wholes = [text, *(match[2].strip() for match in islice(_FENCE.finditer(text), _STARTS))]
    problem = ""
    found = False
    for whole in wholes:
        one = read(whole)
        if not one.problem:
            found = True
            yield Found(one.value, whole=True)
        elif whole[:1] in ("{", "["):
            problem = problem or one.problem
    for start, end in _spans(text):
        one = read(text[start:end])
        if not one.problem:
            found = True
            yield one
        else:
            problem = problem or one.problem
    if not found:
        yield Found(problem=problem or "the text holds no JSON value")


def read(text: str) -> Found:
    """One value that is the whole text: as JSON, as JSON with small slips, or in Python's notation."""
    try:
        return Found(_loads(text))
    except ValueError as error:
        problem = _said(error)
    except RecursionError:
        return Found(problem="the JSON value is nested too deeply to be read")
    if text[:1] not in ("{", "["):
        return Found(problem=problem)
    try:
        return Found(_loads(_LOOSE.sub(_strict, text)))
    except (ValueError, RecursionError):
        pass
    if len(text) <= _LITERAL and "'" in text:
        try:
            value = ast.literal_eval(text)
            return Found(json.loads(json.dumps(value, allow_nan=False)))
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            pass
    return Found(problem=problem)


def _loads(text: str) -> Any:
    return json.loads(text, strict=False, parse_constant=_refuse)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _said(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        near = error.doc[max(0, error.pos - 20) : error.pos + 20]
        return f"the JSON is broken in line {error.lineno}, column {error.colno}: {error.msg} (near {near!r})"
    return f"the JSON cannot be read: {error}"


def _strict(match: re.Match[str]) -> str:
    if match[1] is not None:
        return match[1]
    return _WORDS[match[2]] if match[2] else ""


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where objects and arrays stand within prose, outermost only; brackets in strings do not count."""
    at, tried, looked = 0, 0, 0
    while tried < _STARTS and looked < max(3 * len(text), 100_000):
        opening = re.compile(r"[{\[]").search(text, at)
        if opening is None:
            return
        tried += 1
        start, depth, end = opening.start(), 0, 0
        for token in re.compile(rf"{_STRING}|[{{}}\[\]]").finditer(text, start):
            if token[0] in "{[":
                depth += 1
            elif token[0] in "}]":
                depth -= 1
                if depth == 0:
                    end = token.end()
                    break
        looked += (end or len(text)) - start
        if end:
            yield start, end
        at = end or start + 1
