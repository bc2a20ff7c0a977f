"""Moving aliases: staging, production and its canary, with gates before and a log behind.

Whatever an alias is to point to is first read byte by byte and run once by a fresh process that
knows nothing of the working copy (``trial.py``). Production, a canary included, needs every gate
(``gates.py``) to pass, or an override with a reason, which stands in the log. A rollback needs
neither: it moves a pointer, because it is wanted in a hurry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import InputError, NotFound
from headrace.ops import mlflow
from headrace.releases.entries import Live, split, whoami
from headrace.resources import build
from headrace.settings import find_root, load
from headrace.types import Release, to_json

if TYPE_CHECKING:
    from headrace.ops.gates import GateResult
    from headrace.releases.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What a promotion or a rollback did. ``alias`` went from ``previous`` to ``release``.

    ``verdict``: ``passed``, ``overridden`` (gates said no, a reason was given), ``refused`` (nothing
    moved) or ``rolled back``. ``percent`` of the users go to a canary.
    """

    name: str
    alias: str
    release: Release
    previous: str | None
    verdict: str
    gates: tuple[GateResult, ...] = ()
    percent: float | None = None
    why: str = ""

    @property
    def refused(self) -> bool:
        """Whether the gates kept the alias where it was."""
        return self.verdict == "refused"

    def __json__(self) -> dict[str, Any]:
        return {
            "release_id": self.release.id,
            "name": self.name,
            "version": self.release.version,
            "alias": self.alias,
            "previous": self.previous,
            "verdict": self.verdict,
            "gates": to_json(self.gates),
            "canary": self.percent,
            "why": self.why,
        }


def gates_of(release: Release, root: str | Path | None = None) -> list[GateResult]:
    """What the project's gates say of a release now; [] where none is set."""
    project = _project(root)
    registry = build.registry(project)
    live = registry.live(release.name)
    return _judged(release, registry, live, project)


def promote(
    target: str,
    release: str | None = None,
    *,
    canary: float | None = None,
    override: str | None = None,
    why: str = "",
    root: str | Path | None = None,
) -> Promotion:
    """Point ``NAME@staging`` or ``NAME@production`` to a release (an id or its beginning).

    Without ``release``: for staging the newest; for production the running canary (which ends it),
    else what staging holds, else the newest. ``canary`` in percent sends that share of the users to
    it beside production. ``override`` is the reason for promoting although gates refuse. A refused
    promotion is returned, not raised: look at ``refused``.

    Raises NotFound, InputError, Corrupt (a changed byte), Sealed (another environment, a resource
    that is gone), Conflict (the alias moved meanwhile), and what the release itself raises when it
    is tried out.
    """
    project = _project(root)
    registry = build.registry(project)
    name, alias = split(target)
    if alias not in ("staging", "production"):
        raise InputError(
            f"{target!r} names no alias that can be promoted.",
            hint=f"Write {name}@staging or {name}@production; a release is named with --release ID.",
        )
    if override is not None and not override.strip():
        raise InputError("An override needs a reason.", hint='Write: --override "why it goes live anyway"')
    live = registry.live(name)
    chosen = _chosen(registry, name, alias, release, live, canary)
    results: list[GateResult] = []
    if alias == "production":
        results = _judged(chosen, registry, live, project)
    allowed = all(result.verdict == "pass" for result in results)
    listed = [to_json(result) for result in results]
    if not allowed and override is None:
        failed = "; ".join(
            f"{r.name} ({r.demand}): {r.verdict}, {r.why}" for r in results if r.verdict != "pass"
        )
        registry.note(
            name,
            "refuse",
            release=chosen.id,
            alias=alias,
            who=whoami(),
            why=failed,
            verdict="refused",
            gates=listed,
        )
        return Promotion(
            name=name,
            alias=alias,
            release=chosen,
            previous=live.at(alias),
            verdict="refused",
            gates=tuple(results),
            percent=canary,
            why=failed,
        )
    _tested(chosen, registry, project)
    verdict = "passed" if allowed else "overridden"
    reason = why or (override or "" if not allowed else "")
    moved = registry.promote(
        name,
        alias,
        chosen.id,
        who=whoami(),
        why=reason,
        verdict=verdict,
        gates=listed,
        percent=canary,
        expected=live,
    )
    mlflow.keep_in_step(project, name)
    return Promotion(
        name=name,
        alias=alias,
        release=chosen,
        previous=moved.previous,
        verdict=verdict,
        gates=tuple(results),
        percent=canary,
        why=reason,
    )


