"""The request's context: who asks, what they may see, how long it may take."""

from __future__ import annotations

import threading
import time

import pytest

import headrace as hr
from headrace import request
from headrace.errors import Cancelled, InputError


def test_nested_contexts_narrow() -> None:
    with hr.context(user="ana", filters={"team": "law"}, deadline=60):
        with hr.context(filters="year > 2020", deadline=3600):
            here = request.current()
            assert here.user == "ana"
            assert here.filters == ({"team": "law"}, "year > 2020")
            assert here.remaining is not None
            assert here.remaining < 61, "a later deadline inside does not extend the one outside"
        assert request.current().filters == ({"team": "law"},)
    assert request.current().user == ""


def test_checkpoint_raises_when_cancelled_or_late() -> None:
    token = request.CancelToken()
    with request.use(request.RequestContext(cancel=token)):
        request.checkpoint()
        token.cancel("the tab was closed")
        with pytest.raises(Cancelled, match="the tab was closed"):
            request.checkpoint()
    with hr.context(deadline=0.01):
        time.sleep(0.02)
        with pytest.raises(Cancelled, match="deadline has passed"):
            request.checkpoint()
    with pytest.raises(InputError, match="deadline=-1"), hr.context(deadline=-1):
        pass


def test_a_gate_lets_so_many_in_at_a_time() -> None:
    gate, here, most, lock = request.Gate(2), 0, 0, threading.Lock()

    def work() -> None:
        nonlocal here, most
        with gate.place(), gate.place():  # the second one is the same place: nobody waits for himself
            with lock:
                here += 1
                most = max(most, here)
            time.sleep(0.01)
            with lock:
                here -= 1

    threads = [threading.Thread(target=work) for _ in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (here, most) == (0, 2)


def test_who_waits_at_a_gate_can_be_stopped() -> None:
    gate, token = request.Gate(1), request.CancelToken()
    token.cancel("enough")
    seen: list[BaseException] = []

    def work() -> None:
        stopped = request.RequestContext(cancel=token)
        with request.use(stopped), pytest.raises(Cancelled) as caught, gate.place():
            pass
        seen.append(caught.value)

    with gate.place():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(10)
    assert "enough" in str(seen[0])
