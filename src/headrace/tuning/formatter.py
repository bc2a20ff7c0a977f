"""From rows to token ids: one formatter for training and for asking, kept in the artifact.

The prompt is what :mod:`headrace.models.chat` makes of the messages, the very function that runs the
tuned model; its rules are the chat template that the artifact's tokenizer carries. The answer follows as
tokens of its own, then the marker that ends it. Loss is taken on answer and marker alone. The tokenizer
is given (one of transformers); nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.errors import InputError
from headrace.models import chat
from headrace.tuning.data import CONTEXT, SHOWN, Row

# For bases that have no template of their own. ``begin`` is the token that begins a text, or nothing.
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}### Instruction:\n{{ message['content'] }}\n\n"
    "{% elif message['role'] == 'assistant' %}### Response:\n{{ message['content'] }}{{ eos_token }}\n\n"
    "{% else %}{{ message['content'] }}\n\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)
_PROBE = "headraceprobe"
IGNORED = -100  # the label of a token that no loss is taken on


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A row as token ids: ``prompt`` is read, ``response`` is to be written, ``end`` ends it."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]
    end: int

    @property
    def ids(self) -> list[int]:
        """All of them, in order."""
        return [*self.prompt, *self.response, self.end]

    @property
    def labels(self) -> list[int]:
        """One label a token: itself where loss is taken, ``IGNORED`` before that."""
        return [*[IGNORED] * len(self.prompt), *self.response, self.end]


class Formatter:
    """Writes rows as tokens of ``tokenizer``, and gives it a template where it has none.

    The marker is what the base's own template ends an answer with; without a template, the token that
    the *model* ends a text with (``ends``), and only then the tokenizer's: where the two differ, the
    tokenizer's was often never trained, and an adapter cannot reach it. Raises InputError where there is
    no such token.
    """

    def __init__(self, tokenizer: Any, *, name: str, ends: Sequence[int] = ()) -> None:
        self.tokenizer, self.name = tokenizer, name
        self.own = not tokenizer.chat_template
        if self.own:
            begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
            tokenizer.chat_template = ("{{ bos_token }}" if begins else "") + TEMPLATE
            end = ends[0] if ends and tokenizer.eos_token_id not in ends else tokenizer.eos_token_id
            if end is not None:  # what the template writes, and whoever opens the folder expects
                tokenizer.eos_token = tokenizer.convert_ids_to_tokens(int(end))
        else:
            end = self._end_of_template()
        if end is None:
            raise InputError(
                f"The tokenizer of {name!r} has no token that ends a text.",
                hint="Set eos_token in its tokenizer_config.json to one of its special tokens.",
            )
        self.end = int(end)

    def _end_of_template(self) -> int | None:
        """The special token that the base's own template writes after an answer."""
        turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": _PROBE}]
        text = str(self.tokenizer.apply_chat_template(turns, tokenize=False))
        after = self.tokenizer(text.rpartition(_PROBE)[2], add_special_tokens=False)["input_ids"]
        special = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        special -= {self.tokenizer.unk_token_id}
        for token in after:
            if token in special:
                return int(token)
        end = self.tokenizer.eos_token_id
        return None if end is None else int(end)

    @property
    def marker(self) -> str:
        """The end token as it is written."""
        return str(self.tokenizer.convert_ids_to_tokens(self.end))

    def describe(self) -> dict[str, Any]:
        """What the artifact's manifest says about it."""
        return {
            "chat_template": self.tokenizer.chat_template,
            "template_of": "headrace" if self.own else "base",
            "context": "{instruction}" + CONTEXT + "{context}",
            "end": self.marker,
            "end_id": self.end,
            "loss_on": "response and end",
        }

    def tokens(self, row: Row) -> Tokens:
        """One row; never cut: an answer without its end would teach never to stop."""
        return Tokens(
            prompt=tuple(chat.ids_of(self.tokenizer, row.messages, name=self.name)),
            response=tuple(self.tokenizer(row.response, add_special_tokens=False)["input_ids"]),
            end=self.end,
        )

    def check(self, rows: Sequence[Row]) -> None:
        """Refuse rows in which a special token is written out: it would be read as the token itself."""
        added = {str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        special = sorted({*added, *self.tokenizer.all_special_tokens})
        found = [
            f"{row.where}: {token!r}"
            for row in rows
            for token in special
            if token in row.response or token in row.question
        ]
        if found:
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            raise InputError(
                f"Special tokens of {self.name!r} stand in texts of rows: {', '.join(found[:SHOWN])}{more}.",
                hint="Take them out of the texts: the formatter writes them where they belong.",
            )
