"""A small project with documents of its own, and real servers for it on loopback."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace import load
from headrace.ops.running import Threads
from headrace.settings import load as load_settings
from headrace.web.server import make_server

TOML = """\
[project]
name = "harbour"
[app]
entry = "app.py:handbook"
"""

APP = '''\
"""Applications for the tests of the web door."""

import enum
import threading
import time
from typing import Literal

import headrace as hr
from headrace.models.scripted import ScriptedModel
from headrace.request import checkpoint, emit

kb = hr.KnowledgeBase("kb")
writer = ScriptedModel({"crane": "The crane lifts 40 tonnes [1]."}, pace=0.01)
gate = threading.Event()
stopped = threading.Event()


@hr.app
def handbook(question: str) -> hr.Answer:
    """Answer a question from the harbour's handbook."""
    return hr.answer(question, kb.search(question, top_k=3))


@hr.app
def written(question: str) -> hr.Answer:
    """Answer with a model."""
    return hr.answer(question, kb.search(question, top_k=3), model=writer)


@hr.app
def slow(question: str, seconds: float = 60.0) -> str:
    """Works until it is let go, and looks at its cancellation."""
    emit(hr.Event(kind="delta", text="working "))
    ends = time.monotonic() + seconds
    try:
        while time.monotonic() < ends and not gate.is_set():
            checkpoint()
            time.sleep(0.01)
    except hr.HeadraceError:
        stopped.set()
        raise
    return f"done: {question}"


@hr.app
def deaf(question: str) -> str:
    """Looks at nothing."""
    gate.wait(20)
    return "at last"


@hr.app
def chatty(question: str, history: list[hr.Message] | None = None) -> str:
    """Says what it heard."""
    return " | ".join([f"{m.role}: {m.content}" for m in history or []] + [question])


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@hr.app
def typed(name: str, count: int, size: Size, weight: float = 1.5, urgent: bool = False,
          tags: list[str] | None = None, mode: Literal["a", "b"] = "a") -> list[dict]:
    """Many kinds of fields."""
    return [{"name": name, "count": count, "size": size.value, "weight": weight, "urgent": urgent,
             "tags": tags, "mode": mode}]


@hr.app
def broken(question: str) -> str:
    """Fails."""
    raise ValueError("secret detail")


@hr.app
def who(question: str) -> dict:
    """Who asks."""
    from headrace import request
    return {"user": request.current().user, "session": request.current().session}


@hr.app
def silent(question: str) -> hr.Answer:
    """Knows nothing."""
    usage = hr.types.Usage(input_tokens=7, output_tokens=2)
    return hr.Answer(text="Nothing was found.", abstained=True, answered_by="scripted:x", usage=usage)


@hr.app
def exits(question: str) -> str:
    """Ends badly."""
    raise {"stop": StopIteration, "exit": SystemExit, "base": KeyboardInterrupt}[question]("no")


@hr.app
def hostile(question: str) -> hr.Answer:
    """Says things that must be escaped."""
    return hr.Answer(text='<script>document.title="owned"</script> <img src=x onerror=alert(1)> **bold**')
'''

CRANES = """\
# Cranes

The harbour has three cranes. They stand on the north quay.

## Load limits

The large crane lifts 40 tonnes. The two small cranes lift 12 tonnes each. In winds above force
seven no crane may be used, and the operator lays down the boom.

## Booking

A crane is booked at the harbour office, two working days ahead. <b>Bookings</b> by telephone are
not taken & never were.
"""

MOORING = """\
# Mooring

## Fees

Guests pay 23 euros a night for a boat of up to ten metres. Children's dinghies are free.

## Hours

The harbour office opens at seven in the morning and closes at nine in the evening.
"""


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with its knowledge base."""
    root = tmp_path_factory.mktemp("harbour")
    (root / "headrace.toml").write_text(TOML, encoding="utf-8")
    (root / "app.py").write_text(APP, encoding="utf-8")
    (root / "docs").mkdir()
    (root / "docs" / "cranes.md").write_text(CRANES, encoding="utf-8")
    (root / "docs" / "mooring.md").write_text(MOORING, encoding="utf-8")
    from headrace import KnowledgeBase
    from headrace.ingest.readers import read_markdown

    for name in ("docs/cranes.md", "docs/mooring.md"):
        documents = [replace(d, id=name) for d in read_markdown((root / name).read_bytes(), name)]
        KnowledgeBase("kb", root=root).add(documents)
    return root


class Running:
    """A server in a thread of this process, on a free port."""

    def __init__(self, root: Path, app: str, *, key: str | None = None, **limits: Any) -> None:
        settings = load_settings(root)
        settings = replace(settings, serve=replace(settings.serve, port=0, **limits))
        self.app = load(f"{root / 'app.py'}:{app}")
        self.module = self.app.function.__globals__
        self.url = ""
        ready = threading.Event()

        def started(url: str) -> None:
            self.url = url.rstrip("/")
            ready.set()

        staff = Threads(self.app, settings.serve.concurrency)
        self.server = make_server(self.app.name, staff, settings, key=key, started=started)
        self.desk = self.server.desk
        self.thread = threading.Thread(target=lambda: asyncio.run(self.server.serve()), daemon=True)
        self.thread.start()
        assert ready.wait(20), "the server did not start"
        ends = time.monotonic() + 60
        while self.desk.state == "starting":
            assert time.monotonic() < ends
            time.sleep(0.01)

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30, **options)

    def stop(self) -> None:
        self.server._loop.call_soon_threadsafe(self.server.stop)
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def serve(project: Path) -> Iterator[Callable[..., Running]]:
    """``serve("handbook", concurrency=2, …)`` → a running server; stopped after the test."""
    running: list[Running] = []

    def start(app: str, **limits: Any) -> Running:
        running.append(Running(project, app, **limits))
        running[-1].module["gate"].clear()
        running[-1].module["stopped"].clear()
        return running[-1]

    yield start
    for server in running:
        server.module["gate"].set()
        server.stop()
