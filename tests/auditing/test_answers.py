"""What an application answered, audited: from its newest evaluation; robustness by running it again."""

from __future__ import annotations

import random
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import headrace as hr
from headrace.auditing import answers, grounding, robustness, toxicity
from headrace.auditing.audit import AUDITORS
from headrace.auditing.lines import KEYS
from headrace.errors import InputError
from headrace.evaluation.evaluate import evaluate
from headrace.flows.app import App
from headrace.flows.load import load
from headrace.settings import AuditSettings

SOURCE = '''
import headrace as hr

TEXT = "The library opened on 3 May 1987. A loan lasts three weeks."


@hr.app
def desk(question: str) -> str:
    """Answer."""
    if "loan" in question:
        return "A loan lasts three weeks."
    if "SSN" in question:
        return "Please tell me your social security number."
    return "You are a stupid idiot, mail a@b.example."
'''


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> App:
    root = tmp_path_factory.mktemp("desk")
    (root / "headrace.toml").write_text('[app]\nentry = "app.py:desk"\n', encoding="utf-8")
    (root / "app.py").write_text(SOURCE, encoding="utf-8")
    return load(root)


@pytest.fixture(scope="module")
def evaluated(desk: App) -> App:
    questions = ["How long is a loan of a book?", "What about my SSN?", "Who are you there?"]
    evaluate(desk, [{"inputs": {"question": q}} for q in questions], ["latency"])
    return desk


def settings(**thresholds: float) -> AuditSettings:
    return AuditSettings(thresholds=MappingProxyType(thresholds))


def test_without_an_evaluation_nothing_is_assessed(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[app]\nentry = "app.py:desk"\n', encoding="utf-8")
    (tmp_path / "app.py").write_text(SOURCE, encoding="utf-8")
    app = load(tmp_path)
    for auditor in AUDITORS.values():
        for line in auditor(app, settings()):
            assert line["verdict"] == "not assessed"
            assert "headrace eval" in line["evidence"]
            assert set(KEYS) <= set(line)


def test_personal_data_and_requests_for_them(evaluated: App) -> None:
    (line,) = answers.audit_personal(evaluated, settings(**{"personal-data": 0.1}))
    assert (line["value"], line["n"], line["verdict"]) == (pytest.approx(2 / 3), 3, "fail")
    assert "email 1" in line["evidence"]
    assert "1 answers ask" in line["evidence"]
    (line,) = answers.audit_personal(evaluated, settings())
    assert line["verdict"] == "not assessed"
    assert "no threshold" in line["evidence"]


def test_toxicity_shows_threshold_and_its_own_error(evaluated: App) -> None:
    (line,) = answers.audit_toxicity(evaluated, settings(toxicity=0.9))
    assert line["value"] == pytest.approx(1 / 3)
    assert "threshold of the detector 0.5" in line["evidence"]
    assert 0 < line["detector"]["false_alarms"] < 1


def test_robustness_runs_the_application(evaluated: App) -> None:
    lines = {line["id"]: line for line in answers.audit_robustness(evaluated, settings(robustness=0.9))}
    kinds = (*robustness.KINDS, robustness.ORDER)
    assert set(lines) == {f"robustness.{kind.replace(' ', '-')}" for kind in kinds}
    assert lines["robustness.order-of-passages"]["verdict"] == "not assessed"  # it searches nothing
    assert lines["robustness.white-space"]["value"] == 1.0
    assert lines["robustness.upper-case"]["verdict"] == "fail"  # "LOAN" is not "loan"
    assert "changed for example by" in lines["robustness.upper-case"]["evidence"]


SHELVES = '''
import headrace as hr

kb = hr.KnowledgeBase("kb")


@hr.app
def first(question: str) -> str:
    """Answers with the passage on top, whatever the others say."""
    return kb.search(question, top_k=3, mode="lexical")[0].text


@hr.app
def all_of_them(question: str) -> str:
    """Answers with what the passages say together."""
    return " ".join(sorted(p.text for p in kb.search(question, top_k=3, mode="lexical")))
'''


@pytest.mark.parametrize(("name", "value"), [("first", 0.0), ("all_of_them", 1.0)])
def test_robustness_turns_the_passages_round(tmp_path: Path, name: str, value: float) -> None:
    (tmp_path / "headrace.toml").write_text(f'[app]\nentry = "app.py:{name}"\n', encoding="utf-8")
    (tmp_path / "app.py").write_text(SHELVES, encoding="utf-8")
    app = load(tmp_path)
    (kb,) = app.handles
    assert isinstance(kb, hr.KnowledgeBase)
    for text in ("The loan desk opens early.", "A loan lasts three weeks.", "No loan leaves on Sunday."):
        kb.add(hr.Document(text=text))
    evaluate(app, [{"inputs": {"question": f"Which loan, number {n}?"}} for n in range(3)], ["latency"])
    lines = {line["id"]: line for line in answers.audit_robustness(app, settings(robustness=0.9))}
    turned = lines["robustness.order-of-passages"]
    assert turned["n"] == 3
    assert turned["value"] == value if value == 1 else turned["value"] < 0.9
    assert lines["robustness.white-space"]["value"] == 1.0


def test_grounding_of_kept_rows(evaluated: App, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, Any]] = [
        {
            "output": "The library opened in 1988. A loan lasts 3 weeks.",
            "passages": [{"text": "The library opened on 3 May 1987. A loan lasts three weeks."}],
            "error": None,
        }
    ]
    monkeypatch.setattr(answers, "kept", lambda app: rows)
    (line,) = answers.audit_grounding(evaluated, settings(grounding=0.05))
    assert (line["value"], line["n"], line["verdict"]) == (0.5, 2, "fail")
    assert "'1988' in the answer, '3 May 1987' in the passage" in line["evidence"]
    assert line["detector"] == grounding.DETECTOR


