"""Worker processes: real ones, spoken to as the server speaks to them, and killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import InputError, NotFound, RanTooLong, UserError, WorkerLost
from headrace.ops.process import WorkerProcess
from headrace.ops.running import Caller
from headrace.ops.serve import Desk
from headrace.ops.wire import ApplicationFailed
from headrace.resources import build
from headrace.types import Answer

NOBODY = Caller()

APP = '''\
"""Applications that do what a test of workers needs."""

import os
import time
from pathlib import Path

import headrace as hr
from headrace import request

kb = hr.KnowledgeBase("kb")
HERE = Path(__file__).parent


@hr.app
def echo(question: str, times: int = 1) -> str:
    """Say it again."""
    return question * times


@hr.app
def cited(question: str) -> hr.Answer:
    """An answer with a source."""
    return hr.answer(question, kb.search(question, top_k=2))


@hr.app
def who(question: str) -> dict:
    """Who asks, and where."""
    here = request.current()
    return {"user": here.user, "session": here.session, "pid": os.getpid(), "left": here.remaining > 0}


@hr.app
def waits(question: str) -> str:
    """Until the file with the question's name is there."""
    (HERE / f"{question}.begun").touch()
    try:
        while not (HERE / question).exists():
            request.checkpoint()
            time.sleep(0.01)
    except hr.HeadraceError:
        (HERE / f"{question}.stopped").touch()
        raise
    return "done"


@hr.app
def many(question: str) -> str:
    """More events than fit in front of a slow reader."""
    for number in range(int(question)):
        request.emit(hr.Event(kind="delta", text=f"{number} "))
    return question


@hr.app
def broken(question: str) -> str:
    """Fails."""
    raise ValueError("secret detail")


@hr.app
def odd(question: str) -> str:
    """Text that UTF-8 cannot hold."""
    return "\\ud800" + question
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "headrace.toml").write_text("", encoding="utf-8")
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    return tmp_path


@asynccontextmanager
async def served(project: Path, name: str, **limits: Any) -> AsyncIterator[tuple[Desk, WorkerProcess]]:
    worker = WorkerProcess(f"{project / 'app.py'}:{name}", root=project, size=limits.get("concurrency", 8))
    desk = Desk(One(worker), **limits)
    try:
        await desk.open()
        yield desk, worker
    finally:
        await desk.drain(0.1)


