"""A handle to a prompt of the project: a file of its ``prompts/`` folder, read when it is used.

Files of that folder are part of an application's fingerprint and travel in its releases; with a handle
the version that was used is also in each trace, and another wording can take its place for an evaluation.
"""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace import tracing
from headrace.errors import HeadraceError, InputError, NotFound
from headrace.resources import bindings
from headrace.resources.handles import Handle, root_of_caller
from headrace.types import Message

if TYPE_CHECKING:
    from headrace.prompts.families import Family
    from headrace.prompts.fourpart import Rendered
    from headrace.prompts.template import Template

FOLDER = "prompts"
SUFFIXES = (".md", ".txt", ".prompt", "")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)*\Z")
_read: dict[str, tuple[tuple[int, int], Template]] = {}


class PromptHandle(Handle):
    """A prompt by name: ``prompts/NAME.md`` of the project.

    ``app.using({handle: template})`` puts another :class:`~headrace.prompts.template.Template`, or
    another handle, in its place.
    """

    def __init__(self, name: str, *, root: str | Path | None = None) -> None:
        if not isinstance(name, str) or not _NAME.match(name):
            raise InputError(
                f"{name!r} cannot be the name of a prompt.",
                hint="Name a file of the folder prompts/, such as hr.prompt('answer') for prompts/answer.md.",
            )
        base = Path(root) if root is not None else root_of_caller()
        super().__init__("prompt", name, name, str(base))

    def open(self) -> Template:
        """The template, read again where its file has changed. NotFound lists those that exist."""
        target = bindings.current().resolve(self)
        if isinstance(target, PromptHandle):
            return target._file()
        if not hasattr(target, "render"):
            raise InputError(
                f"{self.key!r} was replaced by {target!r:.60}, which is no prompt.",
                hint="Give a Template (hr.Template.read(path)) or another hr.prompt(name).",
            )
        found: Template = target
        return found

    @property
    def path(self) -> Path:
        """Its file. NotFound lists the prompts that exist."""
        folder = Path(self.root) / FOLDER
        for suffix in SUFFIXES:
            if (path := folder / f"{self.name}{suffix}").is_file():
                return path
        names = known(folder)
        near = difflib.get_close_matches(self.name, names, n=1)
        raise NotFound(
            f"There is no prompt {self.name!r} in {str(folder)!r}.",
            hint=(f"Did you mean {near[0]!r}? " if near else "")
            + (f"There are: {', '.join(names)}." if names else "Make one: headrace prompts new 'GOAL'."),
        )

    def _file(self) -> Template:
        from headrace.prompts.template import Template

        path = self.path
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size)
        kept = _read.get(str(path))
        if kept is None or kept[0] != stamp:
            kept = (stamp, Template.read(path))
            _read[str(path)] = kept
        return kept[1]

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name and hash; ``unavailable`` where the file is missing or broken."""
        try:
            return self._file().identity
        except HeadraceError as error:
            return {"unavailable": True, "why": error.code}

    # ------------------------------------------------------------------ using it

    @property
    def variables(self) -> tuple[str, ...]:
        """The names that it wants values for."""
        return self.open().variables

    def use(self) -> Template:
        """The template, noted in the trace of the run as the one that was used."""
        template = self.open()
        tracing.note("templates", {"name": self.name, "hash": template.hash, "version": template.version})
        return template

    def render(self, **values: str) -> tuple[Message, ...]:
        """The messages for a chat model; the version used is noted in the trace."""
        return self.use().render(**values)

    def rendered(
        self,
        values: Mapping[str, str],
        *,
        model: str = "",
        family: Family | None = None,
        rng: random.Random | None = None,
    ) -> Rendered:
        """What to send to a model of this name or family, of a prompt of four parts or of messages."""
        from headrace.prompts.fourpart import FourPart, Rendered

        template = self.use()
        if isinstance(template, FourPart):
            return template.rendered(values, model=model, family=family, rng=rng)
        messages = template.render(**values)
        return Rendered(messages=messages, family=family or "chat", version=template.version)


def known(folder: Path) -> list[str]:
    """The names of the prompts in a folder, README excepted."""
    if not folder.is_dir():
        return []
    files = [p for p in folder.rglob("*") if p.suffix in SUFFIXES and p.suffix and p.is_file()]
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in files if path.stem.lower() != "readme"
    )


def find(given: str, root: Path) -> Path:
    """The file of a prompt by its path, or by its name in the project. NotFound lists those that exist."""
    path = Path(given).expanduser()
    if path.is_file() or path.suffix in SUFFIXES[:3] or given.startswith((".", "/", "~")):
        return path
    return PromptHandle(given, root=root).path


def find_all(given: Sequence[str], root: Path) -> list[Path]:
    """The files of several prompts; a folder stands for all in it, nothing for those of the project."""
    found: list[Path] = []
    for one in given or [str(root / FOLDER)]:
        folder = Path(one).expanduser()
        if folder.is_dir() or not given:
            found += [next(p for s in SUFFIXES if (p := folder / f"{n}{s}").is_file()) for n in known(folder)]
        else:
            found.append(find(one, root))
    return list(dict.fromkeys(found))


def prompt(name: str) -> PromptHandle:
    """A handle to ``prompts/NAME.md`` of the project; nothing is read yet.

    ``handle.render(question=…)`` gives the messages, ``handle.rendered({…}, model=llm.open().name)`` what
    suits a certain model.
    """
    return PromptHandle(name, root=root_of_caller())
