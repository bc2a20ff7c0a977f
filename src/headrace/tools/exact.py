"""Exact values: the operators, functions and constants of the calculator, each bounded.

Whole numbers and fractions stay exact as long as they can; what cannot becomes ``float``. It reads no
text: that is ``arithmetic.py``. Raises ToolError, ValueError, ZeroDivisionError and OverflowError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

from headrace.errors import ToolError

Number = int | Fraction | float

MOST_BITS = 14_000  # of an exact value: 4,215 digits, which Python still prints
HINT = "Write numbers with + - * / // % ** ! and brackets, and functions such as sqrt(2) or log(8, 2)."
_MOST_ROOT = 64  # roots up to this degree are tried exactly
_MOST_CHOSEN = 5_000


def shown(value: Number) -> str:
    """A value as people write it: ``0.3`` for 3/10, ``1/3 (about 0.333333)`` where no decimal ends."""
    if not isinstance(value, Fraction):
        return repr(value)
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest == 1 and places <= 30:
        digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
        return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
    try:
        return f"{value} (about {float(value):.6g})"
    except OverflowError:
        return str(value)


def bits(value: int | Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def divide(a: Number, b: Number) -> Number:
    return a / b if isinstance(a, float) or isinstance(b, float) else Fraction(a) / Fraction(b)


OPERATORS: Mapping[str, Callable[[Number, Number], Number]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "of": lambda a, b: a * b,
    "/": divide,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "mod": lambda a, b: a % b,
}


def power(a: Number, b: Number) -> Number:
    """``a ** b``: exact for whole exponents and for roots that come out even. Raises ToolError where
    there is no real value or too many digits."""
    if isinstance(a, float) or isinstance(b, float):
        return _real_power(float(a), float(b))
    exponent = Fraction(b)
    if exponent.denominator == 1:
        if a == 0 and exponent < 0:
            raise ZeroDivisionError
        if a in (0, 1, -1):
            return a ** abs(exponent.numerator)
        if abs(exponent.numerator) * (bits(a) - 1) > MOST_BITS:
            raise ToolError(
                f"A power with the exponent {shown(b):.40} has more than 4,215 digits.", hint=HINT
            )
        return Fraction(a) ** exponent.numerator
    if a >= 0 and exponent.denominator <= _MOST_ROOT:
        root = _exact_root(Fraction(a), exponent.denominator)
        if root is not None:
            return power(root, exponent.numerator)
    return _real_power(float(a), float(exponent))


def _real_power(a: float, b: float) -> float:
    if a < 0 and b != int(b):
        raise ToolError(
            f"{a!r} to the power of {b!r} is not a real number.", hint="For cube roots write cbrt(-8)."
        )
    return float(a**b)


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    """The root of a value of 0 or more where it is a fraction, else None."""
    parts = [_whole_root(value.numerator, degree), _whole_root(value.denominator, degree)]
    return None if parts[0] is None or parts[1] is None else Fraction(parts[0], parts[1])


def _whole_root(value: int, degree: int) -> int | None:
    if value < 2:
        return value
    low, high = 1, 1 << (value.bit_length() // degree + 1)
    while low < high:  # the largest number whose power is not above the value
        middle = (low + high + 1) // 2
        if middle**degree <= value:
            low = middle
        else:
            high = middle - 1
    return low if low**degree == value else None


def square_root(value: Number) -> Number:
    if value < 0:
        raise ToolError(f"The square root of {shown(value):.40} is not a real number.", hint=HINT)
    return power(value, Fraction(1, 2))


def _root(value: Number, degree: Number) -> Number:
    if isinstance(degree, float) or degree != int(degree) or not 1 <= degree <= 1000:
        raise ValueError("the degree of a root is a whole number from 1 to 1000")
    if value < 0 and int(degree) % 2:
        return -power(-value, Fraction(1, int(degree)))
    return power(value, Fraction(1, int(degree)))


def _whole(value: Number) -> int:
    if value != int(value) or value < 0:
        raise ToolError(f"{shown(value):.40} is not a whole number of 0 or more.", hint=HINT)
    return int(value)


def factorial(value: Number) -> int:
    number = _whole(value)
    if number > 1_500:
        raise ToolError(f"The factorial of {number:.10g} has more than 4,215 digits.", hint=HINT)
    return math.factorial(number)


def _chosen(ordered: bool) -> Callable[..., Number]:
    def count(n: Number, k: Number) -> int:
        whole, part = _whole(n), _whole(k)
        part = part if ordered else min(part, max(whole - part, 0))
        if part > _MOST_CHOSEN or part * (whole.bit_length() - (0 if ordered else 1)) > 8 * MOST_BITS:
            raise ToolError(f"Choosing {part} has more than 4,215 digits.", hint=HINT)
        return math.perm(whole, part) if ordered else math.comb(whole, part)

    return count


def _log(value: Number, base: Number | None = None) -> Number:
    if value <= 0 or (base is not None and (base <= 0 or base == 1)):
        raise ValueError("a logarithm needs a value above 0, and a base above 0 that is not 1")
    if base is None:
        return 0 if value == 1 else _ln(value)
    about = _ln(value) / _ln(base)
    if not isinstance(value, float) and not isinstance(base, float) and abs(about) < MOST_BITS:
        near = round(about)
        if abs(near) * (bits(base) - 1) <= MOST_BITS and Fraction(base) ** near == value:
            return near
    return about


def _ln(value: Number) -> float:
    """Of exact values beyond the floating-point range too."""
    if isinstance(value, float):
        return math.log(value)
    return math.log(value.numerator) - math.log(value.denominator)


def _round(value: Number, places: Number = 0) -> Number:
    digits = int(places)
    if digits != places or abs(digits) > 300:
        raise ValueError("the number of places is a whole number up to 300")
    if not digits:
        return round(value)
    return round(value, digits) if isinstance(value, float) else round(Fraction(value), digits)


def _mean(*values: Number) -> Number:
    return divide(sum(values), len(values))


def _whole_only(function: Callable[..., int]) -> Callable[..., Number]:
    return lambda *values: function(*(_whole(abs(value)) for value in values))


def _real(function: Callable[..., float], exact: Mapping[int, int] | None = None) -> Callable[..., Number]:
    """A function on floating-point numbers; ``exact``: arguments whose value is a whole number."""

    def call(*values: Number) -> Number:
        if exact and len(values) == 1 and isinstance(values[0], int) and values[0] in exact:
            return exact[values[0]]
        return function(*(float(value) for value in values))

    return call


_MANY = 1_000
_ZERO = {0: 0}
CONSTANTS: Mapping[str, float] = {"pi": math.pi, "π": math.pi, "e": math.e, "tau": math.tau, "τ": math.tau}
# name → function, fewest and most values
FUNCTIONS: Mapping[str, tuple[Callable[..., Number], int, int]] = {
    "sqrt": (square_root, 1, 1),
    "cbrt": (lambda x: _root(x, 3), 1, 1),
    "root": (_root, 2, 2),
    "pow": (power, 2, 2),
    "exp": (_real(math.exp, {0: 1}), 1, 1),
    "log": (_log, 1, 2),
    "ln": (_log, 1, 1),
    "log2": (lambda x: _log(x, 2), 1, 1),
    "log10": (lambda x: _log(x, 10), 1, 1),
    "sin": (_real(math.sin, _ZERO), 1, 1),
    "cos": (_real(math.cos, {0: 1}), 1, 1),
    "tan": (_real(math.tan, _ZERO), 1, 1),
    "asin": (_real(math.asin, _ZERO), 1, 1),
    "acos": (_real(math.acos, {1: 0}), 1, 1),
    "atan": (_real(math.atan, _ZERO), 1, 1),
    "atan2": (_real(math.atan2), 2, 2),
    "sinh": (_real(math.sinh, _ZERO), 1, 1),
    "cosh": (_real(math.cosh, {0: 1}), 1, 1),
    "tanh": (_real(math.tanh, _ZERO), 1, 1),
    "degrees": (_real(math.degrees, _ZERO), 1, 1),
    "radians": (_real(math.radians, _ZERO), 1, 1),
    "hypot": (lambda *v: square_root(sum(x * x for x in v)), 1, _MANY),
    "abs": (abs, 1, 1),
    "sign": (lambda x: (x > 0) - (x < 0), 1, 1),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "trunc": (math.trunc, 1, 1),
    "round": (_round, 1, 2),
    "mod": (lambda a, b: a % b, 2, 2),
    "min": (min, 1, _MANY),
    "max": (max, 1, _MANY),
    "sum": (lambda *v: sum(v), 1, _MANY),
    "mean": (_mean, 1, _MANY),
    "avg": (_mean, 1, _MANY),
    "gcd": (_whole_only(math.gcd), 1, _MANY),
    "lcm": (_whole_only(math.lcm), 1, 2),
    "factorial": (factorial, 1, 1),
    "comb": (_chosen(False), 2, 2),
    "perm": (_chosen(True), 2, 2),
}
