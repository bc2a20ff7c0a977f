"""What a handle means here and now.

Using a handle asks the current bindings. An *open* binding resolves it through the settings and
records what was used; a *sealed* one looks the identity up in a release's manifest and refuses,
by name, what is not there. ``App.using`` lays replacements over either. Discovery of resources
need not be perfect: what was missed while recording is refused in the sealed process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from headrace.errors import Sealed

if TYPE_CHECKING:
    from headrace.resources.handles import Handle


class Bindings:
    """Open bindings: every handle resolves, and what was resolved is recorded.

    ``replacements`` maps a handle to another handle or to a ready object (a Model, say).
    """

    def __init__(self, replacements: Mapping[Handle, Any] | None = None) -> None:
        self.replacements = dict(replacements or {})
        self._recorded: dict[Handle, None] = {}
        self._lock = threading.Lock()

    @property
    def recorded(self) -> tuple[Handle, ...]:
        """The handles that were resolved so far, in order of first use."""
        return tuple(self._recorded)

    def resolve(self, handle: Handle) -> Any:
        """A handle to open, or a ready object that takes its place."""
        target = self.replacements.get(handle, handle)
        with self._lock:
            self._recorded.setdefault(handle)
        return target

    def over(self, replacements: Mapping[Handle, Any]) -> Bindings:
        """The same bindings with more replacements on top."""
        return type(self)({**self.replacements, **replacements})


class SealedBindings(Bindings):
    """Bindings of a release: only what its manifest holds, with the identity that it holds.

    ``manifest`` maps ``kind:name`` to an identity; ``identify`` gives the identity of what would
    be opened here, so that a changed resource is refused too. An environment may change *where* a
    resource is, never *what* it is.
    """

    def __init__(
        self,
        replacements: Mapping[Handle, Any] | None = None,
        *,
        manifest: Mapping[str, Any] | None = None,
        identify: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(replacements)
        self.manifest = dict(manifest or {})
        self.identify = identify

    def resolve(self, handle: Handle) -> Any:
        target = super().resolve(handle)
        key = f"{handle.kind}:{handle.name}"
        if key not in self.manifest:
            held = ", ".join(sorted(self.manifest)) or "nothing"
            raise Sealed(
                f"This release does not hold the resource {key!r}.",
                hint=f"It holds: {held}. Use it while the application is evaluated, and release again.",
            )
        if self.identify is not None and (found := self.identify(target)) != self.manifest[key]:
            raise Sealed(
                f"The resource {key!r} is not the one that was released: {found!r} here, "
                f"{self.manifest[key]!r} in the manifest.",
                hint="Restore that version, or make a new release.",
            )
        return target

    def over(self, replacements: Mapping[Handle, Any]) -> Bindings:
        raise Sealed(
            "A release cannot be given other resources.", hint="Load the application's file instead."
        )


_default = Bindings()
_current: ContextVar[Bindings] = ContextVar("headrace_bindings", default=_default)


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
