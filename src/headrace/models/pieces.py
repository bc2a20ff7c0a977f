"""Token ids, one after the other, into pieces of text that are safe to show. No model, no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"  # what a decoder puts where the bytes of a character are not all there yet


class Detokenizer:
    """Decodes token by token. The pieces joined are the whole text.

    A token's text depends on the one before it (blanks, characters of several tokens), so each
    step decodes a short window and takes what is new in it.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._start = 0  # the window begins here
        self._shown = 0  # tokens before this one have been handed out

    def fresh(self) -> Detokenizer:
        """Another one, at the beginning."""
        return Detokenizer(self._decode)

    def feed(self, token: int) -> str:
        """The text that this token completes, often ""."""
        self._ids.append(token)
        before = self._decode(self._ids[self._start : self._shown])
        after = self._decode(self._ids[self._start :])
        if len(after) <= len(before) or after.endswith(_UNFINISHED):
            return ""
        self._start, self._shown = self._shown, len(self._ids)
        return after[len(before) :]

    def flush(self) -> str:
        """What was held back, once no token comes any more."""
        before = self._decode(self._ids[self._start : self._shown])
        after = self._decode(self._ids[self._start :])
        self._start = self._shown = len(self._ids)
        return after[len(before) :]
