"""Is each sentence of an answer said by the passages: supported, contradicted or not verifiable?

Numbers, dates and names (``claims.py``) are compared exactly, the rest by words, and, where a
``similarity`` is given, by meaning. A fact that no passage holds is *contradicted* where a passage has
another fact of its kind in the same place of the same statement, else *not verifiable*: an addition is
unsupported, not false. A fact that the passages do hold, but of something else, is contradicted too.
Ordinary words are not compared one by one: a wrong verb is seen only as a denial or an opposite.

Figures: ``benchmarks/grounding.py``. The three verdicts are those of Maynez et al. (ACL 2020,
intrinsic and extrinsic hallucination). No model is loaded here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from headrace.guards.citations import claims as claims_of
from headrace.guards.citations import references
from headrace.guards.claims import APPROXIMATE, Fact, agree, facts
from headrace.text import STOPWORDS, sentences, stem, word_spans
from headrace.types import Finding

GUARD = "grounding"
Verdict = Literal["supported", "contradicted", "not verifiable"]
Similarity = Callable[[str, Sequence[str]], Sequence[float]]  # one text, many others → cosines

# Chosen on one half of the articles of SQuAD's development set, reported on the other.
ALIGNED = 0.5  # share of a sentence's words that a source must have to be about the same thing
PLACE = 0.42  # how alike the surroundings of two facts are, to be the same place of a statement
CLEARLY = 1.05  # a rival must fit its place so much better than the same fact does elsewhere
FARTHER = 0.6  # a sentence shares so much less with the statement than another sentence does
COVERED = 0.4  # share of words that the passages must hold
ALIKE = 0.75  # cosine from which a paraphrase is taken for the same
_NEAREST = 6  # source sentences that a sentence is compared with
_WINDOW = 6  # words on either side that are a fact's surroundings
_MOST = 4_000_000  # code points of passages

_OPPOSITES = {
    a: b
    for pair in (
        "increase decrease;rise fall;rose fell;gain lose;won lost;win lose;north south;east west;northern "
        "southern;eastern western;before after;more fewer;more less;most least;highest lowest;higher lower;"
        "larger smaller;largest smallest;older younger;oldest youngest;early late;earlier later;above below;"
        "male female;men women;allow forbid;allowed forbidden;legal illegal;true false;public private;"
        "accept reject;accepted rejected;open close;opened closed;maximum minimum;majority minority;"
        "always never;all none;hot cold;warm cold;left right;inside outside;success failure;succeeded failed"
    ).split(";")
    for a, b in (tuple(pair.split()), tuple(reversed(pair.split())))
}
_DENIALS = frozenset("not no never neither nor none without cannot n't".split())


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A sentence of the answer, ``answer[start:end]``.

    ``score``: 0 to 1, how well the passages say it; 0.5 and more where the verdict is *supported*, less
    where it is not.
    ``passage``: index of the passage that decided, from 0; None where none is near. ``why``: what
    disagrees or is missing. ``claims`` False: it says nothing that could be checked (a question).
    """

    text: str
    verdict: Verdict
    score: float
    passage: int | None
    start: int
    end: int
    why: str = ""
    claims: bool = True


@dataclass(frozen=True)
class _Unit:
    """A word's stem or a fact, in the order of the sentence."""

    key: str
    weight: float
    fact: Fact | None = None


class _Text:
    """One sentence, cut into units."""

    def __init__(self, text: str, passage: int, found: Sequence[Fact]) -> None:
        self.text = text
        self.passage = passage
        self.facts = tuple(found)

    @cached_property
    def units(self) -> tuple[_Unit, ...]:
        made: list[_Unit] = [_Unit("^", 0.6)]
        starts = {fact.start: fact for fact in self.facts}
        covered = -1
        pending = sorted(starts)
        for start, end in word_spans(self.text):
            while pending and pending[0] <= start:
                fact = starts[pending.pop(0)]
                made.append(_Unit(fact.key, 1.0, fact))
                covered = fact.end
            if start < covered:
                continue
            word = self.text[start:end].lower()
            made.append(_Unit(word, 0.35) if word in STOPWORDS else _Unit(stem(word), 1.0))
        made.extend(_Unit(starts[at].key, 1.0, starts[at]) for at in pending)
        made.append(_Unit("$", 0.3))
        return tuple(made)

    @cached_property
    def stems(self) -> frozenset[str]:
        """Content words, those of facts included."""
        words = (self.text[a:b].lower() for a, b in word_spans(self.text))
        return frozenset(stem(word.replace("’", "'")) for word in words if word not in STOPWORDS)

    @cached_property
    def plain(self) -> frozenset[str]:
        """Content words outside of facts."""
        return frozenset(u.key for u in self.units if u.fact is None and u.weight == 1.0)

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(self.text[a:b].lower().replace("’", "'") for a, b in word_spans(self.text))

    def around(self, fact: Fact) -> tuple[dict[str, tuple[int, float]], dict[str, tuple[int, float]]]:
        """What stands before and behind a fact: key → (distance, weight)."""
        at = next(i for i, unit in enumerate(self.units) if unit.fact is fact)
        sides: list[dict[str, tuple[int, float]]] = []
        for step in (-1, 1):
            side: dict[str, tuple[int, float]] = {}
            for distance in range(1, _WINDOW + 1):
                place = at + step * distance
                if not 0 <= place < len(self.units):
                    break
                side.setdefault(self.units[place].key, (distance, self.units[place].weight))
            sides.append(side)
        return sides[0], sides[1]


