"""Serving by alias: which release's worker answers whom, and how that changes while requests run.

The router follows the registry. A release that an alias names newly is started and warmed first;
then one assignment moves everybody over. What was in flight finishes where it began. The previous
release stays warm, so that a rollback is that one assignment again, and so does the one in staging,
which is likely to be promoted next. It reads the registry and
decides nothing about it: promotions and rollbacks are the business of ``releases/``.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headrace.errors import HeadraceError, NotFound, Starting
from headrace.ops.process import WorkerProcess
from headrace.ops.running import Caller, Description, Runner
from headrace.settings import ServeSettings

log = logging.getLogger("headrace.ops")

POLL = 0.1  # seconds between two looks at the registry
AGAIN, LONGEST_AGAIN = 5.0, 300.0  # seconds until a release that did not start is tried again


class Live(Protocol):
    """What the registry says of one name: release ids, or None."""

    @property
    def production(self) -> str | None: ...
    @property
    def previous(self) -> str | None: ...
    @property
    def staging(self) -> str | None: ...
    @property
    def canary(self) -> str | None: ...
    @property
    def percent(self) -> float: ...


class Registry(Protocol):
    """The part of the registry of releases that a router reads."""

    def live(self, name: str) -> Live: ...
    def revision(self) -> int: ...


@dataclass(frozen=True)
class Route:
    """Who answers now. ``percent`` of the users go to ``canary``."""

    main: WorkerProcess
    canary: WorkerProcess | None = None
    percent: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What the registry wants: release ids. Those ``kept`` stay warm without answering anybody."""

    main: str
    canary: str | None = None
    percent: float = 0.0
    kept: tuple[str, ...] = ()

    @property
    def wanted(self) -> tuple[str, ...]:
        """The releases that must be warm before the route is taken."""
        return (self.main,) if self.canary is None else (self.main, self.canary)


