"""Files of prompts: a front matter that says what there is to know, then parts.

A part begins with a line of its own: ``[system]``, ``[user]``, ``[assistant]`` for messages as they are
sent, or ``[instruction]``, ``[context]``, ``[question]``, ``[format]`` for a prompt of four parts, with
``[example]`` as often as wanted and ``[question@t5]`` for one family or one model. A text without any such
line is one user message. The front matter, between two lines ``+++``, is TOML; between two lines ``---``
it may only hold ``key: value``.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast, get_args

from headrace.errors import InputError, NotFound
from headrace.prompts.families import FAMILIES
from headrace.prompts.fourpart import SECTIONS, FourPart, Options, Shot
from headrace.prompts.template import Part, Template, gaps
from headrace.types import Role

_HEADING = re.compile(r"^\[(\w+)(?:@([^\]\s]+))?\][ \t]*$", re.MULTILINE)
_RULE = re.compile(r"(---|\+\+\+)[ \t]*\r?\n")
_PAIR = re.compile(r"([A-Za-z_]\w*)[ \t]*:[ \t]*(.*)$")
_OUTPUT = re.compile(r"^(?:→|=>)[ \t]?", re.MULTILINE)
_FIELD = re.compile(r"^([A-Za-z_]\w*):[ \t]?", re.MULTILINE)
_KEYS: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "description": (str,),
    "variables": (list,),
    "labels": (list,),
    "models": (list,),
    "schema": (dict, str),
    "decoding": (dict,),
    "refusal": (bool, str),
    "sensitive": (bool,),
    "sandwich": (bool,),
    "steps": (bool,),
    "canary": (bool,),
    "delimiter": (str,),
    "max_characters": (int,),
    "allow": (list,),
}
_FOR_ALL = ("name", "description", "variables", "models", "decoding", "allow")
_TYPES = {
    bool: "true or false",
    str: "a text",
    list: "a list of texts",
    dict: "a table",
    int: "a whole number",
}


def read(path: Path) -> Template:
    """The template in a file. NotFound, or InputError with the file and, where there is one, the line."""
    return parse(text_of(path), name=path.stem, folder=path.parent, place=str(path))


def text_of(path: Path) -> str:
    """What stands in a file of a prompt."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFound(f"There is no template {str(path)!r}.", hint="Check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} is not UTF-8: {error}.", hint="Save it as UTF-8.") from error


def parse(text: str, *, name: str = "", folder: Path | None = None, place: str = "") -> Template:
    """A template from a file's text. ``folder`` is where a schema's path starts, ``place`` for messages."""
    return opened(text, name=name, folder=folder, place=place).template


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A file with what only people and the linter need: its front matter, and where its parts begin."""

    template: Template
    meta: Mapping[str, Any]
    sections: tuple[Section, ...]


def opened(text: str, *, name: str = "", folder: Path | None = None, place: str = "") -> Opened:
    """The template in a file's text, and its parts with their lines."""
    found = _File(text, name, folder, place or name or "the prompt")
    template = found.template()
    return Opened(template=template, meta=found.meta, sections=tuple(found.sections()))


@dataclass(frozen=True)
class Section:
    """A part of a file. ``line`` (from 1) is the one of its heading; ``key`` a family or model."""

    name: str
    key: str
    text: str
    line: int


