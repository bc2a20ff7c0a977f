"""A prompt template: messages with named gaps, and a hash of what it says.

``{name}`` is a gap, ``{{`` and ``}}`` are braces. There is no logic in a template and a value is
never looked into: a passage that contains ``{question}`` stays what it is. Templates of four parts
are in ``fourpart.py``, files of both kinds in ``file.py``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from headrace.errors import InputError
from headrace.types import Message, Role, digest

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}\n]*)\}|[{}]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


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
    def parse(cls, text: str, *, name: str = "", folder: Path | None = None) -> Template:
        """A template from a file's text (``file.py`` says what may stand in it)."""
        from headrace.prompts import file  # a template that is written in code needs none of it

        return file.parse(text, name=name, folder=folder)

    @classmethod
    def read(cls, path: str | Path) -> Template:
        """The template in a file; its name is the file's, without suffix, unless the file says another."""
        from headrace.prompts import file

        return file.read(Path(path))

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Names of the gaps, in order of first appearance."""
        found = (gap for part in self.parts for gap in gaps(part.text, part.role, self.name))
        return tuple(dict.fromkeys(found))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of roles and texts; the name does not count."""
        return digest([[part.role, part.text] for part in self.parts])

    @property
    def version(self) -> str:
        """The hash, short: how people name this wording."""
        return self.hash[:12]

    @property
    def identity(self) -> Mapping[str, Any]:
        """What traces, fingerprints and releases keep of it."""
        return {"prompt": self.name, "hash": self.hash}

    @property
    def wants_canary(self) -> bool:
        """Whether a canary belongs into it."""
        return "canary" in self.variables

    def with_secret(self, canary: str) -> Template:
        """The template that uses this canary; here the one that takes it as a variable, so itself."""
        return self

    def dump(self) -> str:
        """The template as text for people and for ``diff``."""
        return "\n\n".join(f"[{part.role}]\n{part.text}" for part in self.parts) + "\n"

    def diff(self, other: Template) -> str:
        """What changes from this template to another, as a unified diff; "" where they say the same."""
        if self.hash == other.hash:
            return ""
        return "\n".join(
            difflib.unified_diff(
                self.dump().splitlines(),
                other.dump().splitlines(),
                f"{self.name} {self.version}",
                f"{other.name} {other.version}",
                lineterm="",
            )
        )

    def render(self, **values: str) -> tuple[Message, ...]:
        """The messages with all gaps filled. A missing or an extra variable is an error."""
        self.check(values)
        return tuple(Message(part.role, fill(part.text, values)) for part in self.parts)

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


def gaps(text: str, part: str = "", name: str = "") -> tuple[str, ...]:
    """The variables in a text, each once. InputError for a brace that is none, with its line."""
    names: dict[str, None] = {}
    for match in _TOKEN.finditer(text):
        if match.group() in ("{{", "}}"):
            continue
        found = match.group(1)
        if found is None or not _NAME.match(found):
            line = text.count("\n", 0, match.start()) + 1
            raise InputError(
                f"The template {name!r} has {match.group()!r} in line {line} of its "
                f"{part} part, which is no variable.",
                hint="Write {name} for a variable, and {{ or }} for a brace.",
            )
        names[found] = None
    return tuple(names)


def fill(text: str, values: Mapping[str, str], *, alone: bool = False) -> str:
    """The text with its gaps filled, each value as it is; ``alone``: on lines of its own."""
    made: list[str] = []
    at = 0
    for match in _TOKEN.finditer(text):
        made.append(text[at : match.start()])
        at = match.end()
        if match.group() in ("{{", "}}"):
            made.append(match.group()[0])
        elif not alone:
            made.append(values[match.group(1)])
        else:
            before = "".join(made).rstrip(" \t")
            rest = text[at:].lstrip(" \t")
            at = len(text) - len(rest)
            made = [before, "\n" if before and before[-1] != "\n" else "", values[match.group(1)]]
            made.append("\n" if rest and rest[0] != "\n" else "")
    return "".join([*made, text[at:]])
