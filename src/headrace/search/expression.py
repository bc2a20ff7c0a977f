"""Filter expressions: a text → a tree. The tree's meaning, and its SQL, are in ``filters.py``.

    either    := both ("or" both)*
    both      := negation ("and" negation)*
    negation  := "not" negation | "(" either ")" | test
    test      := key comparison value | key ["not"] "in" list | key ["not"] ("like" | "contains") value
               | key "is" ["not"] "null" | value comparison key [comparison value] | value ["not"] "in" key

``&&``, ``||``, ``!``, ``==`` and ``<>`` are understood too; words in any case. An error points at
the character and says what was expected there.
"""

from __future__ import annotations

import datetime
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from headrace.errors import InputError

Value = str | int | float | bool

_MOST_TESTS = 2_000
_DEEPEST = 60
_LONGEST = 100_000  # code points of an expression
_LONGEST_PATTERN = 1_000  # code points of a like pattern: its cost grows with them
_WORDS = frozenset("and or not in like contains is null none true false".split())


# --------------------------------------------------------------------------- the tree


@dataclass(frozen=True)
class Key:
    """A way into the metadata; without steps it is the document's id."""

    steps: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(_shown_step(self.steps, step) for step in self.steps) or "document"


@dataclass(frozen=True)
class Test:
    """One comparison: ``=``, ``<``, ``<=``, ``>``, ``>=``, ``in``, ``like``, ``contains``, ``null``.

    ``negated`` is ``!=``, ``not in`` and so on: false on null, unlike a :class:`Not` around it.
    """

    __test__ = False  # not a test class for pytest

    key: Key
    operator: str
    value: Any = None
    negated: bool = False

    def __str__(self) -> str:
        if self.operator == "null":
            return f"{self.key} is {'not ' if self.negated else ''}null"
        if self.operator == "=":
            return f"{self.key} {'!=' if self.negated else '='} {_literal(self.value)}"
        value = self.value
        shown = f"({', '.join(map(_literal, value))})" if self.operator == "in" else _literal(value)
        return f"{self.key} {'not ' if self.negated else ''}{self.operator} {shown}"


@dataclass(frozen=True)
class Not:
    """The other way round, null or not."""

    item: Node

    def __str__(self) -> str:
        return f"not ({self.item})"


@dataclass(frozen=True)
class Group:
    """``word`` (``and``, ``or``) between all items. Without items: true for and, false for or."""

    word: str
    items: tuple[Node, ...]

    def __str__(self) -> str:
        shown = (f"({item})" if isinstance(item, Group) else str(item) for item in self.items)
        return f" {self.word} ".join(shown)


Node = Test | Not | Group


_NAME = re.compile(r"[^\W\d][\w-]*")
_WAY = re.compile(r"(?:[^\W\d][\w-]*|`[^`]+`)(?:\.(?:[^\W\d][\w-]*|`[^`]+`))*")


def _shown_step(steps: tuple[str, ...], step: str) -> str:
    plain = _NAME.fullmatch(step) and step.lower() not in _WORDS and steps != ("document",)
    return step if plain else f"`{step}`"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
    return repr(value)


def sound(text: str) -> str:
    """The text, if SQLite can take it as a value."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"The filter holds {text!r:.80}, which is not valid Unicode.") from error
    if "\0" in text:
        raise InputError(f"The filter holds a NUL character: {text!r:.80}.", hint="Take it out.")
    return text


# --------------------------------------------------------------------------- reading

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<date>\d{4}-\d{2}-\d{2}(?:T[\d:.]+(?:Z|[+-]\d{2}:?\d{2})?)?)
  | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<text>'(?:[^'\\]|''|\\.)*'|"(?:[^"\\]|""|\\.)*")
  | (?P<quoted>`[^`]*`)
  | (?P<mark>==|!=|<>|<=|>=|&&|\|\||[=<>()\[\],.!])
  | (?P<name>[^\W\d][\w-]*)
  | (?P<wrong>.)
  )""",
    re.X | re.S,
)
_SAME = {"==": "=", "<>": "!=", "&&": "and", "||": "or", "!": "not", "none": "null"}
_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
_MIRROR = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True)
class _Token:
    kind: str  # date, number, text, quoted, mark, name, word, end
    text: str
    at: int


