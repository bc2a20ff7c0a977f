"""Exact match and token F1 by the rules of SQuAD (Rajpurkar et al. 2016, 2018).

Both answers are normalised: lower case, no ASCII punctuation, no articles (a, an, the), single
spaces. F1 counts the words that both have, each as often as both have it. English rules: no
stemming, and languages without spaces come out as one word.
"""

from __future__ import annotations

import re
import string
from collections import Counter

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalised(text: str) -> str:
    """``The  Eiffel-Tower!`` → ``eiffeltower``: punctuation goes without leaving a space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, gold: str) -> bool:
    """Whether both are the same after normalising."""
    return normalised(answer) == normalised(gold)


def f1(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall over words. Empty on one side: 1 if on both, else 0."""
    said, expected = normalised(answer).split(), normalised(gold).split()
    if not said or not expected:
        return float(said == expected)
    common = sum((Counter(said) & Counter(expected)).values())
    return 2 * common / (len(said) + len(expected))


def contains(answer: str, gold: str) -> bool:
    """Whether the words of ``gold`` stand in ``answer``, next to each other and whole."""
    wanted = normalised(gold)
    return bool(wanted) and f" {wanted} " in f" {normalised(answer)} "