def share(name: str, user: str, salt: str) -> float:
    """Where a user falls between 0 and 100, the same for ever for one canary release (``salt``).

    A share below the percentage goes to the canary; so whoever is in stays in while it grows.
    """
    text = "\0".join((name, user, salt)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64 * 100


class Router:
    """The workers of one name in the registry. A Staff.

    ``alias``: ``production`` (with its canary and its predecessor) or ``staging``. ``worker`` makes
    the worker of a release id, not started yet. ``patience``: seconds that runs may take in a worker
    that is not needed any more.
    """

    def __init__(
        self,
        name: str,
        registry: Registry,
        worker: Callable[[str], WorkerProcess],
        *,
        alias: str = "production",
        patience: float = 120.0,
    ) -> None:
        self.name = name
        self.patience = patience
        self.alias = alias
        self.registry = registry
        self._make = worker
        self._workers: dict[str, WorkerProcess] = {}
        self._route: Route | None = None
        self._seen: int | None = None
        self._following: asyncio.Task[None] | None = None
        self._left: str | None = None  # the main release before the last move
        self._aside: set[asyncio.Task[None]] = set()
        self._retired: dict[asyncio.Task[None], WorkerProcess] = {}

    # ------------------------------------------------------------------ as a staff

    @property
    def description(self) -> Description:
        return self._now().main.description

    @property
    def runners(self) -> Sequence[WorkerProcess]:
        """All workers that are up: of the route, the previous one, and those that come or go."""
        return tuple(worker for worker in self._workers.values() if worker.pid is not None)

    def choose(self, caller: Caller) -> WorkerProcess:
        route = self._now()
        if route.canary is None:
            return route.main
        salt = route.canary.description.release or route.canary.target
        who = caller.user or caller.session
        return route.canary if share(self.name, who, salt) < route.percent else route.main

    def of(self, release: str | None) -> Runner | None:
        found = self._workers.get(release or "")
        return found if found is not None and found.pid is not None else None

    def _now(self) -> Route:
        if self._route is None:
            raise Starting(
                f"{self.name}@{self.alias} is being started.",
                hint="Ask again after the time in Retry-After.",
                retry_after=1.0,
            )
        return self._route

    def prepare(self) -> None:
        """Look the main release up and start its worker: it loads while the server itself starts.

        NotFound where the alias names no release. Optional, and before ``open``.
        """
        plan = self.plan()
        self._begin(plan.main, len(plan.wanted))
        self._workers[plan.main].prepare()

    async def open(self) -> None:
        """Start what the registry names; raises where its main release cannot be loaded."""
        self._seen = await asyncio.to_thread(self.registry.revision)
        plan = await asyncio.to_thread(self.plan)
        complete = await self._take(plan)
        self._following = asyncio.ensure_future(self._follow(complete))

    async def close(self, seconds: float) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
        for task in (*self._retired, *self._aside):
            task.cancel()
        workers = {*self._workers.values(), *self._retired.values()}
        await asyncio.gather(*(worker.close(seconds) for worker in workers))
        self._workers.clear()

    # ------------------------------------------------------------------ following the registry

    def plan(self) -> Plan:
        """What the registry wants now. NotFound where the alias names no release."""
        live = self.registry.live(self.name)
        main = live.staging if self.alias == "staging" else live.production
        if main is None:
            raise NotFound(
                f"No release of {self.name!r} is {self.alias}.",
                hint=f"Promote one: headrace promote {self.name}@{self.alias}.",
            )
        if self.alias == "staging":
            return Plan(main=main)
        canary = live.canary if live.percent > 0 and live.canary != main else None
        # Where a rollback would go, and what is likely to be promoted next.
        kept = tuple(dict.fromkeys(id for id in (live.previous, live.staging) if id not in (None, main)))
        return Plan(main=main, canary=canary, percent=live.percent if canary else 0.0, kept=kept)

    async def _follow(self, complete: bool) -> None:
        """Take what the registry says when it changes. ``complete``: the last plan was taken whole."""
        loop = asyncio.get_running_loop()
        pause = AGAIN
        again = loop.time() + pause
        taking: asyncio.Task[bool] | None = None
        try:
            while True:
                await asyncio.sleep(POLL)
                if taking is not None and taking.done():
                    complete, taking, again = taking.result(), None, loop.time() + pause
                try:
                    revision = await asyncio.to_thread(self.registry.revision)
                except (HeadraceError, OSError) as error:
                    log.error("The registry cannot be read: %s", error)
                    await asyncio.sleep(AGAIN)
                    continue
                if revision != self._seen:
                    self._seen, pause = revision, AGAIN
                elif complete or taking is not None or loop.time() < again:
                    continue
                else:
                    pause = min(LONGEST_AGAIN, 2 * pause)
                if taking is not None:  # what it waits for is not wanted any more, and may never come
                    taking.cancel()
                    await asyncio.wait({taking})
                taking = asyncio.ensure_future(self._try())
        finally:
            if taking is not None:
                taking.cancel()

    async def _try(self) -> bool:
        """Take the plan of now. Where that fails, what answers goes on answering."""
        try:
            return await self._take(await asyncio.to_thread(self.plan))
        except (HeadraceError, OSError) as error:
            log.error("%s@%s stays as it is: %s", self.name, self.alias, error)
        except Exception:
            log.exception("%s@%s stays as it is", self.name, self.alias)
        return False

    async def _take(self, plan: Plan) -> bool:
        """Warm what the plan wants, move the pointer, then the rest: the previous one, those that go.

        False where it goes without its canary. Raises where the main release cannot be loaded.
        """
        for release in plan.wanted:
            self._begin(release, len(plan.wanted))
        main, canary = await self._opened(plan.main), None
        if plan.canary is not None:
            try:
                canary = await self._opened(plan.canary)
            except Exception as error:  # noqa: BLE001 - whatever its file raised: production goes on
                log.error("%s@%s goes without its canary: %s", self.name, self.alias, error)
        before = self._route
        self._route = Route(main, canary, plan.percent if canary else 0.0)
        if before is not None and before.main is not main:
            self._left = next((r for r, w in self._workers.items() if w is before.main), None)
        # What was main a moment ago stays too: a rollback makes it nobody's predecessor, and is
        # often followed by a promotion again.
        named = {*plan.wanted, *plan.kept, self._left}
        for release in [release for release in self._workers if release not in named]:
            self._retire(release)
        for release in plan.kept:
            if release not in self._workers:
                self._begin(release, len(plan.wanted))
                task = asyncio.ensure_future(self._keep_warm(release))
                self._aside.add(task)
                task.add_done_callback(self._aside.discard)
        return canary is not None or plan.canary is None

    async def _opened(self, release: str) -> WorkerProcess:
        """The worker of a release, warm. One that cannot be is let go of."""
        worker = self._workers[release]
        try:
            await worker.open()
        except Exception:
            if self._workers.get(release) is worker:
                self._retire(release)
            raise
        return worker

    async def _keep_warm(self, release: str) -> None:
        try:
            await self._opened(release)
        except Exception as error:  # noqa: BLE001 - a rollback would say it; serving does not need it
            log.warning("Release %s could not be kept warm: %s", release, error)

    def _begin(self, release: str, side_by_side: int) -> None:
        if release not in self._workers:
            worker = self._workers[release] = self._make(release)
            if side_by_side > 1:  # alone, its libraries may use every core, as they do by themselves
                worker.threads = threads_each(side_by_side)

    def _retire(self, release: str) -> None:
        """End a worker when it has finished what it runs."""
        worker = self._workers.pop(release)
        task = asyncio.ensure_future(worker.close(self.patience))
        self._retired[task] = worker
        task.add_done_callback(self._retired.pop)


def threads_each(live: int) -> int:
    """Native threads of one worker where ``live`` of them answer side by side: the cores, shared out."""
    return max(1, (os.cpu_count() or 1) // max(1, live))


def router_of(
    name: str, registry: Registry, *, root: Path, settings: ServeSettings, alias: str = "production"
) -> Router:
    """The router of ``name@alias``, its workers loaded as ``name@<release id>``."""

    def worker(release: str) -> WorkerProcess:
        return WorkerProcess(f"{name}@{release}", root=root, size=settings.concurrency)

    return Router(name, registry, worker, alias=alias, patience=settings.timeout)
