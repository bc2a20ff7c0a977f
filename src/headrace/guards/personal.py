"""Personal data and secrets in a text: where they are, and the text with each copy masked.

Patterns with a proof where the form has one (Luhn for cards, mod 97 for IBAN, the ranges of social
security numbers and IP addresses), and words beside them where it has none (a passport, a date of birth, a
name). Every copy of a value that was found anywhere is masked, also where its surroundings say nothing,
and the same value keeps the same mark (``[EMAIL_1]``), so that the text can still be followed. What
has no form and no word beside it (a name in the middle of a story) is not found: ``benchmarks/masking.py``.

Forms after: ISO/IEC 7812 (Luhn), ISO 13616 (IBAN), RFC 5322 and 7519, E.164, SSA's rules of 2011, and
the documented prefixes of issuers' keys. Pure functions, no model. Offsets count code points of the original.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from headrace.errors import InputError
from headrace.protocols import Progress
from headrace.types import Finding

GUARD = "personal data"


@dataclass(frozen=True)
class Rule:
    """Group ``value`` of the pattern (else the whole match) is a finding where ``proof`` holds."""

    kind: str
    pattern: re.Pattern[str]
    proof: Callable[[str], bool] | None = None


@dataclass(frozen=True)
class Found:
    """``text[start:end]`` is of this kind."""

    kind: str
    start: int
    end: int


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def luhn(number: str) -> bool:
    """Whether the digits end in the right check digit (ISO/IEC 7812)."""
    digits = [int(d) for d in _digits(number)]
    doubled = [d if i % 2 == 0 else d * 2 - 9 * (d > 4) for i, d in enumerate(reversed(digits))]
    return len(digits) >= 2 and sum(doubled) % 10 == 0


def _card(text: str) -> bool:
    digits = _digits(text)
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and len(set(digits)) > 1 and luhn(digits)


_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21, "CY": 28, "CZ": 24,
    "DE": 22, "DK": 18, "EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GI": 23, "GR": 27, "HR": 21,
    "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "LB": 28, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "QA": 29, "RO": 24,
    "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26, "UA": 29,
}  # fmt: skip


def iban(text: str) -> bool:
    """Whether it is an IBAN: a country's length and the remainder 1 modulo 97 (ISO 13616)."""
    plain = re.sub(r"[\s-]", "", text).upper()
    if len(plain) != _IBAN_LENGTHS.get(plain[:2], -1) or not plain.isascii():
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _ssn(text: str) -> bool:
    area, group, serial = re.split(r"[- ]", text)
    return area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return text not in ("0.0.0.0", "127.0.0.1", "::", "::1", "255.255.255.255")


def _phone(text: str) -> bool:
    digits = _digits(text)
    return 7 <= len(digits) <= 15 and len(set(digits)) > 2


