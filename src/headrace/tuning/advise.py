"""Which route to take before anything is trained: a case in, routes in their order out, each with its why.

A table of rules in words, not a model: from prompts over examples, passages, a tuned model of somebody
else's and a rented one to tuning of one's own. Training from nothing is never advised. Measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from headrace.errors import InputError

Missing = Literal["form", "facts", "labels", "search"]
MISSING: dict[str, str] = {
    "form": "the tone, the format, or following instructions",
    "facts": "what stands in documents that the model never read",
    "labels": "the right one of a few labels",
    "search": "finding the passage that answers",
}
ROUTES = ("prompt", "few-shot", "documents", "instruct", "service", "embedder", "tune", "from scratch")
FEW = 8  # good rows that a few-shot prompt or a head needs
ENOUGH = 1000  # below, tuning a writer teaches little but the form
PAIRS = 200  # questions with their passages, for tuning an embedder


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is known. ``rows``: good examples at hand. ``tried``: routes that were measured and fell short.

    ``private``: data may not leave the machine. ``commercial``: what is made will earn money.
    ``measured``: there is a held-out set that says how good the present state is.
    """

    missing: Missing = "form"
    rows: int = 0
    tried: frozenset[str] = frozenset()
    private: bool = True
    commercial: bool = False
    measured: bool = False

    def __post_init__(self) -> None:
        strange = sorted({*self.tried} - {*ROUTES})
        if self.missing not in MISSING or strange or self.rows < 0:
            raise InputError(
                f"{', '.join(strange) or self.missing!r} with {self.rows} rows is no case that is known.",
                hint=f"Missing is one of {', '.join(MISSING)}; tried are routes: {', '.join(ROUTES[:-1])}.",
            )


@dataclass(frozen=True, kw_only=True)
class Route:
    """``verdict``: ``next`` (at most one), ``later``, ``tried``, or ``no``."""

    route: str
    verdict: Literal["next", "later", "tried", "no"]
    why: str
    how: str


def advise(case: Case) -> list[Route]:
    """All routes in the order in which they are worth trying; the first that fits is ``next``."""
    found: list[Route] = []
    for name, against, why, how in _rules(case):
        taken = any(route.verdict == "next" for route in found)
        verdict: Literal["next", "later", "tried", "no"] = "later" if taken else "next"
        if against:
            verdict, why = "no", against
        elif name in case.tried:
            verdict, why = "tried", "was measured and fell short"
        found.append(Route(route=name, verdict=verdict, why=why, how=how))
    return found


def _rules(case: Case) -> Iterator[tuple[str, str, str, str]]:
    """(route, what speaks against it, what speaks for it, how it is done)."""
    writes = case.missing in ("form", "facts", "labels")
    few = "" if case.rows >= FEW else f"{case.rows} good rows; about {FEW} are needed"
    licences = "; look at the licences of base and rows first: it is to earn money" * case.commercial
    yield (
        "prompt",
        "" if writes else "search is not prompted",
        "costs an hour, changes nothing else, and is what the rest is measured against",
        "headrace prompts lint, headrace prompts compare",
    )
    yield (
        "few-shot",
        few if writes else "search is not prompted",
        "a few good rows in the prompt, or a head trained in seconds on them",
        "headrace task classify --examples" if case.missing == "labels" else "prompts with examples",
    )
    yield (
        "documents",
        "" if case.missing == "facts" else f"what is missing is {MISSING[case.missing]}",
        "facts belong into passages that are cited, not into weights: they change",
        "headrace ingest, headrace ask",
    )
    yield (
        "instruct",
        "" if writes else "a writer does not search",
        "somebody has tuned such a model already: no rows needed" + licences,
        "headrace models find",
    )
    yield (
        "service",
        "data may not leave the machine" if case.private else "" if writes else "a writer does not search",
        "quality and speed at once, for a price per call and a lock-in",
        "[models] in headrace.toml",
    )
    pairs = "" if case.rows >= PAIRS else f"{case.rows} pairs; about {PAIRS} are needed to see a difference"
    yield (
        "embedder",
        pairs if case.missing == "search" else f"what is missing is {MISSING[case.missing]}",
        "questions use other words than the documents do",
        "headrace tune embedder",
    )
    against = "" if case.missing in ("form", "labels") else "tuning teaches a form; facts it teaches badly"
    against = "a writer does not search" if case.missing == "search" else against
    against = against or (
        f"{case.rows} good rows; below about {ENOUGH} little is learned" if case.rows < ENOUGH else ""
    )
    against = against or ("" if case.measured else "no held-out set says that the present state falls short")
    yield (
        "tune",
        against,
        f"{case.rows} good rows and a figure that falls short" + licences,
        "headrace tune instruct",
    )
    yield (
        "from scratch",
        "costs more than all of the others together and needs a corpus that few have; others have done it",
        "",
        "",
    )
