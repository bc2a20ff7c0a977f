"""Sentences, words and normalising: what readers, guards, metrics and answers all share.

Pure functions over ``str``. Offsets are code points.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)?")
# A full stop, question or exclamation mark (or its CJK, Arabic, Devanagari kin), closing quotes or
# brackets, then white space; the wide kin need no white space after them.
_END = re.compile(
    r"(?:[.!?…؟۔।]+[\"'”’»)\]]*(?=\s))|(?:[。！？]+[」』”’）]*)|(?:\n[ \t\r]*\n)"
    r"|(?:\n(?=[ \t]*(?:[-*+•‣][ \t]|\d{1,3}[.)][ \t]|#{1,6}[ \t]|\|)))"  # items of lists, headings, rows
)
_SHORT = frozenset(
    "mr mrs ms dr prof sr jr st vs etc e.g i.e cf fig eq no vol pp p al inc ltd co corp dept est "
    "approx ca jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k a.m p.m ph.d gen col lt sgt "
    "rev hon gov pres".split()
)
_MAY_END = frozenset(
    "etc inc ltd co corp a.m p.m u.s u.k "
    "jan feb mar apr jun jul aug sep sept oct nov dec al jr sr ph.d".split()
)

STOPWORDS = frozenset(
    """a about above after again against all also am an and any are as at be because been before being
    below between both but by can could did do does doing down during each few for from further had has
    have having he her here hers herself him himself his how i if in into is it its itself just me more
    most my myself no nor not now of off on once only or other our ours ourselves out over own same she
    should so some such than that the their theirs them themselves then there these they this those
    through to too under until up very was we were what when where which while who whom why will with
    would you your yours yourself yourselves""".split()
)


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans (start, end) of the sentences, white space around them left out.

    Cuts at sentence marks, blank lines and before items of lists; not after common abbreviations,
    initials, the dot of a number or of a list's numbering, nor where a quotation goes on. Text
    without any mark is one sentence.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _END.finditer(text):
        mark = match.group()
        if mark[0] == ".":
            if _is_abbreviation(text, match.start(), match.end()):
                continue
        elif (
            mark[0] in "!?…" and mark[-1] in '"”»' and text[match.end() : match.end() + 2].lstrip().islower()
        ):
            continue  # "Is it?" she asked.
        _append(spans, text, start, match.end())
        start = match.end()
    _append(spans, text, start, len(text))
    return spans


def _append(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if end > start:
        spans.append((start, end))


def _is_abbreviation(text: str, dot: int, end: int) -> bool:
    begin = dot
    while begin > 0 and not text[begin - 1].isspace() and text[begin - 1] not in "([\"'“‘":
        begin -= 1
    word = text[begin:dot].lower()
    following = _WORD.match(text, end + len(text[end : end + 8]) - len(text[end : end + 8].lstrip()))
    after = following.group() if following else ""
    if word == "no":
        return after[:1].isdigit()  # "no. 5"; otherwise it is an answer
    if word in _SHORT:
        # "etc." and "a.m." may also end a sentence: then a word that begins sentences follows
        return not (word in _MAY_END and after[:1].isupper() and after.lower() in STOPWORDS)
    if len(word) == 1 and word.isalpha() and text[begin].isupper():
        return after.lower() not in STOPWORDS  # an initial ("J. Smith"), but "plan B. Then"
    if word.isdigit() and len(word) <= 3 and not text[text.rfind("\n", 0, begin) + 1 : begin].strip():
        return True  # the number of a list's item
    return bool(after) and after[0].islower()


def words(text: str) -> list[str]:
    """Words and numbers in lower case, accents kept, apostrophes inside a word kept."""
    return [match.group().lower().replace("’", "'") for match in _WORD.finditer(text)]


def word_spans(text: str) -> list[tuple[int, int]]:
    """Spans (start, end) of what :func:`words` returns."""
    return [match.span() for match in _WORD.finditer(text)]


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """A light English stemmer (plural and verb endings): for matching, never for display.

    After Harman's S-stemmer (JASIS 42, 1991), with -ed and -ing taken off longer words.
    """
    if word.endswith("'s"):
        word = word[:-2]
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 4 and word.endswith(("sses", "xes", "ches", "shes", "zes")):
        word = word[:-2]
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if len(word) > len(ending) + 3 and word.endswith(ending):
            word = word[: -len(ending)]
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word[:-1] if len(word) > 4 and word.endswith("e") else word


def content_words(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order: stop words left out."""
    return [stem(word) for word in words(text) if word not in STOPWORDS]


def normalise(text: str) -> str:
    """For comparing texts: compatibility forms unified, lower case, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def shorten(text: str, width: int = 80) -> str:
    """One line of at most ``width`` code points, with an ellipsis where something was cut."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"
