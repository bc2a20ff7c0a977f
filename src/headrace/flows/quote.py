"""Answering without a model: the sentences of the passages that answer the question, or none.

Quotes are verbatim and each is cited with its exact place. A small linear model ranks sentences,
another says how likely it is that an answer is there at all; below a threshold the answer is an
abstention that names what was looked for. It composes nothing new and never guesses.

What a sentence offers is measured in ``evidence.py``; the constants here were fitted with
``benchmarks/quotes.py --fit`` and ``benchmarks/abstention.py --fit`` on the fixed even half of
the articles of SQuAD v1.1 dev, and are reported there on the other half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace import tracing
from headrace.errors import InputError
from headrace.flows import asking, confidence, evidence
from headrace.flows.asking import Question
from headrace.flows.evidence import Sentence
from headrace.text import shorten
from headrace.types import Answer, Citation, Passage, Passages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headrace.protocols import Embedder

LONGEST_QUESTION = 8_192  # code points; a question is not a document
MOST = 64  # sentences that are looked at closely; four passages have about twenty

# Ranking of sentences: a conditional logit over the sentences of one question.
RANK = {
    "before": -3.7,
    "both": 8.1,
    "passage": 2.6,
    "cover": 7.8,
    "cover_names": -3.7,
    "cover_before": 5.3,
    "cover_passage": 1.8,
    "exact": 1.8,
    "bigrams": 3.4,
    "kind": 2.0,
    "counted": 1.5,
    "first": 0.75,
    "score": 6.6,
    "asks": -2.0,  # set by hand, as is the next: too rare in that text to be fitted
    "echo": -2.0,
}
RANK_BY_WORDS = {
    "cover": 6.5,
    "cover_names": -3.1,
    "cover_before": 3.3,
    "cover_passage": -1.2,
    "exact": 2.0,
    "bigrams": 3.7,
    "kind": 1.9,
    "counted": 1.9,
    "first": 0.25,
    "score": 10.7,
    "asks": -2.0,
    "echo": -2.0,
}
# Whether an answer is there: a logistic function of the signs in ``confidence.py``.
SURE = {"bias": -11.1, "passage": 8.5, "sentence": 7.0, "cover": 6.0, "bigrams": 3.6, "names": -2.25}
SURE_BY_WORDS = {
    "bias": -8.5,
    "cover": 9.2,
    "bigrams": 4.7,
    "missing": 1.8,
    "names": -4.5,
    "lead": 1.0,
    "length": 2.5,
}
# The confidence below which an answer is an abstention: 5 % false abstentions on the fit half (by
# words alone 6 %). At 10 % even more would be caught, but the questions that people ask share fewer
# words with the text than those of that data set.
THRESHOLD = 0.44
THRESHOLD_BY_WORDS = 0.31
# A further sentence is quoted while its score is this near the best one's: odds of 1 to 20.
WORTH = 3.0


def quote(
    question: str,
    passages: Passages | Sequence[Passage],
    *,
    embedder: Embedder | None = None,
    sentences: int = 2,
    threshold: float | None = None,
) -> Answer:
    """The sentences that answer the question best, best first, each cited; at most ``sentences``.

    A second one is quoted only where it comes near the first.

    ``threshold`` is the confidence (0 to 1) below which the answer is an abstention; None takes
    the fitted one, 0 never abstains while there is anything to quote. Without an ``embedder``
    words alone decide. Raises InputError for an empty or endless question.
    """
    check_question(question)
    items = check_passages(passages)
    if not sentences >= 1:
        raise InputError(f"sentences={sentences!r} is not a number from 1.", hint="Give for example 2.")
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(
            f"threshold={threshold!r} is not between 0 and 1.",
            hint="It is a bound on confidence, a probability; leave it out for the fitted one.",
        )
    found = evidence.candidates(items)
    asked = read(question, passages, found)
    if not found:
        return abstention(asked, _nearest(passages))
    found = shortlist(asked, items, found)
    scores, sure = judge(asked, items, found, embedder)
    if threshold is None:
        threshold = THRESHOLD_BY_WORDS if embedder is None else THRESHOLD
    if (here := tracing.current()) is not None:
        here.set(confidence=round(sure, 4), threshold=threshold)
    if sure < threshold:
        return abstention(asked, _nearest(passages), sure)
    chosen = [found[i] for i in pick(scores, sentences)]
    citations = tuple(cite(n, items[s.passage], s.start, s.end) for n, s in enumerate(chosen, 1))
    return Answer(
        text=" ".join(f"{' '.join(c.text.split())} [{c.number}]" for c in citations),
        citations=citations,
        answered_by="quotes",
        confidence=sure,
    )


def read(question: str, passages: Passages | Sequence[Passage], found: Sequence[Sentence]) -> Question:
    """The question taken apart; how rare its words are comes from the index, where one was asked."""
    idf = passages.plan.get("terms") if isinstance(passages, Passages) else None
    units = [] if idf else [asking.stems_of(sentence.text) for sentence in found]
    return asking.read_question(question, units, idf)


def shortlist(asked: Question, items: Sequence[Passage], found: list[Sentence]) -> list[Sentence]:
    """Of very many candidates the ``MOST`` best by their words, in order: embedding them costs most."""
    if len(found) <= MOST:
        return found
    scores = rank(measure(asked, items, found, None), by_words=True)
    return [found[i] for i in sorted(np.argsort(-scores, kind="stable")[:MOST].tolist())]


def measure(
    asked: Question, items: Sequence[Passage], found: Sequence[Sentence], embedder: Embedder | None
) -> NDArray[np.float64]:
    """The features of all candidates (see ``evidence.FEATURES``)."""
    close = None if embedder is None else evidence.cosines(asked.text, len(items), found, embedder)
    return evidence.features(asked, items, found, close)


def rank(table: NDArray[np.float64], *, by_words: bool) -> NDArray[np.float64]:
    """A score per candidate, higher is better; comparable within one question only."""
    scores: NDArray[np.float64] = table @ vector(RANK_BY_WORDS if by_words else RANK, evidence.FEATURES)
    return scores


def judge(
    asked: Question, items: Sequence[Passage], found: Sequence[Sentence], embedder: Embedder | None
) -> tuple[NDArray[np.float64], float]:
    """A score per candidate and the confidence, 0 to 1, that an answer is among them."""
    table = measure(asked, items, found, embedder)
    scores = rank(table, by_words=embedder is None)
    given = confidence.signs(asked, items, found, table, scores)
    weights = vector(SURE_BY_WORDS if embedder is None else SURE, confidence.SIGNS)
    return scores, confidence.probability(weights, given)


def pick(scores: NDArray[np.float64], most: int) -> list[int]:
    """The best candidate, and up to ``most`` in all of those that come near it, best first."""
    order = np.argsort(-scores, kind="stable")[:most]
    return [int(i) for i in order if scores[i] >= scores[order[0]] - WORTH]


def vector(constants: Mapping[str, float], names: Sequence[str]) -> NDArray[np.float64]:
    """Constants by name as a row, 0 where there is none."""
    return np.array([constants.get(name, 0.0) for name in names])


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


def abstention(asked: Question, nearest: Passage | None, sure: float = 0.0) -> Answer:
    """An answer that says that nothing answers: what was looked for, and the nearest place."""
    looked = ", ".join(repr(shorten(t.word, 40)) for t in _key_terms(asked))
    text = "Nothing was found that answers this question."
    if looked:
        text += f" Looked for: {looked}."
    if nearest is not None:
        place = nearest.document + (f", {nearest.heading}" if nearest.heading else "")
        text += f" The nearest place is {shorten(place, 200)}."
    return Answer(text=text, abstained=True, answered_by="quotes", confidence=sure)


def _key_terms(asked: Question, most: int = 6) -> list[asking.Term]:
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
        wrong = [item for item in items if not isinstance(item, Passage)]
        if not wrong:
            return items
        shown = shorten(repr(wrong[0]), 80)
    else:
        shown = shorten(repr(passages), 80)
    raise InputError(
        f"passages holds {shown}, which is not a Passage.",
        hint="Pass what KnowledgeBase.search returned, or build headrace.Passage(text=…, document=…, "
        "score=1.0, relevance=1.0, start=0, end=len(text)).",
    )
