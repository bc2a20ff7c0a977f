"""How toxic is a text, and a censor for listed words.

``score`` asks the classifier that it is given (``models.toxic.classifier`` or anybody's); without one a
short list of ours answers, which knows plain insults and threats and little else. A threshold is the
application's decision, and every detector errs, on some people's English more than on others'
(docs/reference/toxicity-head.md). No third-party list is used. Pure functions, no model.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from headrace.errors import InputError
from headrace.types import Finding

GUARD = "toxicity"
THRESHOLD = 0.5
Classifier = Callable[[Sequence[str]], Sequence[float]]  # texts → probabilities, 0 to 1

# Each with the share of its uses that offend somebody, roughly: ours, from the dictionary's labels.
_PROFANE = {
    "arse": 0.5, "arsehole": 0.9, "ass": 0.5, "asshole": 0.95, "bastard": 0.8, "bitch": 0.9, "bollocks": 0.6,
    "bullshit": 0.7, "bugger": 0.5, "crap": 0.5, "cunt": 0.98, "damn": 0.3, "dick": 0.6, "dickhead": 0.95,
    "dumbass": 0.9, "fuck": 0.8, "goddamn": 0.5, "jackass": 0.8, "motherfucker": 0.97, "piss": 0.6,
    "prick": 0.7,
    "shit": 0.7, "shithead": 0.95, "slut": 0.95, "twat": 0.95, "wanker": 0.95, "whore": 0.95,
}  # fmt: skip
_INSULTS = {
    "idiot": 0.75, "moron": 0.8, "imbecile": 0.8, "scum": 0.8, "vermin": 0.6, "stupid": 0.45, "dumb": 0.45,
    "pathetic": 0.5, "loser": 0.55, "retard": 0.95, "freak": 0.5, "filth": 0.5, "pig": 0.3, "trash": 0.35,
}  # fmt: skip
_PHRASES = (
    (0.95, re.compile(r"\b(?:i(?:['’]ll| will| am going to|['’]m gonna)|we(?:['’]ll|"
    r" will)) (?:kill|hurt|beat|shoot|stab) (?:you|them|him|her)\b")),
    (0.95, re.compile(r"\b(?:go )?kill yourself\b|\byou (?:should|deserve to|must) die\b|\bdrop dead\b")),
    (0.8, re.compile(r"\b(?:shut up|go to hell|get lost)\b.{0,30}?(?:you|!|$)")),
    (0.75, re.compile(r"\bi hate (?:you|them|those people)\b|\b(?:nobody|no one) (?:likes|loves|"
    r"wants) you\b")),
    (0.8, re.compile(r"\b(?:those|these|all|such) (?:people|\w+s) (?:are|should be) (?:animals|"
    r"subhuman|vermin|scum|garbage|inferior)\b")),
    (0.6, re.compile(r"\byou(?:['’]re| are) (?:so |such )?(?:a |an )?(?:ugly|worthless|useless|"
    r"disgusting|stupid|dumb|pathetic)\b")),
)  # fmt: skip
_LOOKALIKES = str.maketrans(
    {"@": "a", "$": "s", "0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "!": "i", "*": "."}
)
_TOKEN = re.compile(r"[^\W_](?:[\w@$*!'’]*[\w*])?|\b[a-z]\*+[a-z]+", re.IGNORECASE)
_ENDINGS = r"(?:s|es|ed|er|ers|ing|in|in['’]|y|ty|tier|face|head|heads)?"


def score(text: str, classifier: Classifier | None = None) -> float:
    """0 to 1: how likely people call it toxic. An empty text is 0.0.

    Raises InputError where the classifier gives no number from 0 to 1.
    """
    return scores([text], classifier)[0]


def scores(texts: Sequence[str], classifier: Classifier | None = None) -> list[float]:
    """:func:`score` of each; the classifier is asked once."""
    found = [0.0] * len(texts)
    full = [at for at, text in enumerate(texts) if text.strip()]
    if classifier is None:
        for at in full:
            found[at] = by_words(texts[at])
        return found
    given = list(classifier([texts[at] for at in full])) if full else []
    if len(given) != len(full):
        raise InputError(
            f"The classifier gave {len(given)} scores for {len(full)} texts.", hint="It must give one a text."
        )
    for at, value in zip(full, given, strict=True):
        if not 0.0 <= float(value) <= 1.0:
            raise InputError(f"The classifier gave {value!r}.", hint="Give probabilities, 0 to 1.")
        found[at] = float(value)
    return found


def by_words(text: str) -> float:
    """By our list alone: the signs add up as independent ones do (noisy or)."""
    plain = unicodedata.normalize("NFKC", text).lower()
    clean = 1.0
    for weight, pattern in _PHRASES:
        if pattern.search(plain):
            clean *= 1 - weight
    aimed = 1.3 if re.search(r"\b(?:you|your|you['’]re|u|ur)\b", plain) else 1.0
    for table in (_PROFANE, _INSULTS):
        pattern = _pattern(tuple(table))
        for word in {
            _stem(match.group(), table) for match in _TOKEN.finditer(plain) if _is(match.group(), pattern)
        }:
            clean *= 1 - min(0.98, table.get(word, 0.5) * aimed)
    return round(1 - clean, 4)


def findings(text: str, value: float, threshold: float = THRESHOLD) -> list[Finding]:
    """A warning where a score reaches the threshold."""
    if value < threshold:
        return []
    return [Finding(guard=GUARD, message=f"Toxicity {value:.2f} reaches the threshold of {threshold:.2f}.")]


@lru_cache(maxsize=64)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """The listed words with usual endings and stretched letters (``shiiit``)."""
    each = sorted(("".join(f"{re.escape(c)}+" for c in word) for word in words), key=len, reverse=True)
    return re.compile(rf"(?:{'|'.join(each)}){_ENDINGS}", re.IGNORECASE)


def _is(word: str, pattern: re.Pattern[str]) -> bool:
    if pattern.fullmatch(word):
        return True
    return not word.isalpha() and pattern.fullmatch(word.translate(_LOOKALIKES)) is not None


def _stem(word: str, table: Iterable[str]) -> str:
    """The longest listed word with which it begins."""
    plain = re.sub(r"(.)\1{2,}", r"\1", word.translate(_LOOKALIKES))
    return max((listed for listed in table if plain.startswith(listed)), key=len, default=plain)


def censor(
    text: str, words: Iterable[str] | None = None, *, also: Iterable[str] = (), mark: str = "*"
) -> str:
    """The text with each listed word as marks of its own length; everything else as it was.

    ``words`` None takes our list of swear words; ``also`` adds to it. Usual endings, capitals, stretched
    letters and look-alike signs (``sh1t``) count as the word; a listed word within another one
    (Scunthorpe) does not. Raises InputError for an empty word or a mark that is not one character.
    """
    listed = tuple(dict.fromkeys(w.strip().lower() for w in (*(_PROFANE if words is None else words), *also)))
    if not all(listed):
        raise InputError("An empty word cannot be masked.", hint="Leave it out of the list.")
    if len(mark) != 1:
        raise InputError(f"The mark {mark!r} is not one character.", hint="Give for example '*'.")
    if not listed:
        return text
    single = tuple(w for w in listed if not re.search(r"\s", w))
    if single:
        pattern = _pattern(single)
        text = _TOKEN.sub(lambda m: mark * len(m[0]) if _is(m[0], pattern) else m[0], text)
    for phrase in listed:
        if phrase not in single:
            whole = r"(?<!\w)" + r"\s+".join(map(re.escape, phrase.split())) + r"(?!\w)"
            text = re.sub(whole, lambda m: re.sub(r"\S", mark, m[0]), text, flags=re.IGNORECASE)
    return text
