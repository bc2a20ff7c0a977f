"""Prompts in operation: which versions of one are in use, in releases and in runs, and since when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import NotFound
from headrace.prompts.template import Template
from headrace.resources import build
from headrace.resources.prompt import FOLDER, SUFFIXES

RUNS = 500  # newest traces that are looked through


@dataclass(frozen=True, kw_only=True)
class Used:
    """A version of a prompt and where it was: ``releases`` as ``NAME VERSION``, ``runs`` among the newest
    traces, first and last time in seconds since the epoch. ``working`` is what the file says now."""

    version: str
    working: bool = False
    releases: tuple[str, ...] = ()
    runs: int = 0
    first: float | None = None
    last: float | None = None


def history(name: str, root: Path, *, working: str = "") -> list[Used]:
    """The versions of ``prompts/NAME`` that the project knows of, newest use first.

    ``working`` is the version of the file as it stands. Releases are read from their bundles, runs from
    the ledger: those that used the prompt through a handle (``hr.prompt(name)``).
    """
    times: dict[str, list[float]] = {}
    releases: dict[str, list[str]] = {}
    runs: dict[str, int] = {}
    for release in build.registry(root).releases():
        try:
            version = in_release(name, release.id, root).version
        except NotFound:
            continue
        releases.setdefault(version, []).append(f"{release.name} {release.version}")
        times.setdefault(version, []).append(release.created)
    for at, version in _runs(name, root):
        runs[version] = runs.get(version, 0) + 1
        times.setdefault(version, []).append(at)
    if working:
        times.setdefault(working, [])
    found = [
        Used(
            version=version,
            working=version == working,
            releases=tuple(releases.get(version, ())),
            runs=runs.get(version, 0),
            first=min(when, default=None),
            last=max(when, default=None),
        )
        for version, when in times.items()
    ]
    return sorted(found, key=lambda used: (used.working, used.last or 0.0), reverse=True)


def _runs(name: str, root: Path) -> Iterator[tuple[float, str]]:
    ledger = build.ledger(root)
    for row in ledger.traces(limit=RUNS):
        trace = ledger.trace(row.id)
        for kept in trace.record.get("templates", ()) if trace is not None else ():
            if kept.get("name") == name:
                yield trace.start if trace is not None else 0.0, str(kept.get("version"))


def of_target(name: str, target: str, root: Path) -> Template:
    """The prompt as the release ``NAME@ALIAS`` or ``NAME@ID`` holds it. NotFound where it has none."""
    return in_release(name, build.registry(root).resolve(target).id, root)


def in_release(name: str, id: str, root: Path) -> Template:
    """The prompt as a release holds it."""
    folder = build.bundles(root).path(id) / FOLDER
    for suffix in SUFFIXES:
        if (path := folder / f"{name}{suffix}").is_file():
            return Template.read(path)
    raise NotFound(
        f"The release {id[:12]} holds no prompt {name!r}.", hint="It travels if it lies in prompts/."
    )
