"""What an agent's run is made of: a step, how it may end, and the result. Nouns only."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.types import Usage

Ending = Literal[
    "answered",
    "gave_up",
    "out_of_steps",
    "out_of_tokens",
    "out_of_money",
    "out_of_time",
    "tool_failed",
    "model_failed",
    "cancelled",
]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step. ``kind``: ``tool``, ``malformed`` (the model's turn could not be read), or, last,
    ``end`` (``observation`` is the answer, or why there is none).

    A step that waits for approval has neither ``observation`` nor ``error``. ``error`` is what went
    wrong, as the model was told. ``usage`` and ``seconds`` are of the model's turn and the tool.
    """

    number: int
    kind: Literal["tool", "malformed", "end"]
    thought: str = ""
    tool: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    observation: str | None = None
    error: str | None = None
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0

    @property
    def waiting(self) -> bool:
        """Whether it has not run yet, and waits for approval."""
        return self.kind == "tool" and self.observation is None and self.error is None


@dataclass(frozen=True, kw_only=True)
class AgentResult:
    """How it ended. ``answer`` is None unless ``outcome`` is ``answered``; ``message`` says why not."""

    answer: str | None
    outcome: Ending
    steps: tuple[Step, ...]
    usage: Usage
    seconds: float
    message: str = ""


Running = Generator[Step, bool | None, AgentResult]
