"""Text cut three ways: characters, words, and the sub-words of a tokenizer; training one on a corpus.

Reads any tokenizer.json without torch or transformers. What models do with the ids is not its
business; ``tokens.py`` is the embedder's own, checked reader of the packaged file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace import text as plain
from headrace.errors import Corrupt, InputError, NotFound
from headrace.models.tokens import clean

FILE = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A sub-word: as the vocabulary writes it, its id, and the code points of the text it stands for."""

    token: str
    id: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A text in its three cuts. ``unknown`` counts sub-words that stand for "not in the vocabulary";
    ``round_trip`` says whether the ids decode to the text itself (a tokenizer that lowers case or
    drops accents cannot)."""

    text: str
    characters: int
    words: tuple[str, ...]
    pieces: tuple[Piece, ...]
    unknown: int
    round_trip: bool


class Subwords:
    """A tokenizer that turns text into sub-words. Safe to share between threads."""

    def __init__(self, tokenizer: Any, name: str) -> None:
        self.name = name
        self._tokenizer = tokenizer
        self._parts: dict[str, Any] = json.loads(tokenizer.to_str())
        tokenizer.no_truncation()
        tokenizer.no_padding()

    @classmethod
    def open(cls, path: Path, name: str = "") -> Subwords:
        """From a tokenizer.json, or a model's folder that holds one."""
        import tokenizers

        file = path / FILE if path.is_dir() else path
        if not file.is_file():
            raise NotFound(
                f"There is no tokenizer at {str(file)!r}.",
                hint=f"Name a {FILE}, or a model's folder that holds one.",
            )
        try:
            loaded = tokenizers.Tokenizer.from_buffer(file.read_bytes())
        except Exception as error:  # the library raises nothing narrower
            raise Corrupt(
                f"The tokenizer {str(file)!r} cannot be read: {error}", hint="Put the file there again."
            ) from error
        return cls(loaded, name or path.name)

    @classmethod
    def train(cls, texts: Iterable[str], *, vocabulary: int = 1000) -> Subwords:
        """Byte-pair encoding learned from ``texts``: the most frequent pair of neighbours becomes one
        piece, again and again, until there are ``vocabulary`` pieces (Sennrich et al. 2016, over bytes
        as in GPT-2). The 256 bytes are pieces from the start, so no text is ever out of vocabulary.
        """
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        if vocabulary < 256:
            raise InputError(
                f"vocabulary={vocabulary!r} leaves no room for the 256 bytes.", hint="Give 257 or more."
            )
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        made.train_from_iterator(
            (clean(text) for text in texts),
            trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False),
        )
        return cls(made, "trained here")

    @property
    def scheme(self) -> str:
        """How pieces were chosen: ``BPE``, ``WordPiece``, ``Unigram`` or ``WordLevel``."""
        model = self._parts["model"]
        return str(model.get("type") or ("BPE" if "merges" in model else "WordPiece"))

    @property
    def manner(self) -> str:
        """What is done with characters that no piece holds, in words."""
        model = self._parts["model"]
        if '"ByteLevel"' in json.dumps([self._parts.get("pre_tokenizer"), self._parts.get("decoder")]):
            return "over bytes: nothing is out of vocabulary"
        if model.get("byte_fallback"):
            return "over characters, bytes for the rest: nothing is out of vocabulary"
        unknown = self._unknown
        return f"over characters; what is not in the vocabulary becomes {unknown}" if unknown else ""

    @property
    def size(self) -> int:
        """Pieces in the vocabulary, special ones included."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def merges(self) -> list[tuple[str, str]]:
        """The pairs that BPE joined, the first one first; empty for other schemes."""
        pairs = self._parts["model"].get("merges") or []
        split = [pair.split(" ", 1) if isinstance(pair, str) else pair for pair in pairs]
        return [(str(left), str(right)) for left, right in split]

    @property
    def _unknown(self) -> str | None:
        model = self._parts["model"]
        found = model.get("unk_token")
        if found is None and isinstance(model.get("unk_id"), int):
            found = model["vocab"][model["unk_id"]][0]
        return None if found is None else str(found)

    def cut(self, text: str) -> Cut:
        """Characters, words and sub-words of a text; no special tokens are added."""
        text = clean(text)
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        pieces = tuple(
            Piece(token=token, id=id, start=start, end=end)
            for token, id, (start, end) in zip(encoded.tokens, encoded.ids, encoded.offsets, strict=True)
        )
        spans = plain.word_spans(text)
        unknown = None if self._unknown is None else self._tokenizer.token_to_id(self._unknown)
        return Cut(
            text=text,
            characters=len(text),
            words=tuple(text[start:end] for start, end in spans),
            pieces=pieces,
            unknown=sum(piece.id == unknown for piece in pieces),
            round_trip=self.decode(encoded.ids) == text,
        )

    def decode(self, ids: Sequence[int]) -> str:
        """The text of sub-words."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def save(self, path: Path) -> None:
        """Write a tokenizer.json."""
        path.write_text(str(self._tokenizer.to_str(pretty=True)), encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Outside:
    """How much of a text a vocabulary made from a corpus does not know, by scheme: shares of the
    text's words, characters and sub-words, from 0 to 1."""

    words: float
    characters: float
    subwords: float
    unknown_words: tuple[str, ...]


def out_of_vocabulary(corpus: Iterable[str], text: str, subwords: Subwords) -> Outside:
    """What of ``text`` did not occur in ``corpus``; ``subwords`` is the tokenizer trained on it."""
    words: set[str] = set()
    characters: set[str] = set()
    for part in corpus:
        words.update(plain.words(part))
        characters.update(part)
    own = plain.words(text)
    strange = [word for word in own if word not in words]
    cut = subwords.cut(text)
    return Outside(
        words=len(strange) / max(1, len(own)),
        characters=sum(character not in characters for character in text) / max(1, len(text)),
        subwords=cut.unknown / max(1, len(cut.pieces)),
        unknown_words=tuple(dict.fromkeys(strange)),
    )