def rollback(name: str, *, why: str = "", root: str | Path | None = None) -> Promotion:
    """Undo the last promotion of production: end a running canary, else bring the predecessor back.

    Repeated, it walks further back. No gate, no trial: the files are only looked at (manifest and
    code by hash, the rest by size). NotFound where there is nothing to go back to.
    """
    project = _project(root)
    registry = build.registry(project)
    name = name.removesuffix("@production")
    live = registry.live(name)
    to = live.production if live.canary is not None else live.previous
    if to is not None:
        build.bundles(project).check(to)
    moved = registry.rollback(name, who=whoami(), why=why, expected=live)
    mlflow.keep_in_step(project, name)
    return Promotion(
        name=name,
        alias="production",
        release=registry.release(moved.release),
        previous=moved.previous,
        verdict="rolled back",
        why=why,
    )


def _project(root: str | Path | None) -> Path:
    return find_root(Path(root) if root is not None else None)


def _chosen(
    registry: Registry, name: str, alias: str, given: str | None, live: Live, canary: float | None
) -> Release:
    """Which release is meant."""
    if given is not None:
        return registry.release(given, name)
    made = registry.releases(name)
    if not made:
        known = registry.names()
        raise NotFound(
            f"Nothing was released under the name {name!r}.",
            hint=(f"Released so far: {', '.join(known)}. " if known else "") + "Make one: headrace release",
        )
    if alias == "production":
        if live.canary is not None:
            return registry.release(live.canary)
        if live.staging is not None and live.staging != live.production:
            return registry.release(live.staging)
    return made[0]


def _judged(release: Release, registry: Registry, live: Live, project: Path) -> list[GateResult]:
    settings = load(project).release
    local = any("licence" in about for about in release.manifest["models"].values())
    if not settings.gates and not local:
        return []
    from headrace.ops import gates as judging  # numpy comes with it, and a rollback is in a hurry
    from headrace.ops import licences

    running = registry.release(live.production) if live.production is not None else None
    measured = judging.judge(settings, release, reports=build.reports(project), live=running)
    return [*measured, *licences.gate(release, settings.licence)]


def _tested(release: Release, registry: Registry, project: Path) -> None:
    """Every byte read, and run once in a fresh process, before an alias points to it."""
    if registry.tested(release.id):
        from headrace.flows.sealed import examine

        build.bundles(project).verify(release.id)
        examine(release, project)  # the environment and the models may have changed since
        return
    from headrace.ops.trial import try_out

    found = try_out(release, project, _example(release, project))
    ran = "ran once" if found["ran"] else "no example was at hand to run it on"
    registry.note(
        release.name,
        "test",
        release=release.id,
        who=whoami(),
        verdict="passed",
        why=f"loaded by a fresh process, {found['bytes']} bytes verified, {ran}",
    )


def _example(release: Release, project: Path) -> Mapping[str, Any] | None:
    """The inputs of one example of the newest evaluation of this fingerprint."""
    shelf = build.reports(project)
    subject = str(release.manifest["fingerprint"])
    for head in shelf.list(kind="evaluation", subject=subject, limit=1):  # an audit's inputs are attacks
        for row in shelf.load(head.id).rows:
            if row.get("error") is None:
                found: Mapping[str, Any] = row["inputs"]
                return found
    return None
