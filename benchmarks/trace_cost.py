"""What tracing costs an answer: microseconds on the caller, beside OpenTelemetry's SDK.

    python benchmarks/trace_cost.py

A run of one root span and six spans with four attributes each is traced 2,000 times, once in a
burst and once with a pause of 2 ms between runs (as a server has them), and written to a file:
Headrace's ledger against OpenTelemetry's BatchSpanProcessor with an exporter that appends JSON
lines. Both sides run in processes of their own, taking turns; the medians of the rounds are
written to ``benchmarks/results/trace_cost.json``. ``caller`` is CPU time of the calling thread,
``process`` CPU time of the whole process, both per run; ``lost`` are runs that were not in the
file at the end. The SDK is installed into ``.bench/otel`` on the first call; without it, Headrace
is measured alone.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "trace_cost.json"
RUNS, SPANS, ROUNDS, PAUSE = 2000, 6, 5, 0.002
SDK = "opentelemetry-sdk==1.45.2"
QUESTION = "How long before departure does the harbour office close its counter?"
ANSWER = "The counter closes twenty minutes before departure [1]. " * 4
PASSAGE = "The harbour office sells tickets until twenty minutes before departure. " * 8


def measure(one_run: Callable[[], None], finish: Callable[[], int]) -> dict[str, Any]:
    """Microseconds per run, in a burst and paced, of CPU time; and what did not arrive."""
    for _ in range(50):
        one_run()
    time.sleep(0.5)
    found: dict[str, Any] = {}
    for name, pause in (("burst", 0.0), ("paced", PAUSE)):
        caller = 0
        whole = time.process_time_ns()
        for _ in range(RUNS):
            began = time.thread_time_ns()
            one_run()
            caller += time.thread_time_ns() - began
            if pause:
                time.sleep(pause)
        time.sleep(6.0)  # both write in the background; BatchSpanProcessor every 5 seconds
        found[f"caller_{name}_us"] = caller / RUNS / 1000
        found[f"process_{name}_us"] = (time.process_time_ns() - whole) / RUNS / 1000
    found["lost"] = 50 + 2 * RUNS - finish()
    return found


def headrace_side(folder: Path) -> dict[str, Any]:
    from headrace import tracing
    from headrace.ledger.database import Ledger
    from headrace.settings import LedgerSettings
    from headrace.types import Answer, Citation, Trace

    ledger = Ledger.open(folder / "ledger.sqlite", LedgerSettings())
    cited = Citation(
        number=1,
        document="docs/a.md",
        heading="Hours",
        start=0,
        end=len(PASSAGE),
        text=PASSAGE,
        score=0.1,
        relevance=0.9,
    )

    def one_run() -> None:
        started = time.time()
        with tracing.collect("app") as found:
            for step in range(SPANS):
                with tracing.span("part", kind="step", step=step, mode="hybrid") as span:
                    span.set(tokens=120, score=0.5)
        ledger.record(
            Trace(
                id=found.id,
                start=started,
                seconds=0.001,
                subject={"app": "bench"},
                inputs={"question": QUESTION},
                output=Answer(text=ANSWER, citations=(cited,) * 4),
                record=found.record,
                spans=tuple(found.spans),
            )
        )

    def finish() -> int:
        ledger.flush()
        return ledger.count()

    spans = 20_000
    with tracing.collect("app"):
        began = time.thread_time_ns()
        for step in range(spans):
            with tracing.span("part", kind="step", step=step):
                pass
        per_span = (time.thread_time_ns() - began) / spans / 1000
    began = time.thread_time_ns()
    for step in range(spans):
        with tracing.span("part", kind="step", step=step):
            pass
    outside = (time.thread_time_ns() - began) / spans / 1000
    example = Trace(
        id="",
        start=0.0,
        seconds=0.0,
        subject={"app": "bench"},
        inputs={"question": QUESTION},
        output=Answer(text=ANSWER, citations=(cited,) * 4),
    )
    calls = 2000
    quiet = Ledger.open(folder / "other.sqlite", LedgerSettings())
    spent = 0
    for number in range(calls):
        trace = Trace(**{**vars(example), "id": f"{number:032x}", "start": time.time()})
        began = time.thread_time_ns()
        quiet.record(trace)
        spent += time.thread_time_ns() - began
        time.sleep(0.0005)
    quiet.flush()
    return {
        **measure(one_run, finish),
        "record_us": spent / calls / 1000,
        "span_us": per_span,
        "span_outside_a_run_us": outside,
    }


def otel_side(folder: Path) -> dict[str, Any]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    path = folder / "spans.jsonl"

    class ToFile(SpanExporter):
        def export(self, spans: Any) -> Any:
            with path.open("a", encoding="utf-8") as file:
                for span in spans:
                    file.write(span.to_json(indent=None) + "\n")
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    processor = BatchSpanProcessor(ToFile())
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("bench")
    passages = json.dumps([PASSAGE] * 4)

    def one_run() -> None:
        with tracer.start_as_current_span("app") as root:
            root.set_attribute("question", QUESTION)
            for step in range(SPANS):
                with tracer.start_as_current_span(
                    "part", attributes={"step": step, "mode": "hybrid"}
                ) as span:
                    span.set_attributes({"tokens": 120, "score": 0.5})
            root.set_attributes({"answer": ANSWER, "passages": passages})

    def finish() -> int:
        processor.force_flush()
        with path.open(encoding="utf-8") as file:
            return sum(1 for line in file if '"name": "app"' in line)

    return measure(one_run, finish)


def otel_python() -> Path | None:
    """The interpreter of ``.bench/otel`` with the SDK in it; None where it cannot be installed."""
    folder = ROOT / ".bench" / "otel"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    check = [str(python), "-c", "import opentelemetry.sdk"]
    if subprocess.run(check, capture_output=True).returncode != 0:
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "-q", SDK], capture_output=True, text=True
        )
        if done.returncode != 0:
            print(f"OpenTelemetry's SDK could not be installed:\n{done.stderr}", file=sys.stderr)
            return None
    return python


def side(python: str, name: str) -> dict[str, Any]:
    command = [python, str(Path(__file__).resolve()), name]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(out)
    return found


def main() -> None:
    other = otel_python()
    sides: dict[str, list[dict[str, Any]]] = {"headrace": []} | ({"opentelemetry": []} if other else {})
    for turn in range(ROUNDS):
        for name, seen in sides.items():
            seen.append(side(sys.executable if name == "headrace" else str(other), name))
            print(f"round {turn + 1} of {ROUNDS}, {name}: {seen[-1]}", file=sys.stderr)
    result: dict[str, Any] = {
        "command": "python benchmarks/trace_cost.py",
        "date": time.strftime("%Y-%m-%d"),
        "what": f"{RUNS} runs of 1 + {SPANS} spans; CPU microseconds per run; medians of {ROUNDS} rounds",
        "opentelemetry": SDK if other else "not installed",
        "machine": machine(),
        "sides": {
            name: {key: round(statistics.median(one[key] for one in seen), 2) for key in seen[0]}
            for name, seen in sides.items()
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result["sides"], indent=2))


def machine() -> Any:
    """The description that all results share, where it is there."""
    try:
        from machine import describe
    except ModuleNotFoundError:
        import platform

        return {"machine": platform.machine(), "python": platform.python_version()}
    return describe()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with tempfile.TemporaryDirectory() as folder:
            measured = {"headrace": headrace_side, "opentelemetry": otel_side}[sys.argv[1]](Path(folder))
        print(json.dumps(measured))
    else:
        main()
