"""Any OpenAI-style endpoint: OpenAI, vLLM, llama.cpp, Ollama, TGI and the many that speak the same.

``POST {url}/chat/completions``, whole or streamed. Nothing is sent before a call; the key goes to
the address that it was named for and nowhere else. What a server says about itself is recorded as
claimed, never as known.
"""

from __future__ import annotations

import difflib
import json
import random
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from headrace import request
from headrace.errors import (
    Cancelled,
    HeadraceError,
    InputError,
    ModelError,
    ModelRefused,
    SettingsError,
    Unavailable,
)
from headrace.models import endpoint as http
from headrace.models.cost import Prices, approximate_tokens, prompt_tokens
from headrace.models.reading import Finish, Reading
from headrace.models.sse import events
from headrace.models.stream import Pieces, TextStream, called
from headrace.settings import ModelSettings, Policy, environment
from headrace.text import shorten
from headrace.types import Completion, Decoding, Message, digest, to_json

DEFAULT_URL = "https://api.openai.com/v1"
DEFAULT_KEY = "OPENAI_API_KEY"
PATH = "/chat/completions"


class RemoteModel:
    """A model behind an endpoint. ``window`` and prices come from the settings, or are unknown.

    ``body`` is added to each request (and wins over what a Decoding says), ``omit`` names fields
    that this server does not take. ``tools``: the server is offered the tools of a conversation.
    """

    def __init__(
        self,
        model: str,
        endpoint: http.Endpoint,
        *,
        provider: str = "openai",
        window: int | None = None,
        prices: Prices | None = None,
        body: Mapping[str, Any] | None = None,
        omit: Sequence[str] = (),
        tools: bool = True,
    ) -> None:
        self.name = f"{provider}:{model}"
        self.window = window
        self._model = model
        self._provider = provider
        self._endpoint = endpoint
        self._prices = prices or Prices()
        self._body = dict(body or {})
        self._omit = set(omit)
        self.calls_tools = tools  # until the server refuses them
        self._long_name = False  # the server wants max_completion_tokens for max_tokens

    def __repr__(self) -> str:
        return f"RemoteModel({self.name!r}, {self._endpoint.shown!r})"

    @property
    def identity(self) -> Mapping[str, Any]:
        """What was named, and what is sent along that changes its answers (as a hash); a Completion's
        identity adds what the server said."""
        found = {
            "claimed": True,
            "provider": self._provider,
            "model": self._model,
            "host": self._endpoint.host,
        }
        return {**found, "body": digest(self._body)} if self._body else found

    def count(self, text: str) -> int:
        """An estimate on the high side: the server keeps its tokenizer to itself."""
        return approximate_tokens(text)

    def close(self) -> None:
        """Close the connections."""
        self._endpoint.close()

    def complete(self, messages: Sequence[Message], decoding: Decoding) -> Completion:
        """One request, one answer. Tried again on connection errors, 429 and 503 only."""
        with called(self.name, messages, decoding, provider=self._provider) as call:
            attempt = 0
            while True:
                try:
                    data = self._endpoint.post(PATH, self._request(messages, decoding, stream=False))
                except http.Again as again:
                    self._endpoint.pause(attempt, again)
                    attempt += 1
                except http.Rejected as rejected:
                    if not self._adapt(rejected):
                        raise self._explain(rejected) from rejected
                else:
                    completion = self._completion(self._read(data), messages)
                    return call.done(completion, retries=attempt)

    def stream(self, messages: Sequence[Message], decoding: Decoding) -> TextStream:
        """The answer as it is written. Tried again only while nothing has come."""
        return TextStream(
            lambda: self._pieces(messages, decoding),
            partial=lambda came: self._completion(self._reading([came], "cancelled"), messages),
        )

    def _pieces(self, messages: Sequence[Message], decoding: Decoding) -> Pieces:
        with called(self.name, messages, decoding, provider=self._provider, stream=True) as call:
            attempt = 0
            while True:
                reading = self._reading()
                try:
                    with closing(self._streamed(messages, decoding, reading)) as pieces:
                        for piece in pieces:
                            call.piece()
                            yield piece
                except http.Again as again:
                    if reading.finish is not None:  # all of it came; only the goodbye is missing
                        return call.done(self._completion(reading, messages), retries=attempt)
                    if reading.text:
                        raise self._cut(reading, again.error.message) from again
                    self._endpoint.pause(attempt, again)
                    attempt += 1
                except http.Rejected as rejected:
                    if not self._adapt(rejected):
                        raise self._explain(rejected) from rejected
                else:
                    return call.done(self._completion(reading, messages), retries=attempt)

    # ------------------------------------------------------------------ the request

    def _request(self, messages: Sequence[Message], decoding: Decoding, *, stream: bool) -> dict[str, Any]:
        if decoding.num_beams > 1:
            raise InputError(
                f"num_beams={decoding.num_beams!r}: an OpenAI-style endpoint offers no beam search.",
                hint="Use num_beams=1, or a local model.",
            )
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [_sent(message) for message in messages],
            "max_completion_tokens" if self._long_name else "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
        }
        optional = {
            "min_tokens": decoding.min_new_tokens or None,  # vLLM's name; OpenAI has none
            "top_k": decoding.top_k,
            "top_p": decoding.top_p,
            "stop": list(decoding.stop) or None,
            "seed": decoding.seed,
            "stream": stream or None,
            "stream_options": {"include_usage": True} if stream else None,
            "tools": [{"type": "function", "function": to_json(t)} for m in messages for t in m.tools]
            or None,
        }
        body.update((key, value) for key, value in optional.items() if value is not None)
        body.update(self._body)
        return {key: value for key, value in body.items() if key not in self._omit}

    def _adapt(self, rejected: http.Rejected) -> bool:
        """Whether the server refused a field for which there is another way; the way is remembered."""
        if rejected.status not in (400, 422):
            return False
        if "stream_options" in rejected.message and "stream_options" not in self._omit:
            self._omit.add("stream_options")
            return True
        if re.search(r"\btools?\b|tool_choice|function.call", rejected.message, re.IGNORECASE):
            self.calls_tools = False  # said in the error; an agent can go on in words
        if "max_completion_tokens" in rejected.message and not self._long_name:
            self._long_name = True
            return True
        return False

    # ------------------------------------------------------------------ the answer

    def _reading(self, text: Sequence[str] = (), finish: Finish | None = None) -> Reading:
        return Reading(self.name, self._endpoint.shown, self._endpoint.clean, text=list(text), finish=finish)

    def _read(self, data: Any) -> Reading:
        reading = self._reading()
        reading.take(data, "message")
        if reading.finish is None and not reading.text and not reading.calls:
            raise reading.nonsense(data)
        return reading

    def _completion(self, reading: Reading, messages: Sequence[Message]) -> Completion:
        """The whole; tokens as the server counted them, else estimated."""
        tokens = reading.tokens
        used, written = tokens or (prompt_tokens(messages, self.count), self.count(reading.whole))
        return Completion(
            text=reading.whole,
            model=self.name,
            finish=reading.finish or "stop",
            usage=self._prices.usage(used, written),
            exact=tokens is not None,
            identity={**self.identity, **reading.said},
            calls=reading.calls if reading.finish != "cancelled" else (),
        )

    def _streamed(
        self, messages: Sequence[Message], decoding: Decoding, reading: Reading
    ) -> Generator[str, None, None]:
        body = self._request(messages, decoding, stream=True)
        with self._endpoint.open("POST", PATH, body) as answer:
            if answer.media != "text/event-stream":  # a server that does not stream, or a web page
                whole = self._read(answer.json())
                reading.__dict__.update(whole.__dict__)
                yield whole.whole
                return
            try:
                sent = events(answer.chunks())
                for data in sent:
                    request.checkpoint()
                    if data == "[DONE]":
                        reading.finish = reading.finish or "stop"
                        _drain(sent)
                        return
                    piece = reading.take(self._parsed(data), "delta")
                    if piece:
                        yield piece
            except ValueError as error:
                raise ModelError(
                    f"{self._endpoint.shown!r} sent a stream that cannot be read: {error}.",
                    hint="The server is at fault; look at its log.",
                ) from error
            if reading.finish is None:
                cut = self._cut(reading, "the stream ended without an end mark")
                if reading.text or reading.calls:
                    raise cut
                raise http.Again(cut)

    def _parsed(self, data: str) -> Any:
        try:
            return json.loads(data)
        except ValueError as error:
            raise ModelError(
                f"{self._endpoint.shown!r} sent an event that is not JSON: {shorten(data, 120)!r}.",
                hint="The server is at fault; look at its log.",
            ) from error

    def _cut(self, reading: Reading, why: str) -> ModelError:
        came = reading.whole
        return ModelError(
            f"The answer of {self.name!r} was cut off after {len(came)} characters: {why}. "
            f"What came: {shorten(came, 120)!r}.",
            hint="Try again; an answer that has begun is never asked for twice by itself.",
        )

    # ------------------------------------------------------------------ errors

    def _explain(self, rejected: http.Rejected) -> HeadraceError:
        where, status, said = self._endpoint.shown, rejected.status, rejected.message
        if status in (401, 403):
            key = self._endpoint.key
            if not key:
                fix = f"No key was sent: name the variable that holds it, key = {DEFAULT_KEY!r}."
            elif environment(key):
                fix = f"The key came from the variable {key!r}; check that it is whole and for this server."
            else:
                fix = f"The variable {key!r} is not set: set it to your key."
            return ModelRefused(f"{where!r} refused the key (HTTP {status}): {said}", hint=fix)
        if rejected.code == "insufficient_quota":
            return ModelRefused(
                f"{where!r} says that the quota is used up: {said}", hint="Check its billing."
            )
        if status == 404:
            if rejected.json and "model" in said.lower():
                return ModelRefused(f"{where!r} has no model {self._model!r}: {said}", hint=self._offers())
            return http.not_an_api(where, f"HTTP 404 {said}".strip())
        if status == 405 or (status < 500 and not rejected.json):
            return http.not_an_api(where, f"HTTP {status} {said}".strip())
        if status < 500:
            return ModelRefused(
                f"{where!r} refused the request (HTTP {status}): {said}",
                hint="If it does not take a field, name it in options.omit of this model.",
            )
        return ModelError(
            f"{where!r} failed (HTTP {status}): {said}", hint="The server is at fault; look at its log."
        )

    def _offers(self) -> str:
        """What the server has instead, where it tells."""
        try:
            data = self._endpoint.get("/models", timeout=min(5.0, self._endpoint.timeout))
            known = [str(row["id"]) for row in data["data"]]
        except (ModelError, http.Again, http.Rejected, KeyError, TypeError):
            return "Check the name of the model; the server does not list those that it has."
        near = difflib.get_close_matches(self._model, known, n=1)
        return (f"Did you mean {near[0]!r}? " if near else "") + (
            f"It offers: {', '.join(sorted(known)[:20])}{', …' if len(known) > 20 else ''}."
            if known
            else "It offers none."
        )


