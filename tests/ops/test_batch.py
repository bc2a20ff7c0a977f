"""A batch: every row once and in order, whatever happens in between; limits, failures, resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.errors import (
    Conflict,
    DiskFull,
    InputError,
    Locked,
    ModelBusy,
    ModelError,
    ModelRefused,
    NotFound,
    ReadError,
)
from headrace.ops import batch_rows, shards
from headrace.ops.batch import Batch, batch, run
from headrace.ops.batch_plan import estimate, plan
from headrace.ops.shards import Shards, folder_of
from headrace.resources import build
from released import forget_modules, write_project

APP = '''
import headrace as hr


@hr.app
def shout(text: str, times: int = 1) -> str:
    """The text, loud."""
    if "boom" in text:
        raise ValueError("boom")
    return text.upper() * times
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "headrace.toml").write_text('[app]\nentry = "app.py:shout"\n')
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def questions(place: Path, count: int, name: str = "in.jsonl") -> Path:
    path = place / name
    path.write_text("".join(json.dumps({"id": i, "text": f"row {i}"}) + "\n" for i in range(count)))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def app_of(place: Path, function: Any, name: str = "probe") -> hr.App:
    return hr.App(function, name=name, root=place)


def ran(place: Path, output: str, rows: int = 25, **options: Any) -> Batch:
    return batch(questions(place, rows), place / output, str(place), **{"shard_rows": 10, **options})


# --------------------------------------------------------------------------- the way through


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet", "out.delta"])
def test_rows_in_are_rows_out_in_order(place: Path, name: str) -> None:
    if name.endswith(("parquet", "delta")):
        pytest.importorskip("deltalake")
    done = ran(place, name, workers=4)
    assert (done.rows, done.done, done.failed, done.resumed, done.cost) == (25, 25, 0, 0, 0.0)
    assert done.stopped is None
    from headrace.ops.tables import open_source

    source = open_source(place / name)
    found = list(source.rows())
    assert [str(row["id"]) for row in found] == [str(i) for i in range(25)]
    assert [row["answer"] for row in found] == [f"ROW {i}" for i in range(25)]
    added = ["answer", "error", "cost", "seconds", "trace_id", "release"]
    added += ["job", "row"] if name.endswith("delta") else []
    assert [column.name for column in source.columns] == ["id", "text", *added]
    again = ran(place, name)
    assert again.resumed == 25
    assert "was finished on" in again.notes[-1]
    assert open_source(place / name).count == 25


def test_an_answer_becomes_columns(place: Path) -> None:
    def probe(text: str) -> hr.Answer:
        return hr.Answer(text=text.upper(), abstained=text.endswith("1"), answered_by="quotes")

    batch(questions(place, 2), place / "out.jsonl", app_of(place, probe))
    first, second = lines(place / "out.jsonl")
    assert (first["answer"], first["abstained"], first["answered_by"]) == ("ROW 0", False, "quotes")
    assert second["abstained"] is True
    assert first["citations"] == []


def test_types_of_outputs(place: Path) -> None:
    def length(text: str) -> int:
        return len(text) if text != "row 1" else text  # type: ignore[return-value]

    def parts(text: str) -> dict[str, Any]:
        return {"words": text.split()}

    done = batch(questions(place, 2), place / "out.jsonl", app_of(place, length))
    first, second = lines(place / "out.jsonl")
    assert (first["answer"], second["answer"]) == (5, None)
    assert "declares int64" in second["error"]
    assert done.failed == 1
    batch(questions(place, 2), place / "parts.csv", app_of(place, parts))
    assert '"{""words"": [""row"", ""0""]}"' in (place / "parts.csv").read_text()


def test_columns_are_mapped_and_brought_to_types(place: Path) -> None:
    (place / "in.csv").write_text("q,n,times\nä,x,2\nb,y,\n", encoding="utf-8")
    batch(place / "in.csv", place / "out.jsonl", str(place), mapping={"text": "q"})
    assert [row["answer"] for row in lines(place / "out.jsonl")] == ["ÄÄ", "B"]
    assert lines(place / "out.jsonl")[0]["n"] == "x"
    (place / "n.jsonl").write_text('{"text": 5, "times": "3"}\n{"text": {"a": 1}}\n{"times": 1}\n')
    batch(place / "n.jsonl", place / "n.out.jsonl", str(place))
    first, second, third = lines(place / "n.out.jsonl")
    assert (first["answer"], second["answer"]) == ("555", '{"A": 1}')
    assert "text: Field required" in third["error"]


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({}, r"no column for 'text'.*Its columns: q, answer\. .*--map text=q"),
        ({"text": "p"}, r"no column 'p'\. Did you mean 'q'|no column 'p'"),
        ({"tekst": "q"}, r"no parameter 'tekst'\. Did you mean 'text'"),
        ({"text": "q"}, r"columns of its own that the output adds: answer"),
    ],
)
def test_wrong_columns(place: Path, mapping: dict[str, str], said: str) -> None:
    (place / "in.csv").write_text("q,answer\na,b\n")
    with pytest.raises(InputError, match="(?s)" + said):
        plan(place / "in.csv", place / "out.csv", str(place), mapping=mapping)


def test_a_prefix_frees_the_names(place: Path) -> None:
    (place / "in.csv").write_text("text,answer\na,b\n")
    batch(place / "in.csv", place / "out.jsonl", str(place), prefix="new_")
    row = lines(place / "out.jsonl")[0]
    assert (row["answer"], row["new_answer"]) == ("b", "A")


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
def test_an_empty_table(place: Path, name: str) -> None:
    (place / name).write_text("")
    done = batch(place / name, place / "out.csv", str(place))
    assert (done.rows, done.done) == (0, 0)
    assert (place / "out.csv").read_text() == "answer,error,cost,seconds,trace_id,release\n"


def test_long_and_foreign_texts(place: Path) -> None:
    texts = ["x" * 1_000_000, "שלום", "🙂\u0000", 'a,"b"\n']
    (place / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    batch(place / "in.jsonl", place / "out.jsonl", str(place))
    assert [row["answer"] for row in lines(place / "out.jsonl")] == [text.upper() for text in texts]


def test_traces_are_a_sample_and_all_failures(place: Path) -> None:
    rows = [{"text": "boom" if i == 7 else f"r{i}"} for i in range(40)]
    (place / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = batch(place / "in.jsonl", place / "out.jsonl", str(place), traces=4)
    traced = [i for i, row in enumerate(lines(place / "out.jsonl")) if row["trace_id"]]
    assert traced == [0, 7, 10, 20, 30]
    assert done.traces == 5
    trace = build.ledger(place).trace(lines(place / "out.jsonl")[7]["trace_id"])
    assert trace is not None
    assert trace.error == "ValueError: boom"
    assert trace.context["session"] == f"batch:{done.job}"


# --------------------------------------------------------------------------- failures


def test_failed_rows_are_kept_and_tried_again(place: Path) -> None:
    broken = threading.Event()
    broken.set()

    def probe(text: str) -> str:
        if text in ("row 3", "row 12") and broken.is_set():
            raise ValueError(f"no {text}")
        return text.upper()

    app = app_of(place, probe)
    done = batch(questions(place, 25), place / "out.jsonl", app, shard_rows=10)
    assert (done.done, done.failed) == (23, 2)
    dead = lines(Path(str(done.dead_letters)))
    assert [(d["row"], d["error"]["message"], d["attempts"]) for d in dead] == [
        (3, "no row 3", 1),
        (12, "no row 12", 1),
    ]
    assert dead[0]["input"] == {"id": 3, "text": "row 3"}
    assert lines(place / "out.jsonl")[3]["error"] == "ValueError: no row 3"
    broken.clear()
    again = batch(questions(place, 25), place / "out.jsonl", app, retry_failed=True)
    assert (again.done, again.failed, again.resumed) == (25, 0, 23)
    assert [row["answer"] for row in lines(place / "out.jsonl")] == [f"ROW {i}" for i in range(25)]
    assert again.dead_letters is None
    assert not Path(str(done.dead_letters)).exists()


def test_what_may_pass_is_tried_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_rows, "FIRST_PAUSE", 0.001)
    tries: dict[str, int] = {}

    def probe(text: str) -> str:
        tries[text] = tries.get(text, 0) + 1
        if text == "row 1" and tries[text] < 3:
            raise ModelBusy("busy")
        if text == "row 2":
            raise ModelError("always")
        if text == "row 3":
            raise ModelRefused("wrong key")
        return text

    done = batch(questions(place, 4), place / "out.jsonl", app_of(place, probe), retries=2)
    assert tries == {"row 0": 1, "row 1": 3, "row 2": 3, "row 3": 1}
    assert [(d["row"], d["attempts"]) for d in lines(Path(str(done.dead_letters)))] == [(2, 3), (3, 1)]


def test_too_many_failures_stop_the_job(place: Path) -> None:
    def probe(text: str) -> str:
        raise ValueError("no")

    app = app_of(place, probe)
    done = batch(questions(place, 100), place / "out.jsonl", app, workers=1, max_failures=4)
    assert done.stopped is not None
    assert (done.stopped.code, done.failed) == ("max-failures", 5)
    assert not (place / "out.jsonl").exists()
    assert len(lines(Path(str(done.dead_letters)))) == 5
    by_default = batch(questions(place, 100), place / "out.jsonl", app, workers=1)
    assert (by_default.resumed, by_default.failed) == (5, 21)


# --------------------------------------------------------------------------- money


def paid(place: Path, price: str = "input_price = 0\noutput_price = 1000000") -> hr.App:
    """A dollar a token of the answer; each answer is one token, and could be two."""
    (place / "headrace.toml").write_text(
        '[app]\nentry = "paid.py:paid"\n[models]\ndefault = "m"\n[models.m]\nprovider = "scripted"\n'
        f'model = "replies.json"\n{price}\noptions = {{cycle = true, delay = 0.01}}\n'
    )
    (place / "replies.json").write_text('["x"]')
    (place / "paid.py").write_text(
        "import headrace as hr\n\nllm = hr.model('auto')\n\n\n@hr.app\ndef paid(text: str) -> str:\n"
        "    return llm.complete(text, hr.Decoding(max_new_tokens=2)).text\n"
    )
    return hr.load(place)


def test_a_limit_of_money_stops_and_goes_on(place: Path) -> None:
    app = paid(place)
    source = questions(place, 20)
    first = run(plan(source, place / "out.jsonl", app), max_cost=7.5, workers=4, shard_rows=5)
    assert first.stopped is not None
    assert first.stopped.code == "max-cost"
    assert first.cost is not None
    # A call can use two dollars and uses one: 7.5 is never passed, and is used up but for one call.
    assert 5.5 < first.cost <= 7.5
    assert first.cost == first.done
    assert not (place / "out.jsonl").exists()
    stuck = run(plan(source, place / "out.jsonl", app), max_cost=7.5, workers=4)
    assert stuck.stopped is not None
    assert stuck.done == first.done
    rest = run(plan(source, place / "out.jsonl", app), max_cost=100.0, workers=4)
    assert (rest.stopped, rest.done, rest.cost, rest.resumed) == (None, 20, 20.0, first.done)
    assert [row["cost"] for row in lines(place / "out.jsonl")] == [1.0] * 20


def test_a_limit_without_prices_is_refused(place: Path) -> None:
    app = paid(place, price="")
    with pytest.raises(InputError, match="needs prices"):
        run(plan(questions(place, 2), place / "out.jsonl", app), max_cost=1.0)
    with pytest.raises(InputError, match="max_cost=0"):
        run(plan(questions(place, 2), place / "out.jsonl", app), max_cost=0)


def test_an_estimate_before_anything_runs(place: Path) -> None:
    found = estimate(plan(questions(place, 10), place / "out.jsonl", paid(place)))
    assert found == {"rows": 10, "input_tokens": 20, "cost_low": 0.0, "cost_high": 5120.0}


# --------------------------------------------------------------------------- one job, one output


def test_another_job_is_refused_by_name(place: Path) -> None:
    def probe(text: str) -> str:
        if text == "row 5":
            raise KeyboardInterrupt
        return text

    def other(text: str) -> str:
        return text

    app = app_of(place, probe)
    with pytest.raises(KeyboardInterrupt):
        batch(questions(place, 10), place / "out.jsonl", app, workers=1)
    questions(place, 11)
    with pytest.raises(Conflict, match=r"unfinished job: probe on .*10 rows.*10 rows then, 11 now"):
        batch(place / "in.jsonl", place / "out.jsonl", app)
    (place / "in.jsonl").write_text('{"text": "a", "new": 1}\n')
    with pytest.raises(Conflict, match=r"columns gone: id \(int64\); columns new: new \(int64\)"):
        batch(place / "in.jsonl", place / "out.jsonl", app)
    with pytest.raises(Conflict, match="has changed"):
        batch(questions(place, 10), place / "out.jsonl", app_of(place, other, "other"))
    with pytest.raises(Conflict, match="mapped otherwise"):
        batch(place / "in.jsonl", place / "out.jsonl", app, mapping={"text": "id"})
    done = batch(place / "in.jsonl", place / "out.jsonl", app_of(place, other), overwrite=True)
    assert done.done == 10


def test_an_output_that_is_there_is_not_overwritten(place: Path) -> None:
    (place / "out.jsonl").write_text("mine\n")
    with pytest.raises(Conflict, match="is there already"):
        ran(place, "out.jsonl")
    assert (place / "out.jsonl").read_text() == "mine\n"
    assert ran(place, "out.jsonl", overwrite=True).done == 25
    with pytest.raises(Conflict, match=r"written by another job: shout on .*\(25 rows"):
        ran(place, "out.jsonl", rows=3)
    with pytest.raises(InputError, match="the input as well as the output"):
        batch(place / "in.jsonl", place / "in.jsonl", str(place))
    with pytest.raises(NotFound, match="no folder"):
        batch(place / "in.jsonl", place / "none" / "out.jsonl", str(place))


def test_an_output_that_went_away_is_made_again(place: Path) -> None:
    ran(place, "out.jsonl")
    (place / "out.jsonl").unlink()
    assert ran(place, "out.jsonl").resumed == 0
    assert len(lines(place / "out.jsonl")) == 25


def test_one_writer_per_output(place: Path) -> None:
    inside, go = threading.Event(), threading.Event()

    def probe(text: str) -> str:
        inside.set()
        go.wait(20)
        return text

    app = app_of(place, probe)
    asked = plan(questions(place, 2), place / "out.jsonl", app)
    thread = threading.Thread(target=run, args=(asked,))
    thread.start()
    assert inside.wait(20)
    try:
        with pytest.raises(Locked, match="is being written by"):
            run(asked)
    finally:
        go.set()
        thread.join()
    assert len(lines(place / "out.jsonl")) == 2


def test_the_release_is_pinned_for_the_whole_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = (
        "import headrace as hr\nfrom helpers import shouted\n\n\n@hr.app\ndef finder(question: str) -> str:\n"
        '    """Loud."""\n    import os\n    if question == "q2" and os.environ.get("HEADRACE_STOP"):\n'
        "        raise KeyboardInterrupt\n    return shouted(question)\n"
    )
    root = write_project(tmp_path, {"app.py": app}, documents=0)
    monkeypatch.chdir(root)
    first = hr.release(str(root / "app.py"))
    hr.promote("finder@production", release=first.id)
    source = root / "in.jsonl"
    source.write_text("".join(json.dumps({"question": f"q{i}"}) + "\n" for i in range(4)))
    monkeypatch.setenv("HEADRACE_STOP", "1")
    with pytest.raises(KeyboardInterrupt):
        batch(source, root / "out.jsonl", "finder@production", workers=1)
    monkeypatch.delenv("HEADRACE_STOP")
    forget_modules(root)
    (root / "helpers.py").write_text("def shouted(text: str) -> str:\n    return text + '?'\n")
    second = hr.release(str(root / "app.py"))
    hr.promote("finder@production", release=second.id)
    assert hr.load("finder@production").release.id == second.id
    done = batch(source, root / "out.jsonl", "finder@production")
    assert done.release == first.id
    assert "goes on with" in done.notes[0]
    assert {row["release"] for row in lines(root / "out.jsonl")} == {first.id}
    assert [row["answer"] for row in lines(root / "out.jsonl")] == ["Q0", "Q1", "Q2", "Q3"]
    assert (done.resumed, done.recomputed) == (2, 1)


# --------------------------------------------------------------------------- Delta


def test_a_delta_table_gets_each_row_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("deltalake")
    from headrace.ops import tables_out
    from headrace.ops.tables import open_source

    append = tables_out.DeltaOutput.append

    def dies_after_the_second(self: Any, shard: int, rows: Any) -> int:
        version = append(self, shard, rows)
        if shard == 1:
            raise OSError("the power failed")
        return version

    monkeypatch.setattr(tables_out.DeltaOutput, "append", dies_after_the_second)
    with pytest.raises(OSError, match="power"):
        ran(place, "t.delta")
    assert open_source(place / "t.delta").count == 20
    monkeypatch.setattr(tables_out.DeltaOutput, "append", append)
    done = ran(place, "t.delta")
    assert (done.resumed, done.version) == (25, 2)
    ran(place, "t.delta")
    other = batch(questions(place, 3, "other.jsonl"), place / "t.delta", str(place))  # is appended
    assert (other.done, other.version) == (3, 3)
    assert ran(place, "t.delta").resumed == 25  # known to be in the table, though not the last job
    source = open_source(place / "t.delta")
    assert [row["row"] for row in source.rows()] == [*range(25), *range(3)]
    assert open_source(f"{place / 't.delta'}@v1").count == 20


def test_failed_rows_of_a_delta_table_are_replaced(place: Path) -> None:
    pytest.importorskip("deltalake")
    from headrace.ops.tables import open_source

    broken = True

    def probe(text: str) -> str:
        if text == "row 3" and broken:
            raise ValueError("no")
        return text.upper()

    app = app_of(place, probe)
    batch(questions(place, 5), place / "t.delta", app, shard_rows=2)
    broken = False
    done = batch(questions(place, 5), place / "t.delta", app, retry_failed=True)
    assert (done.done, done.failed) == (5, 0)
    rows = sorted(open_source(place / "t.delta").rows(), key=lambda row: row["row"])
    assert [row["answer"] for row in rows] == [f"ROW {i}" for i in range(5)]
    assert [row["error"] for row in rows] == [None] * 5


def test_a_delta_table_with_other_columns_is_refused(place: Path) -> None:
    pytest.importorskip("deltalake")
    ran(place, "t.delta", rows=3)
    (place / "in.csv").write_text("id,text,more\n1,a,b\n")
    with pytest.raises(InputError, match=r"id: int64 there, string here; more \(string\) is not there"):
        batch(place / "in.csv", place / "t.delta", str(place))
    ran(place, "out.parquet", rows=3)
    with pytest.raises(InputError, match="more .* is not there"):
        batch(place / "in.csv", place / "out.parquet", str(place), overwrite=True)


def test_an_input_table_is_pinned_too(place: Path) -> None:
    pytest.importorskip("deltalake")
    ran(place, "in.delta", rows=4)

    def probe(answer: str) -> str:
        if answer == "ROW 2" and not (place / "go").exists():
            raise KeyboardInterrupt
        return answer.lower()

    app = app_of(place, probe)
    with pytest.raises(KeyboardInterrupt):
        batch(place / "in.delta", place / "out.jsonl", app, prefix="p_", workers=1)
    batch(questions(place, 2, "more.jsonl"), place / "in.delta", str(place))
    (place / "go").touch()
    done = batch(place / "in.delta", place / "out.jsonl", app, prefix="p_")
    assert (done.rows, done.input.endswith("@v0")) == (4, True)
    assert "goes on with version 0" in done.notes[0]


# --------------------------------------------------------------------------- kills and full disks

SLOW = """
import sys, time
import headrace as hr
from headrace.ops.batch import batch
from headrace.resources import build

