"""Texts as bags of words: counts, TF-IDF weights, and how empty such a table is.

The oldest way to turn texts into vectors, one column a word; kept because it shows what sparse means, and
because its top terms still say what a text is about. No model, no training.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from headrace import text as plain
from headrace.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Term:
    """A word of one text: ``count`` times in it, in ``documents`` of the texts, weight between 0 and 1."""

    term: str
    weight: float
    count: int
    documents: int


class Bag:
    """Texts, word by word. ``texts`` maps names to texts; at least one of them has a word.

    Weights are TF-IDF, (1 + ln count) × ln((1 + n) / (1 + df)), each text's weights scaled to length 1
    (Spärck Jones, Journal of Documentation 28, 1972; Salton and Buckley, IPM 24, 1988): a word that all
    texts have weighs nothing. Of one text alone nothing is common or rare: its words weigh by count.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.counts = {name: Counter(plain.words(text)) for name, text in texts.items()}
        self.frequency: Counter[str] = Counter()
        for counts in self.counts.values():
            self.frequency.update(counts.keys())
        if not self.frequency:
            raise InputError("The texts have no words.", hint="Give at least one text with a word in it.")

    @cached_property
    def vocabulary(self) -> list[str]:
        """Every word, in alphabetical order: the columns."""
        return sorted(self.frequency)

    @property
    def filled(self) -> int:
        """Cells of the table (texts × vocabulary) that are not 0."""
        return sum(len(counts) for counts in self.counts.values())

    @property
    def sparsity(self) -> float:
        """The share of cells that are 0, from 0 to 1."""
        return 1 - self.filled / (len(self.counts) * len(self.frequency))

    def weights(self, name: str) -> dict[str, float]:
        """word → weight, of one text; its squares sum to 1."""
        n = len(self.counts)
        raw = {
            word: (1 + math.log(count)) * (math.log((1 + n) / (1 + self.frequency[word])) if n > 1 else 1.0)
            for word, count in self.counts[name].items()
        }
        length = math.sqrt(sum(value * value for value in raw.values()))
        return {word: value / length for word, value in raw.items()} if length else {}

    def top(self, name: str, n: int = 10) -> list[Term]:
        """The heaviest words of one text; equal weights in alphabetical order."""
        weights = self.weights(name)
        first = sorted(weights, key=lambda word: (-weights[word], word))[:n]
        return [
            Term(
                term=word,
                weight=weights[word],
                count=self.counts[name][word],
                documents=self.frequency[word],
            )
            for word in first
        ]

    def common(self, n: int = 10) -> list[tuple[str, int]]:
        """The words that most texts have, with how many: what TF-IDF plays down."""
        ranked: Sequence[tuple[str, int]] = sorted(
            self.frequency.items(), key=lambda item: (-item[1], item[0])
        )
        return list(ranked[:n])
