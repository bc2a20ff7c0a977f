"""Making a release: an application as it stands here and now, frozen under the hash of all of it.

What goes in: the code files that the application imports, prompts, headrace.toml and what
``[release] include`` names; the exact distributions; the identity of every resource; and a pinned
copy of each knowledge base. What never goes in: secrets, and anything that is found by chance.
Judging a release is in ``gates.py``, moving aliases in ``rollout.py``.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace import __version__
from headrace.errors import Conflict, NotFound, Unavailable, UserError
from headrace.flows import sources
from headrace.flows.app import App
from headrace.flows.fingerprint import distributions, fingerprint, never_packed
from headrace.flows.load import load
from headrace.ops import licences, mlflow
from headrace.protocols import Progress
from headrace.releases import manifest as manifests
from headrace.releases.bundle import Bundles, Stored, held, listing, stored_of
from headrace.releases.entries import check_name, whoami
from headrace.request import checkpoint
from headrace.resources import bindings, build
from headrace.resources.handles import Handle, KnowledgeBase, revived
from headrace.settings import FILE, STATE, Settings, environment
from headrace.settings import load as load_settings
from headrace.types import Release, to_json

_SECRET = 8  # characters from which on a key's value is looked for in what is packed


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A knowledge base as a manifest lists it, and its handle's key."""

    key: str
    about: Mapping[str, Any]


def release(app: App | str | Path, *, why: str = "", progress: Progress | None = None) -> Release:
    """Freeze an application: its bundle is made, and it is entered in the registry.

    ``app``: an App, ``file.py:function``, or a project's folder. Releasing the same again gives the
    release that is there. No alias moves: that is :func:`headrace.promote`.

    Raises UserError for what cannot be released (defined in a notebook, resources replaced, a
    secret in a file), NotFound (a knowledge base that is missing), Unavailable (a model that cannot
    be opened), Conflict where a file changed meanwhile.
    """
    subject = _fresh(app)
    root, settings = subject.root.absolute(), load_settings(subject.root)
    check_name(subject.name)
    bundles, registry = build.bundles(root), build.registry(root)
    bundles.sweep()
    made = fingerprint(subject)
    opened = app.opened if isinstance(app, App) else ()
    handles = _handles([*subject.handles, *opened, *_evaluated(made.id, root)])
    resources = {key: to_json(_identity(handle)) for key, handle in handles.items()}
    files = _files(subject, settings, made.files, bundles)
    known = [r.manifest for r in registry.releases()]
    frozen = [
        _freeze(handle, resources[key], bundles, known, progress)
        for key, handle in handles.items()
        if isinstance(handle, KnowledgeBase) and handle.follow == "release"
    ]
    if (now := fingerprint(subject)).id != made.id:
        changed = [k for k, v in now.resources.items() if v != made.resources.get(k)] or ["its code"]
        raise Conflict(
            f"{subject.name!r} changed while it was released: {', '.join(changed)}.",
            hint="Release again when nobody writes to it.",
        )
    following = sorted(key for key, found in resources.items() if found.get("follow") == "latest")
    assert subject.file is not None
    entry = subject.file.relative_to(sources.base_of(subject.file, root)).as_posix()
    manifest: dict[str, Any] = {
        "format": manifests.FORMAT,
        "headrace": __version__,
        "name": subject.name,
        "entry": f"{entry}:{subject.function.__name__}",
        "fingerprint": made.id,
        "python": platform.python_version(),
        "distributions": distributions(),
        "code": dict(made.files),
        "files": listing(files),
        "resources": resources,
        "knowledge": {item.key: item.about for item in frozen},
        "models": {
            key: {**_assurance(found), **_licence(handles[key])}
            for key, found in resources.items()
            if key.startswith("model:")
        },
        "reproducible": not following,
        "notes": [f"{key} follows its newest version: not reproducible" for key in following],
    }
    text = manifests.canonical(manifest)
    id = manifests.id_of(text)
    bundles.unfold(id, text)
    made_now = registry.add(id=id, name=subject.name, manifest=manifest, text=text, who=whoami(), why=why)
    mlflow.keep_in_step(root, subject.name, made_now)
    return made_now


