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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.resources import bindings, build
from headrace.settings import STATE
from headrace.types import digest

if TYPE_CHECKING:
    from headrace.flows.app import App

_PROMPTS = "prompts"


@dataclass(frozen=True, kw_only=True)
class Code:
    """The project's own files that were imported, and its prompts: path → SHA-256."""

    files: Mapping[str, str]

    @property
    def digest(self) -> str:
        return digest(self.files)


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """``id`` is SHA-256 over code, Python version, distributions and resources."""

    app: str
    code: str
    python: str
    distributions: str
    resources: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return digest([self.app, self.code, self.python, self.distributions, self.resources])


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
    return Fingerprint(
        app=app.name,
        code=code.digest,
        python=platform.python_version(),
        distributions=_distributions()[2],
        resources=resources,
        files=code.files,
    )


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
    """The application's file, the project's modules that are imported now, and its prompts."""
    root = app.root.absolute()
    files: dict[str, str] = {}
    if app.file is not None:
        files[_name(app.file, root)] = _hash_file(str(app.file))
    for shown, name in _modules(str(root)):
        files[shown] = _hash_file(name)
    prompts = root / _PROMPTS
    if prompts.is_dir():
        for folder, folders, names in os.walk(prompts):
            folders.sort()
            for item in names:
                path = os.path.join(folder, item)
                files[_name(Path(path), root)] = _hash_file(path)
    return Code(files=dict(sorted((shown, found) for shown, found in files.items() if found)))


_ours: dict[tuple[str, str], str | None] = {}  # (root, file of a module) → its name in the project


def _modules(root: str) -> Iterator[tuple[str, str]]:
    """Name and path of the project's own modules among those that are imported now.

    Hundreds of modules are imported and each run asks: what was decided about a path is kept.
    """
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if not name:
            continue
        key = (root, name)
        if key not in _ours:
            _ours[key] = _inside(Path(name), Path(root))
        shown = _ours[key]
        if shown is not None:
            yield shown, name


def _inside(path: Path, root: Path) -> str | None:
    """The path within the project, None where it is not the project's own code."""
    if path.suffix != ".py" or not path.is_relative_to(root):
        return None
    if path.is_relative_to(Path(__file__).absolute().parents[1]):  # Headrace itself, in its own checkout
        return None
    inside = path.relative_to(root)
    for part in inside.parts:
        if part in (STATE, "site-packages", "node_modules") or part.startswith(".venv"):
            return None
    return inside.as_posix()


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


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
