"""A question about one table → a small query tree, without a model. It understands a few forms only.

Every word of the question has to be accounted for (a column, a value of the table, a number, a
word of the forms); otherwise the question is refused by name of the word, because a query for half
a question gives a wrong answer that looks right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from headrace.errors import InputError
from headrace.text import normalise, stem

FORMS = (
    "how many rows …; how many different COLUMN; what is the average / total / highest / lowest COLUMN …; "
    "which COLUMN has the highest / lowest COLUMN; what is the COLUMN of VALUE; average COLUMN by COLUMN; "
    "each with: where COLUMN is VALUE, COLUMN over 5, COLUMN between 1 and 3, and …"
)
_AGGREGATES: Mapping[str, str] = {
    **dict.fromkeys(("average", "mean", "avg"), "AVG"),
    **dict.fromkeys(("total", "sum"), "SUM"),
    **dict.fromkeys(("highest", "maximum", "max", "largest", "greatest", "biggest"), "MAX"),
    **dict.fromkeys(("lowest", "minimum", "min", "smallest"), "MIN"),
    **dict.fromkeys(("how many", "number of", "count"), "COUNT"),
    **dict.fromkeys(("different", "distinct", "unique"), "DISTINCT"),
}
_OPERATORS: Mapping[str, str] = {
    **dict.fromkeys(("over", "above", "more than", "greater than", "higher than", "larger than"), ">"),
    **dict.fromkeys(("under", "below", "less than", "lower than", "smaller than", "fewer than"), "<"),
    **dict.fromkeys(("at least", "no less than"), ">="),
    **dict.fromkeys(("at most", "no more than", "up to"), "<="),
    **dict.fromkeys(("is not", "are not", "was not", "isn't", "not"), "!="),
    **dict.fromkeys(("contains", "containing", "contain"), "LIKE"),
    **{sign: sign for sign in (">", "<", ">=", "<=", "=", "!=")},
    **dict.fromkeys(("equals", "equal to"), "="),
}
_GROUPS = frozenset(("by", "per", "each", "for each", "in each", "of each", "for every"))
_FILLER = frozenset(
    "a an the of in on at for with to from is are was were be been there what which who where whose when "
    "that has have had do does did all any and row rows record records entry entries item items line lines "
    "table value values show me give list find tell please it its their column".split()
)
_PIECE = re.compile(
    r"\"[^\"]*\"|'[^']*'(?!\w)|-?\d+(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?%?|>=|<=|!=|[<>=]|[^\W_]+(?:['’.\-/&+][^\W_]+)*"
)
Operator = Literal["=", "!=", ">", "<", ">=", "<=", "LIKE"]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """``column operator value``."""

    column: str
    operator: str
    value: Any


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is asked of the table: ``aggregate`` over ``column`` ("" counts rows), or the column itself.

    ``group``: one result per value of that column. ``order``: only the row in which that column is
    largest (``descending``) or smallest.
    """

    aggregate: str = ""
    column: str = ""
    distinct: bool = False
    where: tuple[Condition, ...] = ()
    group: str = ""
    order: str = ""
    descending: bool = True

    def sql(self, table: str) -> str:
        """The query as SQLite reads it; names and values are quoted."""
        column = name(self.column) if self.column else "*"
        what = f"DISTINCT {column}" if self.distinct else column
        what = f"{self.aggregate}({what})" if self.aggregate else what
        shown = f"{name(self.group)}, {what}" if self.group else what
        parts = [f"SELECT {shown} FROM {name(table)}"]
        conditions = [_condition(condition) for condition in self.where]
        if self.order:
            conditions.append(f"{name(self.order)} IS NOT NULL")
        if conditions:
            parts.append("WHERE " + " AND ".join(conditions))
        if self.group:
            parts.append(f"GROUP BY {name(self.group)} ORDER BY {name(self.group)}")
        if self.order:
            parts.append(f"ORDER BY {name(self.order)} {'DESC' if self.descending else 'ASC'} LIMIT 1")
        return " ".join(parts)


def name(identifier: str) -> str:
    """A column's or table's name, quoted."""
    return '"' + identifier.replace('"', '""') + '"'


def _condition(condition: Condition) -> str:
    column, value = name(condition.column), condition.value
    if condition.operator == "LIKE":
        pattern = re.sub(r"([\\%_])", r"\\\1", str(value))
        return f"{column} LIKE {_literal(f'%{pattern}%')} ESCAPE '\\'"
    if isinstance(value, str) and condition.operator in ("=", "!="):
        return f"{column} {condition.operator} {_literal(value)} COLLATE NOCASE"
    return f"{column} {condition.operator} {_literal(value)}"


