"""Loading an application out of its release: code verified and kept apart, resources sealed.

The code runs from the bundle's files, each compared with the manifest when it is imported, never
from bytecode on the disk. Its modules live under a name of their own per release
(``headrace_release_<id>.…``), and its ``import`` statements find them there: two releases, or a
release and the working copy, never mix in one process. Not here: which release (``releases/``) and
what an application is (``app.py``).
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import platform
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from headrace.errors import Corrupt, HeadraceError, Sealed, UserError
from headrace.flows.app import App
from headrace.flows.fingerprint import distributions
from headrace.resources import bindings, build
from headrace.resources.handles import Handle, KnowledgeBase, ModelHandle
from headrace.resources.prompt import PromptHandle
from headrace.settings import load as load_settings
from headrace.types import Release

_apps: dict[tuple[str, str], App] = {}
_lock = threading.RLock()


def load_release(release: Release, root: Path) -> App:
    """The application of a release, ready to run; loaded once per process.

    Raises Corrupt (a file differs), Sealed (another environment, a resource that is gone or another
    one), NotFound (its bundle is not here), UserError (its file fails).
    """
    key = (str(root), release.id)
    with _lock:
        if key not in _apps:
            _apps[key] = _load(release, root)
        return _apps[key]


def load_release_by_id(id: str, root: str) -> App:
    """``load_release`` for an unpickled application."""
    return load_release(build.registry(root).release(id), Path(root))


def _load(release: Release, root: Path) -> App:
    bundles = build.bundles(root)
    manifest = bundles.check(release.id)
    folder = bundles.path(release.id)
    if load_settings(root).release.environment != "any":
        check_environment(manifest, release)
    file, _, function = manifest["entry"].rpartition(":")
    code = _Code(release.id, folder, manifest)
    with bindings.record_created() as created:
        try:
            module = code.run(file)
        except HeadraceError:
            raise
        except Exception as error:
            raise UserError(
                f"{release.name} {release.version} ({release.id[:12]}) could not be loaded: "
                f"{type(error).__name__}: {error}",
                hint="If it misses a file of the project, name it under [release] include and release again.",
            ) from error
    app = getattr(module, function, None)
    if not isinstance(app, App):
        raise Corrupt(f"{file} of release {release.id[:12]} has no application {function!r}.")
    app.release = Release(
        id=release.id,
        name=release.name,
        version=release.version,
        manifest=manifest,
        created=release.created,
    )
    app.root = root
    app.name = manifest["name"]
    sealed = sealed_bindings(manifest, folder, root)
    app.seal(sealed, created)
    check_resources(sealed, app.handles)
    return app


# --------------------------------------------------------------------------- environment


def check_environment(manifest: Mapping[str, Any], release: Release) -> None:
    """Raise Sealed, listing the differences, unless Python and all distributions are those of the release."""
    differ = []
    if manifest["python"] != platform.python_version():
        differ.append(f"Python {manifest['python']} → {platform.python_version()}")
    there = dict(_named(manifest["distributions"]))
    here = dict(_named(distributions()))
    for name in sorted({*there, *here}):
        if there.get(name) != here.get(name):
            differ.append(f"{name} {there.get(name) or 'absent'} → {here.get(name) or 'absent'}")
    if differ:
        shown = "\n".join(f"  {line}" for line in differ[:20])
        more = f"\n  and {len(differ) - 20} more" if len(differ) > 20 else ""
        raise Sealed(
            f"{release.name} {release.version} ({release.id[:12]}) was made in another environment "
            f"({len(differ)} differences, then → now):\n{shown}{more}",
            hint="Install what it was made with, or release again in this environment. To run it all the "
            'same, set environment = "any" under [release] in headrace.toml.',
        )


def _named(listed: Sequence[str]) -> list[tuple[str, str]]:
    """``name-version`` → (name, version); a name that is there twice keeps both versions."""
    found: dict[str, list[str]] = {}
    for item in listed:
        name, _, version = item.partition("-")
        found.setdefault(name, []).append(version)
    return [(name, ", ".join(versions)) for name, versions in found.items()]


# --------------------------------------------------------------------------- resources


def sealed_bindings(manifest: Mapping[str, Any], folder: Path, root: Path) -> bindings.SealedBindings:
    """What the handles of a release mean: knowledge bases of its bundle, models of its manifest."""
    locations: dict[str, Handle] = {}
    following = []
    for key, identity in manifest["resources"].items():
        kind, _, name = key.partition(":")
        if kind != "knowledge":
            continue
        if key in manifest["knowledge"]:
            place = folder / manifest["knowledge"][key]["folder"]
            locations[key] = KnowledgeBase.at(place, name=name, root=folder)
        elif identity.get("follow") == "latest":
            following.append(key)
            if "/" not in name and "\\" not in name:
                locations[key] = KnowledgeBase(name, follow="latest", root=root)
    return bindings.SealedBindings(
        manifest=manifest["resources"],
        identify=build.identify,
        locations=locations,
        following=following,
        place=bindings.Place(bundle=folder, project=root),
    )


def examine(release: Release, root: Path) -> None:
    """All that loading would refuse, without running any of the release's code."""
    bundles = build.bundles(root)
    manifest = bundles.check(release.id)
    if load_settings(root).release.environment != "any":
        check_environment(manifest, release)
    check_resources(sealed_bindings(manifest, bundles.path(release.id), root), ())