def probe(text: str) -> str:
    time.sleep(0.005)
    return text.upper()

if __name__ == "__main__":
    found = batch("in.jsonl", "out.jsonl", hr.App(probe, name="probe", root="."), workers=4, shard_rows=50)
    print(found.resumed, found.recomputed, found.done)
"""


def test_killed_and_gone_on_with(place: Path) -> None:
    (place / "slow.py").write_text(SLOW)
    questions(place, 400)
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "slow.py"], cwd=place)
        folder = folder_of(place / "out.jsonl")
        before = sum(path.stat().st_size for path in folder.glob("*.[rl]o*")) if folder.is_dir() else 0
        while child.poll() is None:
            now = sum(p.stat().st_size for p in folder.glob("*.[rl]o*")) if folder.is_dir() else 0
            if now > before + 12_000:
                break
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert not (place / "out.jsonl").exists()
    last = subprocess.run(
        [sys.executable, "slow.py"], cwd=place, capture_output=True, text=True, check=True, timeout=60
    )
    resumed, recomputed, done = (int(word) for word in last.stdout.split())
    assert done == 400
    assert 100 < resumed < 400
    assert 0 < recomputed <= 8  # rows in flight, of four workers, twice
    assert [row["answer"] for row in lines(place / "out.jsonl")] == [f"ROW {i}" for i in range(400)]


def test_a_torn_line_costs_one_row(tmp_path: Path) -> None:
    made = Shards(tmp_path, rows=4, size=2)
    record = {"output": {"answer": "x"}, "error": None, "cost": None, "seconds": 0.1, "attempts": 1}
    made.begin(0)
    assert made.finish({"row": 0, "trace_id": None, **record}) is None
    made.begin(1)
    made.close()
    log = tmp_path / "000000.log"
    log.write_bytes(log.read_bytes() + b'{"row": 1, "outp')
    again = Shards(tmp_path, rows=4, size=2)
    assert (again.kept, again.begun, again.known(0), again.known(1)) == (1, {1}, True, False)
    assert again.finish({"row": 1, "trace_id": None, **record}) == 0
    again.close()
    third = Shards(tmp_path, rows=4, size=2)
    assert third.whole() == [0]
    third.seal(0)
    assert [r["row"] for r in third.records(0)] == [0, 1]
    third.close()
    fourth = Shards(tmp_path, rows=4, size=2)
    assert (fourth.kept, fourth.complete, fourth.totals.priced) == (2, False, 0)
    fourth.close()


def test_a_full_disk_stops_clearly_and_loses_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    calls = 0

    def full(handle: int, data: bytes) -> int:
        nonlocal calls
        calls += b'"row"' in data
        if calls > 7:
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr(shards.os, "write", full)
    with pytest.raises(DiskFull, match="no room left"):
        ran(place, "out.jsonl", workers=1)
    monkeypatch.setattr(shards.os, "write", write)
    done = ran(place, "out.jsonl")
    assert (done.resumed, done.recomputed, done.done) == (7, 1, 25)


def test_an_input_that_changes_while_it_runs(place: Path) -> None:
    source = questions(place, 10)

    def probe(text: str) -> str:
        if text == "row 9":
            source.write_text("{}\n")
        return text

    with pytest.raises(ReadError, match="changed while"):
        batch(source, place / "out.jsonl", app_of(place, probe), workers=1)
    assert not (place / "out.jsonl").exists()
