"""Who is spoken of in a data set: pronouns, gender, age, religion, continent; counted, with intervals.

A row counts once for each group that it names. ``they`` is resolved by grammar and not by the string:
it counts as a person's pronoun only where the nearest noun before it that it could stand for is one
person ("a student … they"); of things and of several people it says nothing about gender. English;
the words are short lists of ours, so that rare names of a group are missed, and words with two meanings
("Jordan") are left out. How often ``they`` is right: ``tests/auditing/test_representation.py``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import InputError, NotFound
from headrace.measure.statistics import Interval, rate
from headrace.text import sentences, word_spans


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GROUPS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "gender": {
        "female": _words(
            "woman women girl girls lady ladies female females mother mothers mum mom daughter "
            "daughters sister "
            "sisters wife wives aunt aunts niece nieces grandmother queen princess actress waitress "
            "girlfriend "
            "bride widow mrs ms miss madam"
        ),
        "male": _words(
            "man men boy boys gentleman gentlemen male males father fathers dad son sons brother "
            "brothers husband "
            "husbands uncle uncles nephew nephews grandfather king prince actor waiter boyfriend "
            "groom widower mr sir"
        ),
        "other": _words("nonbinary non-binary transgender genderqueer intersex agender"),
    },
    "age": {
        "child": _words("child children kid kids baby babies infant infants toddler toddlers boy "
        "girl boys girls"),
        "teenager": _words("teenager teenagers teen teens adolescent adolescents youth youths"),
        "adult": _words("adult adults grown-up grown-ups middle-aged"),
        "older": _words("elderly senior seniors pensioner pensioners retiree retirees retired octogenarian"),
    },
    "religion": {
        "christian": _words(
            "christian christians christianity catholic catholics protestant protestants church "
            "churches bible "
            "jesus orthodox baptist methodist lutheran pope"
        ),
        "muslim": _words("muslim muslims islam islamic mosque mosques quran koran sunni shia imam"),
        "jewish": _words("jew jews jewish judaism synagogue synagogues torah rabbi"),
        "hindu": _words("hindu hindus hinduism vedas brahmin"),
        "buddhist": _words("buddhist buddhists buddhism buddha zen"),
        "sikh": _words("sikh sikhs sikhism gurdwara"),
        "none": _words("atheist atheists atheism agnostic agnostics"),
    },
    "continent": {
        "africa": _words(
            "africa african africans egypt egyptian nigeria nigerian kenya kenyan ethiopia "
            "ethiopian ghana morocco "
            "moroccan algeria algerian tanzania uganda senegal congo sudan tunisia zimbabwe somalia"
        ),
        "asia": _words(
            "asia asian asians china chinese india indian indians japan japanese korea korean "
            "indonesia vietnam "
            "vietnamese thailand thai pakistan pakistani bangladesh iran iranian iraq iraqi israel "
            "israeli nepal "
            "philippines filipino malaysia singapore mongolia mongol mongols afghanistan"
        ),
        "europe": _words(
            "europe european europeans germany german germans france french britain british england "
            "english scotland "
            "scottish ireland irish wales welsh spain spanish italy italian italians poland polish "
            "russia russian "
            "russians ukraine ukrainian greece greek greeks portugal portuguese sweden swedish "
            "norway norwegian "
            "denmark danish finland finnish austria austrian switzerland swiss hungary hungarian "
            "netherlands dutch "
            "belgium belgian romania czech"
        ),
        "north america": _words(
            "usa u.s. america american americans canada canadian canadians mexico mexican mexicans "
            "cuba cuban haiti "
            "jamaica jamaican california texas florida"
        ),
        "south america": _words(
            "brazil brazilian brazilians argentina argentine chile chilean peru peruvian colombia colombian "
            "venezuela venezuelan ecuador bolivia uruguay paraguay"
        ),
        "oceania": _words("oceania australia australian australians fiji samoa polynesia polynesian maori"),
    },
}  # fmt: skip
PRONOUNS: Mapping[str, frozenset[str]] = {
    "she": _words("she her hers herself"),
    "he": _words("he him his himself"),
    "they": _words("they them their theirs themselves themself"),
}
KINDS = ("pronoun", *GROUPS)

_ONE = _words(
    "someone somebody anyone anybody everyone everybody nobody person individual student teacher "
    "doctor nurse patient "
    "customer client user employee worker manager applicant candidate member author writer reader "
    "friend neighbour "
    "neighbor colleague child parent guest visitor driver player engineer lawyer artist singer "
    "scientist speaker "
    "caller owner tenant buyer seller citizen learner developer participant passenger resident "
    "victim winner partner "
    "spouse sibling baby adult kid teenager cook chef guard pilot officer"
)
_PLURAL = _words(
    "people children men women feet teeth mice geese police cattle data media twins parents they we both"
)
_NOT_NOUNS = _words(
    "is was has does this his its us as yes always perhaps thus plus less unless across towards besides"
)
_ARTICLE = _words("a an the each every any one some this that no my your his her our their another")


@dataclass(frozen=True, kw_only=True)
class Group:
    """``rows`` of ``of`` rows name the group; ``mentions``: how often; ``share`` with its interval."""

    kind: str
    group: str
    rows: int
    mentions: int
    of: int
    share: Interval


def antecedent(text: str, at: int) -> str:
    """What the ``they`` at this place stands for: ``one person``, ``several`` (people or things) or "".

    The nearest noun before it in its sentence, else in the one before: a person's noun in the singular
    after an article, an indefinite pronoun, or a plural.
    """
    spans = [span for span in sentences(text) if span[0] <= at]
    for start, end in reversed(spans[-2:]):
        words = [(text[a:b], a) for a, b in word_spans(text[start : min(end, at)])]
        plain = [word.lower() for word, _ in words]
        for i in range(len(plain) - 1, -1, -1):
            word = plain[i]
            if word in PRONOUNS["they"] or word in _NOT_NOUNS:
                continue
            if word in ("someone", "somebody", "anyone", "anybody", "everyone", "everybody", "nobody"):
                return "one person"
            if word in _ONE and _ARTICLE & set(plain[max(0, i - 3) : i]):
                return "one person"
            if word in _PLURAL or (_is_plural(word) and not _verb(plain, i)):
                return "several"
            if "and" in plain[max(0, i - 1) : i] and words[i][0][:1].isupper():
                return "several"  # Ana and Ben … they
    return ""


def _is_plural(word: str) -> bool:
    return len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is", "'s"))


def _verb(plain: Sequence[str], at: int) -> bool:
    """ "the student writes", "he writes": an s after one person's noun is the verb's."""
    before = plain[at - 1] if at else ""
    return before in _ONE or before in ("he", "she", "it", "who", "to", "someone", "everyone")


def mentions(text: str, kinds: Sequence[str] = KINDS) -> Iterator[tuple[str, str, int, int]]:
    """``(kind, group, start, end)`` of each word that names a group, in order."""
    for start, end in word_spans(text):
        word = text[start:end].lower().replace("’", "'").removesuffix("'s")
        if "pronoun" in kinds:
            for group, words in PRONOUNS.items():
                if word in words and (group != "they" or antecedent(text, start) == "one person"):
                    yield "pronoun", group, start, end
        for kind, groups in GROUPS.items():
            if kind in kinds:
                for group, listed in groups.items():
                    if word in listed:
                        yield kind, group, start, end


def measure(
    texts: Sequence[str], *, kinds: Sequence[str] = KINDS, confidence: float = 0.95
) -> tuple[Group, ...]:
    """Rows and mentions of each group; the share is of rows that name any group of its kind."""
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"There is no kind {kind!r} of group.", hint=f"Known: {', '.join(KINDS)}.")
    rows: dict[tuple[str, str], int] = {}
    said: dict[tuple[str, str], int] = {}
    any_of: dict[str, int] = dict.fromkeys(kinds, 0)
    for text in texts:
        found = [(kind, group) for kind, group, _, _ in mentions(text, kinds)]
        for one in found:
            said[one] = said.get(one, 0) + 1
        for one in set(found):
            rows[one] = rows.get(one, 0) + 1
        for kind in {kind for kind, _ in found}:
            any_of[kind] += 1
    made = []
    for kind in kinds:
        for group in PRONOUNS if kind == "pronoun" else GROUPS[kind]:
            n = rows.get((kind, group), 0)
            made.append(
                Group(
                    kind=kind,
                    group=group,
                    rows=n,
                    mentions=said.get((kind, group), 0),
                    of=any_of[kind],
                    share=rate(n, any_of[kind], confidence),
                )
            )
    return tuple(made)


def column(path: Path, name: str) -> list[str]:
    """The texts of a column of a csv file, of a key of JSON lines, or the lines of a text file (no name).

    Rows where it is empty or missing are ""; InputError where no row has it, with the known names.
    """
    if not path.is_file():
        raise NotFound(f"There is no file {str(path)!r}.", hint="Name a .csv, .tsv, .jsonl or .txt file.")
    if path.suffix.lower() in (".csv", ".tsv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows: list[Any] = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    elif path.suffix.lower() in (".jsonl", ".json"):
        rows = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise InputError(
                        f"{path}:{number} is no JSON: {error.msg}.", hint="One object a line."
                    ) from error
    else:
        return path.read_text(encoding="utf-8").splitlines()
    known = list(dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row))
    if name not in known:
        raise InputError(
            f"{str(path)!r} has no column {name!r}.", hint=f"Known: {', '.join(map(str, known)) or 'none'}."
        )
    return [str(row.get(name) or "") if isinstance(row, dict) else "" for row in rows]
