"""Work that is not the application's, at the desk: places, limits, cancelling, draining."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace import request
from headrace.errors import Cancelled, Draining, InputError, Overloaded, RanTooLong
from headrace.ops.running import Caller, Threads
from headrace.ops.serve import Desk

ANA = Caller(user="ana", session="s")


@pytest.fixture
def staff(tmp_path: Path) -> Threads:
    (tmp_path / "headrace.toml").write_text("")

    def echo(question: str) -> str:
        return question

    return Threads(hr.App(echo, root=tmp_path), 1)


class Long:
    """Works until it is stopped, and says when it began and ended."""

    def __init__(self) -> None:
        self.began, self.ended = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.began.set()
        try:
            while True:
                request.checkpoint()
                time.sleep(0.005)
        finally:
            self.ended.set()


async def begun(work: Long) -> None:
    while not work.began.is_set():
        await asyncio.sleep(0.005)


def test_results_errors_and_who_asks_come_through(staff: Threads) -> None:
    async def main() -> None:
        desk = Desk(staff, concurrency=1)
        assert await desk.call(lambda: request.current().user, ANA) == "ana"
        with pytest.raises(InputError, match="no"):
            await desk.call(lambda: (_ for _ in ()).throw(InputError("no")), ANA)
        assert desk.admission.running == 0
        result = await desk.invoke({"question": "x"}, ANA)
        assert result.output == "x"
        await desk.drain(0)

    asyncio.run(main())


def test_a_call_takes_a_place_and_gives_it_back_when_it_has_really_ended(staff: Threads) -> None:
    async def main() -> None:
        desk, work = Desk(staff, concurrency=1, queue=0, timeout=0.2), Long()
        running = asyncio.ensure_future(desk.call(work, ANA))
        await begun(work)
        with pytest.raises(Overloaded):
            await desk.invoke({"question": "x"}, ANA)
        with pytest.raises(RanTooLong):
            await running
        assert await asyncio.to_thread(work.ended.wait, 10)
        while desk.admission.running:
            await asyncio.sleep(0.005)
        await desk.drain(0)

    asyncio.run(main())


@pytest.mark.parametrize("how", ["left", "drained"])
def test_a_caller_who_leaves_and_a_drain_stop_it(staff: Threads, how: str) -> None:
    async def main() -> Any:
        desk, work = Desk(staff, concurrency=1), Long()
        running = asyncio.ensure_future(desk.call(work, ANA))
        await begun(work)
        if how == "left":
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await asyncio.to_thread(work.ended.wait, 10)
        else:
            await desk.drain(0.05)
            with pytest.raises(Cancelled):
                await running
            with pytest.raises(Draining):
                await desk.call(work, ANA)
        assert work.ended.is_set()

    asyncio.run(main())
