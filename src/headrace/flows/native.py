"""An agent's turn through the model's own calling of functions, several tools at once if it likes.

The shape is that of OpenAI-style interfaces: schemas go along with the system message, calls come back
with ids, results are messages of the role ``tool``. Arguments stay text here: they are validated where
those of the text form are. It calls no model and no tool.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.errors import InputError
from headrace.flows import react
from headrace.flows.react import DATA, LONGEST, Turn
from headrace.flows.tool import Tool
from headrace.text import shorten
from headrace.types import Completion, Message, ToolCall

MOST_AT_ONCE = 8  # calls of one turn that are run; the rest are told to come later
NOTHING = (
    "That was empty. Call a tool, or write the answer; when it cannot be answered, write 'Give Up:' and why."
)


class Native:
    """The form of turns for models that call tools themselves; ``react.InWords`` is the other one."""

    stop: tuple[str, ...] = ()

    def __init__(self, tools: Mapping[str, Tool], more: str) -> None:
        self.schemas: tuple[dict[str, Any], ...] = tuple(tool.schema() for tool in tools.values())
        begin = f"{more.strip()}\n\n" if more.strip() else ""
        self.text = (
            f"{begin}Use the tools that you are given where they help. When you know the answer, write it "
            f"and nothing else. When it cannot be answered, write: Give Up: why\n\n{DATA}"
        )

    def system(self, *, bare: bool) -> Message:
        """The system message with the schemas; ``bare`` leaves out what it says of marks."""
        text = self.text.removesuffix(DATA).rstrip() if bare else self.text
        return Message("system", text, tools=self.schemas)

    def read(self, completion: Completion) -> list[Turn]:
        """The calls, or else the text: an answer, unless it is in the marks of the text form."""
        text = completion.text[:LONGEST].strip()
        if completion.calls:
            return [
                Turn(kind="action", thought=text, tool=call.name, written=call.arguments, call=call.id)
                for call in _apart(completion.calls)
            ]
        turn = react.read(text)
        if turn.kind in ("answer", "give up"):
            return [turn]
        return [Turn(kind="answer" if text else "malformed", written=text)]

    def arguments(self, tool: Tool, written: str) -> dict[str, Any]:
        """The arguments of a call, checked: a JSON object and nothing else. InputError otherwise."""
        try:
            value = json.loads(written) if written.strip() else {}
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise InputError(
                f"The arguments of {tool.name} are {shorten(written, 60)!r}, not a JSON object.",
                hint=f"Parameters: {', '.join(tool.signature.parameters) or 'none'}.",
            )
        return tool.signature.validate(value)

    def said(self, completion: Completion) -> Message:
        """The model's turn as a message; every call in it is answered by one of :meth:`observed`."""
        return Message("assistant", completion.text[:LONGEST], calls=tuple(_apart(completion.calls)))

    def observed(self, text: str, turn: Turn) -> Message:
        """The result of one call."""
        return Message("tool", react.marked(text), call_id=turn.call)

    def corrected(self) -> Message:
        """What is said to an empty turn."""
        return Message("user", NOTHING)


def _apart(calls: Sequence[ToolCall]) -> list[ToolCall]:
    """The calls with ids that differ: a server that repeats one would have two results under it."""
    seen: set[str] = set()
    found = []
    for at, call in enumerate(calls):
        id = call.id if call.id and call.id not in seen else f"{call.id or 'call'}_{at}"
        seen.add(id)
        found.append(ToolCall(id=id, name=call.name, arguments=call.arguments[:LONGEST]))
    return found
