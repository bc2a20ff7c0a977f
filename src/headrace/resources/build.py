"""Settings → objects: embedders, knowledge bases, models, the ledger.

Every object is built once per process (``pool``). Nothing below floor 2 reads settings; it is
given what it needs from here.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace import __version__, plugins
from headrace.errors import HeadraceError, InputError, NotFound, Sealed, Unavailable
from headrace.resources import bindings, pool
from headrace.resources.handles import Handle, KnowledgeBase, ModelHandle
from headrace.settings import STATE, ModelSettings, Settings, home, load
from headrace.storage import IngestReport
from headrace.types import KnowledgeVersion, digest

if TYPE_CHECKING:
    from headrace.ledger.database import Ledger
    from headrace.ledger.reports import Reports
    from headrace.models.cost import Prices
    from headrace.protocols import Embedder, Model, Progress, Splitter
    from headrace.releases.bundle import Bundles
    from headrace.releases.registry import Registry
    from headrace.search.engine import Engine

# --------------------------------------------------------------------------- embedder


def embedder_identity(settings: Settings, precision: str = "") -> Mapping[str, Any] | None:
    """The identity of the embedder that the settings name, without loading it; None: no weights."""
    from headrace.models.embedder import peek_identity

    chosen = precision or settings.embedder.precision or "int8"
    key = ("embedder-identity", settings.embedder.model, chosen, str(home()))
    try:
        return pool.get(
            key,
            lambda: peek_identity(settings.embedder.model, chosen, home=home(), policy=settings.network),
        )
    except NotFound:
        if settings.embedder.model:
            raise  # named and not there: an error; only the packaged default may be missing
        return None


def open_embedder(settings: Settings, precision: str = "") -> Embedder:
    """The embedder that the settings name; NotFound says what to install."""
    from headrace.models.embedder import open_embedder as open_

    chosen = precision or settings.embedder.precision or "int8"
    key = ("embedder", settings.embedder.model, chosen, settings.embedder.threads, str(home()))
    return pool.get(
        key,
        lambda: open_(
            settings.embedder.model,
            chosen,
            home=home(),
            threads=settings.embedder.threads,
            policy=settings.network,
        ),
    )


def default_embedder(root: str | Path | None = None) -> Embedder | None:
    """The project's embedder for scoring sentences, None where there are no weights."""
    from headrace.models.remember import RememberingEmbedder

    settings = load(Path(root) if root else bindings.settings_root())
    if embedder_identity(settings) is None:
        return None
    key = ("sentences", settings.embedder, str(home()))
    return pool.get(key, lambda: RememberingEmbedder(open_embedder(settings)))


# --------------------------------------------------------------------------- knowledge bases


def splitter(settings: Settings, embedder: Embedder | None) -> Splitter:
    """The splitter that the settings describe, counting as the embedder counts."""
    from headrace.ingest.split import StructureSplitter, word_offsets

    limit = settings.kb.chunk_tokens
    if embedder is not None and limit > embedder.window:
        raise InputError(
            f"[kb] chunk_tokens = {limit} is more than the embedder's window of {embedder.window} tokens.",
            hint=f"Set it to {embedder.window} or less: what is beyond the window is not embedded.",
        )
    return StructureSplitter(
        embedder.offsets if embedder is not None else word_offsets,
        limit=limit,
        overlap=settings.kb.chunk_overlap,
        special=2 if embedder is not None else 0,
        name=str(embedder.identity["name"]) if embedder is not None else "words",
    )


def known_knowledge_bases(root: str | Path) -> list[str]:
    """Names of the knowledge bases of a project."""
    folder = Path(root) / STATE / "kb"
    if not folder.is_dir():
        return []
    return sorted(item.name for item in folder.iterdir() if (item / "kb.sqlite").is_file())


def engine(handle: KnowledgeBase, *, create: bool = False) -> Engine:
    """The opened knowledge base behind a handle. NotFound lists those that exist."""

    target = bindings.current().resolve(handle)
    if not isinstance(target, KnowledgeBase):
        return target  # type: ignore[no-any-return]  # a ready object took its place
    pinned = bindings.current().sealed and target.follow == "release"
    if create and pinned:
        raise Sealed(
            f"The knowledge base {target.name!r} of a release is never written to.",
            hint="Write to the project's: headrace ingest. The next release takes its contents.",
        )
    return _engine_of(target, create, pinned=pinned)


