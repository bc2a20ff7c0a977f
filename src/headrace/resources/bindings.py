"""What a handle means here and now.

Using a handle asks the current bindings. An *open* binding resolves it through the settings and
records what was used; a *sealed* one looks the identity up in a release's manifest and refuses,
by name, what is not there. ``App.using`` lays replacements over either. Discovery of resources
need not be perfect: what was missed while recording is refused in the sealed process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import Sealed
from headrace.types import digest, to_json

if TYPE_CHECKING:
    from headrace.resources.handles import Handle


class Bindings:
    """Open bindings: every handle resolves, and what was resolved is recorded.

    ``replacements`` maps a handle to another handle or to a ready object (a Model, say).
    """

    sealed = False

    def __init__(self, replacements: Mapping[Handle, Any] | None = None) -> None:
        self.replacements = dict(replacements or {})
        self._recorded: dict[Handle, None] = {}
        self._lock = threading.Lock()

    @property
    def recorded(self) -> tuple[Handle, ...]:
        """The handles that were resolved so far, in order of first use."""
        return tuple(self._recorded)

    def target(self, handle: Handle) -> Any:
        """What stands in for a handle, without a note that it was used."""
        return self.replacements.get(handle, handle)

    def held(self, handle: Handle) -> Mapping[str, Any] | None:
        """The identity that a manifest fixes for this handle; None where nothing is fixed."""
        return None

    def place(self) -> Place | None:
        """Where a release's own settings lie, and the project that it runs in; None when open."""
        return None

    def resolve(self, handle: Handle) -> Any:
        """A handle to open, or a ready object that takes its place."""
        target = self.target(handle)
        with self._lock:
            self._recorded.setdefault(handle)
        return target

    def over(self, replacements: Mapping[Handle, Any]) -> Bindings:
        """The same bindings with more replacements on top."""
        return type(self)({**self.replacements, **replacements})


@dataclass(frozen=True, kw_only=True)
class Place:
    """``bundle``: the folder with a release's settings; ``project``: where it runs, which may say
    *where* a resource is, never *what* it is."""

    bundle: Path
    project: Path


class SealedBindings(Bindings):
    """Bindings of a release: only what its manifest holds, with the identity that it holds.

    ``manifest`` maps ``kind:name`` to an identity; ``identify`` gives the identity of what would
    be opened here, so that a changed resource is refused too. ``locations`` maps ``kind:name`` to
    the handle that is opened in its place (a knowledge base inside the bundle); ``following``
    lists those that follow the newest version, of which only the kind is compared. An environment
    may change *where* a resource is, never *what* it is.
    """

    sealed = True

    def __init__(
        self,
        *,
        manifest: Mapping[str, Any] | None = None,
        identify: Callable[[Any], Any] | None = None,
        locations: Mapping[str, Handle] | None = None,
        following: Collection[str] = (),
        place: Place | None = None,
    ) -> None:
        super().__init__()
        self.manifest = dict(manifest or {})
        self.identify = identify
        self.locations = dict(locations or {})
        self.following = frozenset(following)
        self._place = place
        self._proved: set[str] = set()

    def target(self, handle: Handle) -> Any:
        return self.locations.get(handle.key, handle)

    def held(self, handle: Handle) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self.manifest.get(handle.key)
        return found

    def place(self) -> Place | None:
        return self._place

    def resolve(self, handle: Handle) -> Any:
        target = super().resolve(handle)
        self.prove(handle)
        return target

    def prove(self, handle: Handle) -> None:
        """Raise Sealed unless the manifest holds this handle and it is here what it was there.

        What is pinned cannot change any more, so it is compared once; what lies elsewhere (a
        model, a knowledge base outside of the bundle) each time.
        """
        key = handle.key
        if key not in self.manifest:
            held = ", ".join(sorted(self.manifest)) or "nothing"
            raise Sealed(
                f"This release does not hold the resource {key!r}.",
                hint=f"It holds: {held}. Use it while the application is evaluated, and release again.",
            )
        if self.identify is None or key in self._proved or key in self.following:
            return
        found = to_json(self.identify(self.target(handle)))
        if found.get("unavailable") and not self.manifest[key].get("unavailable"):
            what = " ".join(str(self.manifest[key].get(k, "")) for k in ("provider", "model")).strip()
            raise Sealed(
                f"What this release was made with is gone: {key!r} ({what or 'a resource'}) cannot be opened"
                f" here ({found.get('why', 'nothing is configured')}).",
                hint="Put it back (for a model: its [models] table, its folder), or make a new release.",
            )
        if digest(_what(found)) != digest(_what(self.manifest[key])):
            raise Sealed(
                f"The resource {key!r} is not the one that was released: "
                f"{_differences(found, to_json(self.manifest[key]))}.",
                hint="Restore that one, or make a new release.",
            )
        if key in self.locations:
            self._proved.add(key)

    def over(self, replacements: Mapping[Handle, Any]) -> Bindings:
        raise Sealed(
            "A release cannot be given other resources.", hint="Load the application's file instead."
        )


def _what(identity: Any) -> Any:
    """An identity without where it is reached: of a claimed model, the host."""
    if isinstance(identity, Mapping) and identity.get("claimed") is True:
        return {key: value for key, value in identity.items() if key != "host"}
    return identity


def _differences(here: Any, there: Any) -> str:
    """Where two identities differ, in a few words."""
    if not isinstance(here, Mapping) or not isinstance(there, Mapping):
        return f"{here!r} here, {there!r} in the manifest"
    keys = sorted(key for key in {*here, *there} if here.get(key) != there.get(key))
    return "; ".join(
        f"{key} is {_short(here.get(key))} here and {_short(there.get(key))} in the manifest" for key in keys
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 70 else text[:67] + "…"


DEFAULT = Bindings()
_current: ContextVar[Bindings] = ContextVar("headrace_bindings", default=DEFAULT)


def current() -> Bindings:
    """The bindings in force."""
    return _current.get()


@contextmanager
def use(bindings: Bindings) -> Iterator[Bindings]:
    """Put bindings in force within the block."""
    token = _current.set(bindings)
    try:
        yield bindings
    finally:
        _current.reset(token)


# --- the project of the application that runs


_project: ContextVar[Path | None] = ContextVar("headrace_project", default=None)


@contextmanager
def within(project: Path) -> Iterator[None]:
    """Say whose run this is: its settings hold where a handle does not name a project itself."""
    token = _project.set(project)
    try:
        yield
    finally:
        _project.reset(token)


def settings_root() -> Path | None:
    """Whose settings hold here: the release's, the running application's project, or None: where
    the process stands."""
    place = current().place()
    return place.bundle if place is not None else _project.get()


# --- what a file creates while it is being loaded


_creating: ContextVar[list[Handle] | None] = ContextVar("headrace_creating", default=None)


@contextmanager
def record_created() -> Iterator[list[Handle]]:
    """Collect the handles created within the block (while an application's file is imported)."""
    created: list[Handle] = []
    token = _creating.set(created)
    try:
        yield created
    finally:
        _creating.reset(token)


def created(handle: Handle) -> None:
    """Called by every new handle."""
    found = _creating.get()
    if found is not None:
        found.append(handle)
