"""An OpenAI-style answer while it comes in: objects in, text, finish and usage out. No HTTP.

Shapes after https://platform.openai.com/docs/api-reference/chat, with what other servers are known
to leave out or to add.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from headrace.errors import ModelError, ModelRefused
from headrace.models.endpoint import read_error
from headrace.text import shorten
from headrace.types import ToolCall

Finish = Literal["stop", "length", "cancelled"]
MOST_CALLS = 64  # in one answer
_FINISH: Mapping[str, Finish] = {"length": "length", "max_tokens": "length"}


class Reading:
    """``model`` and ``where`` are for messages, ``clean`` takes secrets out of what a server said."""

    def __init__(
        self,
        model: str,
        where: str,
        clean: Callable[[str], str],
        *,
        text: list[str] | None = None,
        finish: Finish | None = None,
    ) -> None:
        self._model, self._where, self._clean = model, where, clean
        self.text: list[str] = text or []
        self._calls: dict[int, dict[str, str]] = {}
        self.finish = finish
        self.usage: Mapping[str, Any] = {}
        self.said: dict[str, Any] = {}

    @property
    def whole(self) -> str:
        """All that has come."""
        return "".join(self.text)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tools that were called, in their order; one without an id gets its place for one."""
        return tuple(
            ToolCall(id=call["id"] or f"call_{at}", name=call["name"], arguments=call["arguments"])
            for at, call in sorted(self._calls.items())
        )

    @property
    def tokens(self) -> tuple[int, int] | None:
        """Tokens of prompt and answer as the server counted them; None where it did not."""
        used, written = self.usage.get("prompt_tokens"), self.usage.get("completion_tokens")
        return (used, written) if isinstance(used, int) and isinstance(written, int) else None

    def take(self, data: Any, part: Literal["message", "delta"]) -> str:
        """Add one object (a whole answer, or an event of a stream); returns its text."""
        if not isinstance(data, dict):
            raise self.nonsense(data)
        if data.get("error"):
            said, _ = read_error(data)
            raise ModelError(
                f"{self._model!r} broke off with an error: {self._clean(said)} "
                f"What came: {shorten(self.whole, 120)!r}.",
                hint="Try again; if it stays so, look at the server's log.",
            )
        if isinstance(data.get("usage"), dict):
            self.usage = data["usage"]
        for key in ("system_fingerprint", "model"):
            if isinstance(data.get(key), str):
                self.said["response_model" if key == "model" else key] = data[key]
        choices = data.get("choices")
        if not choices:  # the last event of a stream holds the usage only
            return ""
        if not isinstance(choices, list) or not isinstance(choices[0], dict):
            raise self.nonsense(data)
        finish = choices[0].get("finish_reason")
        if finish == "content_filter":
            raise ModelRefused(
                f"The server's content filter stopped {self._model!r} after {len(self.whole)} characters.",
                hint="Ask in other words, or use another model.",
            )
        if finish is not None:
            self.finish = _FINISH.get(str(finish), "stop")
        found = choices[0].get(part)
        if isinstance(found, dict) and found.get("tool_calls"):
            self._take_calls(found["tool_calls"])
        content = found.get("content") if isinstance(found, dict) else None
        if isinstance(content, list):  # a list of parts, of which some are text
            content = "".join(str(p.get("text", "")) for p in content if isinstance(p, dict))
        if not isinstance(content, str) or not content:
            return ""
        self.text.append(content)
        return content

    def _take_calls(self, sent: Any) -> None:
        """Calls of tools, whole or in pieces: pieces of one call share an ``index``."""
        for at, call in enumerate(sent if isinstance(sent, list) else []):
            if not isinstance(call, dict):
                raise self.nonsense(sent)
            index = call.get("index")
            place = index if isinstance(index, int) else at
            if not 0 <= place < MOST_CALLS:
                raise self.nonsense(call)
            known = self._calls.setdefault(place, {"id": "", "name": "", "arguments": ""})
            if isinstance(call.get("id"), str):
                known["id"] = known["id"] or call["id"]
            function = call.get("function")
            if not isinstance(function, dict):
                continue
            if isinstance(function.get("name"), str):
                known["name"] += function["name"]
            arguments = function.get("arguments")
            if isinstance(arguments, dict):  # some servers send the object itself
                arguments = json.dumps(arguments, ensure_ascii=False)
            known["arguments"] += arguments if isinstance(arguments, str) else ""

    def nonsense(self, data: Any) -> ModelError:
        """What to say about an object that is no answer."""
        said = shorten(json.dumps(data, ensure_ascii=False), 120)
        return ModelError(
            f"{self._where!r} answered without a choice: {said!r}.",
            hint="The server does not speak the chat completions protocol, or failed.",
        )
