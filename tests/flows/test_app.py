"""Applications: calling, batches, streams, waiting, resources, traces."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import headrace as hr
from headrace import request
from headrace.errors import Cancelled, InputError, NotFound, UserError
from headrace.flows.app import App
from headrace.resources import build


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shout_app() -> App:
    @hr.app
    def shout(text: str, times: int = 1) -> str:
        """Say it louder."""
        return text.upper() * times

    return shout


def test_called_like_a_function_and_by_the_names_people_know() -> None:
    shout = shout_app()
    assert shout("a", times=2) == "AA"
    assert shout.invoke("a") == "A"
    assert shout.invoke({"text": "b", "times": 3}) == "BBB"
    assert shout.batch(["a", {"text": "b"}, "c"]) == ["A", "B", "C"]
    assert shout.doc == "Say it louder."
    assert asyncio.run(shout.ainvoke("a")) == "A"
    assert asyncio.run(shout.abatch(["a", "b"])) == ["A", "B"]


def test_wrong_arguments_say_what_it_takes() -> None:
    with pytest.raises(InputError, match=r"shout: missing a required argument: 'text'"):
        shout_app()()
    with pytest.raises(InputError, match="unexpected keyword argument 'loud'"):
        shout_app()("a", loud=True)


def test_an_untyped_parameter_is_refused_when_it_is_written() -> None:
    with pytest.raises(UserError, match="the parameter 'text' has no type"):

        @hr.app
        def untyped(text):  # type: ignore[no-untyped-def]
            return text

    with pytest.raises(UserError, match="cannot be part of an application's signature"):

        @hr.app
        def many(*text: str) -> str:
            return "".join(text)


def test_async_functions_are_applications_too() -> None:
    @hr.app
    async def later(text: str) -> str:
        await asyncio.sleep(0)
        return text[::-1]

    assert later("abc") == "cba"
    assert asyncio.run(later.ainvoke("abc")) == "cba"

    async def inside_a_loop() -> str:
        return str(later("abc"))

    assert asyncio.run(inside_a_loop()) == "cba"


def test_batch_keeps_order_and_context_and_raises_the_first_error() -> None:
    @hr.app
    def who(delay: float) -> str:
        time.sleep(delay)
        return f"{request.current().user} {delay}"

    with hr.context(user="ana"):
        assert who.batch([0.03, 0.0, 0.01]) == ["ana 0.03", "ana 0.0", "ana 0.01"]

    @hr.app
    def halve(n: int) -> int:
        if n % 2:
            raise ValueError(f"{n} is odd")
        return n // 2

    with pytest.raises(ValueError, match="is odd"):
        halve.batch([2, 3, 4])
    results = halve.batch([2, 3, 4], return_exceptions=True)
    assert results[0] == 1
    assert isinstance(results[1], ValueError)
    assert results[2] == 2


def test_a_batch_inside_a_batch_runs_inline_and_cannot_deadlock() -> None:
    @hr.app
    def inner(n: int) -> str:
        return threading.current_thread().name

    @hr.app
    def outer(n: int) -> bool:
        return set(inner.batch([1, 2, 3], max_workers=2)) == {threading.current_thread().name}

    assert outer.batch(list(range(20)), max_workers=2) == [True] * 20


def test_stream_ends_with_the_authoritative_answer() -> None:
    @hr.step
    def find(text: str) -> str:
        return text + "!"

    @hr.app
    def go(text: str) -> str:
        request.emit(hr.Event(kind="delta", text="prov"))
        return find(text)

    events = list(go.stream("a"))
    assert [e.kind for e in events] == ["delta", "step", "step", "answer"]
    assert events[-1].value == "a!"
    assert events[-1].trace_id == build.ledger(go.root).traces(limit=1)[0].id or build.ledger(go.root).flush(
        2
    )


def test_closing_a_stream_cancels_the_run() -> None:
    stopped = threading.Event()

    @hr.app
    def endless(text: str) -> str:
        try:
            while True:
                request.emit(hr.Event(kind="delta", text="."))
                time.sleep(0.001)
                request.checkpoint()
        except Cancelled:
            stopped.set()
            raise

    events = endless.stream("a")
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert stopped.wait(5)


@pytest.mark.parametrize("how", ["ainvoke", "astream", "abatch"])
def test_a_cancelled_task_stops_the_run_behind_it(how: str) -> None:
    started, stopped = threading.Event(), threading.Event()

    @hr.app
    def endless(text: str) -> str:
        started.set()
        try:
            while True:
                time.sleep(0.001)
                request.checkpoint()
        except Cancelled:
            stopped.set()
            raise

    async def read() -> None:
        async for _ in endless.astream("a"):
            pass

    async def begin_and_cancel() -> None:
        work = {
            "ainvoke": lambda: endless.ainvoke("a"),
            "astream": read,
            "abatch": lambda: endless.abatch(["a"]),
        }
        task = asyncio.ensure_future(work[how]())
        await asyncio.to_thread(started.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(begin_and_cancel())  # waits for its threads: one that is left behind would hang here
    assert stopped.wait(10)


def test_an_error_in_a_stream_reaches_the_reader() -> None:
    @hr.app
    def broken(text: str) -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(broken.stream("a"))


def test_a_deadline_stops_a_run_at_the_next_step() -> None:
    @hr.step
    def slow() -> None:
        time.sleep(0.05)

    @hr.app
    def steps(text: str) -> str:
        for _ in range(100):
            slow()
        return text

    with hr.context(deadline=0.12), pytest.raises(Cancelled, match="deadline"):
        steps("a")


def test_every_run_leaves_one_trace() -> None:
    shout = shout_app()
    run = shout.run({"text": "a"})
    ledger = build.ledger(shout.root)
    ledger.flush(5)
    trace = ledger.trace(run.trace_id)
    assert trace is not None
    assert trace.subject["app"] == "shout"
    assert len(trace.subject["fingerprint"]) == 64
    assert trace.inputs == {"text": "a", "times": 1}
    assert trace.output == "A"
    assert [s.name for s in trace.spans] == ["shout"]


def test_tracing_consumes_nothing_and_keeps_what_was_there() -> None:
    @hr.app
    def numbers(given: list[int]) -> object:
        return iter(given)

    given = [1, 2]
    run = numbers.run({"given": given})
    assert list(run.output) == [1, 2], "an iterator is the caller's"

    @hr.app
    def same(given: list[int]) -> list[int]:
        return given

    output = same(given)
    output.append(3)
    trace = build.ledger(same.root).traces(limit=1)[0]
    found = build.ledger(same.root).trace(trace.id)
    assert found is not None
    assert (found.inputs, found.output) == ({"given": [1, 2]}, [1, 2])


def test_an_application_inside_another_is_a_step_of_its_trace() -> None:
    shout = shout_app()

    @hr.app
    def twice(text: str) -> str:
        return shout(text) + shout(text)

    run = twice.run({"text": "a"})
    assert run.trace is not None
    assert sorted(s.name for s in run.trace.spans) == ["shout", "shout", "twice"]
    build.ledger(twice.root).flush(5)
    assert build.ledger(twice.root).count() == 1


def test_a_stream_runs_in_the_context_in_which_it_was_asked_for() -> None:
    """Also where the first event is read after the context has ended: filters must not be lost."""

    @hr.app
    def who(text: str) -> str:
        return f"{request.current().user} {request.current().filters}"

    with hr.context(user="ana", filters={"team": "legal"}):
        events = who.stream("a")
        later = who.astream("a")
    assert [e.value for e in events if e.kind == "answer"] == ["ana ({'team': 'legal'},)"]

    async def read() -> list[object]:
        return [event.value async for event in later if event.kind == "answer"]

    assert asyncio.run(read()) == ["ana ({'team': 'legal'},)"]
    assert request.current().user == ""


@pytest.mark.parametrize("content", [True, False])
def test_the_one_record_holds_all_that_made_the_answer(tmp_path: Path, content: bool) -> None:
    (tmp_path / "headrace.toml").write_text(
        f"[ledger]\ncontent = {str(content).lower()}\n[models.small]\nprovider = 'scripted'\n"
        "model = 'quote'\ninput_price = 1.0\noutput_price = 2.0\n"
    )
    kb, llm = hr.KnowledgeBase("kb"), hr.model("small")
    kb.add(hr.Document("# Tides\n\nThe tide turns every six hours.", id="tides.md"))

    @hr.app
    def ask(question: str) -> hr.Answer:
        return hr.answer(question, kb.search(question), model=llm)

    answer = ask("How often does the tide turn?")
    trace = build.ledger(ask.root).trace(answer.trace_id)
    assert trace is not None
    assert trace.subject["fingerprint"] == hr.fingerprint(ask).id
    assert trace.subject["code"] == hr.fingerprint(ask).code
    record = trace.record
    (version,) = record["kb_versions"]
    assert len(version["corpus"]) == 64
    assert version["embedder"]
    assert version["splitter"]
    (resources,) = record["resources"]
    known = resources["knowledge:kb"]
    assert known["corpus"] == version["corpus"]
    stored = kb.engine().store.meta()
    assert known["embedder"] == dict(stored.embedder or {}), "whole, weights' hash included"
    assert known["splitter"] == dict(stored.splitter or {})
    assert {"score", "relevance", "document", "start", "end", "text"} <= record["passages"][0].keys()
    assert len(record["prompts"][0]["hash"]) == 64
    assert len(record["contexts"][0]["template"]) == 64
    assert record["contexts"][0]["kept"] == [1]
    assert record["decodings"][0]["max_new_tokens"] > 0
    assert record["models"][0]["name"] == "scripted:quote"
    (usage,) = record["usage"]
    assert usage["calls"] == 1
    assert usage["input_tokens"] > 0
    assert usage["cost"] == pytest.approx((usage["input_tokens"] + 2 * usage["output_tokens"]) / 1e6)
    assert record["answered_by"] == ["scripted:quote"]
    texts = str(record) + str(trace.inputs) + str(trace.output)
    assert ("tide turn" in texts) == content


def test_a_resource_that_cannot_be_asked_costs_nobody_the_answer(tmp_path: Path) -> None:
    """The fingerprint is made after the answer: a damaged knowledge base it never used is no matter."""
    broken = hr.KnowledgeBase("broken")
    broken.folder.mkdir(parents=True)
    (broken.folder / "kb.sqlite").write_bytes(b"this is no database" * 100)

    @hr.app
    def fine(text: str) -> str:
        return text if broken else ""

    run = fine.run({"text": "a"})
    assert run.output == "a"
    assert run.trace is not None
    assert run.trace.record["resources"] == [{"knowledge:broken": {"unavailable": True, "why": "corrupt"}}]


def test_a_failed_run_leaves_a_trace_with_its_error() -> None:
    @hr.app
    def broken(text: str) -> str:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        broken("a")
    ledger = build.ledger(broken.root)
    ledger.flush(5)
    assert ledger.traces(limit=1)[0].status == "error"


def test_strangers_values_are_validated_by_run_and_stream_inputs() -> None:
    with pytest.raises(InputError, match=r"times: Input should be a valid integer.*got 'x'"):
        shout_app().run({"text": "a", "times": "x"})
    with pytest.raises(InputError, match="more: Extra inputs"):
        shout_app().run({"text": "a", "more": 1})
    with pytest.raises(InputError, match="text"):
        shout_app().stream_inputs({})


def test_using_changes_one_resource_and_leaves_the_original_alone() -> None:
    from headrace.models.scripted import ScriptedModel

    llm = hr.model("auto")

    @hr.app
    def say(text: str) -> str:
        return llm.complete(text).text if llm.available else "nobody"

    variant = say.using({llm: ScriptedModel(replies=["hello"])})
    assert say("hi") == "nobody"
    assert variant("hi") == "hello"
    assert say.using({llm: "scripted:echo"})("hi")
    with pytest.raises(UserError, match="replaces handles"):
        say.using({"llm": "scripted:echo"})  # type: ignore[dict-item]


def test_pickled_by_file_and_refused_when_the_code_changed(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(
        textwrap.dedent(
            '''
            import headrace as hr

            @hr.app
            def double(n: int) -> int:
                """Twice."""
                return 2 * n
            '''
        )
    )
    double = hr.load(f"{file}:double")
    data = pickle.dumps(double)
    assert pickle.loads(data)(4) == 8
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read())(21))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=data, capture_output=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == b"42"
    time.sleep(0.01)
    file.write_text(file.read_text() + "\n# changed\n")
    with pytest.raises(UserError, match="has changed since"):
        pickle.loads(data)


def test_an_application_without_a_file_cannot_be_pickled() -> None:
    space: dict[str, object] = {"hr": hr}
    exec("@hr.app\ndef anywhere(text: str) -> str:\n    return text\n", space)
    with pytest.raises(UserError, match="was not defined in a file"):
        pickle.dumps(space["anywhere"])


def test_gather_and_map() -> None:
    assert hr.gather(lambda: 1, lambda: 2) == [1, 2]
    assert hr.map(lambda n: n * n, range(10)) == [n * n for n in range(10)]
    with pytest.raises(InputError, match="max_workers"):
        hr.map(str, [1], max_workers=0)


def test_the_settings_of_the_application_hold_wherever_the_process_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hr.answer names no project: the running application's says which embedder scores sentences."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    (project / "headrace.toml").write_text('[embedder]\nmodel = "./not-there"\n')
    (project / "app.py").write_text(
        "import headrace as hr\n\n\n"
        "@hr.app\n"
        "def ask(question: str) -> hr.Answer:\n"
        "    text = 'The lock opens at six in the morning.'\n"
        "    found = hr.Passage(text=text, score=1.0, relevance=1.0, document='a.md', end=len(text))\n"
        "    return hr.answer(question, [found])\n"
    )
    monkeypatch.chdir(elsewhere)
    with pytest.raises(NotFound, match="not-there"):
        hr.load(project / "app.py")("When does the lock open?")
