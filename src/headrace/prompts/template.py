"""A prompt template: messages with named gaps, and a hash of what it says.

``{name}`` is a gap, ``{{`` and ``}}`` are braces. There is no logic in a template and a value is
never looked into: a passage that contains ``{question}`` stays what it is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast, get_args

from headrace.errors import InputError, NotFound
from headrace.types import Message, Role, digest

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}\n]*)\}|[{}]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SECTION = re.compile(r"^\[(\w+)\][ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """One message of a template."""

    role: Role
    text: str


@dataclass(frozen=True)
class Template:
    """``parts`` in order. Where ``declared`` names the variables, the text must use exactly these.

    >>> Template.of("Translate to {language}: {text}").render(language="French", text="{a}")
    (Message(role='user', content='Translate to French: {a}', name=None),)
    """

    parts: tuple[Part, ...]
    name: str = ""
    declared: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError(f"The template {self.name!r} has no text.", hint="Write at least one part.")
        used = self.variables  # also finds a brace that is left open
        if self.declared is not None and set(self.declared) != set(used):
            raise InputError(
                f"The template {self.name!r} declares {sorted(self.declared)!r} and uses {sorted(used)!r}.",
                hint="Declare each variable that the text uses, and no other.",
            )

    @classmethod
    def of(
        cls, user: str, *, system: str = "", name: str = "", declared: Sequence[str] | None = None
    ) -> Template:
        """A template of a user message, and a system message before it where one is given."""
        parts = (Part("system", system), Part("user", user)) if system else (Part("user", user),)
        return cls(parts, name, None if declared is None else tuple(declared))

    @classmethod
    def parse(cls, text: str, *, name: str = "") -> Template:
        """A template from a file's text: a line ``[system]``, ``[user]`` or ``[assistant]`` begins a
        message; a text without any such line is one user message."""
        marks = list(_SECTION.finditer(text))
        if not marks:
            return cls((Part("user", text.strip()),), name)
        if text[: marks[0].start()].strip():
            raise InputError(
                f"The template {name!r} has text before its first part {marks[0].group()!r}.",
                hint="Begin the file with [system] or [user].",
            )
        parts = []
        for mark, end in zip(marks, [*(m.start() for m in marks[1:]), len(text)], strict=True):
            role = mark.group(1)
            if role not in get_args(Role):
                raise InputError(
                    f"The template {name!r} has a part [{role}], which is no role.",
                    hint=f"Use one of: {', '.join(get_args(Role))}.",
                )
            parts.append(Part(cast(Role, role), text[mark.end() : end].strip()))
        return cls(tuple(parts), name)

    @classmethod
    def read(cls, path: Path) -> Template:
        """The template in a file; its name is the file's, without suffix."""
        try:
            return cls.parse(path.read_text(encoding="utf-8"), name=path.stem)
        except FileNotFoundError as error:
            raise NotFound(f"There is no template {str(path)!r}.", hint="Check the path.") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{str(path)!r} is not UTF-8: {error}.", hint="Save it as UTF-8.") from error

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Names of the gaps, in order of first appearance."""
        names: dict[str, None] = {}
        for part in self.parts:
            for match in _TOKEN.finditer(part.text):
                if match.group() in ("{{", "}}"):
                    continue
                found = match.group(1)
                if found is None or not _NAME.match(found):
                    line = part.text.count("\n", 0, match.start()) + 1
                    raise InputError(
                        f"The template {self.name!r} has {match.group()!r} in line {line} of its "
                        f"{part.role} part, which is no variable.",
                        hint="Write {name} for a variable, and {{ or }} for a brace.",
                    )
                names[found] = None
        return tuple(names)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of roles and texts; the name does not count."""
        return digest([[part.role, part.text] for part in self.parts])

    def render(self, **values: str) -> tuple[Message, ...]:
        """The messages with all gaps filled. A missing or an extra variable is an error."""
        self.check(values)
        return tuple(Message(part.role, _fill(part.text, values)) for part in self.parts)

    def check(self, values: Mapping[str, str]) -> None:
        """Raise InputError naming what is missing, unknown or not a text."""
        if missing := [name for name in self.variables if name not in values]:
            raise InputError(
                f"The template {self.name!r} needs {', '.join(map(repr, missing))}.",
                hint=f"Its variables are: {', '.join(self.variables)}.",
            )
        for name, value in values.items():
            if name not in self.variables:
                near = difflib.get_close_matches(name, self.variables, n=1)
                raise InputError(
                    f"The template {self.name!r} has no variable {name!r}.",
                    hint=f"Did you mean {near[0]!r}?"
                    if near
                    else f"Its variables are: {', '.join(self.variables) or 'none'}.",
                )
            if not isinstance(value, str):
                raise InputError(f"The variable {name!r} is {value!r}, not a text.", hint="Give a str.")


def _fill(text: str, values: Mapping[str, str]) -> str:
    def put(match: re.Match[str]) -> str:
        if match.group() in ("{{", "}}"):
            return match.group()[0]
        return values[match.group(1)]

    return _TOKEN.sub(put, text)
