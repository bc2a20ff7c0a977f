"""The calculator: exact, bounded, and nothing but arithmetic."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from fractions import Fraction

import pytest

import headrace as hr
from headrace.errors import ToolError
from headrace.tools.exact import shown


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1+1", 2),
        ("0.1 + 0.2", Fraction(3, 10)),
        ("1/3", Fraction(1, 3)),
        ("6/3", 2),
        ("2**10", 1024),
        ("2^3^2", 512),
        ("-2**2", -4),
        ("2**-(1+1)", Fraction(1, 4)),
        ("7 // 2", 3),
        ("-7 % 3", 2),
        ("7%3", 1),
        ("7 % -3", -2),
        ("50% - 2", Fraction(-3, 2)),
        ("15% of 80", 12),
        ("1,000,000 * 2", 2_000_000),
        ("max(1,200)", 200),
        ("(1,000 + 5) × 2", 2010),
        ("12 ÷ 8 − 1", Fraction(1, 2)),
        ("sqrt(16)", 4),
        ("sqrt(9/4)", Fraction(3, 2)),
        ("8**(1/3)", 2),
        ("cbrt(-8)", -2),
        ("20!", math.factorial(20)),
        ("comb(10**9, 2)", math.comb(10**9, 2)),
        ("log(8, 2) + log10(1000)", 6),
        ("sin(0) + cos(0)", 1),
        ("hypot(3, 4)", 5),
        ("round(2.567, 2)", Fraction(257, 100)),
        ("mean(1, 2, 4)", Fraction(7, 3)),
        ("1.5e-3", Fraction(3, 2000)),
        ("gcd(12, 18) + lcm(4, 6)", 18),
        ("1_000 + 5 mod 3", 1002),
        ("-" * 400 + "1", 1),
    ],
)
def test_exact_values(expression: str, value: int | Fraction) -> None:
    found = hr.tools.calculator(expression)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("sqrt(2)", math.sqrt(2)),
        ("2 * PI", 2 * math.pi),
        ("ln(10)", math.log(10)),
        ("37593**(1/5)", 37593**0.2),
        ("degrees(pi)", 180.0),
        ("exp(1) - e", 0.0),
        ("log(10**4000)", 4000 * math.log(10)),
    ],
)
def test_what_is_not_exact_is_a_float(expression: str, value: float) -> None:
    found = hr.tools.calculator(expression)
    assert isinstance(found, float)
    assert found == pytest.approx(value, rel=1e-14)


def _random_expression(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.2:
        return str(rng.randint(0, 99))
    if rng.random() < 0.15:
        return f"-({_random_expression(rng, depth - 1)})"
    if rng.random() < 0.15:
        return f"({_random_expression(rng, depth - 1)}) ** {rng.randint(0, 3)}"
    a, b = (_random_expression(rng, depth - 1) for _ in range(2))
    sign = rng.choice(["+", "-", "*", "/", "//", " % "])
    return rng.choice([f"{a} {sign} {b}", f"({a}) {sign} ({b})"])


def test_random_expressions_equal_those_of_fractions() -> None:
    """A second implementation: Python's own parser over Fraction."""
    import re

    rng = random.Random(4)
    compared = 0
    for _ in range(1500):
        expression = _random_expression(rng, 4)
        try:
            wanted = eval(re.sub(r"(?<!\*\* )\b(\d+)", r"Fraction(\1)", expression), {"Fraction": Fraction})
        except ZeroDivisionError:
            with pytest.raises(ToolError, match="zero"):
                hr.tools.calculator(expression)
            continue
        assert hr.tools.calculator(expression) == wanted, expression
        compared += 1
    assert compared > 1000


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "   ",
        "x + 1",
        "__import__('os').system('true')",
        "().__class__",
        "open('a')",
        "a.b",
        "[1, 2]",
        "'a' * 3",
        "1 == 1",
        "1 if 1 else 2",
        "lambda: 0",
        "1; 2",
        "1 2",
        "2 +",
        "* 2",
        "(1",
        "1)",
        "sqrt",
        "sqrt()",
        "sqrt(1, 2)",
        "1, 2",
        "0x10",
        "1j",
        "🙂",
        "مرحبا",
        "1/0",
        "0**-1",
        "5 % 0",
        "sqrt(-1)",
        "(-8)**(1/3)",
        "log(0)",
        "log(5, 1)",
        "asin(2)",
        "2.5!",
        "(-1)!",
        "exp(1000)",
        "tan(10**400)",
        "1e99999",
        "\x00",
        "x" * 1_000_000,
    ],
)
def test_what_is_not_arithmetic_is_refused(expression: str) -> None:
    with pytest.raises(ToolError) as error:
        hr.tools.calculator(expression)
    assert error.value.hint
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("value", [None, 5, b"1+1", ["1+1"]])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(ToolError, match="not a text"):
        hr.tools.calculator(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9**9",
        "9**9**9",
        "2**(10**9)",
        "(1/3)**(10**6)",
        "10**4000 * 10**4000",
        "factorial(10**9)",
        "1000!!",
        "comb(10**9, 10**8)",
        "perm(10**6, 4000)",
        "(" * 900 + "1" + ")" * 900,
        "2**" * 500 + "2",
        "9" * 1_999 + "**9",
    ],
)
def test_what_would_take_for_ever_is_refused_at_once(expression: str) -> None:
    with pytest.raises(ToolError):  # a calculation that ran away would meet the test's own time limit
        hr.tools.calculator(expression)


@pytest.mark.parametrize(
    ("expression", "text"),
    [("0.1+0.2", "0.3"), ("-1/8", "-0.125"), ("1/3", "1/3 (about 0.333333)"), ("7", "7"), ("2.5*1", "2.5")],
)
def test_values_are_shown_as_people_write_them(expression: str, text: str) -> None:
    assert shown(hr.tools.calculator(expression)) == text


def test_the_error_has_its_place_in_the_tree() -> None:
    import headrace.errors as errors

    assert issubclass(errors.ToolError, errors.UserError)
    assert errors.ToolError("x").code == "tool-error"
    assert "ToolError" in (errors.__doc__ or "")


def test_tools_and_errors_are_there_at_once_and_light() -> None:
    code = (
        "import sys, headrace as hr\n"
        "hr.errors.ToolError, hr.tools\n"
        "hr.tools.calculator('1 + 1')\n"
        "bad = [x for x in ('numpy', 'pydantic', 'httpx', 'openvino', 'pandas') if x in sys.modules]\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
