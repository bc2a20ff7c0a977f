"""What an application is, as a hash: its code, the exact distributions, the identities it uses.

Traces, reports and gates are about a fingerprint. It is cheap: file contents of the project's own
modules, the names of installed distributions (from their folders, not their metadata), and one
read of each resource's identity.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.flows import sources
from headrace.resources import bindings, build
from headrace.settings import STATE, GuardSettings
from headrace.settings import load as load_settings
from headrace.types import digest

if TYPE_CHECKING:
    from headrace.flows.app import App

PROMPTS = "prompts"
_NEVER = (STATE, ".git", ".venv", "__pycache__")


@dataclass(frozen=True, kw_only=True)
class Code:
    """The project's own files that the application imports or includes, and its prompts: path → SHA-256."""

    files: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        return digest(self.files)


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """``id`` is SHA-256 over code, Python version, distributions, resources, and ``[guards]`` where they
    are not the usual ones (their digest; "" where they are)."""

    app: str
    code: str
    python: str
    distributions: str
    resources: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    guards: str = ""

    @cached_property
    def id(self) -> str:
        parts = [self.app, self.code, self.python, self.distributions, self.resources]
        return digest([*parts, self.guards] if self.guards else parts)


def fingerprint(app: App, *, seen: Mapping[str, Any] | None = None) -> Fingerprint:
    """The fingerprint of an application as it stands here and now.

    ``seen``, the record of a run, says which knowledge-base versions that run really read; they
    replace what is live at the moment of asking.
    """
    code = code_of(app)
    with bindings.use(app.bindings()):
        resources = {handle.key: build.identity(handle) for handle in app.handles}
    for version in (seen or {}).get("kb_versions", []):
        key = f"knowledge:{getattr(version, 'name', '')}"
        if key in resources and "corpus" in resources[key]:
            known = dict(resources[key])
            known.update(
                corpus=version.corpus,
                version=version.version,
                commit=version.commit if version.version is None else None,
            )
            resources[key] = known
    made = Fingerprint(
        app=app.name,
        code=code.digest,
        python=platform.python_version(),
        distributions=_distributions()[2],
        resources=resources,
        files=code.files,
        guards=_guards(app),
    )
    # Run after run nothing has changed: comparing costs a tenth of hashing again.
    same = _latest.get(app.name)
    if same is not None and same == made:
        return same
    _latest[app.name] = made
    return made


_latest: dict[str, Fingerprint] = {}
_codes: dict[str, Code] = {}


_hashes: dict[str, tuple[tuple[int, int], str]] = {}


def _hash_file(name: str) -> str:
    """SHA-256 of a file, read again only when its time or size changed; "" where it is gone."""
    try:
        stat = os.stat(name)
        stamp = (stat.st_mtime_ns, stat.st_size)
        known = _hashes.get(name)
        if known is None or known[0] != stamp:
            known = (stamp, hashlib.sha256(Path(name).read_bytes()).hexdigest())
            _hashes[name] = known
        return known[1]
    except OSError:  # removed or locked since it was imported: the run itself did without it
        return ""


def code_of(app: App) -> Code:
    """The application's file, the project files that it imports, its prompts, and what ``[release]
    include`` names.

    Of a release, what its manifest says: those files were verified when it was loaded.
    """
    if app.release is not None:
        return _kept(str(app.release.id), Code(files=app.release.manifest["code"]))
    root, prompts = _places(app.root)
    files: dict[str, str] = {}
    if app.file is not None:
        for name, path in sources.code_files(app.file, root).items():
            files[name] = _hash_file(path)
    for folder, folders, names in os.walk(prompts):  # nothing where there is no such folder
        folders.sort()
        for name in names:
            path = os.path.join(folder, name)
            files[os.path.relpath(path, root).replace(os.sep, "/")] = _hash_file(path)
    for extra in included(root):
        files[extra.relative_to(root).as_posix()] = _hash_file(str(extra))
    made = Code(files=dict(sorted((name, found) for name, found in files.items() if found)))
    return _kept(str(root), made)


def _guards(app: App) -> str:
    """The digest of ``[guards]`` where it is not the usual one: what defends an application is part of it."""
    place = app.bindings().place()
    guards = load_settings(place.bundle if place is not None else app.root).guards
    return "" if guards == GuardSettings() else digest(guards)


def included(root: Path) -> list[Path]:
    """The files that ``[release] include`` names, by globs from the root, and the rule file of
    ``[guards]``; no state and no keys."""
    settings = load_settings(root)
    rules = [settings.guards.policy] if settings.guards.policy else []
    found = {
        path
        for pattern in (*settings.release.include, *rules)
        for path in root.glob(pattern)
        if path.is_file() and not never_packed(path.relative_to(root))
    }
    return sorted(found)


def never_packed(path: Path) -> bool:
    """Whether a path of the project holds state or keys, which belong to a machine and not to the code."""
    return any(part in _NEVER or part.startswith(".env") for part in path.parts)


def _kept(key: str, made: Code) -> Code:
    """The one of the last run, whose digest is known, if nothing has changed since."""
    known = _codes.get(key)
    if known != made:
        _codes[key] = known = made
    return known


@cache
def _places(root: Path) -> tuple[Path, str]:
    """The project's root, and the folder of its prompts."""
    return root.absolute(), str(root.absolute() / PROMPTS)


_known: tuple[tuple[str, ...], list[str], str] | None = None


def distributions() -> list[str]:
    """``name-version`` of everything installed, sorted: from the names of the metadata folders."""
    return _distributions()[1]


def _distributions() -> tuple[tuple[str, ...], list[str], str]:
    """(the path that was searched, what was found, its digest); looked up once per ``sys.path``."""
    global _known
    path = tuple(sys.path)
    if _known is not None and _known[0] == path:
        return _known
    found: set[str] = set()
    for entry in path:
        folder = Path(entry or ".")
        if folder.is_dir():
            for item in folder.iterdir():
                if item.name.endswith((".dist-info", ".egg-info")):
                    found.add(item.name.rsplit(".", 1)[0])
    names = sorted(found)
    _known = (path, names, digest(names))
    return _known
