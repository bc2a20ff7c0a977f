"""Are planted wrong numbers, dates and names found, and are untouched answers left alone?

300 answers about SQuAD paragraphs (a fixed sample; ``--full``: all questions whose gold answer is a
number, a date or a name). An answer is made from the sentence that holds the gold answer, in one of
seven forms: verbatim, a clause moved, a clause alone, a statement made from the question, numbers,
dates and names written otherwise, synonyms, two sentences. It is checked against four passages of the
article: its own and three others. Wrong twins: the gold answer replaced by another gold answer of the
same kind, once from another article, once from the same paragraph (the hard case). What kind an answer
has is decided here, not by the code that is measured.

Rules and constants were developed on the ``fit`` half of the articles (``--half fit``); figures are of
the ``report`` half, whose figures were seen once before the last two changes of the rules. *Found* is a
verdict other than supported on the planted sentence; *contradicted* is the sharper claim. No language
model wrote these answers: freely written ones will paraphrase more.

    python benchmarks/grounding.py
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import machine
import squad
from headrace.guards.grounding import Sources, check
from headrace.measure.statistics import rate
from headrace.text import sentences

GOALS = {"found": 0.95, "false_alarms": 0.03}
ANSWERS = 300
NUMBER = re.compile(
    r"(?:about |over |nearly |approximately |around |more than )?[$£€]?\d[\d,]*(?:\.\d+)?(?: ?%| percent)?"
    r"(?: (?:hundred|thousand|million|billion|trillion))?(?: [a-z]+)?|"
    r"(?:two|three|four|five|six|seven|eight|nine|ten|"
    r"eleven|twelve|thirteen|fifteen|twenty|thirty|forty|fifty|sixty)(?: [a-z]+)?",
    re.IGNORECASE,
)
MONTHS = "January February March April May June July August September October November December".split()
MONTH = "|".join(MONTHS)
DATE = re.compile(
    rf"(?:(?:{MONTH}) \d{{1,2}},? )?(?:in )?(?:1\d{{3}}|20[01]\d)|"
    rf"(?:\d{{1,2}} )?(?:{MONTH})(?: \d{{1,2}})?,? ?(?:1\d{{3}}|20[01]\d)?"
)
NAME_WORD = re.compile(r"(?:[A-Z][\w'’.&-]+|of|the|de|von|and)")
SYNONYMS = {
    "located": "situated", "began": "started", "begins": "starts", "large": "big", "many": "numerous",
    "because": "since", "approximately": "about", "also": "too", "however": "still", "often": "frequently",
    "used": "employed", "called": "named", "became": "turned into", "help": "aid", "main": "chief",
    "important": "significant", "several": "some", "while": "whereas", "created": "made", "area": "region",
}  # fmt: skip
WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()


@dataclass(frozen=True)
class Case:
    """An answer, where its gold answer stands, its passages and what it is."""

    answer: str
    gold: str
    kind: str
    form: str
    paragraph: str
    article: str
    passages: tuple[str, ...]


def kind_of(gold: str) -> str | None:
    """number, date or name; None for everything else."""
    plain = gold.strip().removeprefix("the ").removeprefix("The ")
    if DATE.fullmatch(plain):
        return "date"
    if NUMBER.fullmatch(plain):
        return "number"
    words = plain.split()
    capitals = [w for w in words if w[:1].isupper()]
    if words and len(words) <= 5 and all(NAME_WORD.fullmatch(w.strip(',"')) for w in words):
        return "name" if capitals and words[0][:1].isupper() and words[-1][:1].isupper() else None
    return None


# --------------------------------------------------------------------------- forms of an answer


def verbatim(sentence: str, gold: str, question: str, following: str) -> str | None:
    return sentence


def moved(sentence: str, gold: str, question: str, following: str) -> str | None:
    """A leading clause to the end, or a trailing date to the front."""
    first = re.match(
        r"((?:In|On|At|During|After|Before|By|From|Since|As of|For) [^,]{3,60}), (.+?)([.!]?)$", sentence
    )
    if first:
        rest, lead = first[2], first[1]
        return f"{rest[0].upper()}{rest[1:]} {lead[0].lower()}{lead[1:]}."
    last = re.match(r"(.{20,}?) ((?:in|on|during|since|until) (?:\w+ )?(?:\d{1,2},? )?\d{4})\.$", sentence)
    if last:
        return f"{last[2][0].upper()}{last[2][1:]}, {last[1]}."
    return None


def clause(sentence: str, gold: str, question: str, following: str) -> str | None:
    """The part of the sentence that holds the answer."""
    parts = re.split(r"; |, (?:and|but|while|whereas|with|which|who|although) ", sentence)
    for part in parts:
        if gold in part and len(part.split()) >= 7 and len(parts) > 1:
            return f"{part[0].upper()}{part[1:].rstrip('.,; ')}."
    return None


def statement(sentence: str, gold: str, question: str, following: str) -> str | None:
    """The question as a statement: its words are not the passage's."""
    whole = question.rstrip("? ")
    subject = re.match(
        r"(?:Who|What|Which \w+|What \w+) ((?:was|is|were|are|has|had|won|led|made|wrote|did not|"
        r"\w+ed|\w+s) .+)",
        whole,
    )
    if (
        subject
        and not re.match(r"(?:is|was|are|were|does|did|has|had) (?:the|a|an) ", subject[1])
        and gold[:1].isupper()
    ):
        return f"{gold} {subject[1]}."
    when = re.match(r"(?:When|In (?:what|which) year|In what month) did (.+)", whole)
    if when and re.match(r"\d{4}$", gold):
        return f"{when[1][0].upper()}{when[1][1:]} in {gold}."
    many = re.match(r"How many ([\w ]+?) (are|were|is|was|did|does|do|has|have|had) (.+)", whole)
    if many and re.fullmatch(r"[\d,]+|[a-z]+", gold):
        return f"{gold[0].upper()}{gold[1:]} {many[1]} {many[2]} {many[3]}."
    name = re.match(r"What (?:is|was) the (.+)", whole)
    if name and gold[:1].isupper():
        return f"The {name[1]} was {gold}."
    return None