class One:
    """A staff of one worker."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker

    @property
    def description(self):
        return self.worker.description

    @property
    def runners(self):
        return (self.worker,)

    def choose(self, caller):
        return self.worker

    def of(self, release):
        return None

    async def open(self):
        await self.worker.open()

    async def close(self, seconds):
        await self.worker.close(seconds)


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(work(), 60))


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        await asyncio.sleep(0.01)


def test_a_run_in_another_process_with_its_context_and_trace(project):
    async def main() -> None:
        async with served(project, "who") as (desk, worker):
            result = await desk.invoke({"question": "x"}, Caller(user="ana", session="s"))
            assert result.output == {"user": "ana", "session": "s", "pid": worker.pid, "left": True}
            assert worker.pid != os.getpid()
            assert worker.description.doc == "Who asks, and where."
            assert worker.description.question == "question"
            await worker.flush()
            trace = build.ledger(project).trace(result.trace_id)
            assert trace.context == {"user": "ana", "session": "s"}
            assert trace.output == result.output

    run(main)


def test_an_answer_comes_whole_and_its_document_opens(project):
    from headrace import Document, KnowledgeBase

    text = "# Cranes\n\nThe large crane lifts 40 tonnes. It stands on the quay."
    KnowledgeBase("kb", root=project).add(
        [Document(text, {"year": 2024}, "cranes.md", media="text/markdown")]
    )

    async def main() -> None:
        async with served(project, "cited") as (desk, worker):
            result = await desk.invoke({"question": "How much does the large crane lift?"}, NOBODY)
            assert isinstance(result.output, Answer)
            assert "40 tonnes" in result.output.text
            place = result.output.citations[0]
            kb, document = await worker.document(place.document)
            assert kb == "kb"
            assert document == KnowledgeBase("kb", root=project).get("cranes.md")
            assert document.text[place.start : place.end] == place.text
            with pytest.raises(NotFound, match="nothing"):
                await worker.document("nothing")

    run(main)


def test_errors_come_back_as_what_they_were(project):
    async def main() -> None:
        async with served(project, "echo") as (desk, _):
            with pytest.raises(InputError, match="times") as caught:
                await desk.invoke({"question": "x", "times": "many"}, NOBODY)
            assert "It takes" in caught.value.hint
            with pytest.raises(InputError):
                await desk.stream({}, NOBODY)
            assert desk.admission.running == 0
        async with served(project, "broken") as (desk, _):
            with pytest.raises(ApplicationFailed, match="ValueError: secret detail"):
                await desk.invoke({"question": "x"}, NOBODY)

    run(main)


def test_text_that_utf8_cannot_hold_passes(project):
    async def main() -> None:
        async with served(project, "odd") as (desk, _):
            assert (await desk.invoke({"question": "ä"}, NOBODY)).output == "\ud800ä"

    run(main)


def test_events_in_order_however_slow_the_reader(project):
    async def main() -> None:
        async with served(project, "many") as (desk, _):
            stream = await desk.stream({"question": "5000"}, NOBODY)
            texts = []
            async for event in stream.events:
                if event.kind == "delta":
                    texts.append(event.text)
                    if len(texts) == 1:
                        await asyncio.sleep(0.3)
                else:
                    assert event.value == "5000"
            assert texts == [f"{number} " for number in range(5000)]

    run(main)


def test_a_reader_that_goes_away_cancels_the_run(project):
    async def main() -> None:
        async with served(project, "waits") as (desk, _):
            asking = asyncio.ensure_future(desk.invoke({"question": "one"}, NOBODY))
            await until((project / "one.begun").exists)
            asking.cancel()
            await until((project / "one.stopped").exists)
            await until(lambda: desk.admission.running == 0)

    run(main)


def test_running_too_long_is_stopped_in_the_worker(project):
    async def main() -> None:
        async with served(project, "waits", timeout=0.4) as (desk, _):
            with pytest.raises(RanTooLong):
                await desk.invoke({"question": "two"}, NOBODY)
            await until((project / "two.stopped").exists)

    run(main)


def test_a_killed_worker_fails_what_it_ran_and_comes_back(project):
    async def main() -> None:
        async with served(project, "waits", concurrency=2, queue=5) as (desk, worker):
            inside = [asyncio.ensure_future(desk.invoke({"question": q}, NOBODY)) for q in ("a", "b")]
            queued = asyncio.ensure_future(desk.invoke({"question": "c"}, NOBODY))
            await until(lambda: (project / "a.begun").exists() and (project / "b.begun").exists())
            (project / "c").touch()
            first = worker.pid
            os.kill(first, signal.SIGKILL)
            for asking in inside:
                with pytest.raises(WorkerLost) as caught:
                    await asking
                assert (caught.value.status, caught.value.retry_after) == (503, 1.0)
            assert (await queued).output == "done"  # it waited for the new process
            assert worker.pid not in (None, first)
            assert desk.admission.running == 0

    run(main)


def test_a_worker_ignores_the_signals_that_are_its_parents(project):
    async def main() -> None:
        async with served(project, "who") as (desk, worker):
            first = worker.pid
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(first, number)
            assert (await desk.invoke({"question": "x"}, NOBODY)).output["pid"] == first

    run(main)


def test_a_worker_ends_with_its_parent(project, tmp_path):
    import subprocess
    import sys

    code = (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "from headrace.ops.process import WorkerProcess\n"
        "async def main():\n"
        "    worker = WorkerProcess(sys.argv[1], root=Path(sys.argv[2]), size=2)\n"
        "    await worker.open()\n"
        "    print(worker.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    target = f"{project / 'app.py'}:echo"
    parent = subprocess.Popen([sys.executable, "-c", code, target, str(project)], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    ends = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < ends, "the worker outlived its parent"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Not a zombie either: nobody in a container need collect an orphan."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_what_cannot_be_loaded_says_why(project):
    (project / "app.py").write_text("import headrace as hr\nraise RuntimeError('no such thing')\n")

    async def main() -> None:
        worker = WorkerProcess(f"{project / 'app.py'}:echo", root=project, size=1)
        with pytest.raises(UserError, match="no such thing"):
            await worker.open()
        await worker.close(0.0)

    run(main)
