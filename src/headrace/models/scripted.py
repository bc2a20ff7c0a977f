"""A model that plays given answers: the test double, shipped, because applications need one too.

It is a whole model as far as anybody can tell: it counts tokens (words), streams, stops, obeys
``max_new_tokens``, can be slow, can fail, and leaves the same spans. It generates nothing.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace import request, text
from headrace.errors import HeadraceError, InputError, ModelBusy, ModelError, NotFound, SettingsError
from headrace.models.cost import Prices
from headrace.models.stream import Pieces, StopFilter, TextStream, called
from headrace.settings import ModelSettings, Policy
from headrace.types import Completion, Decoding, Message, Prompt, ToolCall, digest

Reply = str | Message  # a Message can call tools
Replies = Reply | Sequence[Reply] | Mapping[str, str] | Callable[[Sequence[Message]], Reply]

_WORD = re.compile(r"\s*\S+|\s+$")
# A numbered passage of a prompt: its header line "[1] …", then its text up to the next header, an
# end mark ("<<end …") or the end.
_PASSAGE = re.compile(r"^\[(\d+)\][^\n]*\n(.*?)(?=^\[\d+\]|^<<|\Z)", re.MULTILINE | re.DOTALL)
NOTHING_TO_QUOTE = "There is no passage to quote."


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call that was made, as the model saw it."""

    messages: tuple[Message, ...]
    decoding: Decoding


class ScriptedModel:
    """Plays ``replies``.

    A string is the answer to everything; a list is played in order and then ends in an error
    (``cycle=True``: begins again); a mapping has regular expressions for keys, searched in the
    prompt's text, first match first; a callable gets the messages. ``delay`` is in seconds before
    the first word, ``pace`` before each further one. ``fail`` is how many calls fail with ModelBusy
    before the first success, or a list of errors (None: no error), one per call. ``tools``: it says that
    it calls tools, as a reply does that is a Message with ``calls``.

    ``calls`` holds what was asked. Safe to share between threads.
    """

    def __init__(
        self,
        replies: Replies = "",
        *,
        name: str = "scripted:replies",
        window: int | None = None,
        prices: Prices | None = None,
        delay: float = 0.0,
        pace: float = 0.0,
        fail: int | Sequence[HeadraceError | None] = 0,
        cycle: bool = False,
        mirror: bool = False,
        tools: bool = False,
    ) -> None:
        self.calls_tools = tools
        self.name = name
        self.window = window
        self.calls: list[Call] = []
        self._replies = replies
        self._prices = prices or Prices()
        self._delay, self._pace = delay, pace
        self._errors: Sequence[HeadraceError | None] = (
            [ModelBusy("The scripted model was told to fail.") for _ in range(fail)]
            if isinstance(fail, int)
            else list(fail)
        )
        self._cycle = cycle
        self._mirror = mirror
        self._played = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"ScriptedModel({self.name!r})"

    @property
    def identity(self) -> Mapping[str, Any]:
        """The hash of the replies; of a callable, its name."""
        if callable(self._replies):
            what: Any = getattr(self._replies, "__qualname__", type(self._replies).__qualname__)
        else:
            replies = self._replies
            what = list(replies.items()) if isinstance(replies, Mapping) else replies  # order counts
        return {"claimed": False, "provider": "scripted", "model": self.name, "hash": digest([what])}

    def count(self, text: str) -> int:
        """Words, by white space."""
        return len(text.split())

    def complete(self, messages: Sequence[Message], decoding: Decoding) -> Completion:
        """The next reply, whole."""
        with called(self.name, messages, decoding, provider="scripted") as call:
            pieces, finish, calls = self._play(messages, decoding)
            for index, _ in enumerate(pieces):
                self._wait(index)
            request.checkpoint()
            return call.done(self._completion(messages, "".join(pieces), finish, calls))

    def stream(self, messages: Sequence[Message], decoding: Decoding) -> TextStream:
        """The next reply, word by word."""
        return TextStream(
            lambda: self._pieces(messages, decoding),
            partial=lambda came: self._completion(messages, came, "cancelled"),
        )

    def _pieces(self, messages: Sequence[Message], decoding: Decoding) -> Pieces:
        with called(self.name, messages, decoding, provider="scripted", stream=True) as call:
            pieces, finish, calls = self._play(messages, decoding)
            for index, piece in enumerate(pieces):
                self._wait(index)
                call.piece()
                yield piece
            return call.done(self._completion(messages, "".join(pieces), finish, calls))

    def _wait(self, index: int) -> None:
        """Be as slow as told, in small naps, so that cancelling works as with a real model."""
        request.checkpoint()
        until = time.monotonic() + (self._pace if index else self._delay)
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.02))
            request.checkpoint()

    def _play(
        self, messages: Sequence[Message], decoding: Decoding
    ) -> tuple[list[str], str, tuple[ToolCall, ...]]:
        """The pieces of the reply to these messages, how it ends, and the tools that it calls."""
        used = sum(self.count(message.content) for message in messages)
        if self.window is not None and used >= self.window:
            raise InputError(
                f"The prompt has {used} tokens and {self.name} reads at most {self.window}, answer included.",
                hint="Give fewer or shorter passages.",
            )
        with self._lock:
            number = len(self.calls)
            self.calls.append(Call(messages=tuple(messages), decoding=decoding))
            error = self._errors[number] if number < len(self._errors) else None
            if error is not None:
                raise error
            found = self._reply(messages)
        reply, calls = (found, ()) if isinstance(found, str) else (found.content, found.calls)
        filtered = StopFilter(decoding.stop)
        cut = filtered.feed(reply) + filtered.flush()
        pieces = _WORD.findall(cut)
        if self._mirror or self.count(cut) <= decoding.max_new_tokens:
            return pieces, "stop", calls
        return pieces[: decoding.max_new_tokens], "length", ()

    def _reply(self, messages: Sequence[Message]) -> Reply:
        replies = self._replies
        if isinstance(replies, (str, Message)):
            return replies
        if callable(replies):
            return replies(messages)
        if isinstance(replies, Mapping):
            prompt = Prompt(messages=tuple(messages)).text
            for pattern, reply in replies.items():
                if re.search(pattern, prompt):
                    return reply
            raise ModelError(
                f"{self.name} has no reply for {text.shorten(messages[-1].content)!r}.",
                hint="Add a pattern that matches it; '' matches everything.",
            )
        if self._played >= len(replies) and not (self._cycle and replies):
            raise ModelError(
                f"{self.name} has played all of its {len(replies)} replies.",
                hint="Give it more replies, or cycle=True.",
            )
        self._played += 1
        return replies[(self._played - 1) % len(replies)]

    def _completion(
        self, messages: Sequence[Message], reply: str, finish: Any, calls: tuple[ToolCall, ...] = ()
    ) -> Completion:
        used = sum(self.count(message.content) for message in messages)
        return Completion(
            text=reply,
            model=self.name,
            finish=finish,
            usage=self._prices.usage(used, self.count(reply)),
            identity=self.identity,
            calls=calls,
        )


