"""The dispatcher: which jobs share a batch, what happens when one goes wrong. No torch here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import request
from headrace.errors import Cancelled, ModelBusy, ModelError
from headrace.models.batching import Dispatcher, Job
from headrace.models.pieces import Detokenizer
from headrace.models.stream import StopFilter
from headrace.types import Decoding


def decode(tokens: Sequence[int]) -> str:
    """Token ids are bytes here."""
    return bytes(tokens).decode("utf-8", "replace")


def job(text: str = "x", *, room: int = 8, streaming: bool = False, **decoding: Any) -> Job:
    return Job(
        list(text.encode()),
        Decoding(**decoding),
        room=room,
        tokens=Detokenizer(decode),
        streaming=streaming,
    )


def write(one: Job, text: str) -> None:
    for token in text.encode():
        if one.feed(token):
            return
    one.end("stop")


class Writer:
    """Writes each prompt in capitals; notes the batches; waits until it is let go."""

    def __init__(self, fails: Callable[[list[Job]], bool] = lambda batch: False) -> None:
        self.batches: list[list[str]] = []
        self.fails = fails
        self.go = threading.Event()
        self.busy = threading.Event()

    def __call__(self, batch: list[Job]) -> None:
        self.batches.append([decode(one.prompt) for one in batch])
        self.busy.set()
        assert self.go.wait(20)
        if self.fails(batch):
            raise ModelError("it broke")
        for one in batch:
            write(one, decode(one.prompt).upper())


def dispatcher(run: Any, **options: Any) -> Dispatcher:
    return Dispatcher(run, key=lambda one: one.decoding.min_new_tokens or "any", **options)


def queued(run: Writer, jobs: list[Job], **options: Any) -> Dispatcher:
    """The first job occupies the model while the others queue up; then it is let go."""
    one = dispatcher(run, **options)
    one.submit(jobs[0])
    assert run.busy.wait(20)
    for other in jobs[1:]:
        one.submit(other)
    run.go.set()
    return one


def text(one: Job) -> str:
    return "".join(one.pieces())


def test_what_is_queued_goes_together() -> None:
    run, jobs = Writer(), [job(name) for name in "abcd"]
    queued(run, jobs)
    assert [text(one) for one in jobs] == ["A", "B", "C", "D"]
    assert run.batches == [["a"], ["b", "c", "d"]]


def test_another_decoding_goes_apart() -> None:
    run = Writer()
    jobs = [job("a"), job("b"), job("c", min_new_tokens=3), job("d")]
    queued(run, jobs)
    assert [text(one) for one in jobs] == ["A", "B", "C", "D"]
    assert run.batches == [["a"], ["b", "d"], ["c"]]


def test_batches_keep_to_rows_and_tokens() -> None:
    run, jobs = Writer(), [job(name) for name in "abcdefg"]
    queued(run, jobs, rows=2)
    assert [text(one) for one in jobs] == list("ABCDEFG")
    assert [len(batch) for batch in run.batches] == [1, 2, 2, 2]

    run, jobs = Writer(), [job("a"), job("b"), job("c" * 10), job("d")]  # 9, 9, 18 and 9 tokens
    queued(run, jobs, tokens=30)
    assert [text(one) for one in jobs] == ["A", "B", "C" * 10, "D"]
    assert run.batches == [["a"], ["b", "d"], ["c" * 10]]


def test_a_job_without_a_key_runs_alone() -> None:
    run, jobs = Writer(), [job(name) for name in "abc"]
    one = Dispatcher(run, key=lambda _: None)
    one.submit(jobs[0])
    assert run.busy.wait(20)
    one.submit(jobs[1])
    one.submit(jobs[2])
    run.go.set()
    assert [text(one) for one in jobs] == ["A", "B", "C"]
    assert run.batches == [["a"], ["b"], ["c"]]


def test_a_failed_batch_is_run_row_by_row_and_only_the_bad_row_fails() -> None:
    run = Writer(fails=lambda batch: any(decode(one.prompt) == "bad" for one in batch))
    jobs = [job("a"), job("b"), job("bad"), job("c")]
    queued(run, jobs)
    assert [text(jobs[i]) for i in (0, 1, 3)] == ["A", "B", "C"]
    with pytest.raises(ModelError, match="it broke"):
        text(jobs[2])
    assert run.batches == [["a"], ["b", "bad", "c"], ["b"], ["bad"], ["c"]]


def test_what_was_shown_is_not_written_twice() -> None:
    def run(batch: list[Job]) -> None:
        for one in batch:
            one.feed(ord("p"))
        if len(batch) > 1:
            raise ModelError("it broke")
        write(batch[0], "q")

    jobs = [job("a", streaming=True), job("b", streaming=False)]
    one = dispatcher(run)
    with one._lock:  # both are queued before the first is taken
        one._queue.extend(jobs)
        one._running = True
    one._work()
    with pytest.raises(ModelError, match="it broke"):
        text(jobs[0])
    assert text(jobs[1]) == "pq"


def test_a_full_queue_refuses_at_once() -> None:
    run, jobs = Writer(), [job(name) for name in "abc"]
    one = queued(run, jobs, waiting=2)
    assert [text(other) for other in jobs] == ["A", "B", "C"]
    run.go.clear()
    run.busy.clear()
    one.submit(job("d"))
    assert run.busy.wait(20)
    one.submit(job("e"))
    one.submit(job("f"))
    with pytest.raises(ModelBusy, match="2 calls are waiting"):
        one.submit(job("g"))
    run.go.set()


def test_a_cancelled_job_in_the_queue_is_never_run() -> None:
    run, token = Writer(), request.CancelToken()
    first = job("a")
    with request.use(request.RequestContext(cancel=token)):
        second = job("b")
    one = dispatcher(run)
    one.submit(first)
    assert run.busy.wait(20)
    one.submit(second)
    token.cancel()
    run.go.set()
    assert text(first) == "A"
    with pytest.raises(Cancelled):
        text(second)
    assert run.batches == [["a"]]


def test_a_cancelled_job_stops_at_the_next_token_and_leaves_the_others() -> None:
    token = request.CancelToken()
    with request.use(request.RequestContext(cancel=token)):
        doomed = job("a")
    other = job("b")
    assert not doomed.feed(ord("x"))
    token.cancel()
    assert doomed.feed(ord("y"))
    assert doomed.written == 1
    assert not other.feed(ord("z"))


def test_leaving_a_stream_gives_the_job_up() -> None:
    one = job("a")
    one.feed(ord("x"))
    pieces = one.pieces()
    assert next(pieces) == "x"
    assert one.wanted
    pieces.close()
    assert not one.wanted


def test_a_deadline_counts_while_waiting() -> None:
    run = Writer()
    one = dispatcher(run)
    with request.context(deadline=0.1):
        waiting = one.submit(job("a"))
        with pytest.raises(Cancelled, match="deadline"):
            text(waiting)
    run.go.set()


def test_a_run_that_forgets_a_job_is_an_error_not_a_hang() -> None:
    one = dispatcher(lambda batch: None)
    with pytest.raises(ModelError, match="without an answer"):
        text(one.submit(job("a")))


def test_the_thread_ends_with_the_work() -> None:
    run, jobs = Writer(), [job("a"), job("b")]
    queued(run, jobs, name="gone soon")
    assert [text(one) for one in jobs] == ["A", "B"]
    for _ in range(500):
        if not any("gone soon" in thread.name for thread in threading.enumerate()):
            return
        time.sleep(0.01)
    pytest.fail("the dispatcher's thread is still there")


def test_a_stop_string_ends_the_job_and_is_not_shown() -> None:
    one = job("a", stop=("END",))
    write(one, "some EN text END more")
    assert text(one) == "some EN text "
    assert one.finish == "stop"


@given(st.text(max_size=40))
def test_pieces_joined_are_the_text(whole: str) -> None:
    tokens = Detokenizer(decode)
    pieces = [tokens.feed(token) for token in whole.encode()]
    assert "".join(pieces) + tokens.flush() == whole


def test_half_a_character_is_held_back_and_shown_at_the_end() -> None:
    tokens = Detokenizer(decode)
    assert [tokens.feed(token) for token in "é".encode()] == ["", "é"]
    assert tokens.feed(0xF0) == ""
    assert tokens.flush() == "\ufffd"


@given(
    st.text(alphabet="abAB ", max_size=30),
    st.lists(st.text(alphabet="abAB", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(1, 5), min_size=1),
)
def test_the_stop_filter_cuts_where_find_does(whole: str, stops: list[str], sizes: list[int]) -> None:
    found = [at for stop in stops if (at := whole.find(stop)) >= 0]
    filtered, shown, at = StopFilter(stops), "", 0
    while at < len(whole) and not filtered.stopped:
        size = sizes[at % len(sizes)]
        shown += filtered.feed(whole[at : at + size])
        at += size
    shown += filtered.flush()
    if not found:
        assert shown == whole
        assert not filtered.stopped
    else:
        # In pieces, a stop string that ends first wins; no shown text holds a whole one.
        assert filtered.stopped
        assert whole.startswith(shown)
        assert not any(stop in shown for stop in stops)
        assert any(whole.startswith(stop, len(shown)) for stop in stops)