def _literal(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


# --------------------------------------------------------------------------- reading a question


@dataclass(frozen=True)
class _Token:
    kind: str  # aggregate, operator, between, group, column, value, number, filler
    value: Any
    columns: tuple[str, ...] = ()  # of a value: the columns that hold it


def understand(question: str, columns: Mapping[str, bool], values: Mapping[str, Mapping[str, str]]) -> Query:
    """The query that a question asks for.

    ``columns``: name → whether it holds numbers. ``values``: column → its texts, normalised → as
    they stand. Raises InputError, with the forms that are understood, for anything else.
    """
    tokens = _tokens(question, columns, values)
    conditions, rest = _conditions(tokens, columns, question)
    exact = [condition.column for condition in conditions if condition.operator == "="]
    if twice := [column for column in exact if exact.count(column) > 1]:
        raise _refuse(question, f"{twice[0]!r} cannot be two things at once", columns)
    return replace(_asked(rest, columns, question), where=tuple(conditions))


def _refuse(question: str, why: str, columns: Mapping[str, bool]) -> InputError:
    return InputError(
        f"The question {question!r:.100} is not understood: {why}.",
        hint=f"Columns: {', '.join(columns)}. Understood without a model: {FORMS}. Or name a model.",
    )


def _key(text: str) -> str:
    """A phrase for comparing: compatibility forms, lower case, words by their stems."""
    return " ".join(stem(word) for word in re.findall(r"[^\W_]+", normalise(text)))


def _tokens(
    question: str, columns: Mapping[str, bool], values: Mapping[str, Mapping[str, str]]
) -> list[_Token]:
    pieces = _PIECE.findall(question)
    named = {_key(column): column for column in columns}
    held: dict[str, dict[str, str]] = {}
    for column, texts in values.items():
        for key, text in texts.items():
            held.setdefault(key, {})[column] = text
    longest = max([3, *(len(key.split()) for key in [*named, *held])])
    found: list[_Token] = []
    at = 0
    while at < len(pieces):
        for size in range(min(longest, len(pieces) - at), 0, -1):
            token = _token(pieces[at : at + size], named, held)
            if token is not None:
                found.append(token)
                at += size
                break
        else:
            why = f"{pieces[at]!r} is no column and no value of the table"
            raise _refuse(question, why, columns)
    return found


def _token(
    pieces: Sequence[str], named: Mapping[str, str], held: Mapping[str, Mapping[str, str]]
) -> _Token | None:
    phrase = normalise(" ".join(pieces))
    if len(pieces) == 1 and pieces[0][0] in "\"'" and len(pieces[0]) > 1:
        text = pieces[0][1:-1]
        return _Token("value", text, tuple(held.get(normalise(text), {})))
    if len(pieces) == 1 and re.fullmatch(r"-?\d[\d,]*(\.\d+)?%?", pieces[0]) and phrase not in held:
        number = float(pieces[0].replace(",", "").rstrip("%"))
        return _Token("number", int(number) if number.is_integer() else number)
    if (column := named.get(_key(phrase))) is not None:
        return _Token("column", column)
    if (columns := held.get(phrase)) is not None and (phrase not in _FILLER):
        return _Token("value", next(iter(columns.values())), tuple(columns))
    if phrase in _AGGREGATES:
        return _Token("aggregate", _AGGREGATES[phrase])
    if phrase in _OPERATORS:
        return _Token("operator", _OPERATORS[phrase])
    if phrase in _GROUPS:
        return _Token("group", phrase)
    if phrase == "between":
        return _Token("between", phrase)
    return _Token("filler", phrase) if phrase in _FILLER else None


def _conditions(
    tokens: list[_Token], columns: Mapping[str, bool], question: str
) -> tuple[list[Condition], list[_Token]]:
    """What restricts the rows, and the tokens that are left."""
    found: list[Condition] = []
    rest: list[_Token] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token.kind == "column":
            taken = _after_column(token.value, tokens[at + 1 :], columns)
            if taken is not None:
                found += taken[0]
                at += 1 + taken[1]
                continue
        if token.kind == "value":
            if len(token.columns) != 1:
                where = " and ".join(token.columns) or "no column"
                raise _refuse(question, f"{token.value!r} stands in {where}: say COLUMN is VALUE", columns)
            found.append(Condition(column=token.columns[0], operator="=", value=token.value))
        elif token.kind in ("number", "operator", "between"):
            raise _refuse(question, f"{token.value!r} belongs to no column", columns)
        else:
            rest.append(token)
        at += 1
    return found, rest


def _after_column(
    column: str, following: list[_Token], columns: Mapping[str, bool]
) -> tuple[list[Condition], int] | None:
    """Conditions that begin with this column, and how many tokens they take; None: there are none."""
    at = 0
    copula = False
    while at < len(following) and following[at].kind == "filler":
        if following[at].value not in (
            "is",
            "are",
            "was",
            "were",
            "of",
            "that",
            "has",
            "have",
            "a",
            "an",
            "the",
        ):
            return None
        copula = copula or following[at].value in ("is", "are", "was", "were")
        at += 1
    if at >= len(following):
        return None
    token = following[at]
    if token.kind == "between" and at + 3 < len(following):
        low, joint, high = following[at + 1 : at + 4]
        if low.kind == high.kind == "number" and joint.value == "and":
            both = [
                Condition(column=column, operator=">=", value=low.value),
                Condition(column=column, operator="<=", value=high.value),
            ]
            return both, at + 4
    if token.kind == "operator" and at + 1 < len(following):
        value = following[at + 1]
        fits = value.kind in ("number", "value") and not (
            columns[column] and value.kind == "value" and token.value != "LIKE"
        )
        if fits and (token.value in ("=", "!=", "LIKE") or value.kind == "number"):
            return [Condition(column=column, operator=token.value, value=value.value)], at + 2
    if token.kind == "number" and (copula or at == 0):
        return [Condition(column=column, operator="=", value=token.value)], at + 1
    if token.kind == "value" and (copula or at == 0) and (not token.columns or column in token.columns):
        return [Condition(column=column, operator="=", value=token.value)], at + 1
    return None


def _asked(rest: list[_Token], columns: Mapping[str, bool], question: str) -> Query:
    """What is asked of the rows: by the aggregates, columns and groups that are left, in their order."""
    aggregates = [token.value for token in rest if token.kind == "aggregate"]
    distinct = "DISTINCT" in aggregates
    kinds = [kind for kind in aggregates if kind != "DISTINCT"]
    group = ""
    asked: list[tuple[str, bool]] = []  # column, whether an aggregate stands before it
    seen_aggregate = by = False
    for token in rest:
        if token.kind == "group":
            by = True
        elif token.kind == "aggregate" and token.value != "DISTINCT":
            seen_aggregate = True
        elif token.kind == "column":
            if by and not group:
                group = token.value
            else:
                asked.append((token.value, seen_aggregate))
    if by and not group:
        raise _refuse(question, "it does not say by which column", columns)
    if len(kinds) > 1:
        raise _refuse(question, "it asks for several things at once", columns)
    kind = kinds[0] if kinds else ""
    if kind == "COUNT":
        if len(asked) > 1:
            raise _refuse(question, "it is not clear what is counted", columns)
        column = asked[0][0] if asked else ""
        if column and not distinct:
            why = f"say 'how many different {column}', or 'how many rows'"
            raise _refuse(question, why, columns)
        return Query(aggregate="COUNT", column=column, distinct=distinct and bool(column), group=group)
    if kind in ("MAX", "MIN") and asked and not columns[asked[-1][0]]:
        raise _refuse(question, f"{asked[-1][0]!r} does not hold numbers", columns)
    if kind in ("MAX", "MIN") and len(asked) == 2 and not asked[0][1] and asked[1][1] and not group:
        return Query(column=asked[0][0], order=asked[1][0], descending=kind == "MAX")
    if len(asked) != 1:
        why = "it names no column to answer with" if not asked else "it names several columns"
        raise _refuse(question, why, columns)
    column = asked[0][0]
    if kind in ("MAX", "MIN") and any(token.value in ("which", "who") for token in rest):
        raise _refuse(question, f"it does not say which column to answer with, beside {column!r}", columns)
    if kind in ("AVG", "SUM") and not columns[column]:
        raise _refuse(question, f"{column!r} does not hold numbers", columns)
    if group and not kind:
        raise _refuse(question, "a group needs an average, a total, a count or the like", columns)
    return Query(aggregate=kind, column=column, distinct=distinct or not kind, group=group)