def echo(messages: Sequence[Message]) -> str:
    """The prompt itself, one ``role: content`` block per message."""
    return Prompt(messages=tuple(messages)).text


def quote(messages: Sequence[Message]) -> str:
    """The first sentence of the first numbered passage of the prompt, cited."""
    for message in reversed(messages):
        if message.role == "user" and (found := _PASSAGE.search(message.content)):
            passage = found.group(2).strip()
            if spans := text.sentences(passage):
                start, end = spans[0]
                return f"{passage[start:end]} [{found.group(1)}]"
    return NOTHING_TO_QUOTE


MODES: Mapping[str, Callable[[Sequence[Message]], str]] = {"echo": echo, "quote": quote}


def open_scripted(name: str, settings: ModelSettings, *, policy: Policy, root: Path) -> ScriptedModel:
    """``echo`` (its prompt; ignores ``max_new_tokens``: a mirror writes nothing), ``quote`` (the
    first passage's first sentence, cited), or a file of replies relative to the project root:
    JSON (a list, or an object of pattern → reply) or JSONL (rows with ``reply``, all or none with
    ``match``). ``options``: delay, pace, fail, cycle."""
    wanted = {"delay": (int, float), "pace": (int, float), "fail": (int,), "cycle": (bool,)}
    for key, value in settings.options.items():
        if key not in wanted or not isinstance(value, wanted[key]):
            raise SettingsError(
                f"The option {key!r} = {value!r} is not one of a scripted model.",
                hint="Known: delay and pace (seconds), fail (a number of calls), cycle (true or false).",
            )
    name = name or settings.model
    replies: Replies = MODES[name] if name in MODES else read_replies(root / name)
    return ScriptedModel(
        replies,
        name=f"scripted:{name}",
        window=settings.window,
        prices=Prices.of(settings),
        mirror=name == "echo",
        **settings.options,
    )


def read_replies(path: Path) -> Replies:
    """The replies in a JSON or JSONL file."""
    try:
        content = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFound(
            f"There is no file of replies {path.name!r}.",
            hint=f"Use scripted:echo, scripted:quote or a JSON or JSONL file; looked for {str(path)!r}.",
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name!r} is not UTF-8: {error}.", hint="Save it as UTF-8.") from error
    try:
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in content.splitlines() if line.strip()]
            if rows and all("match" in row for row in rows):
                data: Any = {row["match"]: row["reply"] for row in rows}
            else:
                data = [row["reply"] for row in rows]
        else:
            data = json.loads(content)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path.name!r} does not hold replies: {error!r}.",
            hint='A line of JSONL is {"reply": "…"}; JSON is a list of texts or {"pattern": "reply"}.',
        ) from error
    texts = list(data.values()) if isinstance(data, dict) else data
    if not isinstance(data, (dict, list)) or not all(isinstance(reply, str) for reply in texts):
        raise InputError(
            f"{path.name!r} holds something other than texts.",
            hint='Write a list of texts, or an object {"pattern": "reply"}.',
        )
    for pattern in data if isinstance(data, dict) else ():
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(
                f"{path.name!r} has {pattern!r}, which is not a regular expression: {error}.",
                hint="Correct it, or escape its special characters with a backslash.",
            ) from error
    result: Replies = data
    return result
