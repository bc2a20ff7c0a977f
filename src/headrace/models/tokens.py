"""Text to token ids, and to the places of its tokens. Knows nothing of vectors.

The only file of this room that names ``tokenizers``. Truncation and padding that a tokenizer.json
carries (the packaged one: 128 and 128) are taken off: :meth:`Tokenizer.ids` cuts at the window
that it was given, :meth:`Tokenizer.offsets` cuts nowhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.errors import Corrupt

_AGAIN = "Put the file there again, or install the weights again."
_LONE = re.compile("[\ud800-\udfff]")


class Tokenizer:
    """Loaded when it is made, in a few hundredths of a second. Safe to share between threads.

    ``sha256`` is what the bytes of the file must have; Corrupt otherwise.
    """

    def __init__(self, path: Path, window: int, sha256: str) -> None:
        self.window = window
        self._tokenizer = _load(path, sha256)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with special tokens, at most ``window`` of them: what is beyond is cut."""
        encoded = self._tokenizer.encode_batch_fast([clean(text) for text in texts])
        return [self._cut(encoding.ids) for encoding in encoded]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """(start, end) in code points of every token, in order, special tokens left out."""
        encoding = self._tokenizer.encode(clean(text), add_special_tokens=False)
        found: list[tuple[int, int]] = encoding.offsets
        return found

    def _cut(self, ids: list[int]) -> list[int]:
        return ids if len(ids) <= self.window else [*ids[: self.window - 1], ids[-1]]


def clean(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot hold, as U+FFFD; offsets stay what they were."""
    return _LONE.sub("\ufffd", text) if not text.isascii() else text


def _load(path: Path, sha256: str) -> Any:
    import tokenizers

    try:
        data = path.read_bytes()
    except OSError as error:
        raise Corrupt(f"The tokenizer {str(path)!r} cannot be read: {error}", hint=_AGAIN) from error
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise Corrupt(
            f"The tokenizer {str(path)!r} has changed: its SHA-256 is {found!r}, not {sha256!r}.",
            hint=_AGAIN,
        )
    try:
        loaded = tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises nothing narrower
        raise Corrupt(f"The tokenizer {str(path)!r} cannot be read: {error}", hint=_AGAIN) from error
    loaded.no_truncation()
    loaded.no_padding()
    return loaded
