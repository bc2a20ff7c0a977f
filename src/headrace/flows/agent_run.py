"""One run of an agent: its messages, what it has used, and what went wrong in a row.

The form of the turns (``react.py``, ``native.py``) reads and writes messages; here calls are made, tools are
run, and budgets are counted before each call. ``agent.py`` has the settings and the door.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headrace import request, tracing
from headrace.errors import Cancelled, HeadraceError, OverBudget, ToolError
from headrace.flows import guarding, react
from headrace.flows.native import MOST_AT_ONCE, Native
from headrace.flows.steps import AgentResult, Ending, Running, Step
from headrace.flows.tool import Tool, observation
from headrace.models.cost import Prices, prompt_tokens
from headrace.protocols import Model
from headrace.text import shorten
from headrace.types import Completion, Decoding, Event, Message, Usage, to_json

if TYPE_CHECKING:
    from headrace.flows.agent import Agent

MOST_IN_A_ROW = 3  # turns that cannot be read, failures of one tool, the same call with the same input
LIFTED = 100
LATER = f"Not run: {MOST_AT_ONCE} tools at once are enough. Call it again in the next turn."
LEFT_OUT = "Observation: [left out: there is no room for it any more]"


class Stop(Exception):
    """The run ends here."""

    def __init__(self, outcome: Ending, message: str) -> None:
        super().__init__(message)
        self.outcome, self.message = outcome, message


class Run:
    """One run: its messages, what it has used, and what went wrong in a row."""

    def __init__(self, agent: Agent, model: Model, prices: Prices, task: str) -> None:
        self.agent, self.model, self.prices = agent, model, prices
        self.form: Native | react.InWords = agent.in_words
        if agent.mode == "native" or (agent.mode == "auto" and agent.tools and calls_tools(model)):
            self.form = agent.native
        self.task = task
        self.messages = self._opening()
        # Only an audit lifts the budgets, to see what they hold back.
        self.most_steps = agent.max_steps if guarding.limited() else LIFTED
        self.most_in_a_row = MOST_IN_A_ROW if guarding.limited() else LIFTED
        self.seen: list[int] = []  # where the observations stand, oldest first
        self.steps: list[Step] = []
        self.usage = Usage()
        self.started = time.monotonic()
        self.unreadable = self.failures = self.repeated = 0
        self.last_call = ("", "")
        self.last_failed = ""

    def _opening(self) -> list[Message]:
        return [self.form.system(bare=not guarding.fenced()), Message("user", self.task)]

    def go(self) -> Running:
        try:
            self._check_task()
            for number in range(1, self.most_steps + 1):
                yield from self._step(number)
            raise Stop("out_of_steps", f"No answer after {self.most_steps} steps.")
        except Stop as stop:
            answered = stop.outcome == "answered"
            last = Step(
                number=len(self.steps) + 1,
                kind="end",
                observation=stop.message if answered else None,
                error=None if answered else f"{stop.outcome}: {stop.message}",
            )
            result = AgentResult(
                answer=stop.message if answered else None,
                outcome=stop.outcome,
                steps=tuple(self.steps),
                usage=self.usage,
                seconds=time.monotonic() - self.started,
                message="" if answered else stop.message,
            )
        yield last
        return result

    def _step(self, number: int) -> Running:
        """One turn of the model and what follows from it. Yields its steps; raises Stop at the end."""
        clock = time.monotonic()
        completion = self._ask(number)
        turns = self.form.read(completion)
        self.messages.append(self.form.said(completion))
        usage = completion.usage
        for at, turn in enumerate(turns):
            yield from self._follow(turn, usage, clock, late=at >= MOST_AT_ONCE)
            usage, clock = Usage(), time.monotonic()  # the turn is paid for by its first step
        self._enough()
        return AgentResult(answer=None, outcome="gave_up", steps=(), usage=self.usage, seconds=0.0)

    def _follow(self, turn: react.Turn, usage: Usage, clock: float, *, late: bool) -> Running:
        """What one wish of the model leads to."""
        step = Step(number=len(self.steps) + 1, kind="malformed", thought=turn.thought, usage=usage)
        if turn.kind == "answer":
            self._check_answer(turn.written)
            raise Stop("answered", turn.written)
        if turn.kind == "give up":
            raise Stop("gave_up", turn.written or "The model gave up and did not say why.")
        if turn.kind == "malformed":
            self.unreadable += 1
            reply = self.form.corrected()
            self.messages.append(reply)
            step = replace(step, error=reply.content, seconds=time.monotonic() - clock)
        else:
            self.unreadable = 0
            step = replace(step, kind="tool", tool=turn.tool)
            tool, arguments, problem = (None, None, LATER) if late else self._choose(turn)
            if arguments is not None:
                step = replace(step, inputs=to_json(arguments))
            if problem is None and tool is not None and tool.approve:
                allowed = yield step
                if allowed is not True:
                    problem = f"{tool.name} was not approved. Go on without it."
            if problem is None:
                assert tool is not None
                assert arguments is not None
                step = self._use(tool, arguments, step)
            else:
                step = replace(step, error=problem)
            self._observe(step, turn)
            step = replace(step, seconds=time.monotonic() - clock)
        self.steps.append(step)
        yield step
        return AgentResult(answer=None, outcome="gave_up", steps=(), usage=self.usage, seconds=0.0)

    def _enough(self) -> None:
        """Whether something went wrong too often in a row."""
        step = self.steps[-1]
        if self.unreadable >= self.most_in_a_row:
            raise Stop("gave_up", f"The model wrote {self.unreadable} turns in a row that cannot be read.")
        if self.failures >= self.most_in_a_row:
            raise Stop(
                "tool_failed", f"{self.last_failed} failed {self.failures} times in a row: {step.error}"
            )
        if self.repeated > self.most_in_a_row:
            raise Stop("gave_up", f"The model called {step.tool!r} with the same input again and again.")

    # ------------------------------------------------------------------ guards

    def _check_task(self) -> None:
        found = guarding.question(self.task, "task")
        for finding in found:
            tracing.note("findings", finding)
        if guarding.blocked(found):
            raise Stop("gave_up", f"{guarding.REFUSED} {found[0].message}")

    def _check_answer(self, text: str) -> None:
        found = guarding.said(text, prompt=self.form.text)
        for finding in found:
            tracing.note("findings", finding)
        if guarding.blocked(found):
            raise Stop("gave_up", f"{guarding.WITHHELD} {found[0].message}")

    # ------------------------------------------------------------------ the model

    def _ask(self, number: int) -> Completion:
        decoding = self._affordable()
        left = self.agent.max_seconds - (time.monotonic() - self.started)
        if left <= 0:
            raise Stop("out_of_time", f"The {self.agent.max_seconds:g} s are over.")
        outer = request.current()
        ends = time.monotonic() + left
        if outer.deadline is not None:
            ends = min(ends, outer.deadline)
        try:
            with (
                tracing.span(f"turn {number}", kind="step"),
                request.use(replace(outer, deadline=ends, listener=None)),
            ):
                request.checkpoint()
                completion = self.model.complete(self.messages, decoding)
        except Cancelled as error:
            raise self._ended(error) from error
        except OverBudget as error:
            raise Stop("out_of_tokens", error.message) from error
        except Exception as error:  # whatever a model does, the run ends typed
            if time.monotonic() >= ends:
                raise Stop("out_of_time", f"The {self.agent.max_seconds:g} s are over.") from error
            if self._can_do_without_tools():
                return self._ask(number)
            message = (
                error.message if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
            )
            raise Stop("model_failed", shorten(message, 500)) from error
        self.usage = self.usage + completion.usage
        return completion

    def _can_do_without_tools(self) -> bool:
        """Whether the server has just refused tools, and words are allowed instead."""
        if self.agent.mode != "auto" or self.form is self.agent.in_words or calls_tools(self.model):
            return False
        self.form = self.agent.in_words
        self.messages = self._opening()
        return True

    def _ended(self, error: Cancelled) -> Stop:
        """Out of time, or stopped by somebody."""
        token = request.current().cancel
        if token is not None and token.cancelled:
            return Stop("cancelled", token.reason or "stopped")
        return Stop("out_of_time", error.message)

    def _affordable(self) -> Decoding:
        """The settings of the next call, its answer as short as the budget asks; old observations leave
        where the model's window is too small."""
        usual = self.agent.decoding
        if not guarding.limited():
            usual = replace(usual, max_new_tokens=guarding.UNLIMITED)
        decoding = replace(usual, stop=(*usual.stop, *self.form.stop))
        window = self.model.window
        needed = prompt_tokens(self.messages, self.model.count)
        if window is not None:
            room = min(decoding.max_new_tokens, max(1, window // 4))
            while needed + room >= window and self.seen:
                oldest = self.seen.pop(0)
                self.messages[oldest] = replace(self.messages[oldest], content=LEFT_OUT)
                needed = prompt_tokens(self.messages, self.model.count)
            decoding = _at_most(decoding, room)
        agent = self.agent
        if agent.max_tokens is not None:
            left = agent.max_tokens - self.usage.input_tokens - self.usage.output_tokens - needed
            if left < 1:
                raise Stop("out_of_tokens", f"The next turn does not fit into {agent.max_tokens:,} tokens.")
            decoding = _at_most(decoding, left)
        if agent.max_cost is not None:
            left_over = agent.max_cost - (self.usage.cost or 0.0) - (self.prices.cost(needed, 0) or 0.0)
            one = self.prices.cost(0, 1) or 0.0
            if left_over < one:
                raise Stop(
                    "out_of_money", f"The next turn could cost more than {agent.max_cost:g} US dollars."
                )
            if one:
                decoding = _at_most(decoding, int(left_over / one))
        return decoding

    # ------------------------------------------------------------------ the tools

    def _choose(self, turn: react.Turn) -> tuple[Tool | None, dict[str, Any] | None, str | None]:
        """The tool, its arguments, and what is wrong with either, as the model is told."""
        tool = self.agent.tools.get(turn.tool) or next(
            (made for name, made in self.agent.tools.items() if name.lower() == turn.tool.lower()), None
        )
        if tool is None:
            names = ", ".join(self.agent.tools) or "none"
            return None, None, f"There is no tool {shorten(turn.tool, 60)!r}. The tools are: {names}."
        try:
            arguments = self.form.arguments(tool, turn.written)
        except HeadraceError as error:
            return tool, None, str(error)
        call = (tool.name, json.dumps(to_json(arguments), sort_keys=True))
        self.repeated = self.repeated + 1 if call == self.last_call else 1
        self.last_call = call
        if self.repeated >= self.most_in_a_row:
            return tool, arguments, "You have done exactly this before. Do something else, or give up."
        return tool, arguments, None

    def _use(self, tool: Tool, arguments: dict[str, Any], step: Step) -> Step:
        left = self.agent.max_seconds - (time.monotonic() - self.started)
        if left <= 0:
            raise Stop("out_of_time", f"The {self.agent.max_seconds:g} s are over.")
        own = tool.seconds if tool.seconds is not None else self.agent.tool_seconds
        request.emit(Event(kind="step", name=tool.name, text="begin"))
        try:
            with request.context(deadline=left):
                found = observation(tool.run(arguments, seconds=own), self.agent.observation_chars)
        except Cancelled as error:
            raise self._ended(error) from error
        except ToolError as error:
            self.failures = self.failures + 1 if self.last_failed == tool.name else 1
            self.last_failed = tool.name
            return replace(step, error=shorten(str(error), self.agent.observation_chars))
        finally:
            request.emit(Event(kind="step", name=tool.name, text="end"))
        self.failures, self.last_failed = 0, ""
        return replace(step, observation=found)

    def _observe(self, step: Step, turn: react.Turn) -> None:
        self.seen.append(len(self.messages))
        self.messages.append(self.form.observed(step.observation or f"Error: {step.error}", turn))


def calls_tools(model: Model) -> bool:
    """Whether a model says that it calls tools itself."""
    return getattr(model, "calls_tools", False) is True


def _at_most(decoding: Decoding, tokens: int) -> Decoding:
    most = max(1, min(decoding.max_new_tokens, tokens))
    return replace(decoding, max_new_tokens=most, min_new_tokens=min(decoding.min_new_tokens, most))