def rewritten(sentence: str, gold: str, question: str, following: str) -> str | None:
    """Dates, numbers and percentages in another form; a full name by its last part."""
    done = re.sub(rf"\b({MONTH}) (\d{{1,2}}), (\d{{4}})\b", r"\2 \1 \3", sentence)
    done = re.sub(rf"\b(\d{{1,2}}) ({MONTH}) (\d{{4}})\b", r"\2 \1, \3", done) if done == sentence else done
    done = re.sub(r"(\d) ?percent\b|(\d) per cent\b", lambda m: f"{m[1] or m[2]} %", done)
    done = re.sub(r"(\d)%", r"\1 percent", done) if done == sentence else done
    done = re.sub(r"\b(\d{1,3}),(\d{3})\b(?!,)", r"\1\2", done)
    for value, word in enumerate(WORDS):
        if value > 1:
            done = re.sub(rf"(?<=[a-z] ){word}(?= [a-z])", str(value), done)
            done = re.sub(rf"(?<=[a-z] ){value}(?= [a-z])", word, done) if word not in sentence else done
    if done == sentence:
        done = re.sub(
            r"\b([A-Z][a-z]+) ([A-Z][a-z]{3,})(?= (?:was|is|had|has|did|went|wrote|said)\b)", r"\2", sentence
        )
    return done if done != sentence else None


def synonyms(sentence: str, gold: str, question: str, following: str) -> str | None:
    done = re.sub(r"[a-z]+", lambda m: SYNONYMS.get(m[0], m[0]), sentence)
    done = re.sub(r" \([^()]{1,60}\)", "", done)
    return done if done != sentence else None


def two(sentence: str, gold: str, question: str, following: str) -> str | None:
    return f"According to the text, {sentence} {following}" if following else None


