"""What being an application costs a function: tracing, ledger and guards, per call.

    python benchmarks/call_overhead.py

Two pairs, 1,000 calls each a round, in turns, medians of the rounds; microseconds a call on the
caller's side (CPU time of its thread, and wall time), in a burst and with a pause of 2 ms between
calls as a server has them.

* bare: a function that returns a text, called by itself, and as an application whose runs are
  traced into the ledger. The difference is tracing and ledger alone.
* guarded: a function that asks a scripted model about four passages and returns its text, and an
  application that does the same through ``hr.answer``: fenced prompt within the window, citations
  parsed and checked against the passages, findings, tracing, ledger. The difference is all of it.
  ``reworded``: the same where the answer shares too few words with its source to find the place by
  words, so that the passage's sentences are embedded.

``process`` is the CPU time of the whole process per call, the ledger's writer included.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine

CALLS, ROUNDS, PAUSE = 1000, 3, 0.002
GOAL_US, GOAL_GUARDED_US = 100.0, 1000.0
QUESTION = "How long before departure does the harbour office close its counter?"
PASSAGE = (
    "The harbour office sells tickets until noon on weekdays. The counter closes twenty minutes before "
    "the departure of each ferry. Bicycles are loaded first and stand on the lower deck. Dogs travel "
    "free of charge on a short lead. In strong wind the captain may cancel the crossing. Refunds are "
    "paid at the counter against the ticket. The cafe on board takes cards only. Children under six "
    "need no ticket at all."
)
REPLY = "The counter closes twenty minutes before departure [1]."
REWORDED = "You have to be at the desk about a third of an hour ahead of sailing [1]."
APP = """
import headrace as hr
from headrace.models.scripted import ScriptedModel

PASSAGE, QUESTION = {passage!r}, {question!r}
model, rewording = ScriptedModel({reply!r}), ScriptedModel({reworded!r})
passages = [
    hr.Passage(text=PASSAGE, score=1.0, relevance=0.9, document=f"docs/{{n}}.md", end=len(PASSAGE))
    for n in range(4)
]
messages = [hr.Message("user", PASSAGE * 4 + QUESTION)]


@hr.app
def plain(question: str) -> str:
    return question.upper()


def asked(question: str) -> str:
    return model.complete(messages, hr.Decoding()).text


@hr.app
def guarded(question: str) -> hr.Answer:
    return hr.answer(question, passages, model=model)


@hr.app
def reworded(question: str) -> hr.Answer:
    return hr.answer(question, passages, model=rewording)
"""


def measure(call: Callable[[str], Any], pause: float) -> dict[str, float]:
    """Microseconds a call: CPU of the caller, its wall time, CPU of the process."""
    for _ in range(20):
        call(QUESTION)
    cpu, wall, whole = 0, 0, time.process_time_ns()
    for _ in range(CALLS):
        c, w = time.thread_time_ns(), time.perf_counter_ns()
        call(QUESTION)
        wall += time.perf_counter_ns() - w
        cpu += time.thread_time_ns() - c
        if pause:
            time.sleep(pause)
    time.sleep(0.3)
    spent = time.process_time_ns() - whole
    return {"cpu": cpu / CALLS / 1e3, "wall": wall / CALLS / 1e3, "process": spent / CALLS / 1e3}


def main() -> None:
    import headrace as hr
    from headrace.resources import build

    with tempfile.TemporaryDirectory(prefix="headrace-call-") as place:
        file = Path(place) / "app.py"
        text = APP.format(question=QUESTION, passage=PASSAGE, reply=REPLY, reworded=REWORDED)
        file.write_text(text, encoding="utf-8")
        (Path(place) / "headrace.toml").write_text('[app]\nentry = "app.py:plain"\n', encoding="utf-8")
        plain, guarded, reworded = (hr.load(f"{file}:{name}") for name in ("plain", "guarded", "reworded"))
        asked = sys.modules[plain.function.__module__].asked
        assert guarded(QUESTION).text == REPLY
        sides = {
            "plain function": plain.function,
            "plain app": plain,
            "asked function": asked,
            "guarded app": guarded,
            "reworded app": reworded,
        }
        seen: dict[str, dict[str, list[dict[str, float]]]] = {}
        load = os.getloadavg()[0]
        for _ in range(ROUNDS):
            for name, pause in (("burst", 0.0), ("paced", PAUSE)):
                for label, call in sides.items():
                    seen.setdefault(name, {}).setdefault(label, []).append(measure(call, pause))
        ledger = build.ledger(Path(place))
        ledger.flush()
        kept, dropped = ledger.count(), ledger.dropped
        ledger.close()
    result: dict[str, Any] = {
        "what": f"{CALLS} calls a round, {ROUNDS} rounds in turns; medians; microseconds a call",
        "goals": {"tracing and ledger": GOAL_US, "with guards": GOAL_GUARDED_US},
        "load_at_start": round(load, 2),
        "traces": {"kept": kept, "dropped": dropped},
    }
    for name, found in seen.items():
        middle = {
            label: {key: round(statistics.median(one[key] for one in rounds), 1) for key in rounds[0]}
            for label, rounds in found.items()
        }
        result[name] = {
            "sides": middle,
            "tracing and ledger": _difference(middle["plain app"], middle["plain function"]),
            "with guards": _difference(middle["guarded app"], middle["asked function"]),
            "reworded": _difference(middle["reworded app"], middle["asked function"]),
        }
        for what in ("tracing and ledger", "with guards", "reworded"):
            print(f"{name:6} {what:20} {result[name][what]}")
    print(machine.save("call_overhead", result, command="python benchmarks/call_overhead.py"))


def _difference(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {key: round(one[key] - other[key], 1) for key in one}


if __name__ == "__main__":
    main()
