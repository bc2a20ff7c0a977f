"""The metric ``grounded``: by the passages of the run, without expectations."""

from __future__ import annotations

import pytest

from headrace.errors import NotFound
from headrace.evaluation import chosen, dataset
from headrace.measure.metrics import Observed
from headrace.types import Answer, Example

PASSAGES = [{"document": "a.md", "text": "The library opened on 3 May 1987. A loan lasts three weeks."}]
EXAMPLES = dataset.of([{"inputs": {"question": "When?"}}])


def test_share_of_supported_sentences() -> None:
    (metric,) = chosen.choose("grounded", EXAMPLES)
    chosen.require([metric], EXAMPLES)  # needs no expectations
    example = Example(id="1", inputs={}, expectations={})

    def value(output: object, **more: object) -> float | None:
        given = {"passages": PASSAGES, **more}
        return metric.score(example, Observed(output=output, **given)).value  # type: ignore[arg-type]

    assert value("The library opened in 1987. A loan lasts four weeks.") == 0.5
    assert value(Answer(text="A loan lasts 3 weeks.")) == 1.0
    assert value(Answer(text="", abstained=True)) is None
    assert value("A loan lasts three weeks.", passages=()) is None
    assert value(None, error="broken") == 0.0
    score = metric.score(example, Observed(output="A loan lasts 4 weeks.", passages=PASSAGES))
    assert "'4 weeks' in the answer, 'three weeks' in the passage" in score.why


def test_it_is_among_the_known_names() -> None:
    with pytest.raises(NotFound) as caught:
        chosen.choose("grounding_score", EXAMPLES)
    assert "grounded" in caught.value.hint
