"""What an application is, as a hash: its code, the exact distributions, the identities it uses.

Traces, reports and gates are about a fingerprint. It is cheap: file contents of the project's own
modules, the names of installed distributions (from their folders, not their metadata), and one
read of each resource's identity.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping
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
        distributions=digest(distributions()),
        resources=resources,
        files=code.files,
    )


_hashes: dict[str, tuple[tuple[int, int], str]] = {}


def _hash_file(path: Path) -> str:
    stat = path.stat()
    stamp = (stat.st_mtime_ns, stat.st_size)
    known = _hashes.get(str(path))
    if known is None or known[0] != stamp:
        known = (stamp, hashlib.sha256(path.read_bytes()).hexdigest())
        _hashes[str(path)] = known
    return known[1]


def code_of(app: App) -> Code:
    """The application's file, the project's modules that are imported now, and its prompts."""
    root = app.root.absolute()
    files: dict[str, str] = {}
    if app.file is not None:
        files[_name(app.file, root)] = _hash_file(app.file)
    own = Path(__file__).absolute().parents[1]
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if not name:
            continue
        path = Path(name)
        if path.suffix != ".py" or not path.is_relative_to(root) or path.is_relative_to(own):
            continue
        inside = path.relative_to(root).parts
        if any(
            part in (STATE, "site-packages", "node_modules") or part.startswith(".venv") for part in inside
        ):
            continue
        if path.is_file():
            files[_name(path, root)] = _hash_file(path)
    prompts = root / _PROMPTS
    if prompts.is_dir():
        for path in sorted(p for p in prompts.rglob("*") if p.is_file()):
            files[_name(path, root)] = _hash_file(path)
    return Code(files=dict(sorted(files.items())))


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


_known: tuple[tuple[str, ...], list[str]] | None = None


def distributions() -> list[str]:
    """``name-version`` of everything installed, sorted: from the names of the metadata folders."""
    global _known
    path = tuple(sys.path)
    if _known is not None and _known[0] == path:
        return _known[1]
    found: set[str] = set()
    for entry in path:
        folder = Path(entry or ".")
        if folder.is_dir():
            for item in folder.iterdir():
                if item.name.endswith((".dist-info", ".egg-info")):
                    found.add(item.name.rsplit(".", 1)[0])
    _known = (path, sorted(found))
    return _known[1]
