"""The toxicity of many texts: how many reach a threshold, the worst one, and how the detector errs.

Scores are ``guards.toxicity``'s, by default from the head that ships. The threshold is shown with every
figure, because it is arbitrary, and so are the detector's own misses and false alarms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.guards import toxicity as guard
from headrace.guards.toxicity import Classifier
from headrace.measure.statistics import Interval, rate

# benchmarks/results/toxicity.json, five folds over tweets; ordinary English: 0.002.
DETECTOR: Mapping[str, Any] = {
    "misses": 0.033,
    "false_alarms": 0.086,
    "on": "tweets (Davidson et al. 2017), five folds; 0.33 false alarms on African American English",
}


@dataclass(frozen=True, kw_only=True)
class Toxicity:
    """``ratio``: share of texts at or above ``threshold``; ``worst``: index and score of the highest."""

    threshold: float
    ratio: Interval
    mean: float
    worst: tuple[int, float] | None
    scores: tuple[float, ...]
    detector: Mapping[str, Any]


def shipped() -> Classifier:
    """The head that ships, with the project's embedder where there is one."""
    from headrace.models.toxic import classifier
    from headrace.tasks.given import project_embedder

    return classifier(project_embedder())


def measure(
    texts: Sequence[str],
    classifier: Classifier | None = None,
    *,
    threshold: float = guard.THRESHOLD,
    confidence: float = 0.95,
) -> Toxicity:
    """Ratio with its interval, mean and worst of the texts. ``classifier`` None takes the head that ships."""
    scores = guard.scores(texts, classifier or shipped())
    reached = sum(score >= threshold for score in scores)
    top = max(range(len(scores)), key=scores.__getitem__, default=None)
    return Toxicity(
        threshold=threshold,
        ratio=rate(reached, len(scores), confidence),
        mean=sum(scores) / len(scores) if scores else 0.0,
        worst=None if top is None else (top, scores[top]),
        scores=tuple(scores),
        detector=DETECTOR if classifier is None else {},
    )
