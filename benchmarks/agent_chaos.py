"""Agents whose model misbehaves at random: does every run come to a typed end, within its budget?

    python benchmarks/agent_chaos.py [--runs 500]

The model is a scripted double that draws each turn from a seeded generator: well-formed actions, one
tool for ever, actions without input, unknown tools, broken JSON, loops, made-up observations, nothing at
all, half a megabyte of noise, endless thoughts, wrong types, errors of its own, slow answers, now and
then an answer or a surrender. The tools raise, hang, give ten megabytes, and run code in the sandbox
(where it is there), which hangs, eats memory and prints without end. Budgets are
drawn too. Counted: runs that raise, runs beyond their steps, tokens, money or seconds (5 s of grace,
for a busy machine), processes, threads of tools and temporary files that are left.

A scripted double proves the machinery, not a model: it says nothing about how often a real model would
do any of this, or how good its answers are.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import headrace as hr
import machine
from headrace import request
from headrace.errors import ModelBusy
from headrace.models.cost import Prices
from headrace.models.scripted import ScriptedModel
from headrace.tools import sandbox
from headrace.types import Message

SEED = 20
GRACE = 5.0  # seconds that a busy machine may add to a limit
PRICES = Prices(input=1.0, output=4.0)
ENDINGS = (
    "answered gave_up out_of_steps out_of_tokens out_of_money out_of_time tool_failed model_failed cancelled"
).split()
CODE = [
    "print(6 * 7)",
    "while True: pass",
    "x = bytearray(4 * 10**9)",
    "while True: print('x' * 10**6)",
    "1/0",
]


@hr.tool
def raises(text: str) -> str:
    """Fails in one of several ways."""
    raise random.choice([ValueError, KeyError, RuntimeError, RecursionError])(text)


@hr.tool(seconds=0.2)
def hangs(text: str) -> str:
    """Does not come back, but can be told to stop."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        time.sleep(0.02)
        request.checkpoint()
    return text


@hr.tool
def floods(size: int = 1) -> str:
    """Gives ten megabytes."""
    return "x" * 10_000_000


@hr.tool(approve=True)
def deletes(path: str) -> str:
    """Deletes something; needs approval, which nobody gives."""
    raise AssertionError("this ran without approval")


@hr.tool(seconds=1.5)
def code(source: str) -> str:
    """Runs Python code."""
    return hr.tools.python(source, timeout=0.8, memory_mb=256).observation()


def turn(rng: random.Random, tools: Sequence[str], favourite: str) -> str:
    """One turn of the double."""
    name = favourite or rng.choice([*tools, "calculator", "calculator", "telephone", ""])
    action = {
        "calculator": rng.choice(["2 + 2", "9**9**9**9", "rm -rf", '{"expression": "1/3"}', '{"x": 1}', ""]),
        "code": rng.choice(CODE),
    }.get(
        name,
        rng.choice(
            ['{"text": "a"}', str(rng.random()), "a", "{broken", "[1, 2", '{"size": "many"}', "null", "é🌊"]
        ),
    )
    well_formed = f"Thought: t\nAction: {name}\nAction Input: {action}"
    return rng.choice(
        [
            *[well_formed] * (60 if favourite else 6),
            f"Action: {name}",
            f"Action: {name}[{action}]",
            f"**Action:** `{name}`\n**Action Input:**\n```json\n{action}\n```",
            well_formed + "\nObservation: made up\nFinal Answer: made up",
            "Thought: and so on, " * 300,
            "I think that the answer is obvious.",
            "",
            " \n\n ",
            "".join(chr(rng.randrange(32, 0x3000)) for _ in range(200)),
            "Action: " * 50_000,
            "Thought: loop\nAction: calculator\nAction Input: 1 + 1",
            "Final Answer:",
            "Final Answer: 42",
            "Give Up: it cannot be known",
        ]
    )


