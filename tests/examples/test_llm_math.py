"""A hundred word problems, exact: the value is computed by the calculator and checked by other means."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from types import ModuleType

import pytest

import headrace as hr
from headrace.errors import ToolError
from headrace.models.scripted import ScriptedModel


@pytest.fixture
def math(example: Callable[[str], ModuleType]) -> ModuleType:
    return example("llm_math")


def test_a_hundred_problems_are_exact(math: ModuleType) -> None:
    examples = math.doubles.problems(100)
    model = ScriptedModel(math.doubles.reader)
    report = hr.evaluate(math.solve.using({math.llm: model}), examples, [math.exact], save=False)
    (found,) = report.measurements
    assert (found["value"], found["n"], found["failed"]) == (1.0, 100, 0)
    assert len({example.inputs["problem"] for example in examples}) == 100
    assert any("/" in example.expectations["answer"] for example in examples), "fractions are among them"
    assert len(model.calls) > 100, "some expressions were refused and asked for again"


def test_the_model_does_not_calculate(math: ModuleType) -> None:
    examples = math.doubles.problems(4)
    proposed = ScriptedModel(["3*(2+4)"])
    solved = math.solve.using({math.llm: proposed})(examples[0].inputs["problem"])
    assert (solved.expression, Fraction(solved.value)) == ("3*(2+4)", 18)


def test_what_is_no_arithmetic_is_told_to_the_model_once(math: ModuleType) -> None:
    model = ScriptedModel(["__import__('os').getcwd()", "6*7"])
    assert math.solve.using({math.llm: model})("How many?").value == "42"
    assert "was refused" in model.calls[1].messages[-1].content
    with pytest.raises(ToolError):
        math.solve.using({math.llm: ScriptedModel("I am sure it is 42.")})("How many?")