def _engine_of(target: KnowledgeBase, create: bool = False, *, pinned: bool = False) -> Engine:
    """The opened knowledge base, whatever the bindings say; ``pinned`` ones only for reading."""
    folder = target.folder
    if not create and not os.path.isfile(os.path.join(folder, "kb.sqlite")):
        names = known_knowledge_bases(target.root)
        near = difflib.get_close_matches(target.name, names, n=1)
        raise NotFound(
            f"There is no knowledge base {target.name!r} (looked in {folder}).",
            hint=(f"Did you mean {near[0]!r}? " if near else "")
            + (f"This project has: {', '.join(names)}. " if names else "")
            + f"Make it with: headrace ingest PATH --kb {target.name}",
        )
    key = ("engine", str(folder))
    found = pool.get(key, lambda: _Opened(_open_engine(target, folder, create, pinned)))
    if found.file != _file(found.engine.store.folder):  # removed or replaced since it was opened
        pool.forget(key, found)
        found = pool.get(key, lambda: _Opened(_open_engine(target, folder, create, pinned)))
    return found.engine


class _Opened:
    """An engine, and which file it opened: a folder can be replaced while a server runs."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.file = _file(engine.store.folder)

    def close(self) -> None:
        self.engine.close()


def _file(folder: Path) -> tuple[int, int] | None:
    try:
        stat = os.stat(os.path.join(folder, "kb.sqlite"))
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _open_engine(handle: KnowledgeBase, folder: Path, create: bool, pinned: bool) -> Engine:
    from headrace.search.engine import Engine

    settings = load(Path(handle.root))
    if pinned:
        folder = _pinned_folder(handle, folder)
    precision = settings.embedder.precision or _precision_of(folder)
    identity = embedder_identity(settings, precision)

    def embed() -> Embedder:
        return open_embedder(settings, precision)

    return Engine.open(
        folder,
        name=handle.name,
        create=create,
        embedder=embed if identity is not None else None,
        splitter=None if pinned else lambda: splitter(settings, embed() if identity is not None else None),
        identity=(lambda: identity) if identity is not None else None,
    )


def _pinned_folder(handle: KnowledgeBase, folder: Path) -> Path:
    """Where a release's knowledge base can be read: in its bundle, or beside it, brought up to date."""
    from headrace.search.freeze import readable

    bundle = Path(handle.root)
    place = bindings.current().place()
    base = (place.project / STATE / "releases") if place is not None else bundle.parent
    return readable(folder, base / "opened" / bundle.name / folder.name)


def _precision_of(folder: Path) -> str:
    """The precision class in which an existing knowledge base was embedded, "" for a new one."""
    from headrace.search.store import Store

    if not (folder / "kb.sqlite").is_file():
        return ""
    store = Store.open(folder)
    try:
        stored = store.meta().embedder or {}
    finally:
        store.close()
    return {"float": "f32", "int8": "int8"}.get(str(stored.get("precision", "")), "")


def ingest(
    handle: KnowledgeBase,
    paths: Sequence[str | Path],
    *,
    prune: bool = False,
    drop_duplicates: bool = False,
    progress: Progress | None = None,
    wait: float = 0.0,
) -> IngestReport:
    """Files → a knowledge base (see KnowledgeBase.add_files)."""
    from headrace.ingest.folder import check_paths, ingest_paths

    check_paths(paths, prune=prune)  # before anything is created
    opened = engine(handle, create=True)
    with opened.writer(wait=wait) as writer:
        return ingest_paths(
            paths,
            writer,
            prune=prune,
            drop_duplicates=drop_duplicates,
            progress=progress,
            reader_identity=_reader_identity(load(Path(handle.root)), opened),
        )


def _reader_identity(settings: Settings, opened: Engine) -> str:
    """What decides whether an unchanged file must be read again: readers, splitting, tokenizer.

    Found without loading the embedder, so that an ingest with nothing to do stays cheap.
    """
    stored = opened.store.meta().embedder or embedder_identity(settings, settings.embedder.precision)
    tokenizer = (stored or {}).get("tokenizer", "words")
    return f"readers-1 {__version__} {settings.kb.chunk_tokens}/{settings.kb.chunk_overlap} {tokenizer}"


