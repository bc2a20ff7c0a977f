"""Routes, and the server process: loopback without a key, anything else with one; a decent stop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from headrace.errors import HeadraceError, SettingsError, StateError
from headrace.network import is_loopback
from headrace.ops.keys import keys_of
from headrace.ops.metrics import Metrics
from headrace.ops.running import Staff
from headrace.ops.serve import Desk
from headrace.settings import Settings, environment
from headrace.web import api, monitor, openai, pages, records, reports, tasks
from headrace.web.security import Door, Gate
from headrace.web.site import HERE, Site

SHORTEST_KEY = 16

ROUTES: tuple[tuple[str, Callable[..., object], tuple[str, ...]], ...] = (
    # They are tried in this order: what programs ask for most comes first.
    ("/v1/apps/{name}/invoke", api.invoke, ("POST",)),
    ("/v1/apps/{name}/stream", api.stream, ("POST",)),
    ("/v1/models", openai.models, ("GET",)),
    ("/v1/chat/completions", openai.chat, ("POST",)),
    ("/", pages.ask, ("GET", "POST")),
    ("/index.json", pages.ask, ("GET", "POST")),
    ("/source", records.source, ("GET",)),
    ("/source.json", records.source, ("GET",)),
    ("/traces", records.traces, ("GET",)),
    ("/traces.json", records.traces, ("GET",)),
    ("/traces/{id}.json", records.trace, ("GET",)),
    ("/traces/{id}", records.trace, ("GET",)),
    ("/monitor", monitor.monitor, ("GET",)),
    ("/monitor.json", monitor.monitor, ("GET",)),
    ("/reports", reports.reports, ("GET",)),
    ("/reports.json", reports.reports, ("GET",)),
    ("/reports.css", reports.style, ("GET",)),
    ("/reports/{id}.json", reports.report, ("GET",)),
    ("/reports/{id}", reports.report, ("GET",)),
    ("/tasks", tasks.tasks, ("GET",)),
    ("/tasks.json", tasks.tasks, ("GET",)),
    ("/tasks/{name}.json", tasks.task, ("GET", "POST")),
    ("/tasks/{name}", tasks.task, ("GET", "POST")),
    ("/sign-in", pages.sign_in, ("GET", "POST")),
    ("/sign-in.json", pages.sign_in, ("GET",)),
    ("/feedback", pages.feedback, ("POST",)),
    ("/livez", api.livez, ("GET",)),
    ("/readyz", api.readyz, ("GET",)),
    ("/metrics", api.metrics, ("GET",)),
    ("/openapi.json", api.openapi, ("GET",)),
)


def create_app(name: str, staff: Staff, settings: Settings, *, key: str | None) -> Starlette:
    """The web application for what ``staff`` runs.

    ``key`` is the one of the environment; the project's own (``headrace keys``) are known besides.
    Without any, none is asked for: only on loopback.
    """
    limits = settings.serve
    metrics = Metrics()
    desk = Desk(
        staff,
        concurrency=limits.concurrency,
        queue=limits.queue,
        wait=limits.wait,
        timeout=limits.timeout,
        metrics=metrics,
    )
    gate = Gate(key, keys_of(settings.root), must=not _is_local(limits.host))
    site = Site(name=name, settings=settings, gate=gate, desk=desk, metrics=metrics)
    routes: list[BaseRoute] = [
        Route(path, endpoint, methods=list(methods)) for path, endpoint, methods in ROUTES
    ]
    files = StaticFiles(directory=HERE / "static")
    routes.append(Mount("/static", files))
    labels: dict[object, str] = {files: "/static"}
    for path, endpoint, _ in ROUTES:
        labels.setdefault(endpoint, path)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        opening = asyncio.ensure_future(desk.open())
        opening.add_done_callback(made.state.opened)
        yield
        opening.cancel()
        await desk.drain(0.0)

    made = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(Door, site=site, routes=labels, on_error=pages.failed)],
        exception_handlers={
            HeadraceError: pages.on_error,
            HTTPException: pages.on_error,
        },
    )
    made.state.site = site
    made.state.opened = lambda opening: None
    return made


def key_for(settings: Settings) -> str | None:
    """The key from the environment.

    SettingsError where other machines can reach the address, and there is none, nor one of ``headrace keys``.
    """
    limits = settings.serve
    key = environment(limits.key) or None
    if not _is_local(limits.host):
        if key is None:
            if keys_of(settings.root).good:
                return None
            raise SettingsError(
                f"Serving on {limits.host!r}, which other machines can reach, needs a key.",
                hint=f"Make one with: headrace keys create NAME. Or set {limits.key} to a long random text, "
                "or serve on 127.0.0.1.",
            )
        if len(key) < SHORTEST_KEY:
            raise SettingsError(
                f"The key in {limits.key} has {len(key)} characters, too few to keep strangers out.",
                hint=f"Use at least {SHORTEST_KEY}: python -c 'import secrets; print(secrets.token_hex(16))'",
            )
    return key


def _is_local(host: str) -> bool:
    return is_loopback(f"//[{host}]" if ":" in host else f"//{host}")


class Server(uvicorn.Server):
    """uvicorn, except for how it stops: readiness goes first, what runs may finish, then the rest.

    A second signal stops at once.
    """

    def __init__(self, config: uvicorn.Config, desk: Desk, drain: float) -> None:
        super().__init__(config)
        self.desk = desk
        self.drain = drain
        self.forced = False
        self.failed: BaseException | None = None
        self._draining: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signal handler. uvicorn's own would raise the signal again after the shutdown."""
        self._loop.call_soon_threadsafe(self.stop)

    def stop(self) -> None:
        """Drain and end; called again, end at once. On the event loop."""
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain())
        else:
            self.forced = True
            self.force_exit = True
            self.should_exit = True

    def opened(self, opening: asyncio.Future[None]) -> None:
        """What is served could not be loaded: the server ends, and ``failed`` says why."""
        if not opening.cancelled() and (error := opening.exception()) is not None:
            self.failed = error
            self.forced = True
            self.should_exit = True

    async def _drain(self) -> None:
        await self.desk.drain(self.drain)
        self.should_exit = True


