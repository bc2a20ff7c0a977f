"""The desk without a web server: readiness, draining, events."""

from __future__ import annotations

import asyncio
import threading

import pytest

import headrace as hr
from headrace.errors import Draining, InputError
from headrace.ops.running import Caller, Threads
from headrace.ops.serve import Desk
from headrace.request import emit
from headrace.types import Document, Event

NOBODY = Caller()


@pytest.fixture
def gate():
    return threading.Event()


@pytest.fixture
def app(tmp_path, gate):
    (tmp_path / "headrace.toml").write_text("")

    def waits(question: str) -> str:
        emit(Event(kind="delta", text="…"))
        assert gate.wait(20)
        return question.upper()

    return hr.App(waits, root=tmp_path)


class Shelf:
    """Stands in for an opened knowledge base: says when it is searched, and waits."""

    def __init__(self) -> None:
        self.identity = {"object": "shelf"}
        self.searched, self.go_on = threading.Event(), threading.Event()

    def search(self, query, top_k=4, **options):
        self.searched.set()
        assert self.go_on.wait(20)
        return hr.Passages()

    def get(self, id):
        return Document("x")


def test_ready_only_when_what_it_needs_is_loaded(tmp_path):
    (tmp_path / "headrace.toml").write_text("")
    kb, shelf = hr.KnowledgeBase("kb", root=tmp_path), Shelf()

    def echo(question: str) -> str:
        return question

    served = hr.App(echo, root=tmp_path, handles=(kb,)).using({kb: shelf})

    async def main() -> None:
        desk = Desk(Threads(served))
        opening = asyncio.ensure_future(desk.open())
        assert await asyncio.to_thread(shelf.searched.wait, 10)
        assert desk.state == "starting"
        assert (await desk.invoke({"question": "early"}, NOBODY)).output == "early"
        shelf.go_on.set()
        await opening
        assert desk.state == "ready"
        assert await desk.drain(1.0)

    asyncio.run(main())


def test_a_knowledge_base_that_is_missing_does_not_stop_the_start(tmp_path, caplog):
    (tmp_path / "headrace.toml").write_text("")
    kb = hr.KnowledgeBase("absent", root=tmp_path)

    async def main() -> None:
        desk = Desk(Threads(hr.App(lambda: "x", name="plain", root=tmp_path, handles=(kb,))))
        await desk.open()
        assert desk.state == "ready"

    asyncio.run(main())
    assert "absent" in caplog.text


def test_draining_finishes_what_runs_and_refuses_the_rest(app, gate):
    async def main() -> None:
        desk = Desk(Threads(app), concurrency=1, queue=5)
        await desk.open()
        inside = asyncio.ensure_future(desk.invoke({"question": "in"}, NOBODY))
        while desk.admission.running == 0:
            await asyncio.sleep(0.001)
        waiting = asyncio.ensure_future(desk.invoke({"question": "queued"}, NOBODY))
        while desk.admission.waiting == 0:
            await asyncio.sleep(0.001)
        draining = asyncio.ensure_future(desk.drain(20.0))
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            await desk.invoke({"question": "late"}, NOBODY)
        with pytest.raises(Draining):
            await waiting
        gate.set()
        assert (await inside).output == "IN"
        assert await draining is True

    asyncio.run(main())


def test_draining_gives_up_on_what_does_not_end(app, gate):
    async def main() -> None:
        desk = Desk(Threads(app))
        await desk.open()
        inside = asyncio.ensure_future(desk.invoke({"question": "in"}, NOBODY))
        while desk.admission.running == 0:
            await asyncio.sleep(0.001)
        assert await desk.drain(0.05) is False
        gate.set()
        await inside

    asyncio.run(main())


def test_events_come_in_order_and_the_answer_last(app, gate):
    async def main() -> list[tuple[str, object]]:
        desk = Desk(Threads(app))
        await desk.open()
        gate.set()
        stream = await desk.stream({"question": "hi"}, NOBODY)
        return [(event.kind, event.value or event.text) async for event in stream.events]

    assert asyncio.run(main()) == [("delta", "…"), ("answer", "HI")]


def test_bad_inputs_take_no_place(app):
    async def main() -> None:
        desk = Desk(Threads(app), concurrency=1, queue=0)
        await desk.open()
        for ask in (desk.invoke, desk.stream):
            with pytest.raises(InputError, match="question"):
                await ask({"q": 1}, NOBODY)
        assert desk.admission.running == 0

    asyncio.run(main())