def prune(handle: KnowledgeBase, keep_versions: int) -> Any:
    """Free what no kept version needs (see KnowledgeBase.prune)."""
    from headrace.search.compact import prune as compact

    opened = engine(handle)
    with opened.writer(wait=10.0) as writer:
        return compact(writer, keep_versions=keep_versions)


# --------------------------------------------------------------------------- models


def _model_settings(handle: ModelHandle, settings: Settings) -> tuple[str, str, ModelSettings] | None:
    """(provider, model name, its settings), or None where ``auto`` means nothing here."""
    text = handle.specification
    if text == "auto":
        text = settings.default_model
        if not text:
            return None
    if text in settings.models:
        found = settings.models[text]
        return found.provider, found.model or text, found
    provider, colon, name = text.partition(":")
    if not colon or not name:
        known = ", ".join(sorted(settings.models)) or "none"
        raise NotFound(
            f"{text!r} does not name a model.",
            hint=f"Write provider:model (providers: {', '.join(plugins.names('models'))}), or the name of a "
            f"[models.NAME] table of headrace.toml (here: {known}).",
        )
    if provider in settings.models:  # a table of that name gives address and key, the text the model
        found = settings.models[provider]
        return found.provider, name, found
    return provider, name, ModelSettings(provider=provider, model=name)


def model_is_configured(handle: ModelHandle) -> bool:
    """Whether something stands behind the handle."""
    held = bindings.current().held(handle)
    if held is not None:  # a release does what it did: quotes where it quoted, and never instead of a model
        return "unavailable" not in held
    target = bindings.current().target(handle)
    if isinstance(target, str):
        target = ModelHandle(target, root=handle.root)
    if not isinstance(target, ModelHandle):
        return target is not None
    return _model_settings(target, load(Path(target.root))) is not None


def model(handle: ModelHandle) -> Model:
    """The model behind a handle."""
    target = bindings.current().resolve(handle)
    if isinstance(target, str):
        target = ModelHandle(target, root=handle.root)
    if not isinstance(target, ModelHandle):
        if target is None:
            raise _unavailable(handle)
        return target  # type: ignore[no-any-return]  # a ready Model took its place
    return _model_of(target)


def _model_of(target: ModelHandle) -> Model:
    """The model, whatever the bindings say."""
    settings = load(Path(target.root))
    named = _model_settings(target, settings)
    if named is None:
        raise _unavailable(target)
    provider, name, found = _here(*named, target, settings)
    factory = plugins.get("models", provider)
    # Weights do not travel in a bundle: a release finds them where the project has them.
    place = bindings.current().place()
    root = place.project if place else Path(target.root)
    key = ("model", provider, name, repr(found), str(root), settings.network)
    return pool.get(key, lambda: factory(name, found, policy=settings.network, root=root))  # type: ignore[no-any-return]


def prices(handle: ModelHandle) -> Prices | None:
    """What the model behind a handle costs by the settings; None where none or a ready object is there."""
    from headrace.models.cost import Prices

    target = bindings.current().target(handle)
    if isinstance(target, str):
        target = ModelHandle(target, root=handle.root)
    if not isinstance(target, ModelHandle):
        return None
    settings = load(Path(target.root))
    named = _model_settings(target, settings)
    return None if named is None else Prices.of(_here(*named, target, settings)[2])


def _here(
    provider: str, name: str, found: ModelSettings, handle: ModelHandle, settings: Settings
) -> tuple[str, str, ModelSettings]:
    """The same model as this environment reaches it: address, key and patience may be the project's own.

    Only for releases, whose settings travel with them.
    """
    place = bindings.current().place()
    if place is None:
        return provider, name, found
    table = handle.specification if handle.specification != "auto" else settings.default_model
    theirs = load(place.project).models.get(table) or load(place.project).models.get(table.partition(":")[0])
    if theirs is None or theirs.provider != provider:
        return provider, name, found
    return (
        provider,
        name,
        replace(
            found,
            url=theirs.url or found.url,
            key=theirs.key or found.key,
            timeout=theirs.timeout,
            retries=theirs.retries,
        ),
    )


def _unavailable(handle: ModelHandle) -> Unavailable:
    return Unavailable(
        f"No language model stands behind hr.model({handle.specification!r}).",
        hint="Set default under [models] in headrace.toml, or HEADRACE_MODEL, to provider:model.",
    )