class Sources:
    """Passages cut into sentences and facts once, for many answers."""

    def __init__(self, passages: Sequence[str]) -> None:
        self.passages = [text[:_MOST] for text in passages]
        whole = "\n".join(self.passages)
        self.names, self.common = _capitals(whole)
        self.sentences: list[_Text] = []
        for number, passage in enumerate(self.passages):
            for start, end in sentences(passage):
                part = passage[start:end]
                self.sentences.append(_Text(part, number, facts(part, known=self.names, common=self.common)))
        self.rare = Counter(word for s in self.sentences for word in s.stems)
        self.holders: dict[str, list[int]] = {}
        for at, sentence in enumerate(self.sentences):
            for word in sentence.stems:
                self.holders.setdefault(word, []).append(at)
        self.prefixes = {word[:5] for word in self.rare if len(word) >= 5}

    def weight(self, word: str) -> float:
        return 1.0 + math.log((1 + len(self.sentences)) / (1 + self.rare.get(word, 0)))

    def alignment(self, said: frozenset[str]) -> dict[int, float]:
        """Sentences that share words with ``said`` → weighted share of its words that they hold."""
        total = sum(self.weight(word) for word in said) or 1.0
        found: dict[int, float] = {}
        for word in said:
            for at in self.holders.get(word, ()):
                found[at] = found.get(at, 0.0) + self.weight(word) / total
        return found