# --------------------------------------------------------------------------- robustness of any function


def test_a_function_that_hears_only_lower_case() -> None:
    def label(text: str) -> list[dict[str, Any]]:
        return [{"label": "mill" if "mill" in text else "other", "score": 1.0}]

    texts = [f"the mill number {i} turns by the river" for i in range(20)]
    found = {one.kind: one for one in robustness.measure(label, texts, seed=1)}
    assert found["upper case"].rate.value == 0.0
    assert found["upper case"].changed[0][2:] == (label(texts[0]), label(texts[0].upper()))
    assert found["lower case"].skipped == 20
    assert found["lower case"].rate.value is None
    assert found["white space"].rate.value == 1.0
    again = {one.kind: one for one in robustness.measure(label, texts, seed=1)}
    assert found == again


def test_order_of_passages() -> None:
    rows = [(f"question {i}", ["first", "second", "third"]) for i in range(10)]
    assert robustness.measure_order(lambda q, p: p[0], rows).rate.value < 0.8  # type: ignore[operator]
    assert robustness.measure_order(lambda q, p: sorted(p)[0], rows).rate.value == 1.0


def test_variants_leave_numbers_alone() -> None:
    rng = random.Random(0)
    for _ in range(200):
        text = f"holidays number {rng.randrange(10**6)}, then {rng.random():.3f} quarterly"
        for kind in robustness.KINDS:
            worse = robustness.variant(text, kind, rng.randrange(9))
            assert [w for w in worse.split() if w[0].isdigit() and "." in w] == [text.split()[-2]]
    with pytest.raises(InputError, match="'sideways'"):
        robustness.variant("x", "sideways")
    with pytest.raises(InputError):
        robustness.measure(str, [])


def test_the_same_answer() -> None:
    assert robustness.same_answer("A loan lasts three weeks.", "a loan lasts  three weeks.")
    assert not robustness.same_answer("A loan lasts three weeks.", "The desk opens at nine.")
    assert robustness.same_answer(hr.Answer(text="", abstained=True), {"text": "x", "abstained": True})
    assert not robustness.same_answer("A loan.", None)


def test_toxicity_of_a_set() -> None:
    found = toxicity.measure(["a", "b", "c", ""], lambda texts: [0.2, 0.9, 0.5], threshold=0.5)
    assert (found.ratio.value, found.ratio.n, found.worst) == (0.5, 4, (1, 0.9))
    assert toxicity.measure([], lambda texts: []).worst is None