def make_server(
    name: str, staff: Staff, settings: Settings, *, key: str | None, started: Callable[[str], None]
) -> Server:
    """A server that is ready to run. ``started`` is told the address once it listens."""
    limits = settings.serve
    web = create_app(name, staff, settings, key=key)
    config = uvicorn.Config(
        web,
        host=limits.host,
        port=limits.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        # The queue is ours; connections beyond this are pages and probes.
        limit_concurrency=limits.concurrency + limits.queue + 1000,
        backlog=256,
    )

    class Announcing(Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                name = self.servers[0].sockets[0].getsockname()
                host = f"[{name[0]}]" if ":" in name[0] else name[0]
                started(f"http://{host}:{name[1]}/")

    made = Announcing(config, web.state.site.desk, limits.drain)
    web.state.opened = made.opened
    return made


def listen(host: str, port: int) -> socket.socket:
    """A socket at the address; StateError where it cannot be had, with what to do."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(found, key=lambda item: item[0] != socket.AF_INET)
        # With the protocol named, asyncio sets TCP_NODELAY; without, small answers wait 40 ms.
        made = socket.socket(family, kind, protocol or socket.IPPROTO_TCP)
    except OSError as error:
        raise StateError(
            f"The address {host!r} cannot be used: {error.strerror}.", hint="Give another with --host."
        ) from error
    try:
        if os.name != "nt":  # there it would let two servers share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise StateError(
            f"Port {port} of {host} cannot be used: {error.strerror}.",
            hint="Give another with --port; --port 0 takes a free one.",
        ) from error
    made.set_inheritable(False)
    return made


def serve(name: str, staff: Staff, settings: Settings, *, started: Callable[[str], None]) -> int:
    """Serve until a signal; the exit code. 0 after a drain, 1 where a second signal forced it.

    Raises what made the start fail: an address that is taken, a release that cannot be loaded.
    """
    server = make_server(name, staff, settings, key=key_for(settings), started=started)
    door = listen(settings.serve.host, settings.serve.port)
    asyncio.run(server.serve([door]))
    if server.failed is not None:
        raise server.failed
    return 1 if server.forced or not server.started else 0
