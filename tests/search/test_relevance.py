"""Relevance: absolute, monotone, per embedder; and with the real embedder it tells near from far."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.protocols import Embedder
from headrace.search.engine import Engine
from headrace.search.relevance import GENERIC, KNOWN, WORDS_ONLY, Calibration, calibration, relevance
from headrace.types import Document

from .search_small import LineSplitter

unit = st.floats(0.0, 1.0)


@pytest.mark.parametrize("fitted", [*KNOWN.values(), GENERIC, WORDS_ONLY])
@given(cosine=st.floats(-1.0, 1.0), coverage=unit, words=unit, more=unit)
def test_more_evidence_never_makes_a_passage_less_relevant(
    fitted: Calibration, cosine: float, coverage: float, words: float, more: float
) -> None:
    base = fitted(cosine=cosine, coverage=coverage, words=words)
    assert 0.0 <= base <= 1.0
    assert fitted(cosine=cosine + more, coverage=coverage, words=words) >= base
    assert fitted(cosine=cosine, coverage=coverage + more, words=words) >= base
    assert fitted(cosine=cosine, coverage=coverage, words=words + more) >= base


def test_it_is_looked_up_by_name_and_precision_class() -> None:
    for name in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        for precision in ("int8", "float"):
            found = calibration({"name": name, "precision": precision})
            assert found is KNOWN["all-minilm-l6-v2", precision]
    assert calibration({"name": "somebody/else", "precision": "float"}) is GENERIC
    assert calibration(None) is WORDS_ONLY


def test_without_a_cosine_words_decide() -> None:
    fitted = KNOWN["all-minilm-l6-v2", "int8"]
    assert relevance(fitted, cosine=None, coverage=0.9, words=0.4) == WORDS_ONLY(
        cosine=0.0, coverage=0.9, words=0.4
    )
    assert relevance(fitted, cosine=None, coverage=0.0, words=0.0) < 0.05
    assert relevance(fitted, cosine=None, coverage=1.0, words=0.7) > 0.5


PAGES = (
    "Employees may work from home up to three days a week if their team agrees.",
    "The canteen serves lunch between half past eleven and two o'clock.",
    "Broken bicycles can be left at the repair shop next to the south entrance.",
    "Visitors must sign in at the front desk and wear a badge at all times.",
    "Payslips are sent by e-mail on the last working day of each month.",
    "The swimming pool is closed for maintenance during the first week of August.",
)


@pytest.fixture(scope="module")
def handbook(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = Engine.open(
        tmp_path_factory.mktemp("real") / "kb",
        name="handbook",
        create=True,
        embedder=lambda: embedder,
        splitter=LineSplitter,
        identity=lambda: embedder.identity,
    )
    engine.add([Document(text, id=str(at)) for at, text in enumerate(PAGES)])
    return engine


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Is telecommuting allowed?", 0),
        ("When can I eat something?", 1),
        ("Who fixes a damaged bike?", 2),
        ("How do guests get into the building?", 3),
        ("When do I learn what I earned?", 4),
    ],
)
def test_a_paraphrase_without_a_shared_word_is_found_first(
    handbook: Engine, question: str, expected: int
) -> None:
    found = handbook.search(question, 1)
    assert found[0].document == str(expected)
    assert found[0].signals["cosine"] > 0.25


def test_what_is_asked_for_is_more_relevant_than_what_is_not_there(handbook: Engine) -> None:
    near = handbook.search("How many days a week may employees work from home?", 1)[0].relevance
    far = [
        handbook.search(question, 1)[0].relevance
        for question in ("What is the boiling point of tungsten?", "Who composed the Moonlight Sonata?")
    ]
    assert near > 0.5 > 0.1 > max(far)
    answer = handbook.search("What is the boiling point of tungsten?", 2, score_threshold=0.3)
    assert answer.outcome == "below threshold"
    assert len(answer.fallback) == 2