FORMS: dict[str, Callable[[str, str, str, str], str | None]] = {
    "verbatim": verbatim, "moved": moved, "clause": clause, "statement": statement,
    "rewritten": rewritten, "synonyms": synonyms, "two": two,
}  # fmt: skip


def cases(data: squad.Squad, half: str, most: int | None) -> list[Case]:
    """Answers of a half, kinds and forms in turn; one per paragraph and kind while the sample allows."""
    texts = {p.id: p.text for p in data.paragraphs}
    article: dict[str, list[str]] = defaultdict(list)
    for paragraph in data.paragraphs:
        article[paragraph.title].append(paragraph.id)
    questions = sorted(data.half(half), key=lambda q: hashlib.sha256(q.id.encode()).hexdigest())
    found: dict[str, list[Case]] = {"number": [], "date": [], "name": []}
    forms = list(FORMS)
    taken: set[tuple[str, str]] = set()
    for question in questions:
        gold, at = question.answers[0], question.starts[0]
        kind = kind_of(gold)
        text = texts[question.paragraph]
        if kind is None or (question.paragraph, kind) in taken:
            continue
        spans = sentences(text)
        place = next((i for i, (a, b) in enumerate(spans) if a <= at and at + len(gold) <= b), None)
        if place is None:
            continue
        sentence = text[slice(*spans[place])]
        following = text[slice(*spans[place + 1])] if place + 1 < len(spans) else ""
        if len(sentence.split()) < 5 or sentence.count(gold) != 1:
            continue
        rng = random.Random(question.id)
        start = len(found[kind]) % len(forms)
        for form in [*forms[start:], *forms[:start]]:
            made = FORMS[form](sentence, gold, question.text, following)
            if made is not None and gold in made:
                break
        others = [texts[p] for p in article[question.title] if p != question.paragraph]
        passages = [text, *rng.sample(others, min(3, len(others)))]
        rng.shuffle(passages)
        found[kind].append(Case(made, gold, kind, form, question.paragraph, question.title, tuple(passages)))
        taken.add((question.paragraph, kind))
    if most is not None:
        for kind in found:
            found[kind] = found[kind][: most // 3]
    return [case for kind in found.values() for case in kind]


def replacements(data: squad.Squad, half: str) -> dict[str, list[tuple[str, str, str]]]:
    """kind → (gold answer, paragraph, article) of the half."""
    found: dict[str, dict[tuple[str, str, str], None]] = defaultdict(dict)
    for question in data.half(half):
        kind = kind_of(question.answers[0])
        if kind:
            found[kind][question.answers[0], question.paragraph, question.title] = None
    return {kind: list(rows) for kind, rows in found.items()}


def differs(one: str, other: str) -> bool:
    """No word in common: then the one cannot be a way to say the other."""
    words = [
        {w.strip(",.%$") for w in re.findall(r"[\w.,%$]+", t.lower())}
        - {"the", "of", "in", "and", "about", "million", "percent", "years", "over"}
        for t in (one, other)
    ]
    return bool(words[0]) and bool(words[1]) and not words[0] & words[1]


def plant(case: Case, pool: Sequence[tuple[str, str, str]], where: str) -> tuple[str, int] | None:
    """The answer with another gold answer in its place, and where; None where there is none."""
    rng = random.Random(case.answer + where)
    fit = [
        gold
        for gold, paragraph, article in pool
        if (paragraph == case.paragraph if where == "same paragraph" else article != case.article)
        and differs(gold, case.gold)
    ]
    if not fit:
        return None
    at = case.answer.index(case.gold)
    wrong = rng.choice(fit)
    return case.answer[:at] + wrong + case.answer[at + len(case.gold) :], at


def interval(good: int, n: int) -> dict[str, Any]:
    found = rate(good, n)
    return {"share": found.value, "low": found.low, "high": found.high, "n": n}


def measured(
    data: squad.Squad, half: str, most: int | None, show: int, passages_of: Callable[[Case], Sources]
) -> dict[str, Any]:
    """All figures of a half; prints up to ``show`` misses and false alarms."""
    made = cases(data, half, most)
    pools = replacements(data, half)
    alarms: dict[str, list[bool]] = defaultdict(list)
    sentence_alarms: list[bool] = []
    caught: dict[tuple[str, str], list[tuple[bool, bool]]] = defaultdict(list)
    shown = {"alarm": 0, "miss": 0}
    began, checked = time.monotonic(), 0
    for case in made:
        sources = passages_of(case)
        verdicts = check(case.answer, sources)
        checked += 1
        bad = [v for v in verdicts if v.claims and v.verdict != "supported"]
        alarms[case.form].append(bool(bad))
        sentence_alarms.extend(v.claims and v.verdict != "supported" for v in verdicts)
        if bad and shown["alarm"] < show:
            shown["alarm"] += 1
            print(
                f"ALARM {case.form} {case.kind} {case.gold!r}: {bad[0].verdict}: {bad[0].why}\n"
                f"   {bad[0].text}"
            )
        for where in ("another article", "same paragraph"):
            planted = plant(case, pools[case.kind], where)
            if planted is None:
                continue
            text, at = planted
            hit = [v for v in check(text, sources) if v.start <= at < v.end]
            checked += 1
            flags = (
                any(v.verdict != "supported" for v in hit),
                any(v.verdict == "contradicted" for v in hit),
            )
            caught[case.kind, where].append(flags)
            if not flags[0] and shown["miss"] < show:
                shown["miss"] += 1
                print(f"MISS {where} {case.form} {case.kind} {case.gold!r}\n   {text}")
    flat = [flags for rows in caught.values() for flags in rows]
    quiet = [flag for rows in alarms.values() for flag in rows]
    return {
        "answers": len(made),
        "planted": len(flat),
        "found": interval(sum(f for f, _ in flat), len(flat)),
        "contradicted": interval(sum(c for _, c in flat), len(flat)),
        "false_alarms": interval(sum(quiet), len(quiet)),
        "false_alarms_per_sentence": interval(sum(sentence_alarms), len(sentence_alarms)),
        "by_kind": {
            f"{kind}, {where}": {
                "found": interval(sum(f for f, _ in rows), len(rows)),
                "contradicted": interval(sum(c for _, c in rows), len(rows)),
            }
            for (kind, where), rows in sorted(caught.items())
        },
        "false_alarms_by_form": {form: interval(sum(r), len(r)) for form, r in sorted(alarms.items())},
        "milliseconds_an_answer": round((time.monotonic() - began) * 1_000 / max(1, checked), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--half", choices=("fit", "report"), default="report")
    parser.add_argument("--full", action="store_true", help="all questions of the half")
    parser.add_argument("--show", type=int, default=0, help="print that many misses and false alarms")
    given = parser.parse_args()
    data = squad.load()
    result = measured(
        data, given.half, None if given.full else ANSWERS, given.show, lambda case: Sources(case.passages)
    )
    for name in ("found", "contradicted", "false_alarms", "false_alarms_per_sentence"):
        one = result[name]
        print(f"{name:26} {one['share']:.3f} [{one['low']:.3f}, {one['high']:.3f}] of {one['n']}")
    for name, rows in result["by_kind"].items():
        print(
            f"  {name:26} found {rows['found']['share']:.3f} "
            f"contradicted {rows['contradicted']['share']:.3f} of {rows['found']['n']}"
        )
    for name, one in result["false_alarms_by_form"].items():
        print(f"  untouched, {name:15} {one['share']:.3f} of {one['n']}")
    print(f"{result['milliseconds_an_answer']} ms an answer")
    if given.half == "report":
        command = "python benchmarks/grounding.py" + (" --full" if given.full else "")
        machine.save("grounding", {"goals": GOALS, "half": given.half, **result}, command=command)


if __name__ == "__main__":
    main()