# --------------------------------------------------------------------------- what is released


def _fresh(app: App | str | Path) -> App:
    """The application as its file alone makes it, with every handle that the file creates."""
    if not isinstance(app, App):
        app = load(app)
    if app.release is not None:
        raise UserError(
            f"{app.name} {app.release.version} ({app.release.id[:12]}) is a release already.",
            hint=f"Promote it: headrace promote {app.name}@production --release {app.release.id[:12]}",
        )
    if app.file is None:
        raise UserError(
            f"The application {app.name!r} was not defined in a file (in a notebook, perhaps).",
            hint="It can be evaluated, but not released: put it into a .py file first.",
        )
    if app.replacements:
        listed = ", ".join(handle.key for handle in app.replacements)
        raise UserError(
            f"The application {app.name!r} has resources that were replaced while running: {listed}.",
            hint="Write the new ones into its file, and release that.",
        )
    fresh = load(f"{app.file}:{app.function.__name__}")
    if fresh.root != app.root:
        fresh.root = app.root
    return fresh


def _handles(found: Iterable[Handle]) -> dict[str, Handle]:
    """By key. Two different resources under one key could not be told apart in a manifest."""
    handles: dict[str, Handle] = {}
    for handle in found:
        known = handles.setdefault(handle.key, handle)
        if known != handle:
            raise UserError(
                f"Two different resources are called {handle.key!r}: {known.specification} and"
                f" {handle.specification}.",
                hint="Give them different names, or make the handle once and import it.",
            )
    return dict(sorted(handles.items()))


def _evaluated(subject: str, root: Path) -> list[Handle]:
    """The handles that were opened while this very application was evaluated, in whatever process."""
    return [
        revived(*four)
        for report in build.reports(root).list(subject=subject, limit=10)
        for four in report.settings.get("handles", ())
        if four[3] == str(root)
    ]


def _identity(handle: Handle) -> Mapping[str, Any]:
    """What a release will hold this resource to. Raises where it is not there."""
    with bindings.use(bindings.Bindings()):
        found = build.identity(handle)
        if found.get("missing") and isinstance(handle, KnowledgeBase):
            handle.engine()  # says what is there instead
            raise NotFound(f"There is no knowledge base {handle.name!r}.")
        if "why" in found:
            if isinstance(handle, KnowledgeBase):
                handle.engine().version()
            raise Unavailable(
                f"{handle.key!r} cannot be opened here ({found['why']}), so nothing can be released with it.",
                hint="Put it right first: `headrace doctor` says what is wrong.",
            )
    return found


def _assurance(identity: Mapping[str, Any]) -> dict[str, Any]:
    """How far a model's identity goes: weights that were hashed here, or a name that a server claims."""
    if identity.get("unavailable"):
        return {"assurance": "none"}
    return {"assurance": "claimed" if identity.get("claimed") else "hashed"}


def _licence(handle: Handle) -> dict[str, str]:
    """What the README of a local model states; nothing for a model elsewhere."""
    found = licences.stated(handle)
    return {} if found is None else {"licence": found}


# --------------------------------------------------------------------------- files


