"""The hard facts of a text: numbers, dates and names, each in one normal form.

``1,000`` is ``1000`` is ``one thousand``; ``5 %`` is ``5 percent``; ``3 May 2019`` is ``2019-05-03``;
``Dr. Curie's`` is the last name of ``Marie Curie``. Rules for English and for digits everywhere; names
are capitalised words, so that scripts without capitals have none. Pure functions, no model; what a
fact is compared with is ``grounding``'s.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from headrace.text import STOPWORDS

Kind = Literal["number", "date", "name"]

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
).split()
MONTHS = ("january february march april may june july august september october november december").split()
_VALUES = {word: i for i, word in enumerate(ONES)} | {word: 20 + 10 * i for i, word in enumerate(TENS)}
_MONTH = (
    {name: i for i, name in enumerate(MONTHS, 1)}
    | {name[:3]: i for i, name in enumerate(MONTHS, 1) if name != "may"}
    | {"sept": 9}
)
UNITS = {
    unit: names[0]
    for names in (
        line.split()
        for line in (
            "km kilometre kilometres kilometer kilometers kms",
            "m metre metres meter meters",
            "cm centimetre centimetres centimeter centimeters",
            "mm millimetre millimetres millimeter millimeters",
            "mi mile miles",
            "ft foot feet",
            "in-length inch inches",
            "yd yard yards",
            "kg kilogram kilograms kilogramme kilogrammes",
            "g gram grams gramme grammes",
            "lb lbs pound-weight",
            "t tonne tonnes",
            "ha hectare hectares",
            "acre acres",
            "l litre litres liter liters",
            "s second seconds sec secs",
            "min minute minutes mins",
            "h hour hours hr hrs",
            "day days",
            "week weeks",
            "month months",
            "year years yr yrs",
            "decade decades",
            "c °c celsius",
            "f °f fahrenheit",
            "% percent pct",
            "$ dollar dollars usd",
            "€ euro euros eur",
            "£ pounds gbp",
            "¥ yen",
            "w watt watts",
            "kw kilowatt kilowatts",
            "mw megawatt megawatts",
            "gb gigabyte gigabytes",
            "mb megabyte megabytes",
            "kb kilobyte kilobytes",
        )
    )
    for unit in names
}
NEARLY = 0.05  # how far off a number said with one of these words may be
APPROXIMATE = frozenset(
    "about around approximately approx roughly nearly almost over under some circa ca "
    "than least most estimated".split()
)

_NUMBER_WORD = "|".join(sorted([*ONES, *TENS], key=len, reverse=True))
_ORDINAL = "|".join(sorted(ORDINALS[1:], key=len, reverse=True))
_MONTH_NAME = (
    r"(?:jan(?:uary|\.)?|feb(?:ruary|\.)?|mar(?:ch|\.)?|apr(?:il|\.)?|may|june?\.?|july?\.?|aug(?:ust|\.)?|"
    r"sept?(?:ember|\.)?|oct(?:ober|\.)?|nov(?:ember|\.)?|dec(?:ember|\.)?)"
)
_DAY = r"(?:[12]\d|3[01]|0?[1-9])(?:st|nd|rd|th)?"
_YEAR = r"(?:1\d{3}|20\d{2}|2100)"
_DATES = (
    ("iso", re.compile(r"(?<![\d-])(\d{4})-(\d{2})-(\d{2})(?![\d-])")),
    ("dmy", re.compile(rf"\b({_DAY})(?: of)? ({_MONTH_NAME}),? ({_YEAR})\b", re.IGNORECASE)),
    ("mdy", re.compile(rf"\b({_MONTH_NAME}) ({_DAY}),? ({_YEAR})\b", re.IGNORECASE)),
    ("my", re.compile(rf"\b({_MONTH_NAME})(?: of)?,? ({_YEAR})\b", re.IGNORECASE)),
    ("dm", re.compile(rf"\b({_DAY})(?: of)? ((?-i:[A-Z])\w+\.?)(?!\w)", re.IGNORECASE)),
    ("md", re.compile(rf"\b((?-i:[A-Z])\w+\.?) ({_DAY})(?![\w,.]*\d)\b", re.IGNORECASE)),
    ("slash", re.compile(r"(?<![\d/])(\d{1,2})/(\d{1,2})/(\d{4})(?![\d/])")),
    (
        "century",
        re.compile(
            rf"\b(?:(\d{{1,2}})(?:st|nd|rd|th)|({_ORDINAL}|twenty-first))[ -]centur(?:y|ies)\b", re.IGNORECASE
        ),
    ),
    ("decade", re.compile(r"(?<![\w.,])(\d{3}0)['’]?s\b")),
    ("years", re.compile(rf"(?<![\w.,/$£€])({_YEAR})\s?[-–—/]\s?(\d{{4}}|\d{{2}})(?![\w%]|[.,]\d)")),
    (
        "month",
        re.compile(
            r"\b(?:every|each|next|this|in|on|since|until|till|by|of|early|late|mid|last|during|from|to|between|"
            r"and) ((?-i:[A-Z])(?-i:[a-z])+)(?!\w)",
            re.IGNORECASE,
        ),
    ),
    ("era", re.compile(r"(?<![\w.,])(\d{1,4}) (BCE?|CE|AD)\b")),
    (
        "year",
        re.compile(
            rf"(?<![\w.,/$£€:-])({_YEAR})(?![\w%]|[.,:]\d|[ -](?:{{units}})\b)".replace(
                "{units}",
                "km|m|mi|miles|metres|meters|feet|ft|acres|kg|people|students|men|square|years|seats|pounds",
            )
        ),
    ),
)
_CLOCK = re.compile(r"(?<![\w.:])(\d{1,2}):(\d{2})(?::\d{2})?(?![\d:])")
_DIGITS = re.compile(
    r"(?<![\w.])(?P<money>(?:US|A|C|NZ|HK)?[$£€¥]\s?)?"
    r"(?P<whole>\d{1,3}(?:[,\u00a0\u202f\u2009' ]\d{3})+(?!\d)|\d+)(?P<part>\.\d+)?(?P<rank>st|nd|rd|th)?"
)
_WORDS = re.compile(
    rf"\b(?P<first>{_NUMBER_WORD}|a|half a)(?P<rest>(?:[ -](?:and )?(?:{_NUMBER_WORD}|hundred|thousand|"
    rf"million|billion|trillion))*)(?P<last>[ -](?:{_ORDINAL}))?\b|\b(?P<rank>{_ORDINAL})\b",
    re.IGNORECASE,
)
_SCALE = re.compile(r"[ -]?(hundred|thousand|million|billion|trillion)\b|(bn|tn)\b", re.IGNORECASE)
_UNIT = re.compile(r"\s?-?(%|°[CF]\b|per ?cent\b|[^\W\d_]+)")
_NAME_WORD = re.compile(r"(?:[^\W\d_]\.){2,}|[^\W\d_](?:[\w&]|['’](?=\w)|-(?=[^\W_a-z]))*\.?")
_JOINS = frozenset("of de von van der den la le du di da al bin ibn y del des the".split())
_TITLES = frozenset(
    "mr mrs ms miss dr prof professor sir lord lady president king queen pope saint st the prince princess "
    "general captain emperor empress bishop archbishop cardinal colonel major lieutenant sergeant commander "
    "governor senator minister chancellor duke duchess earl father".split()
)
_SKIPPED = _TITLES | _JOINS
_OPENERS = frozenset(
    "although however according though despite while unlike like among amongst within without since because "
    "also another many most several some such both each every either neither one two three first second "
    "third next finally later earlier today currently originally initially eventually moreover furthermore "
    "additionally thus therefore hence meanwhile instead rather yes no yet still even perhaps overall "
    "following based located known called named founded born built given due prior besides along across "
    "around near upon via per throughout toward towards until whether whereas whose "
    "that there here it its".split()
)

# endings that names rarely have: such a first word, not seen before, is an ordinary one
_ORDINARY = ("tion", "sion", "ment", "ing", "ness", "ity", "ly", "ance", "ence", "ism", "ure", "age")


@dataclass(frozen=True)
class Fact:
    """``text[start:end]`` says a number, a date or a name.

    ``value``: of a number its value; of a date ``(year, month, day)`` with None for what is not said,
    or ``(word, number)`` for centuries and decades; of a name its words, normalised. ``unit``: of a
    number, normalised, or "" (``rank`` for ordinals).
    """

    kind: Kind
    text: str
    start: int
    end: int
    value: float | tuple[object, ...]
    unit: str = ""

    @property
    def key(self) -> str:
        return f"#{self.kind}:{self.value}:{self.unit}"


def facts(text: str, *, known: Collection[str] = (), common: Collection[str] = ()) -> list[Fact]:
    """All facts in order of their place; none overlap.

    ``known``: words (lower case) known to be names, ``common``: known to be ordinary words; they
    decide whether the capital of a sentence's first word means anything.
    """
    taken = bytearray(len(text))
    found: list[Fact] = []
    for fact in (*_dates(text, taken), *_numbers(text, taken)):
        found.append(fact)
    found.extend(_names(text, taken, known, common))
    return sorted(found, key=lambda fact: fact.start)


def _free(taken: bytearray, start: int, end: int) -> bool:
    if any(taken[start:end]):
        return False
    taken[start:end] = b"\x01" * (end - start)
    return True


def _month(name: str) -> int | None:
    return _MONTH.get(name.lower().rstrip("."))


def _day(written: str) -> int:
    return int(re.sub(r"\D", "", written))


def _dates(text: str, taken: bytearray) -> Iterator[Fact]:
    for name, pattern in _DATES:
        for match in pattern.finditer(text):
            for value, group in _date_values(name, match):
                start, end = match.span(group)
                if _free(taken, start, end):
                    yield Fact("date", text[start:end], start, end, value)


def _date_values(name: str, match: re.Match[str]) -> Iterator[tuple[tuple[object, ...], int]]:
    part = match.group
    if name == "iso":
        if 1 <= int(part(2)) <= 12 and 1 <= int(part(3)) <= 31:
            yield (int(part(1)), int(part(2)), int(part(3))), 0
    elif name == "dmy":
        yield (int(part(3)), _month(part(2)), _day(part(1))), 0
    elif name == "mdy":
        yield (int(part(3)), _month(part(1)), _day(part(2))), 0
    elif name == "my":
        yield (int(part(2)), _month(part(1)), None), 0
    elif name == "dm":
        if _month(part(2)):
            yield (None, _month(part(2)), _day(part(1))), 0
    elif name == "md":
        if _month(part(1)):
            yield (None, _month(part(1)), _day(part(2))), 0
    elif name == "slash":
        first, second = int(part(1)), int(part(2))
        if first <= 12 < second <= 31 or first == second <= 12:
            yield (int(part(3)), first, second), 0
        elif second <= 12 < first <= 31:
            yield (int(part(3)), second, first), 0
        elif first <= 12 and second <= 12:  # nobody can know which is the month
            yield (int(part(3)), ("either", *sorted((first, second))), None), 0
    elif name == "century":
        written = part(2)
        number = int(part(1)) if part(1) else 21 if "-" in written else ORDINALS.index(written.lower())
        yield ("century", number), 0
    elif name == "decade":
        yield ("decade", int(part(1))), 0
    elif name == "years":
        first = int(part(1))
        second = int(part(2)) if len(part(2)) == 4 else first // 100 * 100 + int(part(2))
        if second >= first:
            yield (first, None, None), 1
            yield (second, None, None), 2
    elif name == "month":
        if part(1).lower() in MONTHS:
            yield (None, _month(part(1)), None), 1
    elif name == "era":
        yield (-int(part(1)) if part(2).startswith("BC") else int(part(1)), None, None), 0
    else:
        yield (int(part(1)), None, None), 0


def _numbers(text: str, taken: bytearray) -> Iterator[Fact]:
    for match in _CLOCK.finditer(text):
        if int(match[2]) < 60 and _free(taken, *match.span()):
            yield Fact("number", match.group(), *match.span(), ("clock", int(match[1]), int(match[2])))
    for match in _DIGITS.finditer(text):
        start, end = match.span()
        if any(taken[start:end]):
            continue
        value = float(re.sub(r"\D", "", match["whole"]) + (match["part"] or ""))
        unit = "rank" if match["rank"] else ""
        if not unit:
            value, end = _scaled(text, value, end)
            unit, end = _unit(text, end, match["money"] or "")
        if _free(taken, start, end):
            yield Fact("number", text[start:end], start, end, value, unit)
    for match in _WORDS.finditer(text):
        start, end = match.span()
        read = _spelled(match)
        if read is None or any(taken[start:end]):
            continue
        value, unit = read
        if not unit:
            unit, end = _unit(text, end, "")
        if _free(taken, start, end):
            yield Fact("number", text[start:end], start, end, value, unit)


def _scaled(text: str, value: float, end: int) -> tuple[float, int]:
    while match := _SCALE.match(text, end):
        value *= SCALES[match[1].lower()] if match[1] else {"bn": 1e9, "tn": 1e12}[match[2].lower()]
        end = match.end()
    return value, end


def _unit(text: str, end: int, money: str) -> tuple[str, int]:
    if money:
        return UNITS.get(money.strip()[-1:], ""), end
    match = _UNIT.match(text, end)
    if match is None:
        return "", end
    word = match[1].lower().replace("per cent", "%").replace("percent", "%")
    if word in UNITS and word not in ("in", "a"):
        return UNITS[word], match.end()
    return "", end


def _spelled(match: re.Match[str]) -> tuple[float, str] | None:
    """The value of number words; None where they say none ("one of them", "a")."""
    if match["rank"]:
        return float(ORDINALS.index(match["rank"].lower())), "rank"
    first = match["first"].lower()
    rest = re.sub(r"\band\b", " ", (match["rest"] or "").lower()).replace("-", " ").split()
    if first in ("a", "half a", "one") and not (rest and rest[0] in SCALES):
        return None
    total, group = 0.0, {"a": 1.0, "half a": 0.5}.get(first, float(_VALUES.get(first, 0)))
    for word in rest:
        if word == "hundred":
            group *= 100
        elif word in SCALES:
            total += group * SCALES[word]
            group = 0
        else:
            group += _VALUES[word]
    if match["last"]:
        return total + group + ORDINALS.index(match["last"].lower().strip(" -")), "rank"
    return total + group, ""


# --------------------------------------------------------------------------- names


def _names(text: str, taken: bytearray, known: Collection[str], common: Collection[str]) -> Iterator[Fact]:
    words = [m for m in _NAME_WORD.finditer(text) if not taken[m.start()]]
    at = 0
    while at < len(words):
        if not _capital(words[at].group()):
            at += 1
            continue
        last = at
        while True:
            step = _next_part(text, words, last)
            if step is None:
                break
            last = step
        begin = at
        while begin <= last and _opens(text, words, begin, last, known, common):
            begin += 1
        at = last + 1
        while begin < last and _plain(words[begin].group()) in _SKIPPED:
            begin += 1
        if begin > last:
            continue
        start, end = words[begin].start(), words[last].end()
        if text[end - 1] == "." and text[start:end].count(".") == 1:
            end -= 1
        value = name_words(text[start:end])
        if value and _free(taken, start, end):
            yield Fact("name", text[start:end], start, end, value)


def _capital(word: str) -> bool:
    return (word[0].isupper() and _plain(word) != "i") or any(letter.isupper() for letter in word[1:])


def _plain(word: str) -> str:
    return word.lower().rstrip(".").replace("’", "'").removesuffix("'s")


def _next_part(text: str, words: list[re.Match[str]], at: int) -> int | None:
    """The next word of the same name, over at most two joining words."""
    here = at
    if words[at].group().replace("’", "'").endswith("'s"):
        return None
    for _ in range(3):
        if here + 1 >= len(words):
            return None
        between = text[words[here].end() : words[here + 1].start()]
        if between not in (" ", "-", " & ", "\u00a0"):
            return None
        if text[words[here].end() - 1] == "." and len(_plain(words[here].group())) > 3:
            return None  # the end of a sentence
        here += 1
        if _capital(words[here].group()):
            return here
        if words[here].group() not in _JOINS:
            return None
    return None


def _opens(
    text: str,
    words: list[re.Match[str]],
    at: int,
    last: int,
    known: Collection[str],
    common: Collection[str],
) -> bool:
    """Whether this capital only says that a sentence begins."""
    before = text[: words[at].start()].rstrip(" \"'“‘([*_")
    if before and before[-1] not in ".!?:;\n…" and not before.endswith(("—", "–")):
        return _plain(words[at].group()) in STOPWORDS
    word = _plain(words[at].group())
    if word in STOPWORDS or word in _OPENERS:
        return True
    if words[at].group()[1:2].isupper() or word in known:
        return False
    if word in common:
        return at == last
    if at < last:
        return False
    following = words[at + 1].group() if at + 1 < len(words) else ""
    verb = following in (
        "is",
        "was",
        "were",
        "are",
        "has",
        "had",
        "did",
        "does",
        "will",
        "would",
        "also",
        "can",
    )
    verb = verb or following.endswith(("ed", "s")) or words[at].group().replace("’", "'").endswith("'s")
    return not verb or word.endswith(_ORDINARY)


def name_words(name: str) -> tuple[str, ...]:
    """The words that make a name the same name: no titles, joins, marks, possessives or plurals."""
    found = []
    for match in _NAME_WORD.finditer(name):
        word = _plain(match.group()).replace(".", "")
        if word not in _JOINS and word not in _TITLES and word != "and":
            found.append(word[:-1] if len(word) > 4 and word[-1] == "s" and word[-2] not in "su" else word)
    return tuple(found)


# --------------------------------------------------------------------------- agreement


def agree(said: Fact, source: Fact, *, loosely: bool = False) -> bool:
    """Whether the source says what was said: equal, or less than the source says.

    ``loosely``: numbers within 5 % (said with "about" and the like).
    """
    if said.kind != source.kind:
        mine, theirs = _bare(said), _bare(source)
        if mine is None or theirs is None:
            return False
        return mine == theirs or (loosely and abs(mine - theirs) <= NEARLY * abs(theirs))
    if said.kind == "date":
        return _dates_agree(said.value, source.value)
    if said.kind == "name":
        return _names_agree(said, source)
    if said.unit and source.unit and said.unit != source.unit:
        return False
    if (said.unit in ("%", "rank")) != (source.unit in ("%", "rank")):
        return False
    if said.value == source.value:
        return True
    if loosely and isinstance(said.value, float) and isinstance(source.value, float) and source.value:
        return abs(said.value - source.value) <= NEARLY * abs(source.value)
    return False


def _bare(fact: Fact) -> float | None:
    """A year and a number without a unit may be the same ("1066 knights")."""
    if fact.kind == "number" and not fact.unit and isinstance(fact.value, float):
        return fact.value
    if fact.kind == "date" and isinstance(fact.value, tuple) and isinstance(fact.value[0], int):
        return float(fact.value[0]) if fact.value[1:] == (None, None) else None
    return None


def _dates_agree(said: object, source: object) -> bool:
    assert isinstance(said, tuple)
    assert isinstance(source, tuple)
    if len(said) == 2 or len(source) == 2:
        if said == source:
            return True
        year = source[0] if len(source) == 3 else None
        if said[0] == "decade":
            return isinstance(year, int) and year // 10 * 10 == said[1]
        if said[0] == "century":
            return isinstance(year, int) and year > 0 and (year - 1) // 100 + 1 == said[1]
        return False
    for mine, theirs in zip(said, source, strict=True):
        if mine is None or mine == theirs:
            continue
        if isinstance(mine, tuple) or isinstance(theirs, tuple):  # 03/04/2019
            either, other = (mine, theirs) if isinstance(mine, tuple) else (theirs, mine)
            if other in either:
                continue
        return False
    return True


def _same_word(one: str, other: str) -> bool:
    """German and Germany: the one begins the other."""
    short, long = sorted((one, other), key=len)
    return short == long or (len(short) >= 5 and long.startswith(short))


def _names_agree(said: Fact, source: Fact) -> bool:
    assert isinstance(said.value, tuple)
    assert isinstance(source.value, tuple)
    mine, theirs = [str(w) for w in said.value], [str(w) for w in source.value]
    if mine == theirs or all(any(_same_word(a, b) for b in theirs) for a in mine):
        return True
    if set(theirs) <= set(mine) and theirs and theirs[-1] == mine[-1]:
        return True  # the source has the last name alone
    if "".join(mine) == "".join(theirs):
        return True
    for short, long in ((mine, theirs), (theirs, mine)):
        if len(short) == 1 and len(long) > 1 and short[0] == "".join(word[0] for word in long):
            return True
    # J. Smith, John A. Smith: each word of the one is a word, or the initial of one, of the other
    if mine[-1:] == theirs[-1:] and len(mine) > 1 and len(theirs) > 1:
        fewer, more = sorted((mine, theirs), key=len)
        return all(any(a == b or (1 in (len(a), len(b)) and a[0] == b[0]) for b in more) for a in fewer)
    return False
