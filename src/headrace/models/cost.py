"""What a model call costs: prices from the settings, and token counts where no tokenizer is at hand.

No price table is shipped: it would be stale before it is read. Prices are US dollars per million
tokens, as ``[models.NAME] input_price`` and ``output_price``; where one is unknown, so is the cost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.errors import SettingsError
from headrace.settings import ModelSettings
from headrace.types import Decoding, Message, Usage, to_json

# Words of Latin letters, runs of digits, line breaks, any other character that is not a blank.
_PIECE = re.compile(r"[A-Za-z]+|[0-9]+|\n|[^\sA-Za-z0-9]")
MESSAGE_OVERHEAD = 4  # what a chat format puts round each message: role and end marks, in tokens


@dataclass(frozen=True, kw_only=True)
class Prices:
    """US dollars per million tokens; None: unknown."""

    input: float | None = None
    output: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("input_price", self.input), ("output_price", self.output)):
            if value is not None and not value >= 0:
                raise SettingsError(
                    f"{name} = {value!r} is not a price.",
                    hint="Give US dollars per million tokens, 0 or more.",
                )

    @classmethod
    def of(cls, settings: ModelSettings) -> Prices:
        """The prices that the settings of a model name."""
        return cls(input=settings.input_price, output=settings.output_price)

    def cost(self, input_tokens: int, output_tokens: int) -> float | None:
        """US dollars for these tokens; None as soon as a price that is needed is unknown."""
        total = 0.0
        for tokens, price in ((input_tokens, self.input), (output_tokens, self.output)):
            if tokens and price is None:
                return None
            total += tokens * (price or 0.0) / 1_000_000
        return total if (self.input is not None or self.output is not None) else None

    def usage(self, input_tokens: int, output_tokens: int) -> Usage:
        """Tokens with their cost."""
        return Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost=self.cost(input_tokens, output_tokens),
        )


def prompt_tokens(messages: Sequence[Message], count: Callable[[str], int]) -> int:
    """Tokens of a conversation: each message's text and what a chat format puts round it, and the tools
    that it offers and calls."""
    return sum(count(message.content) + MESSAGE_OVERHEAD + _of_tools(message, count) for message in messages)


def _of_tools(message: Message, count: Callable[[str], int]) -> int:
    if not (message.tools or message.calls):
        return 0
    written = json.dumps(to_json([message.tools, message.calls]), ensure_ascii=False)
    return count(written)


def estimate(
    messages: Sequence[Message], decoding: Decoding, *, count: Callable[[str], int], prices: Prices
) -> Usage:
    """The most that a call can use, before it is made: its prompt and all of ``max_new_tokens``."""
    return prices.usage(prompt_tokens(messages, count), decoding.max_new_tokens)


def approximate_tokens(text: str) -> int:
    """Tokens of a text for a model whose tokenizer is not at hand; errs on the high side.

    A word of Latin letters counts one token per six letters begun, digits one per three, any other
    character one, those outside the Basic Latin and Latin-1 blocks two where they are not letters of
    an alphabet (emoji are three or four bytes, which byte-level vocabularies split).
    """
    total = 0
    for match in _PIECE.finditer(text):
        piece = match.group()
        if piece.isascii():
            total += -(-len(piece) // (3 if piece.isdigit() else 6))
        else:
            total += 1 if piece.isalpha() else 2
    return total
