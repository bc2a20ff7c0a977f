"""Absolute relevance: how probable it is that a passage is about the question, from 0 to 1.

A logistic function of what is known about one passage and the question alone. It is calibrated
per embedder and never rescaled by what else a search found, so a threshold on it means the same
for every question. It does not rank; ``fuse.py`` does.

The constants are fitted by ``benchmarks/squad_search.py --fit`` on one half of the SQuAD articles:
the first hits of answerable questions, and of the same questions with their article taken out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """1 / (1 + exp(−(bias + cosine·c + coverage·v + words·w))).

    c is the cosine of question and passage, v the share of the question's terms (weighted by idf)
    that the passage holds, w its BM25 score as a share of the highest possible.

    ``alone`` is a second judgement by cosine only, and the higher one counts: a paraphrase that
    shares no word with the question is no worse for that when its meaning is near.
    """

    bias: float
    cosine: float = 0.0
    coverage: float = 0.0
    words: float = 0.0
    alone: tuple[float, float] | None = None  # bias, factor of the cosine

    def __call__(self, *, cosine: float, coverage: float, words: float) -> float:
        judged = _logistic(self.bias + self.cosine * cosine + self.coverage * coverage + self.words * words)
        if self.alone is None:
            return judged
        return max(judged, _logistic(self.alone[0] + self.alone[1] * cosine))


def _logistic(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, logit))))


_MINILM = Calibration(bias=-9.44, cosine=7.08, coverage=7.04, alone=(-8.24, 9.56))

# By the embedder's name and precision class ("float": f32 and bf16; "int8"). Fitted in either
# class the constants differ by less than their error, so both have the same.
KNOWN: dict[tuple[str, str], Calibration] = {
    ("all-minilm-l6-v2", "float"): _MINILM,
    ("all-minilm-l6-v2", "int8"): _MINILM,
}
WORDS_ONLY = Calibration(bias=-6.64, coverage=5.37, words=4.66)
# Cosines of different models lie in different ranges, so for one that was not measured they count
# half and words half: the mean of the two above.
GENERIC = Calibration(bias=-8.0, cosine=3.5, coverage=6.2, words=2.3)


def calibration(identity: Mapping[str, Any] | None) -> Calibration:
    """The constants for an embedder; a generic form for one that was not measured."""
    if identity is None:
        return WORDS_ONLY
    name = str(identity.get("name", "")).rsplit("/", 1)[-1].lower()
    return KNOWN.get((name, str(identity.get("precision", ""))), GENERIC)


def relevance(fitted: Calibration, *, cosine: float | None, coverage: float, words: float) -> float:
    """The probability; from words alone where a passage has no cosine."""
    if cosine is None:
        return WORDS_ONLY(cosine=0.0, coverage=coverage, words=words)
    return fitted(cosine=cosine, coverage=coverage, words=words)