class _File:
    def __init__(self, text: str, name: str, folder: Path | None, place: str) -> None:
        self.text = text.replace("\r\n", "\n")
        self.place = place
        self.folder = folder
        self.start = 0
        self.meta = self._front_matter()
        self.name = str(self.meta.get("name", name))

    def fail(self, line: int, what: str, hint: str) -> NoReturn:
        """Raise InputError with the place."""
        raise InputError(f"{self.place}, line {line}: {what}", hint=hint)

    # ------------------------------------------------------------------ front matter

    def _front_matter(self) -> dict[str, Any]:
        opening = _RULE.match(self.text)
        if opening is None:
            return {}
        rule = opening[1]
        closing = re.compile(rf"^{re.escape(rule)}[ \t]*$", re.MULTILINE).search(self.text, opening.end())
        if closing is None:
            self.fail(
                1, f"the front matter that {rule!r} begins has no end.", f"Close it with a line {rule}."
            )
        inside = self.text[opening.end() : closing.start()]
        self.start = min(closing.end() + 1, len(self.text))
        meta = self._toml(inside) if rule == "+++" else self._pairs(inside)
        for key, value in meta.items():
            self._check_key(key, value)
        return meta

    def _toml(self, inside: str) -> dict[str, Any]:
        try:
            return tomllib.loads(inside)
        except tomllib.TOMLDecodeError as error:
            at = re.search(r"line (\d+)", str(error))
            line = int(at[1]) + 1 if at else inside.count("\n") + 1
            why = str(error).partition(" (at")[0]
            self.fail(
                line, f"the front matter is no TOML: {why}.", 'Write key = "value", as in headrace.toml.'
            )

    def _pairs(self, inside: str) -> dict[str, Any]:
        meta: dict[str, Any] = {}
        for number, line in enumerate(inside.splitlines(), start=2):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            pair = _PAIR.match(line)
            if pair is None:
                self.fail(
                    number,
                    f"{line.strip()[:60]!r} is not of the form key: value.",
                    "Between --- only simple pairs may stand; write anything else as TOML between +++.",
                )
            meta[pair[1]] = _scalar(pair[2])
        return meta

    def _line_of(self, key: str) -> int:
        found = re.compile(rf"^\[*{re.escape(key)}\b", re.MULTILINE).search(self.text, 0, self.start)
        return self.text.count("\n", 0, found.start()) + 1 if found else 1

    def _check_key(self, key: str, value: Any) -> None:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            self.fail(self._line_of(key), f"{key!r} is not known here.", f"{hint}Known: {', '.join(_KEYS)}.")
        kinds = _KEYS[key]
        fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if fits and isinstance(value, list):
            fits = all(isinstance(item, str) and item.strip() for item in value)
        if not fits:
            wanted = " or ".join(_TYPES[kind] for kind in kinds)
            self.fail(self._line_of(key), f"{key} = {value!r:.60} is not {wanted}.", f"Give {wanted}.")
        if isinstance(value, list) and len(set(value)) < len(value):
            twice = next(item for item in value if value.count(item) > 1)
            self.fail(self._line_of(key), f"{key} has {twice!r} more than once.", "Name each once.")

    # ------------------------------------------------------------------ parts

    def sections(self) -> list[Section]:
        """The parts in order."""
        marks = list(_HEADING.finditer(self.text, self.start))
        before = self.text[self.start : marks[0].start() if marks else len(self.text)]
        if marks and before.strip():
            raise InputError(
                f"The template {self.name!r} has text before its first part {marks[0].group()!r}.",
                hint="Begin the file with [system] or [user], or with [instruction].",
            )
        if not marks:
            return [Section("user", "", before.strip(), self._line(self.start))]
        ends = [*(mark.start() for mark in marks[1:]), len(self.text)]
        return [
            Section(mark[1], mark[2] or "", self.text[mark.end() : end].strip(), self._line(mark.start()))
            for mark, end in zip(marks, ends, strict=True)
        ]

    def _line(self, at: int) -> int:
        return self.text.count("\n", 0, at) + 1

    def template(self) -> Template:
        """The whole."""
        if not self.text[self.start :].strip():
            self.fail(
                self._line(self.start),
                "there is no prompt in it.",
                "Write the prompt, for example: headrace prompts new 'Classify reviews as good or bad'.",
            )
        sections = self.sections()
        roles = get_args(Role)
        for section in sections:
            if section.name not in (*roles, *SECTIONS, "example"):
                near = difflib.get_close_matches(section.name, (*roles, *SECTIONS, "example"), n=1)
                raise InputError(
                    f"The template {self.name!r} has a part [{section.name}] in line {section.line}, which "
                    "is no role and no part.",
                    hint=(f"Did you mean [{near[0]}]? " if near else "")
                    + f"Roles: {', '.join(roles)}; parts: {', '.join(SECTIONS)}, example.",
                )
        messages = [section for section in sections if section.name in roles]
        if messages and len(messages) < len(sections):
            other = next(section for section in sections if section.name not in roles)
            self.fail(
                max(messages[0].line, other.line),
                f"[{messages[0].name}] is a message and [{other.name}] a part of a prompt of four parts.",
                "Write a prompt either as messages or as parts.",
            )
        declared = None if "variables" not in self.meta else tuple(self.meta["variables"])
        if messages:
            return self._messages(messages, declared)
        return self._four(sections, declared)

    def _messages(self, sections: list[Section], declared: tuple[str, ...] | None) -> Template:
        for section in sections:
            if section.key:
                self.fail(section.line, "only parts may be given for one family.", "Write [instruction@t5].")
        useless = [key for key in self.meta if key not in _FOR_ALL]
        if useless:
            self.fail(
                self._line_of(useless[0]),
                f"{useless[0]!r} changes prompts of four parts only, and this one is written as messages.",
                "Write [instruction], [context], [question] and [format] instead of [system] and [user].",
            )
        parts = tuple(Part(cast(Role, section.name), section.text) for section in sections)
        return Template(parts, self.name, declared)

    def _four(self, sections: list[Section], declared: tuple[str, ...] | None) -> FourPart:
        texts: dict[str, str] = {}
        overrides: dict[str, dict[str, str]] = {}
        used = {part: gaps(part.text, part.name, self.name) for part in sections if part.name != "example"}
        known = {gap for names in used.values() for gap in names}
        shots = [self._shot(section, known) for section in sections if section.name == "example"]
        data = [
            n for part in used if part.name in ("context", "question") and not part.key for n in used[part]
        ]
        for shot, section in zip(shots, (s for s in sections if s.name == "example"), strict=True):
            if missing := [name for name in data if name not in shot.values]:
                self.fail(
                    section.line,
                    f"this example lacks {missing[0]!r}.",
                    f"Give it: {', '.join(dict.fromkeys(data))}.",
                )
        for section in sections:
            if section.name == "example":
                continue
            place = overrides.setdefault(section.key, {}) if section.key else texts
            if section.name in place:
                key = f"@{section.key}" if section.key else ""
                self.fail(section.line, f"[{section.name}{key}] stands there twice.", "Join the two.")
            if section.key and section.key not in FAMILIES and not re.search(r"[:*?]", section.key):
                self.fail(
                    section.line,
                    f"{section.key!r} is neither a family nor a model.",
                    f"Use {', '.join(FAMILIES)}, or a model such as openai:*.",
                )
            place[section.name] = section.text
        options = {key: self.meta[key] for key in Options.__dataclass_fields__ if key in self.meta}
        return FourPart.build(
            name=self.name,
            declared=declared,
            shots=tuple(shots),
            overrides=overrides,
            labels=tuple(self.meta.get("labels", ())),
            models=tuple(self.meta.get("models", ())),
            decoding=self.meta.get("decoding", {}),
            schema=self._schema(),
            **options,
            **{name: texts.get(name, "") for name in SECTIONS},
        )

    def _shot(self, section: Section, known: set[str]) -> Shot:
        """``name: value`` for each variable, a value up to the next name; then ``→`` and the output."""
        marks = list(_OUTPUT.finditer(section.text))
        if not marks:
            self.fail(
                section.line,
                "this example has no output.",
                "End it with a line that begins with → (or =>) and gives the output.",
            )
        given, output = section.text[: marks[0].start()], section.text[marks[0].end() :].strip()
        names = [mark for mark in _FIELD.finditer(given) if mark[1] in known]
        if given.strip() and (not names or given[: names[0].start()].strip()):
            self.fail(
                section.line,
                "this example does not begin with one of the variables.",
                f"Write name: value; the names are: {', '.join(sorted(known)) or 'none'}.",
            )
        values: dict[str, str] = {}
        ends = [*(m.start() for m in names[1:]), len(given)] if names else []
        for mark, end in zip(names, ends, strict=True):
            values[mark[1]] = given[mark.end() : end].strip()
        return Shot(values=values, output=output)

    def _schema(self) -> Any:
        given, line = self.meta.get("schema"), self._line_of("schema")
        if not isinstance(given, str):
            return given
        what, text = "schema", given
        if not given.lstrip().startswith("{"):
            path = (self.folder or Path()) / given
            what = repr(str(path))
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                self.fail(line, f"there is no schema {what}.", f"{error}")
        try:
            return json.loads(text)
        except ValueError as error:
            self.fail(line, f"{what} is no JSON: {error}.", "Correct it.")


def _scalar(text: str) -> Any:
    """The value of ``key: value``: true, false, a number, a quoted or bare text, or a flat list of those."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return [_scalar(part) for part in text[1:-1].split(",") if part.strip()]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?\d{1,15}", text) else text