class Parser:
    """Recursive descent: or → and → not → test. One instance reads one expression."""

    def __init__(self, source: str) -> None:
        self.source = sound(source)
        if len(source) > _LONGEST:
            raise InputError(
                f"The filter has {len(source):,} characters; {_LONGEST:,} are the most.",
                hint="Give long lists as a dict: filters={'id': [...]}.",
            )
        self._read: list[_Token] | None = None
        self.next = 0
        self.tests = 0

    @property
    def tokens(self) -> list[_Token]:
        if self._read is None:
            self._read = self._tokens()
        return self._read

    def _tokens(self) -> list[_Token]:
        found, at, end = [], 0, len(self.source.rstrip())
        while at < end:
            match = _TOKEN.match(self.source, at)
            assert match is not None, "the last alternative matches any character"
            assert match.lastgroup is not None
            kind, text, start = match.lastgroup, match.group(match.lastgroup), match.start(match.lastgroup)
            if kind == "wrong":
                opening = text in "'\"`"
                self._fail(
                    start, f"this {text} is never closed" if opening else f"{text!r} means nothing here"
                )
            low = _SAME.get(text.lower(), text.lower())
            if (kind == "name" and low in _WORDS) or low in ("and", "or", "not"):
                kind, text = "word", low
            elif kind == "mark":
                text = low
            found.append(_Token(kind, text, start))
            at = match.end()
        found.append(_Token("end", "", end))
        return found

    def _fail(self, at: int, what: str) -> NoReturn:
        begin = max(0, at - 50)
        line = self.source[begin : at + 30].replace("\n", " ").replace("\t", " ")
        raise InputError(
            f"The filter cannot be read at character {at + 1}: {what}.\n  {line}\n  {' ' * (at - begin)}^",
            hint="For example: year >= 2020 and topic in ('a', 'b') and not draft = true",
        )

    def _expected(self, what: str) -> NoReturn:
        token = self.tokens[self.next]
        seen = "the filter ends" if token.kind == "end" else f"here is {token.text!r}"
        self._fail(token.at, f"{what} is expected, and {seen}")

    def _take(self, *texts: str) -> str:
        token = self.tokens[self.next]
        if token.kind in ("mark", "word") and token.text in texts:
            self.next += 1
            return token.text
        return ""

    def whole(self) -> Node:
        if not self.source.strip():
            return Group("and", ())
        node = self._either(0)
        if self.tokens[self.next].kind != "end":
            self._expected("'and', 'or' or the end")
        return node

    def only_key(self) -> Key:
        """A key and nothing else, for dicts: what is not written as a path of names is one name."""
        return self._key() if _WAY.fullmatch(self.source) else Key((self._step(self.source, 0),))

    def _either(self, depth: int) -> Node:
        items = [self._both(depth)]
        while self._take("or"):
            items.append(self._both(depth))
        return items[0] if len(items) == 1 else Group("or", tuple(items))

    def _both(self, depth: int) -> Node:
        items = [self._negation(depth)]
        while self._take("and"):
            items.append(self._negation(depth))
        return items[0] if len(items) == 1 else Group("and", tuple(items))

    def _negation(self, depth: int) -> Node:
        if depth > _DEEPEST:
            self._fail(self.tokens[self.next].at, f"more than {_DEEPEST} levels of parentheses and 'not'")
        if self._take("not"):
            return Not(self._negation(depth + 1))
        if self._take("("):
            node = self._either(depth + 1)
            if not self._take(")"):
                self._expected("')'")
            return node
        self.tests += 1
        if self.tests > _MOST_TESTS:
            self._fail(self.tokens[self.next].at, f"more than {_MOST_TESTS:,} comparisons; use 'in'")
        return self._turned() if self._at_literal() else self._test()

    def _test(self) -> Node:
        key = self._key()
        if operator := self._take(*_COMPARISONS):
            return self._comparison(key, operator, self._literal())
        if self._take("is"):
            negated = bool(self._take("not"))
            if not self._take("null"):
                self._expected("'null'")
            return Test(key, "null", negated=negated)
        negated = bool(self._take("not"))
        if self._take("in"):
            return Test(key, "in", self._list(), negated)
        if self._take("contains"):
            return Test(key, "contains", self._literal(), negated)
        if self._take("like"):
            token, value = self.tokens[self.next], self._literal()
            if not isinstance(value, str) or len(value) > _LONGEST_PATTERN:
                self._fail(
                    token.at, f"a text of at most {_LONGEST_PATTERN:,} characters is expected after 'like'"
                )
            return Test(key, "like", value, negated)
        return self._expected(
            "'in', 'like' or 'contains'" if negated else "a comparison (=, !=, <, in, like, is null, …)"
        )

    def _turned(self) -> Node:
        """The value stands first: ``'law' in topics``, ``2020 <= year < 2024``."""
        value = self._literal()
        if self._take("not"):
            if not self._take("in"):
                self._expected("'in'")
            return Test(self._key(), "contains", value, negated=True)
        if self._take("in"):
            return Test(self._key(), "contains", value)
        if not (operator := self._take(*_COMPARISONS)):
            self._expected("a comparison or 'in'")
        key = self._key()
        first = self._comparison(key, _MIRROR[operator], value)
        if not (operator := self._take(*_COMPARISONS)):
            return first
        return Group("and", (first, self._comparison(key, operator, self._literal())))

    @staticmethod
    def _comparison(key: Key, operator: str, value: Value) -> Test:
        return Test(key, "=", value, negated=True) if operator == "!=" else Test(key, operator, value)

    def _key(self) -> Key:
        steps: list[str] = []
        bare = False
        while True:
            token = self.tokens[self.next]
            if token.kind not in ("name", "quoted") and not (steps and token.kind == "word"):
                self._expected("the rest of the key" if steps else "a metadata key")
            self.next += 1
            bare = token.kind == "name" and not steps
            steps.append(self._step(token.text.strip("`"), token.at))
            if not self._take("."):
                break
        return Key(()) if bare and steps == ["document"] else Key(tuple(steps))

    def _step(self, name: str, at: int) -> str:
        if not name or any(c in '"\\' or ord(c) < 32 for c in name):
            self._fail(at, "a key cannot be empty or hold quotation marks, backslashes or control characters")
        return name

    def _at_literal(self) -> bool:
        token = self.tokens[self.next]
        return token.kind in ("text", "number", "date") or (
            token.kind == "word" and token.text in ("true", "false")
        )

    def _literal(self) -> Value:
        token = self.tokens[self.next]
        if token.kind == "word" and token.text == "null":
            self._fail(token.at, "null cannot be compared; write 'is null' or 'is not null'")
        if not self._at_literal():
            self._expected("a value ('text', 1.5, true, 2026-01-31)")
        self.next += 1
        if token.kind == "word":
            return token.text == "true"
        if token.kind == "text":
            mark = token.text[0]
            return re.sub(rf"{mark}{mark}|\\([\\'\"])", lambda m: m.group(1) or mark, token.text[1:-1])
        if token.kind == "date":
            try:
                short = len(token.text) == 10
                kind = datetime.date if short else datetime.datetime
                return kind.fromisoformat(token.text).isoformat()
            except ValueError as error:
                self._fail(token.at, f"{token.text} is no date ({error})")
        try:
            return int(token.text)
        except ValueError:
            number = float(token.text)
        if not math.isfinite(number):
            self._fail(token.at, f"{token.text} is too large a number")
        return number

    def _list(self) -> tuple[Value, ...]:
        opening = self._take("(", "[")
        closing = {"(": ")", "[": "]"}.get(opening, "")
        if not closing:
            self._expected("a list such as ('a', 'b')")
        values: list[Value] = []
        while not self._take(closing):
            values.append(self._literal())
            if not self._take(","):
                if self._take(closing):
                    break
                self._expected(f"',' or '{closing}'")
        return tuple(values)