def _capitals(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Words with a capital in the middle of a sentence, and words that also stand without one."""
    names, common = set(), set()
    before = "."
    for start, end in word_spans(text):
        word = text[start:end]
        plain = word.lower().replace("’", "'").removesuffix("'s")
        gap = text[max(0, start - 2) : start].strip()
        if word[0].isupper():
            if not (gap and gap[-1] in ".!?:;\"“'‘(") and before not in ".!?" and start:
                names.add(plain)
        else:
            common.add(plain)
        before = text[end : end + 1] or "."
    return frozenset(names), frozenset(common)


def check(
    answer: str, passages: Sequence[str] | Sources, similarity: Similarity | None = None
) -> list[Sentence]:
    """A verdict for each sentence of the answer; ``[]`` for an empty one.

    ``passages``: texts, or :class:`Sources` where many answers share them. ``similarity``: cosines of
    a sentence with others, from an embedder; without it, only words tell whether a paraphrase says
    the same.
    """
    sources = passages if isinstance(passages, Sources) else Sources(passages)
    parts, last = [], 0
    for reference in references(answer):
        parts += [answer[last : reference.start], " " * (reference.end - reference.start)]
        last = reference.end
    plain = "".join([*parts, answer[last:]])
    found: list[Sentence] = []
    for claim in claims_of(answer):
        said = plain[claim.start : claim.end]
        verdict = _judge(said, claim.start, claim.end, claim.text, sources, similarity)
        found.append(verdict)
    return found


def score(found: Sequence[Sentence]) -> float | None:
    """Share of the sentences that claim something which are supported; None where none claims."""
    claims = [sentence for sentence in found if sentence.claims]
    return sum(s.verdict == "supported" for s in claims) / len(claims) if claims else None


def findings(found: Sequence[Sentence]) -> list[Finding]:
    """Contradictions as warnings, what is not verifiable as notes; places in the answer."""
    return [
        Finding(
            guard=GUARD,
            message=f"{s.verdict.capitalize()}: {s.why or 'the passages do not say this'}.",
            severity="warning" if s.verdict == "contradicted" else "note",
            start=s.start,
            end=s.end,
        )
        for s in found
        if s.claims and s.verdict != "supported"
    ]


# --------------------------------------------------------------------------- one sentence


@dataclass(frozen=True)
class _Status:
    """What became of one fact: ``wrong`` has the source's fact, ``missing`` none."""

    state: Literal["held", "wrong", "missing"]
    fact: Fact
    other: Fact | None = None
    passage: int | None = None


def _judge(
    said: str,
    start: int,
    end: int,
    shown: str,
    sources: Sources,
    similarity: Similarity | None,
) -> Sentence:
    def verdict(
        kind: Verdict, value: float, passage: int | None, why: str = "", claims: bool = True
    ) -> Sentence:
        return Sentence(
            text=shown, verdict=kind, score=round(value, 4), passage=passage, start=start, end=end, why=why,
            claims=claims,
        )  # fmt: skip

    common = sources.common | {
        w for w in _lower(said) if w[:5] in sources.prefixes and w not in sources.names
    }
    mine = _Text(said, -1, facts(said, known=sources.names, common=common))
    if not mine.stems or said.rstrip().endswith("?"):
        return verdict("not verifiable", 0.0, None, "nothing is claimed", claims=False)
    aligned = sources.alignment(mine.stems)
    if similarity is not None and sources.sentences and max(aligned.values(), default=0.0) < ALIKE:
        cosines = similarity(said, [s.text for s in sources.sentences])
        for at, cosine in enumerate(cosines):
            if cosine >= ALIKE:
                aligned[at] = max(aligned.get(at, 0.0), float(cosine))
    if not aligned:
        return verdict("not verifiable", 0.0, None, "no passage speaks of it")
    near = sorted(aligned, key=lambda at: -aligned[at])[:_NEAREST]
    best = near[0]
    statuses = [_status(fact, mine, aligned, near, sources) for fact in mine.facts]
    wrong = [s for s in statuses if s.state == "wrong"]
    missing = [s for s in statuses if s.state == "missing"]
    covered = _coverage(mine, aligned, near, sources)
    passage = sources.sentences[best].passage
    if wrong:
        one = wrong[0]
        assert one.other is not None
        return verdict(
            "contradicted",
            0.1 * covered,
            one.passage,
            f"{one.fact.text!r} in the answer, {one.other.text!r} in the passage",
        )
    if missing:
        names = ", ".join(repr(s.fact.text) for s in missing[:3])
        return verdict("not verifiable", 0.45 * covered, passage, f"no passage says {names}")
    denial = _denied(mine, sources.sentences[best], aligned[best])
    if denial:
        return verdict("contradicted", 0.1 * covered, passage, denial)
    if covered < COVERED:
        return verdict("not verifiable", 0.9 * covered, passage, "the passages hold too little of it")
    return verdict("supported", 0.5 + 0.5 * covered, passage)


def _lower(text: str) -> set[str]:
    return {text[a:b].lower() for a, b in word_spans(text)}


def _coverage(mine: _Text, aligned: dict[int, float], near: Sequence[int], sources: Sources) -> float:
    """Weighted share of the sentence's words in the nearest sentences of one passage (or its cosine)."""
    best = aligned[near[0]]
    passage = sources.sentences[near[0]].passage
    held: set[str] = set()
    for at in near:
        if sources.sentences[at].passage == passage:
            held |= sources.sentences[at].stems
    words = mine.plain or mine.stems
    total = sum(sources.weight(w) for w in words) or 1.0
    share = (
        sum(sources.weight(w) for w in words if w in held or (len(w) >= 5 and w[:5] in _prefixes(held)))
        / total
    )
    return min(1.0, max(best, share))


def _prefixes(words: set[str]) -> set[str]:
    return {word[:5] for word in words if len(word) >= 5}


def _status(
    fact: Fact, mine: _Text, aligned: dict[int, float], near: Sequence[int], sources: Sources
) -> _Status:
    before = mine.text[max(0, fact.start - 24) : fact.start].lower().split()
    loosely = fact.kind != "name" and bool(APPROXIMATE & set(before[-3:]))
    mates = [other for other in mine.facts if other is not fact]
    sides = mine.around(fact)
    match: tuple[float, int] | None = None
    rival: tuple[float, float, int, Fact] | None = None
    top = aligned[near[0]]
    for at in near:
        source = sources.sentences[at]
        for other in source.facts:
            same = agree(fact, other, loosely=loosely)
            if not same and other.kind != fact.kind:
                continue
            if not same and any(_said(mate, other, source) for mate in mates):
                continue  # the answer says this one in another place
            if not same and _part_of(other, fact):
                continue
            place = _alike(sides, source.around(other))
            value = aligned[at] * (0.5 + 0.5 * place)
            if same:
                if match is None or value > match[0]:
                    match = value, at
            elif aligned[at] < ALIGNED * min(1.0, top / 0.6) or place < PLACE:
                continue
            elif rival is None or value > rival[0]:
                rival = value, place, at, other
    if rival is not None and match is None and fact.kind == "name" and " " in fact.text:
        whole = sources.sentences[rival[2]].stems
        if _words(fact) <= whole:  # the same words, the capitals cut in another way
            return _Status("held", fact)
    if rival is None and match is not None and fact.kind != "name":
        rival = _only(fact, mates, match[1], aligned, near, sources)
    if rival is not None and (match is None or rival[0] > CLEARLY * match[0]):
        return _Status("wrong", fact, rival[3], sources.sentences[rival[2]].passage)
    if match is not None:
        return _Status("held", fact, passage=sources.sentences[match[1]].passage)
    for at, source in enumerate(sources.sentences):
        if at not in near and any(agree(fact, other, loosely=loosely) for other in source.facts):
            return _Status("held", fact, passage=source.passage)
    if fact.kind == "name" and _spoken(fact, sources):
        return _Status("held", fact)
    return _Status("missing", fact)


def _part_of(other: Fact, fact: Fact) -> bool:
    """Whether a name is only some words of the name that was said."""
    if not (isinstance(other.value, tuple) and isinstance(fact.value, tuple)) or fact.kind != "name":
        return False
    return set(other.value) < set(fact.value)


def _said(mate: Fact, other: Fact, source: _Text) -> bool:
    """Whether the answer says the source's ``other`` with ``mate``; a year does not say a day, and a name
    that the source has word for word is no short form of another."""
    if mate.key == other.key:
        return True
    if mate.kind == "date" or any(fact.key == mate.key for fact in source.facts):
        return False
    return agree(mate, other)


def _only(
    fact: Fact,
    mates: Sequence[Fact],
    matched: int,
    aligned: dict[int, float],
    near: Sequence[int],
    sources: Sources,
) -> tuple[float, float, int, Fact] | None:
    """The one number or date of the statement's source that the answer leaves out, where the answer has
    one from a sentence that is much farther from the statement."""
    best = near[0]
    if matched == best or aligned[best] < ALIGNED or aligned[matched] > FARTHER * aligned[best]:
        return None
    left = [
        o
        for o in sources.sentences[best].facts
        if o.kind == fact.kind and not any(_said(m, o, sources.sentences[best]) for m in mates)
    ]
    if len(left) != 1 or getattr(left[0], "unit", "") != fact.unit:
        return None
    return aligned[best], 1.0, best, left[0]


def _words(fact: Fact) -> set[str]:
    return {stem(w.replace("’", "'")) for w in _lower(fact.text) if w not in STOPWORDS}


def _spoken(fact: Fact, sources: Sources) -> bool:
    """Whether one source sentence has all words of the name, wherever its capitals were cut."""
    words = _words(fact)
    return bool(words) and any(words <= source.stems for source in sources.sentences)


def _alike(
    mine: tuple[dict[str, tuple[int, float]], dict[str, tuple[int, float]]],
    theirs: tuple[dict[str, tuple[int, float]], dict[str, tuple[int, float]]],
) -> float:
    """0 to 1: how much of one fact's surroundings stands at the same side of the other."""
    total = found = 0.0
    for ours, other in zip(mine, theirs, strict=True):
        for key, (distance, weight) in ours.items():
            value = weight / distance
            total += value
            if key in other:
                found += value * (1 - abs(distance - other[key][0]) / (_WINDOW + 2))
    return found / total if total else 0.0


def _denied(mine: _Text, source: _Text, aligned: float) -> str:
    """A denial or an opposite on one side alone, where the rest is the same statement."""
    if aligned < 0.8 or len(source.plain) > 2.5 * max(3, len(mine.plain)):
        return ""
    denies = [any(w in _DENIALS or w.endswith("n't") for w in text.words) for text in (mine, source)]
    if denies[0] and not denies[1]:
        return "the answer denies what the passage says"
    for word in mine.words - source.words:
        other = _OPPOSITES.get(word)
        if other in source.words and other not in mine.words:
            return f"{word!r} in the answer, {other!r} in the passage"
    return ""