# --------------------------------------------------------------------------- ledger


def ledger(root: str | Path) -> Ledger:
    """The ledger of a project."""
    from headrace.ledger.database import Ledger

    settings = load(Path(root))
    key = ("ledger", settings.root, settings.ledger)
    return pool.get(
        key,
        lambda: Ledger.open(settings.state / "ledger.sqlite", settings.ledger, mask=_without_personal_data),
    )


def _without_personal_data(text: str) -> str:
    from headrace.guards import personal

    return personal.mask(text)[0]


# --------------------------------------------------------------------------- releases


def registry(root: str | Path) -> Registry:
    """The registry of a project's releases."""
    from headrace.releases.registry import Registry

    folder = Path(root).absolute() / STATE / "releases"
    return pool.get(("registry", str(folder)), lambda: Registry(folder))


def bundles(root: str | Path) -> Bundles:
    """The files of a project's releases."""
    from headrace.releases.bundle import Bundles

    return Bundles(Path(root).absolute() / STATE / "releases")


def require_embedder(handle: Handle | None, released: Mapping[str, Any], key: str) -> None:
    """Raise Sealed unless the embedder that a knowledge base was released with is here; loads nothing."""
    if not isinstance(handle, KnowledgeBase):
        return
    settings = load(Path(handle.root))
    precision = settings.embedder.precision or _precision_of(handle.folder)
    try:
        found = embedder_identity(settings, precision)
    except HeadraceError as error:
        raise Sealed(
            f"The embedding model of {key!r} cannot be opened here: {error.message}", hint=error.hint
        ) from error
    if found is None:
        raise Sealed(
            f"The embedding model of {key!r} ({released.get('name')}, {released.get('precision')}) is gone:"
            " without it this release would search by words alone.",
            hint="Install it again; `headrace doctor` says where it is looked for.",
        )
    differ = sorted(
        k for k in {*found, *released} - {"name"} if digest([found.get(k)]) != digest([released.get(k)])
    )
    if differ:
        raise Sealed(
            f"The embedding model of {key!r} is not the one that was released: {', '.join(differ)} differ.",
            hint="Put the first one back, or make a new release.",
        )


def reports(root: str | Path) -> Reports:
    """The reports of a project."""
    from headrace.ledger.reports import Reports

    return Reports(Path(root) / STATE / "reports")


# --------------------------------------------------------------------------- identities


def identity(handle: Handle) -> Mapping[str, Any]:
    """What a handle stands for now: contents for knowledge bases, weights or a claim for models.

    In a release, what its manifest says: it was compared when the release was loaded.
    """
    found = bindings.current()
    held = found.held(handle)
    if held is not None and held.get("follow") != "latest":
        return held
    target = found.target(handle)
    if isinstance(target, str) and isinstance(handle, ModelHandle):
        target = ModelHandle(target, root=handle.root)
    return identify(target)


def identify(target: Any) -> Mapping[str, Any]:
    """The identity of a handle, or of the object that took its place, looked at now."""
    if isinstance(target, KnowledgeBase):
        try:
            opened = _engine_of(target, pinned=bindings.current().sealed and target.follow == "release")
            seen = opened.version()
            embedder, splitter = _whole(opened, seen)
        except NotFound:
            return {"missing": True}
        except HeadraceError as error:
            return {"unavailable": True, "why": error.code}
        return {
            "corpus": seen.corpus,
            "version": seen.version,
            "commit": seen.commit if seen.version is None else None,
            "embedder": embedder,
            "splitter": splitter,
            "follow": target.follow,
        }
    if isinstance(target, ModelHandle):
        if _model_settings(target, load(Path(target.root))) is None:
            return {"unavailable": True}
        try:
            return _model_of(target).identity
        except HeadraceError as error:
            return {"unavailable": True, "why": error.code}
    return dict(getattr(target, "identity", {"object": type(target).__name__}))


def _whole(opened: Engine, seen: KnowledgeVersion) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The whole identities of embedder and splitter; a version names them shortened, by their hash."""

    def read() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        meta = opened.store.meta()
        return dict(meta.embedder or {}), dict(meta.splitter or {})

    return pool.get(("identities", seen.embedder, seen.splitter), read)
