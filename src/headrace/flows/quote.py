"""Answering without a model: the sentences of the passages that answer the question, or none.

Quotes are verbatim and each is cited with its exact place. A small linear model ranks sentences,
another says how likely it is that an answer is there at all; below a threshold the answer is an
abstention that names what was looked for. It composes nothing new and never guesses.

What a sentence offers is measured in ``evidence.py``; the constants here were fitted with
``benchmarks/quotes.py --fit`` and ``benchmarks/abstention.py --fit`` on the fixed even half of
the articles of SQuAD v1.1 dev, and are reported there on the other half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import InputError
from headrace.flows import evidence
from headrace.flows.evidence import Question, Sentence
from headrace.text import shorten
from headrace.types import Answer, Citation, Passage, Passages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headrace.protocols import Embedder

LONGEST_QUESTION = 8_192  # code points; a question is not a document

# Ranking of sentences, conditional logit over the sentences of one question.
RANK = {
    "cosine": 4.7,
    "before": 0.0,
    "after": 0.8,
    "passage": 1.1,
    "cover": 12.7,
    "cover_before": 8.7,
    "cover_passage": 3.8,
    "pairs": 1.0,
    "names": -0.7,
    "kind": 1.8,
    "close": 0.6,
    "novel": 0.1,
    "length": 0.0,
    "first": 0.3,
    "rank": 1.2,
    "asks": -2.0,
}


def quote(
    question: str,
    passages: Passages | Sequence[Passage],
    *,
    embedder: Embedder | None = None,
    sentences: int = 2,
    threshold: float | None = None,
) -> Answer:
    """The up to ``sentences`` sentences that answer the question best, best first, each cited.

    ``threshold`` is the confidence (0 to 1) below which the answer is an abstention; None takes
    the fitted one, 0 never abstains while there is anything to quote. Without an ``embedder``
    words alone decide. Raises InputError for an empty or endless question.
    """
    check_question(question)
    items = check_passages(passages)
    if not sentences >= 1:
        raise InputError(f"sentences={sentences!r} is not a number from 1.", hint="Give for example 2.")
    found = evidence.candidates(items)
    terms = passages.plan.get("terms") if isinstance(passages, Passages) else None
    asked = evidence.read_question(question, items, terms)
    if not found:
        return abstention(asked, _nearest(passages))
    scores, confidence = judge(asked, items, found, embedder)
    if confidence < (THRESHOLD if threshold is None else threshold):
        return abstention(asked, _nearest(passages), confidence)
    order = np.argsort(-scores, kind="stable")
    chosen = [found[int(i)] for i in order[:sentences]]
    citations = tuple(cite(n, items[s.passage], s.start, s.end) for n, s in enumerate(chosen, 1))
    return Answer(
        text=" ".join(f"{' '.join(c.text.split())} [{c.number}]" for c in citations),
        citations=citations,
        answered_by="quotes",
        confidence=confidence,
    )


def rank(
    asked: Question, items: Sequence[Passage], found: Sequence[Sentence], embedder: Embedder | None
) -> NDArray[np.float64]:
    """A score per candidate, higher is better; comparable within one question only."""
    cosines = means = None
    if embedder is not None:
        cosines, means = evidence.similarities(asked.text, items, found, embedder)
    table = evidence.features(asked, items, found, cosines, means)
    scores: NDArray[np.float64] = table @ np.array([RANK[name] for name in evidence.FEATURES])
    return scores


def judge(
    asked: Question, items: Sequence[Passage], found: Sequence[Sentence], embedder: Embedder | None
) -> tuple[NDArray[np.float64], float]:
    """A score per candidate (higher is better) and the confidence that an answer is among them."""
    return rank(asked, items, found, embedder), 1.0


THRESHOLD = 0.5


def cite(number: int, passage: Passage, start: int, end: int) -> Citation:
    """The citation of ``passage.text[start:end]``; its place counts from the document's start."""
    return Citation(
        number=number,
        document=passage.document,
        heading=passage.heading or str(passage.metadata.get("title", "")),
        start=passage.start + start,
        end=passage.start + end,
        text=passage.text[start:end],
        score=passage.score,
        relevance=passage.relevance,
    )


def abstention(asked: Question, nearest: Passage | None, confidence: float = 0.0) -> Answer:
    """An answer that says that nothing answers: what was looked for, and the nearest place."""
    looked = ", ".join(repr(shorten(t.word, 40)) for t in _key_terms(asked))
    text = "Nothing was found that answers this question."
    if looked:
        text += f" Looked for: {looked}."
    if nearest is not None:
        place = nearest.document + (f", {nearest.heading}" if nearest.heading else "")
        text += f" The nearest place is {shorten(place, 200)}."
    return Answer(text=text, abstained=True, answered_by="quotes", confidence=confidence)


def _key_terms(asked: Question, most: int = 6) -> list[evidence.Term]:
    heavy = sorted(asked.terms, key=lambda t: -t.weight)[:most]
    return [t for t in asked.terms if t in heavy]


def _nearest(passages: Passages | Sequence[Passage]) -> Passage | None:
    if len(passages):
        return passages[0]
    if isinstance(passages, Passages) and passages.fallback:
        return passages.fallback[0]
    return None


def check_question(question: Any, limit: int = LONGEST_QUESTION) -> None:
    """InputError for what is not a question, or longer than ``limit`` code points."""
    if not isinstance(question, str):
        raise InputError(f"question={question!r} is not text.", hint="Give the question as a str.")
    if not question.strip():
        raise InputError(f"question={question!r} is empty.", hint="Ask something.")
    if len(question) > limit:
        raise InputError(
            f"The question is {len(question):,} characters long; at most {limit:,} are taken: "
            f"{shorten(question, 60)!r}.",
            hint="Put long text into documents and ask a short question about it.",
        )


def check_passages(passages: Any) -> tuple[Passage, ...]:
    """The passages as a tuple; InputError with the way out where they are something else."""
    if isinstance(passages, Passages):
        return passages.items
    if isinstance(passages, Sequence) and not isinstance(passages, (str, bytes)):
        items = tuple(passages)
        wrong = next((item for item in items if not isinstance(item, Passage)), None)
        if wrong is None:
            return items
        shown = shorten(repr(wrong), 80)
    else:
        shown = shorten(repr(passages), 80)
    raise InputError(
        f"passages holds {shown}, which is not a Passage.",
        hint="Pass what KnowledgeBase.search returned, or build headrace.Passage(text=…, document=…, "
        "score=1.0, relevance=1.0, start=0, end=len(text)).",
    )
