"""The metric ``grounded``: the share of an answer's sentences that the passages it was made from say.

Needs no expectations, only an application that searches. By words, numbers, dates and names
(``guards/grounding``), without an embedder, so that the same row has the same score everywhere. What
it misses and reports wrongly is in docs/tour/23-grounding-and-masking.md.
"""

from __future__ import annotations

from headrace.guards.grounding import check, score
from headrace.measure.metrics import Metric, Observed, abstained, text_of
from headrace.types import Example, Score

NAME = "grounded"


def metric() -> Metric:
    """The Metric; more is better, five points matter."""
    return Metric(
        name=NAME,
        direction="higher",
        margin=0.05,
        kind="mean",
        unit="share",
        source="sentences supported by the passages; numbers, dates and names exactly",
        score=_score,
    )


def _score(example: Example, observed: Observed) -> Score:
    """0 for a failed run; None for an abstention, and where there is nothing to compare."""
    if observed.error is not None:
        return Score(name=NAME, value=0.0, why="the run failed")
    if abstained(observed.output):
        return Score(name=NAME, value=None, why="abstained: nothing is claimed")
    passages = [str(passage.get("text") or "") for passage in observed.passages]
    if not any(passages):
        return Score(name=NAME, value=None, why="the run has no passages")
    found = check(text_of(observed.output), passages)
    wrong = [s for s in found if s.claims and s.verdict != "supported"]
    why = "; ".join(f"{s.verdict}: {s.why}" for s in wrong[:2])
    return Score(name=NAME, value=score(found), why=why or ("" if found else "nothing is claimed"))
