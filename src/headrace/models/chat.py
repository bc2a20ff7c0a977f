"""What a model on this machine reads of messages: text and token ids, by the tokenizer's chat template.

One place for running a model and for training it: what was trained on is then, token by token, what is
read later. Loads no model; the tokenizer is given (one of transformers).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.errors import InputError
from headrace.extras import need
from headrace.types import Message


def text_of(tokenizer: Any, messages: Sequence[Message], *, name: str) -> str:
    """The prompt: by the chat template where there is one, else the messages one after the other.

    Raises InputError where the template of ``name`` refuses these roles.
    """
    if not tokenizer.chat_template:
        turns = [m for m in messages if m.role != "system"]
        if len(turns) <= 1:
            return "\n\n".join(message.content for message in messages)
        lines = [m.content if m.role == "system" else f"{m.role.title()}: {m.content}" for m in messages]
        return "\n\n".join([*lines, "Assistant:"])
    refused = need("jinja2", extra="local", for_what="A chat template").TemplateError
    turns_of = [{"role": m.role, "content": m.content} for m in messages]
    try:
        text = tokenizer.apply_chat_template(turns_of, tokenize=False, add_generation_prompt=True)
    except refused as error:
        raise InputError(
            f"The chat template of {name!r} refuses these messages: {error}",
            hint="Roles must alternate between user and assistant; some templates take no system "
            "message: put it into the first user message.",
        ) from error
    return str(text)


def ids_of(tokenizer: Any, messages: Sequence[Message], *, name: str) -> list[int]:
    """Token ids of the prompt. A template writes its own special tokens; without one the tokenizer
    adds those that begin a text."""
    templated = bool(tokenizer.chat_template)
    encoded = tokenizer(text_of(tokenizer, messages, name=name), add_special_tokens=not templated)
    return [int(token) for token in encoded["input_ids"]]