def entropy(text: str) -> float:
    """Bits a character, of the text's own letters."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values()) if text else 0.0


def _random(text: str) -> bool:
    """Letters and digits that nobody would write by hand or as a word."""
    kinds = sum(any(test(c) for c in text) for test in (str.islower, str.isupper, str.isdigit))
    return kinds >= 2 and any(c.isdigit() for c in text) and entropy(text) >= 3.3 and len(text) >= 16


_NO_SECRET = re.compile(
    r"[xX*.•<>\[\]{}$%_-]+|(?:your|my|the|some)[-_ ]?\w*|<.*>|\$\{?\w+\}?|none|null|true|false|changeme|"
    r"example|password|secret|required|optional|str|string",
    re.IGNORECASE,
)


def _placeholder(text: str) -> bool:
    return _NO_SECRET.fullmatch(text) is None


def _local_phone(text: str) -> bool:
    return _phone(text) and len(_digits(text)) >= 9


def _address_6(text: str) -> bool:
    """Not the ``a::b`` of a program."""
    return len(text) > 6 and any(c.isdigit() for c in text) and _address(text)


_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATE = (
    rf"(?:\d{{1,2}}[./-]\d{{1,2}}[./-]\d{{2,4}}|\d{{4}}-\d{{2}}-\d{{2}}|\d{{1,2}}(?:st|nd|rd|"
    rf"th)?(?: of)? {_MONTH},? \d{{4}}|"
    rf"{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}})"
)
_NAME = (
    r"(?-i:[A-ZÀ-ÖØ-Þ][\w'’-]+(?: (?:(?:de|van|von|der|den|al|bin|la) ){0,2}[A-ZÀ-ÖØ-Þ][\w'’.-]*[\w]){0,3})"
)
_STREET = (
    r"(?:street|st|road|rd|avenue|ave|lane|ln|drive|dr|boulevard|blvd|court|ct|square|sq|way|"
    r"place|pl|terrace|"
    r"crescent|close|highway|hwy|parkway)"
)
_I = re.IGNORECASE


def _rule(kind: str, pattern: str, proof: Callable[[str], bool] | None = None, flags: int = 0) -> Rule:
    return Rule(kind, re.compile(pattern, flags), proof)


# In the order in which they take a place: what is surer comes first.
RULES: tuple[Rule, ...] = (
    _rule(
        "private_key",
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        r"[\s\S]{1,20000}?-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----",
    ),
    _rule("jwt", r"\beyJ[\w-]{8,2000}\.eyJ[\w-]{4,8000}\.[\w-]{10,2000}"),
    _rule(
        "api_key",
        r"(?<![\w-])(?:sk-(?:proj-|ant-|or-)?[\w-]{20,200}|gh[pousr]_\w{36,255}|"
        r"github_pat_\w{22,255}|glpat-[\w-]{20,60}|"
        r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}|AIza[\w-]{35}|ya29\.[\w-]{20,300}|xox[abeoprs]-[\w-]{10,200}|"
        r"hf_[A-Za-z0-9]{30,60}|(?:sk|pk|rk)_(?:live|test)_\w{16,120}|"
        r"SG\.[\w-]{16,40}\.[\w-]{16,80}|npm_\w{36}|"
        r"pypi-[\w-]{50,250}|dop_v1_[a-f0-9]{64}|EAAC\w{30,300}|AGE-SECRET-KEY-1[A-Z0-9]{58}|lin_api_\w{40}|"
        r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32})(?![\w-])",
    ),
    _rule(
        "password",
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>]{1,100}:(?P<value>[^\s/@\"'<>]{1,200})@(?=[\w\[])",
        _placeholder,
    ),
    _rule(
        "password",
        r"\b(?:password|passwd|pwd|passphrase|passcode|kennwort|mot de passe)[\"']?\s{0,3}(?:[:=]|"
        r"is|was)\s{0,3}[\"']?"
        r"(?P<value>(?=[^\s\"',;]*[\d!@#$%^&*?_])[^\s\"',;]{6,100}?)(?=[\s\"',;.]|$)",
        _placeholder,
        _I,
    ),
    _rule(
        "secret",
        r"\b(?:[\w.-]{0,40}(?:secret|token|api[_-]?key|access[_-]?key|credential|"
        r"auth)[\w-]{0,20})[\"']?\s{0,3}"
        r"(?:[:=]|is)\s{0,3}[\"']?(?:bearer )?(?P<value>[A-Za-z0-9+/_=.-]{16,300})",
        _random,
        _I,
    ),
    _rule("secret", r"\bBearer (?P<value>[A-Za-z0-9+/_=.-]{20,2000})", _random, _I),
    _rule(
        "email",
        r"(?<![\w.+-])[\w.+'’-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])",
        lambda t: ".." not in t and t[0] not in ".-",
    ),
    _rule(
        "iban",
        r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{2,4}){3,8}(?:[ -]?[A-Z0-9]{1,3})?(?![A-Za-z0-9])",
        iban,
    ),
    _rule("card", r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)", _card),
    _rule("ssn", r"(?<![\w.-])\d{3}-\d{2}-\d{4}(?![\w-]|\.\d)", _ssn),
    _rule(
        "ssn",
        r"\b(?:ssn|social security(?: (?:number|no))?)\b\D{0,15}?(?P<value>\d{3} \d{2} \d{4}|\d{9})(?!\d)",
        None,
        _I,
    ),
    _rule("ip", r"(?<![\w.:-])(?<![Vv]ersion )(?:\d{1,3}\.){3}\d{1,3}(?![\w:-]|\.\d)", _address),
    _rule("ip", r"(?<![\w:.])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{1,4}(?![\w:])", _address_6),
    _rule(
        "date_of_birth",
        rf"\b(?:born(?: on)?|date of birth|birth ?date|birthday|"
        rf"d\.?o\.?b\.?)\b[\s:(is]{{0,8}}(?P<value>{_DATE})",
        None,
        _I,
    ),
    _rule(
        "passport",
        r"\bpassport(?: (?:number|no\.?|nr\.?|"
        r"id))?\b[\s.:#is]{0,6}(?P<value>(?=(?:[A-Z]*\d){4})[A-Z0-9]{6,12})\b",
        None,
        _I,
    ),
    _rule(
        "id_number",
        r"\b(?:driv(?:er'?s|ing) licen[cs]e|national (?:id|insurance)|tax(?:payer)? id|identity card|id card|"
        r"(?:medical|patient|health) (?:record|insurance|id))(?: (?:number|no\.?|nr\.?|id))?\b[\s.:#is]{0,6}"
        r"(?P<value>(?=(?:[A-Z -]*\d){4})[A-Z0-9](?:[A-Z0-9-]| (?=\d|[A-Z]\b)){4,18}[A-Z0-9])\b",
        None,
        _I,
    ),
    _rule(
        "phone",
        r"(?<![\w.+/-])\+[1-9]\d{0,2}(?:[ .()/-]{0,3}\d{1,5}){2,6}(?![\w-]|\.\d)",
        _phone,
    ),
    _rule(
        "phone",
        r"(?<![\w.+/-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.-])[2-9]\d{2}[ .-]\d{4}(?![\w-]|\.\d)",
        _phone,
    ),
    _rule(
        "phone",
        r"(?<![\w.+/-])\(?0\d{2,5}\)?[ /-]{1,3}\d{3,4}(?:[ -]?\d{2,5}){0,3}(?![\w-]|\.\d)",
        _local_phone,
    ),
    _rule(
        "phone",
        r"\b(?:tel(?:ephone)?|phone|mobile|cell|fax|whatsapp|call(?: me)?(?: (?:at|on))?|ring|"
        r"text me(?: at| on)?)"
        r"(?: (?:number|no\.?))?\b[\s.:#is]{0,5}(?P<value>\+?\(?\d[\d ().-]{5,18}\d)(?![\w-]|\.\d)",
        _phone,
        _I,
    ),
    _rule(
        "address",
        rf"(?<![\w.])(?!1[89]\d\d\b|"
        rf"20\d\d\b)\d{{1,5}}[a-z]? (?-i:[A-Z][\w'’.-]+ ){{1,4}}{_STREET}\b(?:\.(?=,))?(?:,? (?:apt|"
        rf"apartment|suite|unit|flat|#)\.? ?\w{{1,5}})?"
        r"(?:,? (?-i:[A-Z][\w'’.-]+(?: [A-Z][\w'’.-]+){0,2}),? (?-i:[A-Z]{2}) \d{5}(?:-\d{4})?)?",
        None,
        _I,
    ),
    _rule(
        "address",
        r"(?<!\w)(?-i:[A-ZÄÖÜ])[\wäöüß-]{2,30}(?:straße|strasse|str\.|gasse|weg|platz|allee) \d{1,4}[a-z]?\b"
        r"(?:,? \d{5} (?-i:[A-ZÄÖÜ])[\wäöüß-]+)?",
        None,
        _I,
    ),
    _rule(
        "name",
        rf"\b(?:my (?:full |real |last |first )?name is|"
        rf"my name['’]s|(?:full|first|last) name:|"
        rf"patient:|customer:|"
        rf"i am called|sincerely,?|"
        rf"(?:kind |best )?regards,?|yours (?:truly|faithfully),?|signed,?)\s{{1,3}}(?P<value>{_NAME})",
        None,
        _I,
    ),
)
KINDS: tuple[str, ...] = tuple(dict.fromkeys(rule.kind for rule in RULES))

_ASKS = re.compile(
    r"\b(?:(?:what(?:['’]s| is| are)|(?:tell|give|send|provide|share|enter|type|confirm|state|"
    r"supply|submit|need|require|"
    r"verify|have|reply with|know|fill in)\b(?: \w+){0,3}?) (?:me |us |with )?(?:your|the user['’]s)|your)\b"
    r"(?: [\w-]+,?){0,4}? (?P<what>social security(?: number)?|ssn|passport(?: number)?|"
    r"nationality|religion|ethnicity|"
    r"(?:credit |debit )?card number|cvv|cvc|pin(?: code)?|password|bank account(?: number)?|iban|"
    r"date of birth|mother['’]s maiden name|driv(?:er['’]?s|ing) licen[cs]e(?: number)?)\b",
    re.IGNORECASE,
)
_NOT_ASKING = re.compile(r"\b(?:never|do not|don['’]t|not|nobody|without)\b", re.IGNORECASE)
_REQUEST = re.compile(
    r"\?|\b(?:please|tell|give|send|provide|share|reply|"
    r"(?:i|we)(?:['’]ll| will| would| also)? (?:need|require))\b",
    re.IGNORECASE,
)


def locate(text: str, kinds: Collection[str] | None = None, progress: Progress | None = None) -> list[Found]:
    """Every place, in order; none overlap. ``kinds`` None: all of :data:`KINDS`. About half a megabyte a
    second; ``progress`` hears of each rule that is done."""
    wanted = set(chosen(kinds))
    taken = bytearray(len(text))
    found: list[Found] = []
    values: dict[str, str] = {}

    def take(kind: str, start: int, end: int) -> None:
        if end > start and not any(taken[start:end]):
            taken[start:end] = b"\x01" * (end - start)
            found.append(Found(kind, start, end))
            values.setdefault(text[start:end], kind)

    rules = [rule for rule in RULES if rule.kind in wanted]
    for done, rule in enumerate(rules):
        if progress is not None:
            progress(done, len(rules), rule.kind)
        group = "value" if "value" in rule.pattern.groupindex else 0
        for match in rule.pattern.finditer(text):
            start, end = match.span(group)
            if rule.proof is None or rule.proof(text[start:end]):
                take(rule.kind, start, end)
    for value, kind in list(values.items()):  # every other copy
        for start in _copies(text, value):
            take(kind, start, start + len(value))
    return sorted(found, key=lambda one: one.start)


def _copies(text: str, value: str) -> Iterator[int]:
    """Places of a value as a whole word."""
    start = text.find(value)
    while start >= 0:
        end = start + len(value)
        before, after = text[start - 1 : start], text[end : end + 1]
        if not ((before.isalnum() and value[0].isalnum()) or (after.isalnum() and value[-1].isalnum())):
            yield start
        start = text.find(value, end)


def chosen(kinds: Collection[str] | None) -> tuple[str, ...]:
    """Those kinds; InputError with the known ones for another."""
    for kind in kinds or ():
        if kind not in KINDS:
            raise InputError(
                f"There is no kind {kind!r} of personal data.", hint=f"Known: {', '.join(KINDS)}."
            )
    return KINDS if kinds is None else tuple(kinds)


def _known() -> str:
    return f"Known: {', '.join(KINDS)}."


def find(text: str, kinds: Collection[str] | None = None) -> list[Finding]:
    """A finding per place; the message names the kind, never the value."""
    return [
        Finding(guard=GUARD, message=f"{one.kind} found.", start=one.start, end=one.end)
        for one in locate(text, kinds)
    ]


def mask(
    text: str, kinds: Collection[str] | None = None, progress: Progress | None = None
) -> tuple[str, list[Found]]:
    """The text with ``[KIND_N]`` for every copy, and the places in the original."""
    found = locate(text, kinds, progress)
    numbers: dict[tuple[str, str], int] = {}
    last: Counter[str] = Counter()
    parts: list[str] = []
    at = 0
    for one in found:
        value = text[one.start : one.end]
        same = (
            one.kind,
            _digits(value) if one.kind in ("phone", "card", "ssn") else re.sub(r"\s", "", value).lower(),
        )
        if same not in numbers:
            last[one.kind] += 1
            numbers[same] = last[one.kind]
        parts += [text[at : one.start], f"[{one.kind.upper()}_{numbers[same]}]"]
        at = one.end
    return "".join([*parts, text[at:]]), found


def _same(kind: str, value: str) -> str:
    """What two ways to write one value have in common."""
    return _digits(value) if kind in ("phone", "card", "ssn") else re.sub(r"\s", "", value).lower()


def requests(text: str) -> list[Finding]:
    """Where a text asks its reader for personal data (an SSN, a password …): these answers are blocked."""
    found = []
    for match in _ASKS.finditer(text):
        begin = max(text.rfind(mark, 0, match.start()) for mark in ".!?\n") + 1
        ends = [end for mark in ".!?\n" if (end := text.find(mark, match.end())) >= 0]
        sentence = text[begin : min(ends, default=len(text)) + 1]
        if _REQUEST.search(sentence) and not _NOT_ASKING.search(sentence):
            found.append(
                Finding(
                    guard=GUARD,
                    message=f"The answer asks for personal data: {match['what'].lower()}.",
                    severity="block",
                    start=match.start(),
                    end=match.end(),
                )
            )
    return found