def check_resources(sealed: bindings.SealedBindings, handles: Iterable[Handle]) -> None:
    """Raise Sealed unless everything that the manifest names is here and the same; contacts nothing."""
    place = sealed.place()
    assert place is not None
    known = {handle.key: handle for handle in handles}
    with bindings.use(sealed):
        for key, identity in sealed.manifest.items():
            if identity.get("unavailable"):  # it did without, and does without, whatever is set here
                continue
            sealed.prove(known.get(key) or _handle_of(key, place.bundle))
            if key.startswith("knowledge:") and identity.get("embedder"):
                build.require_embedder(sealed.locations.get(key), identity["embedder"], key)


def _handle_of(key: str, folder: Path) -> Handle:
    """A handle that the application makes only while it runs: known from the manifest."""
    kind, _, name = key.partition(":")
    if kind == "model":
        return ModelHandle(name, root=folder)
    if kind == "prompt":
        return PromptHandle(name, root=folder)
    return Handle(kind, name, "", str(folder))


# --------------------------------------------------------------------------- code


class _Code(importlib.abc.MetaPathFinder):
    """The modules of one release, under a prefix of their own."""

    def __init__(self, id: str, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.prefix = f"headrace_release_{id[:16]}"
        self.folder = folder
        self.files: dict[str, tuple[str, str]] = {}  # dotted name → (path in the bundle, SHA-256)
        entry = PurePosixPath(manifest["entry"].rpartition(":")[0])
        for base in dict.fromkeys((entry.parent, PurePosixPath("."))):
            for name, about in manifest["files"].items():
                path = PurePosixPath(name)
                if path.suffix == ".py" and path.is_relative_to(base):
                    parts = list(path.relative_to(base).with_suffix("").parts)
                    parts = parts[:-1] if parts[-1] == "__init__" else parts
                    if parts and all(part.isidentifier() for part in parts):
                        self.files.setdefault(".".join(parts), (name, about["sha256"]))
        self.packages = {name.rpartition(".")[0] for name in self.files} - {""}
        self.packages |= {".".join(name.split(".")[:n]) for name in self.packages for n in range(1, 9)}
        self.tops = {name.partition(".")[0] for name in self.files} - sys.stdlib_module_names - {"headrace"}
        self.import_ = _import_of(self.prefix, frozenset(self.tops))

    def run(self, file: str) -> ModuleType:
        """Import the entry."""
        if self.prefix not in sys.modules:
            root = ModuleType(self.prefix, "The code of a release.")
            root.__path__ = []
            sys.modules[self.prefix] = root
            sys.meta_path.insert(0, self)
        dotted = next((name for name, (path, _) in self.files.items() if path == file), None)
        if dotted is None:
            raise Corrupt(f"The entry {file!r} is no module of this release.")
        try:
            return importlib.import_module(f"{self.prefix}.{dotted}")
        except BaseException:
            for name in [n for n in sys.modules if n == self.prefix or n.startswith(f"{self.prefix}.")]:
                del sys.modules[name]
            sys.meta_path.remove(self)
            raise

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of one of this release's modules."""
        if not fullname.startswith(f"{self.prefix}."):
            return None
        dotted = fullname.removeprefix(f"{self.prefix}.")
        found = self.files.get(dotted)
        if found is None:
            if dotted not in self.packages:
                return None
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = []
            return spec
        place = self.folder / found[0]
        return importlib.util.spec_from_file_location(
            fullname,
            place,
            loader=_Verified(fullname, str(place), found[1], self.import_),
            submodule_search_locations=[] if place.name == "__init__.py" else None,
        )


class _Verified(importlib.machinery.SourceFileLoader):
    """Compiles the very bytes that were compared with the manifest; reads and writes no bytecode."""

    def __init__(self, fullname: str, path: str, sha256: str, import_: Callable[..., Any]) -> None:
        super().__init__(fullname, path)
        self.sha256 = sha256
        self.import_ = import_

    def get_code(self, fullname: str) -> Any:
        """The module's code. Corrupt where the file is not what was released."""
        data = Path(self.path).read_bytes()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise Corrupt(
                f"The file {self.path!r} of this release is not what was released.",
                hint="Do not run it. Import the release again from an export, or make a new one.",
            )
        return compile(data, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        """Run it with the release's own ``import``."""
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self.import_}
        super().exec_module(module)


def _import_of(prefix: str, tops: frozenset[str]) -> Callable[..., Any]:
    """``import`` as a release's code sees it: its own modules come from the bundle, all else as ever."""

    def import_(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if level or name.partition(".")[0] not in tops:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(f"{prefix}.{name}", globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[f"{prefix}.{name.partition('.')[0]}"]

    return import_