def once(seed: int) -> tuple[str, list[str]]:
    """One run with its own budget; its outcome and what was wrong with it."""
    rng = random.Random(f"{SEED} {seed}")
    tools: list[Any] = [hr.tools.calculator, raises, hangs, floods, deletes]
    if not sandbox.isolation() and rng.random() < 0.3:
        tools.append(code)
    names = [getattr(tool, "name", getattr(tool, "__name__", "")) for tool in tools]
    favourite = rng.choice(names) if rng.random() < 0.2 else ""

    def reply(messages: Sequence[Message]) -> str:
        if rng.random() < 0.03:
            raise rng.choice([ModelBusy("busy"), RuntimeError("a bug in the model"), MemoryError()])
        return turn(rng, names, favourite)

    model = ScriptedModel(
        reply, prices=PRICES, delay=rng.choice([0, 0, 0, 0.05, 60]) if rng.random() < 0.2 else 0
    )
    budget: dict[str, Any] = {
        "max_steps": rng.randint(1, 12),
        "max_tokens": rng.choice([None, 500, 3000]),
        "max_cost": rng.choice([None, 0.001, 0.01]),
        "max_seconds": rng.choice([0.3, 1.0, 3.0]),
    }
    agent = hr.Agent(model, tools, tool_seconds=0.3, observation_chars=500, **budget)
    token = request.CancelToken()
    if rng.random() < 0.05:
        threading.Timer(rng.random() * 0.2, token.cancel).start()
    began = time.monotonic()
    try:
        with request.use(request.RequestContext(cancel=token)):
            result = agent.run("Do something.")
    except BaseException as error:
        return "raised", [f"{type(error).__name__}: {error}"]
    seconds = time.monotonic() - began
    used = result.usage.input_tokens + result.usage.output_tokens
    cost = result.usage.cost or 0.0
    wrong = [
        said
        for said, is_wrong in (
            (f"outcome {result.outcome}", result.outcome not in ENDINGS),
            ("an answer without being answered", (result.answer is None) == (result.outcome == "answered")),
            (f"{len(model.calls)} turns", len(model.calls) > budget["max_steps"]),
            (f"{used} tokens", budget["max_tokens"] is not None and used > budget["max_tokens"]),
            (f"{cost} $", budget["max_cost"] is not None and cost > budget["max_cost"]),
            (f"{seconds:.1f} s", seconds > budget["max_seconds"] + GRACE),
            ("an observation too long", any(len(s.observation or "") > 700 for s in result.steps)),
        )
        if is_wrong
    ]
    return result.outcome, wrong


def left() -> tuple[int, int]:
    """Processes below this one, and temporary folders of runs."""
    children = sum(
        len((task / "children").read_text().split()) for task in Path(f"/proc/{os.getpid()}/task").iterdir()
    )
    folders = [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("headrace-run-")]
    return children, len(folders)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=500)
    options = parser.parse_args()
    sandbox.isolation()
    before = left()
    began = time.monotonic()
    outcomes: collections.Counter[str] = collections.Counter()
    problems: list[str] = []
    for seed in range(options.runs):
        outcome, wrong = once(seed)
        outcomes[outcome] += 1
        problems += [f"run {seed}: {said}" for said in wrong]
    until = time.monotonic() + 10
    while (after := left()) != before and time.monotonic() < until:
        time.sleep(0.1)
    threads = [t.name for t in threading.enumerate() if t.name.startswith("tool ")]
    result = {
        "runs": options.runs,
        "outcomes": dict(sorted(outcomes.items())),
        "problems": problems[:20],
        "wrong": len(problems),
        "processes_left": after[0] - before[0],
        "files_left": after[1] - before[1],
        "threads_left": len(threads),
        "sandbox": not sandbox.isolation(),
        "seconds": round(time.monotonic() - began, 1),
        "goal": "all end typed and within budget, no process or file left",
        "met": not problems and after == before and not threads and "raised" not in outcomes,
        "about": "a scripted double: it proves the machinery, not a model",
    }
    machine.save("agent_chaos", result, command=" ".join(["python", *sys.argv]))
    print(result)


if __name__ == "__main__":
    main()
