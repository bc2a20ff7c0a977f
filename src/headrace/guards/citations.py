"""Are an answer's ``[n]`` real, and does every sentence have one? Pure functions over text.

It checks form: that a number was in the prompt and that a sentence cites something. Whether the
cited place supports the sentence is another question, of grounding.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from headrace.text import normalise, sentences, words
from headrace.types import Finding

GUARD = "citations"

# [1] · [1, 2] · [1][3] · [2-4] · 【1】 and [passage 1], as models write them
_REFERENCE = re.compile(
    r"[\[【]\s*(?:(?:passages?|sources?|documents?)\s*)?(\d{1,4}(?:\s*(?:[,;]|and|[-–])\s*\d{1,4})*)\s*[\]】]",
    re.IGNORECASE,
)
_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`", re.DOTALL)
_RANGE = re.compile(r"(\d+)\s*[-–]\s*(\d+)|(\d+)")
_REFUSING = re.compile(
    r"\b(?:(?:i|we) (?:do not|don't|cannot|can't|could not|couldn't|am unable to|am not able to)\b"
    r"|(?:do|does|did) not (?:contain|provide|mention|include|say|answer|specify|state)\b"
    r"|(?:don't|doesn't|didn't) (?:contain|provide|mention|include|say|answer|specify|state)\b"
    r"|no (?:answer|information|mention)\b"
    r"|(?:cannot|can't|could not|couldn't) be (?:answered|found|determined)\b"
    r"|not (?:enough|sufficient) information\b|insufficient information\b)",
    re.IGNORECASE,
)
_SHORT_REFUSAL = 40  # words: a longer text that says "does not mention" somewhere still answers
_WIDEST = 50  # numbers in one [a-b]


@dataclass(frozen=True)
class Reference:
    """``text[start:end]`` cites these passages."""

    start: int
    end: int
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Claim:
    """A sentence of the answer, ``text[start:end]``, and the numbers that it cites."""

    start: int
    end: int
    text: str
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Checked:
    """The text without numbers that were not in the prompt, its sentences, and what was noticed.

    ``numbers`` are the cited ones, in the order of their first appearance.
    """

    text: str
    numbers: tuple[int, ...]
    claims: tuple[Claim, ...]
    findings: tuple[Finding, ...]


def references(text: str) -> list[Reference]:
    """Every citation in the text, in order; brackets within code are not citations."""
    code = [match.span() for match in _CODE.finditer(text)]
    found = []
    for match in _REFERENCE.finditer(text):
        if not any(start <= match.start() < end for start, end in code):
            found.append(Reference(match.start(), match.end(), tuple(_numbers(match.group(1)))))
    return found


def _numbers(written: str) -> Iterator[int]:
    for match in _RANGE.finditer(written):
        if match.group(3):
            yield int(match.group(3))
        elif int(match.group(1)) <= int(match.group(2)) < int(match.group(1)) + _WIDEST:
            yield from range(int(match.group(1)), int(match.group(2)) + 1)
        else:
            yield int(match.group(1))
            yield int(match.group(2))


def check(text: str, allowed: Collection[int]) -> Checked:
    """Take out numbers that are not ``allowed`` and find sentences that cite nothing.

    Findings: a warning per unknown number, a note per sentence without a citation. Their places
    count code points of the returned text.
    """
    kept: list[str] = []
    findings: list[Finding] = []
    length = last = 0
    for reference in references(text):
        known = [n for n in dict.fromkeys(reference.numbers) if n in allowed]
        unknown = [n for n in dict.fromkeys(reference.numbers) if n not in allowed]
        if not unknown:
            continue
        before = text[last : reference.start]
        replacement = f"[{', '.join(map(str, known))}]" if known else ""
        if not replacement:
            before = before.rstrip(" ")
        kept += [before, replacement]
        length += len(before) + len(replacement)
        last = reference.end
        shown = ", ".join(f"[{n}]" for n in unknown)
        findings.append(
            Finding(
                guard=GUARD,
                message=f"{shown} was cited, but the prompt held {_listed(allowed)}: removed.",
                start=length - len(replacement),
                end=length,
            )
        )
    kept.append(text[last:])
    cleaned = "".join(kept)
    lead = len(cleaned) - len(cleaned.lstrip())
    cleaned = cleaned.strip()
    findings = [_moved(finding, lead, len(cleaned)) for finding in findings]
    found = claims(cleaned)
    findings += [
        Finding(
            guard=GUARD,
            message="This sentence cites nothing.",
            severity="note",
            start=claim.start,
            end=claim.end,
        )
        for claim in found
        if not claim.numbers and _claims_something(claim.text)
    ]
    numbers = tuple(dict.fromkeys(n for reference in references(cleaned) for n in reference.numbers))
    return Checked(cleaned, numbers, tuple(found), tuple(findings))


def _moved(finding: Finding, lead: int, length: int) -> Finding:
    start, end = ((min(max(0, (at or 0) - lead), length)) for at in (finding.start, finding.end))
    return Finding(
        guard=finding.guard, message=finding.message, severity=finding.severity, start=start, end=end
    )


def _listed(allowed: Collection[int]) -> str:
    if not allowed:
        return "no passage"
    numbers = sorted(allowed)
    if len(numbers) == 1:
        return f"only [{numbers[0]}]"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"[{numbers[0]}] to [{numbers[-1]}]"
    return ", ".join(f"[{n}]" for n in numbers)


def claims(text: str) -> list[Claim]:
    """The sentences with what they cite; a citation that follows the full stop belongs to what
    stands before it. Spans leave leading citations out."""
    found: list[Claim] = []
    marks = references(text)
    first = 0  # marks and sentences are both in order
    for start, end in sentences(text):
        while first < len(marks) and marks[first].start < start:
            first += 1
        inside = []
        while first < len(marks) and marks[first].start < end:
            inside.append(marks[first])
            first += 1
        begin = start
        for mark in inside:
            if (
                text[begin : mark.start].strip(" \t.,;")
                or not found
                or "\n\n" in text[found[-1].end : mark.start]
            ):
                break
            found[-1] = Claim(
                found[-1].start,
                mark.end,
                text[found[-1].start : mark.end],
                tuple(dict.fromkeys((*found[-1].numbers, *mark.numbers))),
            )
            begin = mark.end
        while begin < end and (text[begin].isspace() or text[begin] in ".,;"):
            begin += 1
        if begin < end:
            numbers = tuple(dict.fromkeys(n for m in inside if m.start >= begin for n in m.numbers))
            found.append(Claim(begin, end, text[begin:end], numbers))
    return found


def _claims_something(sentence: str) -> bool:
    stripped = sentence.strip()
    if stripped.endswith(("?", ":", "？")) or stripped.startswith(("#", "```", "~~~")):
        return False
    return len(words(stripped)) >= 4


def is_refusal(text: str, refusal: str = "") -> bool:
    """Whether the model said that it cannot answer.

    True for nothing at all, for the ``refusal`` sentence that the prompt asked for, and for a short
    text without any citation that says so in its own words (English).
    """
    plain = normalise(text).replace("’", "'")
    if not plain.strip(" .!*_\"'`"):
        return True
    if references(text):
        return False
    if refusal and normalise(refusal).strip(" .!").replace("’", "'") in plain:
        return True
    return len(words(text)) <= _SHORT_REFUSAL and _REFUSING.search(plain) is not None


def without_references(text: str) -> str:
    """The text without its citations, white space collapsed: what it says."""
    for reference in reversed(references(text)):
        text = text[: reference.start] + " " + text[reference.end :]
    return " ".join(text.split())
