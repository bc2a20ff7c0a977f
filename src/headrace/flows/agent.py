"""An agent: a model that is given tools, a task and a budget, and always comes to a typed end.

``run`` goes through; ``steps`` is a generator that stops at each step, so that a person can look and
agree. It decides nothing itself: the model chooses, the tools do, the budget ends it. What it costs is
counted before each call, so that no budget is overdrawn by a call that could have been foreseen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from headrace import tracing
from headrace.errors import InputError
from headrace.flows import react
from headrace.flows.agent_run import Run
from headrace.flows.native import Native
from headrace.flows.steps import AgentResult, Ending, Running, Step
from headrace.flows.tool import Tool, tools_of
from headrace.models.cost import Prices
from headrace.protocols import Model
from headrace.resources.handles import ModelHandle
from headrace.text import shorten
from headrace.types import Decoding

__all__ = ["Agent", "AgentResult", "Ending", "Running", "Step"]


class Agent:
    """A model with tools.

    ``tools``: functions or :class:`headrace.Tool`. Budgets, each of which may end a run:
    ``max_steps`` turns of the model, ``max_tokens`` in and out, ``max_cost`` in US dollars (the model
    needs prices), ``max_seconds``. ``tool_seconds``: the limit of a tool that names none.
    ``observation_chars``: how much of a tool's result the model reads. ``approve`` is asked before a
    tool that needs approval runs; without it such a tool is refused. Safe to share between threads.

    ``mode``: ``native`` hands the tools to the model, which calls them itself (several at once, if it
    likes); ``react`` describes them in words and reads what it writes; ``auto`` is native where the
    model says that it can (a server, until it refuses), else in words.
    """

    def __init__(
        self,
        model: Model | ModelHandle,
        tools: Sequence[Tool | Callable[..., Any]] = (),
        *,
        name: str = "agent",
        instructions: str = "",
        max_steps: int = 8,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        max_seconds: float = 120.0,
        tool_seconds: float = 30.0,
        observation_chars: int = 4000,
        decoding: Decoding | None = None,
        approve: Callable[[Step], bool] | None = None,
        mode: Literal["auto", "react", "native"] = "auto",
    ) -> None:
        if mode not in ("auto", "react", "native"):
            raise InputError(f"mode={mode!r} is not known.", hint="Use 'auto', 'react' or 'native'.")
        for key, value in (
            ("max_steps", max_steps),
            ("max_tokens", max_tokens),
            ("max_cost", max_cost),
            ("max_seconds", max_seconds),
            ("tool_seconds", tool_seconds),
            ("observation_chars", observation_chars),
        ):
            if value is not None and (isinstance(value, bool) or not value > 0):
                raise InputError(f"{key}={value!r} is not above 0.", hint="Leave it out for the default.")
        self.model, self.name = model, name
        self.tools = tools_of(tools)
        self.in_words = react.InWords(self.tools, instructions)
        self.native = Native(self.tools, instructions)
        self.mode = mode
        self.max_steps, self.max_tokens, self.max_cost = max_steps, max_tokens, max_cost
        self.max_seconds, self.tool_seconds = max_seconds, tool_seconds
        self.observation_chars = observation_chars
        self.decoding = decoding or Decoding()
        self.approve = approve

    def __repr__(self) -> str:
        return f"<Agent {self.name} with {', '.join(self.tools) or 'no tools'}>"

    def run(self, task: str) -> AgentResult:
        """Work on the task to its end. Never raises because of what model or tools do: see ``outcome``."""
        running = self.steps(task)
        with tracing.span(self.name, kind="step", task=shorten(task, 500)) as span:
            agreed: bool | None = None
            while True:
                try:
                    step = running.send(agreed)
                except StopIteration as end:
                    result: AgentResult = end.value
                    span.set(outcome=result.outcome, steps=len(result.steps), message=result.message)
                    return result
                agreed = None
                if step.waiting and self.approve is not None:
                    agreed = bool(self.approve(step))

    def steps(self, task: str) -> Running:
        """Work step by step: each finished step is yielded, the last has the kind ``end``.

        A tool that needs approval is yielded before it runs (``step.waiting``): ``send(True)`` lets it
        run, anything else, and going on with ``next``, refuses it. The generator's value is the
        :class:`AgentResult`. Closing it ends the run between two steps.
        """
        if not isinstance(task, str) or not task.strip():
            raise InputError(f"The task {task!r:.40} is empty.", hint="Say what is to be done.")
        model = self.model.open() if isinstance(self.model, ModelHandle) else self.model
        prices: Prices = getattr(model, "prices", None) or getattr(model, "_prices", None) or Prices()
        if self.max_cost is not None and prices.cost(1, 1) is None:
            raise InputError(
                f"max_cost={self.max_cost!r} needs prices, and those of {model.name!r} are unknown.",
                hint="Set input_price and output_price for this model, or limit max_tokens.",
            )
        return Run(self, model, prices, task).go()
