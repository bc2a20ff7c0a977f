"""Admission by itself: order, refusals and places that are given back exactly once."""

from __future__ import annotations

import asyncio
import threading

import pytest

from headrace.errors import Draining, Overloaded, WaitedTooLong
from headrace.ops.serve import Admission
from headrace.ops.workers import Workers


def test_first_come_first_served():
    async def main() -> list[int]:
        admission = Admission(1, 10, wait=5)
        order: list[int] = []
        await admission.enter()

        async def visit(number: int) -> None:
            await admission.enter()
            order.append(number)
            admission.leave()

        visits = []
        for number in range(4):
            visits.append(asyncio.ensure_future(visit(number)))
            await asyncio.sleep(0)
        admission.leave()
        await asyncio.gather(*visits)
        assert admission.running == 0
        return order

    assert asyncio.run(main()) == [0, 1, 2, 3]


def test_a_newcomer_does_not_pass_those_who_wait():
    async def main() -> None:
        admission = Admission(1, 10, wait=5)
        await admission.enter()
        waiter = asyncio.ensure_future(admission.enter())
        await asyncio.sleep(0)
        admission.leave()  # the place is the waiter's, although it has not run yet
        late = asyncio.ensure_future(admission.enter())
        await asyncio.sleep(0)
        await waiter
        assert not late.done()
        admission.leave()
        await late
        assert admission.running == 1

    asyncio.run(main())


def test_no_place_is_lost_when_waiters_give_up_or_time_out():
    async def main() -> None:
        admission = Admission(2, 50, wait=0.02)
        await admission.enter()
        await admission.enter()
        waiters = [asyncio.ensure_future(admission.enter()) for _ in range(20)]
        await asyncio.sleep(0)
        for waiter in waiters[::2]:
            waiter.cancel()
        admission.leave()
        admission.leave()
        results = await asyncio.gather(*waiters, return_exceptions=True)
        entered = sum(result is None for result in results)
        assert admission.running == entered
        assert admission.waiting == 0
        assert any(isinstance(result, WaitedTooLong) for result in results)
        for _ in range(entered):
            admission.leave()
        assert admission.running == 0

    asyncio.run(main())


def test_a_place_given_to_somebody_who_has_just_left_goes_on():
    async def main() -> None:
        admission = Admission(1, 5, wait=5)
        await admission.enter()
        waiter = asyncio.ensure_future(admission.enter())
        await asyncio.sleep(0)
        admission.leave()
        waiter.cancel()  # it was given the place, and has not seen it yet
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert admission.running == 0
        await asyncio.wait_for(admission.enter(), 1)

    asyncio.run(main())


def test_retry_after_grows_with_the_queue_and_is_bounded():
    async def main() -> None:
        admission = Admission(1, 100, wait=5)
        await admission.enter()
        waiters = [asyncio.ensure_future(admission.enter()) for _ in range(100)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as caught:
            await admission.enter()
        assert caught.value.retry_after == 60
        admission.refuse_waiting(Draining("going", hint="elsewhere"))
        results = await asyncio.gather(*waiters, return_exceptions=True)
        assert all(isinstance(result, Draining) for result in results)
        assert admission.running == 1

    asyncio.run(main())


def test_workers_are_bounded_reused_and_keep_contexts_apart():
    workers = Workers(3)
    lock, gate = threading.Lock(), threading.Event()
    names: list[str] = []
    most = running = 0
    done = threading.Semaphore(0)

    def work() -> None:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
            names.append(threading.current_thread().name)
        gate.wait(10)
        with lock:
            running -= 1
        done.release()

    for _ in range(10):
        workers.submit(work)
    gate.set()
    for _ in range(10):
        assert done.acquire(timeout=10)
    assert most <= 3
    assert len(set(names)) <= 3
    workers.close()
