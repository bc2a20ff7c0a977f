"""Which release answers whom: real workers behind a real registry, promoted and rolled back."""

from __future__ import annotations

import asyncio
import collections
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import HeadraceError, NotFound
from headrace.ops.process import WorkerProcess
from headrace.ops.router import Router, share
from headrace.ops.running import Caller
from headrace.ops.serve import Desk
from headrace.releases.registry import Registry

NAME = "handbook"
APP = '''\
import os
import time
from pathlib import Path
import headrace as hr
from headrace import request

@hr.app
def handbook(question: str) -> dict:
    """Which code answers."""
    (Path(__file__).parent / f"{{question}}.begun").touch()
    while question.startswith("wait") and not (Path(__file__).parent / question).exists():
        request.checkpoint()
        time.sleep(0.01)
    return {{"code": {code!r}, "pid": os.getpid()}}
'''


class Stage:
    """A registry with releases a, b, c …, each a file of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = Registry(root / "releases")
        self.made: dict[str, WorkerProcess] = {}

    def release(self, code: str, text: str | None = None) -> str:
        id = (code * 64)[:64]
        folder = self.root / code
        folder.mkdir()
        (folder / "headrace.toml").write_text("")
        (folder / "app.py").write_text(APP.format(code=code) if text is None else text)
        self.registry.add(id=id, name=NAME, manifest={}, text="{}", who="test")
        return id

    def promote(self, code: str, percent: float | None = None, alias: str = "production") -> None:
        self.registry.promote(NAME, alias, (code * 64)[:64], who="test", percent=percent)

    def worker(self, release: str) -> WorkerProcess:
        folder = self.root / release[0]
        self.made[release[0]] = WorkerProcess(f"{folder / 'app.py'}:handbook", root=folder, size=8)
        return self.made[release[0]]

    @asynccontextmanager
    async def served(self, **options: Any) -> AsyncIterator[tuple[Desk, Router]]:
        router = Router(NAME, self.registry, self.worker, **options)
        desk = Desk(router, concurrency=8)
        try:
            await desk.open()
            yield desk, router
        finally:
            await desk.drain(0.1)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    found = Stage(tmp_path)
    for code in "abc":
        found.release(code)
    return found


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        await asyncio.sleep(0.01)


async def ask(desk: Desk, question: str = "x", user: str = "") -> str:
    return (await desk.invoke({"question": question}, Caller(user=user))).output["code"]


async def becomes(desk: Desk, code: str, user: str = "") -> None:
    ends = time.monotonic() + 30
    while await ask(desk, user=user) != code:
        assert time.monotonic() < ends, f"{code} never answered"
        await asyncio.sleep(0.02)


def run(work: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(work(), 90))


def test_shares_are_even_and_only_grow():
    users = [f"user {number}" for number in range(20_000)]
    shares = [share("handbook", user, "salt") for user in users]
    assert min(shares) >= 0
    assert max(shares) < 100
    # Binomial, p = .05: 5 standard deviations are 0.77 points.
    assert abs(sum(s < 5 for s in shares) / len(shares) - 0.05) < 0.0077
    assert {u for u, s in zip(users, shares) if s < 5} < {u for u, s in zip(users, shares) if s < 20}
    other = [share("handbook", user, "another canary") for user in users]
    both = sum(a < 50 and b < 50 for a, b in zip(shares, other)) / len(users)
    assert abs(both - 0.25) < 0.016  # one canary says nothing of the next: independent


def test_promotion_and_rollback_move_everybody_and_keep_what_was(stage):
    stage.promote("a")

    async def main() -> None:
        async with stage.served() as (desk, router):
            assert await ask(desk) == "a"
            stage.promote("b")
            await becomes(desk, "b")
            first = stage.made["a"]
            assert first.pid is not None  # the predecessor stays warm
            stage.registry.rollback(NAME, who="test")
            await becomes(desk, "a")
            assert stage.made["a"] is first
            assert first.starts == 1
            stage.promote("b")
            await becomes(desk, "b")
            assert stage.made["b"].starts == 1  # it stayed, although no alias named it
            stage.promote("c")
            await becomes(desk, "c")
            await until(lambda: stage.made["a"].pid is None)  # nothing names it any more
            assert {worker.target for worker in router.runners} == {
                stage.made["b"].target,
                stage.made["c"].target,
            }

    run(main)


def test_what_is_under_way_finishes_where_it_began(stage):
    stage.promote("a")

    async def main() -> None:
        async with stage.served() as (desk, _):
            waiting = asyncio.ensure_future(ask(desk, "wait"))
            await until((stage.root / "a" / "wait.begun").exists)
            for code in "bc":
                stage.promote(code)
                await becomes(desk, code)
            assert stage.made["a"].busy == 1
            (stage.root / "a" / "wait").touch()
            assert await waiting == "a"
            await until(lambda: stage.made["a"].pid is None)

    run(main)


def test_a_canary_is_sticky_and_grows(stage):
    stage.promote("a")
    users = [f"user {number}" for number in range(40)]

    async def main() -> None:
        async with stage.served() as (desk, router):

            async def who() -> dict[str, str]:
                codes = await asyncio.gather(*(ask(desk, user=user) for user in users))
                return dict(zip(users, codes))

            stage.promote("b", percent=30)
            await until(lambda: router._now().percent == 30)
            first = await who()
            counts = collections.Counter(first.values())
            assert counts["b"] == sum(share(NAME, user, stage.made["b"].target) < 30 for user in users)
            assert 0 < counts["b"] < len(users)
            assert await who() == first
            stage.promote("b", percent=60)
            await until(lambda: router._now().percent == 60)
            second = await who()
            assert {u for u in users if first[u] == "b"} <= {u for u in users if second[u] == "b"}
            assert stage.made["b"].starts == 1
            stage.registry.rollback(NAME, who="test")  # takes the canary away
            await until(lambda: router._now().canary is None)
            assert set((await who()).values()) == {"a"}

    run(main)


def test_a_release_that_cannot_be_loaded_changes_nothing(stage, caplog):
    stage.promote("a")
    stage.release("d", "import headrace\nraise RuntimeError('half a release')\n")

    async def main() -> None:
        async with stage.served() as (desk, _):
            stage.promote("d")
            await until(lambda: "half a release" in caplog.text)
            assert await ask(desk) == "a"
            stage.promote("b")
            await becomes(desk, "b")

    run(main)


def test_a_canary_that_cannot_be_loaded_leaves_production_alone(stage, caplog):
    stage.promote("a")
    stage.release("d", "import headrace\nraise RuntimeError('half a release')\n")
    stage.promote("d", percent=50)

    async def main() -> None:
        async with stage.served() as (desk, _):
            assert "half a release" in caplog.text
            assert {await ask(desk, user=str(number)) for number in range(20)} == {"a"}
            stage.promote("b", percent=50)
            await becomes(desk, "b", user=next(u for u in map(str, range(99)) if in_half(stage, u)))

    run(main)


def in_half(stage: Stage, user: str) -> bool:
    return share(NAME, user, f"{stage.root / 'b' / 'app.py'}:handbook") < 50


def test_a_release_that_never_comes_up_does_not_stop_a_rollback(stage):
    stage.promote("a")
    stage.release("d", "import time\nimport headrace\ntime.sleep(600)\n")

    async def main() -> None:
        async with stage.served() as (desk, _):
            stage.promote("d")
            await until(lambda: "d" in stage.made)
            assert await ask(desk) == "a"
            stage.promote("b")
            await becomes(desk, "b")

    run(main)


def test_a_worker_that_dies_is_started_again_and_the_route_holds(stage):
    stage.promote("a")
    stage.promote("b")

    async def main() -> None:
        async with stage.served() as (desk, _):
            await becomes(desk, "b")
            await until(lambda: "a" in stage.made and stage.made["a"].opened)
            for code in "ab":
                os.kill(stage.made[code].pid, signal.SIGKILL)
            await until(lambda: stage.made["b"].starts == 2)
            assert await ask(desk) == "b"
            stage.registry.rollback(NAME, who="test")
            await becomes(desk, "a")

    run(main)


def test_staging_is_its_own_alias(stage):
    stage.promote("a")
    stage.promote("b", alias="staging")

    async def main() -> None:
        async with stage.served(alias="staging") as (desk, router):
            assert await ask(desk) == "b"
            assert len(router.runners) == 1
            stage.promote("c", alias="staging")
            await becomes(desk, "c")

    run(main)


def test_what_is_in_staging_is_warm_when_it_is_promoted(stage):
    stage.promote("a")
    stage.promote("b", alias="staging")

    async def main() -> None:
        async with stage.served() as (desk, _):
            await until(lambda: "b" in stage.made and stage.made["b"].opened)
            assert await ask(desk) == "a"
            stage.promote("b")
            await becomes(desk, "b")
            assert stage.made["b"].starts == 1
            stage.promote("c", alias="staging")
            await until(lambda: "c" in stage.made and stage.made["c"].opened)
            assert await ask(desk) == "b"

    run(main)


def test_side_by_side_the_cores_are_shared_out(stage):
    stage.promote("a")
    stage.promote("b", percent=50)

    async def main() -> None:
        async with stage.served():
            assert {worker.threads for worker in stage.made.values()} == {max(1, (os.cpu_count() or 1) // 2)}

    run(main)


def test_an_alias_that_names_nothing(stage):
    async def main() -> None:
        with pytest.raises(NotFound, match="No release of 'handbook' is production"):
            async with stage.served():
                pass

    run(main)


def test_the_first_release_that_cannot_be_loaded_stops_the_start(stage):
    stage.release("d", "import headrace\nraise RuntimeError('half a release')\n")
    stage.promote("d")

    async def main() -> None:
        with pytest.raises(HeadraceError, match="half a release"):
            async with stage.served():
                pass

    run(main)