def _files(app: App, settings: Settings, code: Mapping[str, str], bundles: Bundles) -> dict[str, Stored]:
    """Every file of the bundle but the knowledge bases', stored."""
    root = app.root.absolute()
    assert app.file is not None
    secrets = _secrets(settings)
    stored: dict[str, Stored] = {}
    for pattern in settings.release.include:
        matched = [path for path in root.glob(pattern) if path.is_file()]
        if not matched:
            raise NotFound(
                f"[release] include = {pattern!r} matches no file below {str(root)!r}.",
                hint="Correct the pattern, or take it out.",
            )
        if bad := next((p for p in matched if never_packed(p.relative_to(root))), None):
            raise UserError(
                f"[release] include = {pattern!r} matches {str(bad)!r}, which must not travel.",
                hint="Keys belong into the environment of the server, state stays in the project.",
            )
    own = sources.code_files(app.file, root)
    for name, digest in code.items():
        checkpoint()
        place = Path(own[name]) if name in own else root / name
        if not place.resolve().is_relative_to(sources.base_of(app.file, root).resolve()):
            raise UserError(
                f"{str(place)!r} leads out of the project, to {str(place.resolve())!r}.",
                hint="Copy that file into the project.",
            )
        if not manifests.is_inside(name):
            raise UserError(
                f"{name!r} cannot be the name of a file in a release.",
                hint="Use letters, digits, '.', '_' and '-' in it: it has to exist on every system.",
            )
        data = _read(place, name, secrets)
        if hashlib.sha256(data).hexdigest() != digest:
            raise Conflict(f"{str(place)!r} changed while it was released.", hint="Release again.")
        stored[name] = bundles.put_bytes(data)
    toml = root / FILE
    if FILE not in stored:
        stored[FILE] = bundles.put_bytes(_read(toml, FILE, secrets) if toml.is_file() else b"")
    return stored


def _secrets(settings: Settings) -> dict[str, bytes]:
    """Values of the variables that hold keys: none of them may stand in a file that is packed."""
    names = {settings.serve.key, *(table.key for table in settings.models.values())} - {""}
    found = {name: environment(name) for name in names}
    return {name: value.encode() for name, value in found.items() if len(value) >= _SECRET}


def _read(path: Path, name: str, secrets: Mapping[str, bytes]) -> bytes:
    data = path.read_bytes()
    for variable, value in secrets.items():
        if value in data:
            raise UserError(
                f"{name!r} holds the value of ${variable}: a release would carry the secret with it.",
                hint=f"Take it out of the file; headrace.toml names the variable: key = {variable!r}",
            )
    return data


# --------------------------------------------------------------------------- knowledge bases


def _freeze(
    handle: KnowledgeBase,
    identity: Mapping[str, Any],
    bundles: Bundles,
    known: list[Mapping[str, Any]],
    progress: Progress | None,
) -> Frozen:
    """Pin the newest version of a knowledge base; its files are stored, each once."""
    from headrace.search.freeze import freeze, pin

    engine = handle.engine()
    with engine.writer(wait=10.0) as writer:
        pinned = pin(writer)
        version = pinned.version
        if version.version != identity["version"]:
            raise Conflict(
                f"The knowledge base {handle.name!r} got a new version while it was released.",
                hint="Release again.",
            )
        before = list(held(known, pinned.id))
        for about in before:
            same = (about["version"], about["corpus"]) == (version.version, version.corpus)
            if same and all(map(bundles.has, stored_of(about).values())):
                return Frozen(key=handle.key, about={**about, "folder": _folder_of(handle)})
        temporary = bundles.temporary()
        try:
            names = freeze(writer, pinned, temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    if progress is not None:
        progress(0, None, f"{handle.name}: {version.chunks:,} chunks")
    try:
        # words/meta.json and kb.sqlite change from version to version; sealed vectors never do
        files = bundles.put_files(temporary, names, stored_of(before[0]) if before else {})
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Frozen(
        key=handle.key,
        about={
            "folder": _folder_of(handle),
            "id": pinned.id,
            "version": version.version,
            "corpus": version.corpus,
            "documents": version.documents,
            "chunks": version.chunks,
            "files": listing(files),
        },
    )


def _folder_of(handle: KnowledgeBase) -> str:
    """Where it lies in the bundle: a name where names lie, a path under its hash."""
    if "/" in handle.name or "\\" in handle.name or not manifests.is_inside(handle.name):
        return f"{STATE}/kb/path-{hashlib.sha256(handle.name.encode()).hexdigest()[:12]}"
    return f"{STATE}/kb/{handle.name}"
