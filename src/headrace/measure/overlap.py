"""ROUGE-L and BLEU by their reference libraries, behind the extra ``eval``.

The only file that knows rouge-score and sacrebleu. They disagree with other implementations in
tokenising and smoothing, which is why they are called and not rewritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from headrace import extras


@lru_cache(maxsize=1)
def _rouge() -> Any:
    scorer = extras.need("rouge_score.rouge_scorer", extra="eval", for_what="The metric rouge_l")
    return scorer.RougeScorer(["rougeL"], use_stemmer=True)


@lru_cache(maxsize=1)
def _bleu() -> Any:
    bleu = extras.need("sacrebleu.metrics.bleu", extra="eval", for_what="The metric bleu")
    return bleu.BLEU(effective_order=True)


def rouge_l(text: str, references: Sequence[str]) -> float:
    """ROUGE-L F-measure (Lin 2004) with Porter stemming, the best over ``references``: 0 to 1."""
    scorer = _rouge()
    return max(float(scorer.score(reference, text)["rougeL"].fmeasure) for reference in references)


def bleu(text: str, references: Sequence[str]) -> float:
    """Sentence BLEU (Papineni et al. 2002) over all ``references``, as a share: 0 to 1, not 0 to 100.

    Tokeniser 13a, exponential smoothing, effective order. A mean of these is not corpus BLEU: use
    sacrebleu itself on the report's rows for a number to print in a paper.
    """
    return min(1.0, float(_bleu().sentence_score(text, list(references)).score) / 100)


def bleu_signature() -> str:
    """How sacrebleu was set, in its own words; belongs next to every BLEU."""
    scorer = _bleu()
    scorer.sentence_score("a", ["a"])  # the signature holds the number of references seen
    return str(scorer.get_signature())