def _sent(message: Message) -> dict[str, Any]:
    """A message as such servers take it."""
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name:
        found["name"] = message.name
    if message.call_id:
        found["tool_call_id"] = message.call_id
    if message.calls:
        found["content"] = message.content or None
        found["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in message.calls
        ]
    return found


def _drain(sent: Iterator[str]) -> None:
    """Read to the end of the stream, so that the connection can be used again; without patience."""
    with suppress(Cancelled), request.context(deadline=0.2):
        for _ in sent:
            pass


def open_remote(
    name: str,
    settings: ModelSettings,
    *,
    policy: Policy,
    root: Path,
    rng: random.Random | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> RemoteModel:
    """The model ``name`` at ``settings.url``; without a url at OPENAI_BASE_URL or OpenAI itself.

    OPENAI_API_KEY is sent only where no url is set: a key goes to the server it is for. For any
    other server name the variable in ``key``. ``options``: headers, body (tables), omit (a list),
    tools (whether it is offered any).
    """
    kinds: Mapping[str, type] = {"headers": dict, "body": dict, "omit": list, "tools": bool}
    for option, value in settings.options.items():
        if option not in kinds or not isinstance(value, kinds[option]):
            raise SettingsError(
                f"The option {option!r} = {value!r} is not one of a remote model.",
                hint="Known: headers and body (tables), omit (a list of field names), tools (true or false).",
            )
    if not all(isinstance(value, str) for value in settings.options.get("headers", {}).values()):
        raise SettingsError("options.headers holds a value that is not a text.", hint="Quote it.")
    model = name or settings.model
    if not model:
        raise SettingsError("No model is named.", hint="Write for example openai:gpt-4o-mini.")
    url = settings.url or environment("OPENAI_BASE_URL") or DEFAULT_URL
    key = settings.key or ("" if settings.url else DEFAULT_KEY)
    if not environment(key) and (settings.key or url == DEFAULT_URL):
        raise Unavailable(
            f"The model 'openai:{model}' needs a key, and the variable {key!r} is not set.",
            hint=f"Set it, for example: export {key}=…",
        )
    return RemoteModel(
        model,
        http.Endpoint(
            url,
            key=key,
            policy=policy,
            timeout=settings.timeout,
            retries=settings.retries,
            headers=settings.options.get("headers"),
            rng=rng,
            sleep=sleep,
        ),
        window=settings.window,
        prices=Prices.of(settings),
        body=settings.options.get("body"),
        omit=settings.options.get("omit", ()),
        tools=settings.options.get("tools", True),
    )
