"""Arithmetic on a text: exact where it can be, bounded in time and size, nothing is evaluated as code.

A hand-written parser (precedence climbing) over numbers, operators and a fixed table of functions. It
is not Python: there are no names but those in the tables, no attributes, no strings, no lists.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction

from headrace.errors import ToolError
from headrace.text import shorten
from headrace.tools.exact import (
    CONSTANTS,
    FUNCTIONS,
    HINT,
    MOST_BITS,
    OPERATORS,
    Number,
    bits,
    divide,
    factorial,
    power,
    square_root,
)

LONGEST = 2_000  # code points of an expression
DEEPEST = 60  # brackets, signs and powers inside one another

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d]\w*)"
    r"|(?P<sign>\*\*|//|[-+*/%^!(),×·⋅÷−–√]))"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?")
_SAME: Mapping[str, str] = {"^": "**", "×": "*", "·": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-"}
_BINARY: Mapping[str, int] = {"+": 1, "-": 1, "*": 2, "of": 2, "/": 2, "//": 2, "%": 2, "mod": 2}


def calculator(expression: str) -> Number:
    """Calculate an arithmetic expression exactly, for example: 15% of 80, (2/3)**4, sqrt(2), 20!

    An ``int``, or a ``Fraction`` where the value is no whole number, as long as every part is exact:
    decimals are (``0.1 + 0.2`` is 3/10), so are roots that come out even. Otherwise a ``float``.
    ``%`` is the remainder between two values (``7 % 3``) and 'hundredths' after one (``7% - 3``);
    ``^`` is a power; a comma may part thousands outside of a function's brackets. Angles are in
    radians. Raises ToolError on anything that is not arithmetic, has no real value, or has more
    than 4,215 digits.
    """
    if not isinstance(expression, str):
        raise ToolError(f"The calculator was given {expression!r:.80}, which is not a text.", hint=HINT)
    if not expression.strip():
        raise ToolError(f"The expression {expression!r:.40} is empty.", hint=HINT)
    if len(expression) > LONGEST:
        raise ToolError(
            f"The expression has {len(expression)} characters and the limit is {LONGEST}: "
            f"{shorten(expression, 60)!r}.",
            hint="Calculate it in parts.",
        )
    try:
        return _Reader(expression).whole()
    except ZeroDivisionError:
        raise _problem(expression, "it divides by zero") from None
    except OverflowError:
        raise _problem(expression, "a value in it is too large for a floating-point number") from None


def _problem(expression: str, what: str) -> ToolError:
    return ToolError(f"{shorten(expression, 80)!r} cannot be calculated: {what}.", hint=HINT)


class _Reader:
    """One expression, read from left to right; ``at`` is the position of the next token."""

    def __init__(self, expression: str) -> None:
        self.text = expression
        self.at = 0
        self.depth = 0
        self.in_call = False
        self.token = ""
        self.kind = ""
        self._next()

    def whole(self) -> Number:
        value = self._sum(0)
        if self.kind != "end":
            raise self._unexpected()
        return value

    def _unexpected(self) -> ToolError:
        found = "it ends too early" if self.kind == "end" else f"{self.token!r} is not expected there"
        return _problem(self.text, found)

    def _next(self) -> None:
        rest = self.text[self.at :]
        if not rest.strip():
            self.kind, self.token, self.at = "end", "", len(self.text)
            return
        if not self.in_call:
            start = len(rest) - len(rest.lstrip())
            if (grouped := _THOUSANDS.match(rest, start)) is not None:
                self.kind, self.token = "number", grouped.group().replace(",", "")
                self.at += grouped.end()
                return
        found = _TOKEN.match(rest)
        if found is None:
            raise _problem(self.text, f"{rest.strip()[:10]!r} is not arithmetic")
        self.kind = str(found.lastgroup)
        self.token = found.group(self.kind)
        self.token = _SAME.get(self.token, self.token)
        self.at += found.end()

    def _sum(self, level: int) -> Number:
        """Operators of at least this precedence; they group from the left."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise _problem(self.text, f"it is nested more than {DEEPEST} deep")
        value = self._signed()
        while (rank := _BINARY.get(self.token, 0)) > level and self.kind in ("sign", "name"):
            sign = self.token
            self._next()
            value = self._two(sign, value, self._sum(rank))
        self.depth -= 1
        return value

    def _signed(self) -> Number:
        negative = False
        while self.kind == "sign" and self.token in "+-":
            negative ^= self.token == "-"
            self._next()
        if self.kind == "sign" and self.token == "√":
            self._next()
            value = square_root(self._inner())
        else:
            value = self._power()
        return -value if negative else value

    def _inner(self) -> Number:
        """What follows a power or a root sign: a sign, another power (they group from the right)."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise _problem(self.text, f"it is nested more than {DEEPEST} deep")
        value = self._signed()
        self.depth -= 1
        return value

    def _power(self) -> Number:
        value = self._postfix()
        if self.kind == "sign" and self.token == "**":
            self._next()
            value = self._checked(power(value, self._inner()))
        return value

    def _postfix(self) -> Number:
        value = self._one()
        while self.kind == "sign" and self.token in "!%":
            if self.token == "%" and self._operand_follows():
                break
            value = self._checked(factorial(value) if self.token == "!" else divide(value, 100))
            self._next()
        return value

    def _operand_follows(self) -> bool:
        """Whether ``%`` stands between two values, and is the remainder: ``7 % 3``, ``7 % -3``; in
        ``7% - 3`` it belongs to the 7."""
        rest = self.text[self.at :].lstrip()
        apart = self.text[: self.at - 1][-1:].isspace()
        if apart and (signed := re.match(r"[-+−](?=[\w.(√])", rest)) is not None:
            rest = rest[signed.end() :]
        word = re.match(r"[^\W\d]\w*", rest)
        if word is not None:
            return word.group().lower() not in ("of", "mod")
        return bool(rest) and (rest[0].isdigit() or rest[0] in ".(√")

    def _one(self) -> Number:
        if self.kind == "number":
            value = self._checked(_number(self.token, self.text))
            self._next()
            return value
        if self.kind == "name":
            return self._named(self.token)
        if self.token == "(":
            outer, self.in_call = self.in_call, False
            self._next()
            value = self._sum(0)
            self._close(outer)
            return value
        raise self._unexpected()

    def _close(self, outer: bool) -> None:
        if self.token != ")":
            raise self._unexpected()
        self.in_call = outer
        self._next()

    def _named(self, name: str) -> Number:
        known = name.lower()
        if known in CONSTANTS:
            self._next()
            return CONSTANTS[known]
        if known not in FUNCTIONS:
            raise _problem(self.text, f"{name!r} is not a function or constant of this calculator")
        outer, self.in_call = self.in_call, True
        self._next()
        if self.token != "(":
            raise _problem(self.text, f"{name!r} needs brackets after it")
        self._next()
        values = [self._sum(0)]
        while self.token == ",":
            self._next()
            values.append(self._sum(0))
        self._close(outer)
        function, least, most = FUNCTIONS[known]
        if not least <= len(values) <= most:
            raise _problem(self.text, f"{name!r} does not take {len(values)} values")
        try:
            return self._checked(function(*values))
        except ValueError as error:
            raise _problem(self.text, f"{name}: {error}") from None

    def _two(self, sign: str, a: Number, b: Number) -> Number:
        return self._checked(OPERATORS[sign](a, b))

    def _checked(self, value: Number) -> Number:
        """Whole fractions become ``int``; what is too large, or no number, is refused."""
        if isinstance(value, float):
            if not math.isfinite(value):
                raise _problem(self.text, "the value is not finite")
            return value
        if isinstance(value, Fraction) and value.denominator == 1:
            value = value.numerator
        if bits(value) > MOST_BITS:
            raise _problem(self.text, "a value in it has more than 4,215 digits")
        return value


def _number(token: str, text: str) -> Number:
    mantissa, _, exponent = token.lower().replace("_", "").partition("e")
    if exponent and len(exponent.lstrip("+-0")) > 4:
        raise _problem(text, f"{token!r} is too large or too small")
    value = Fraction(mantissa)
    return value * Fraction(10) ** int(exponent) if exponent else value
