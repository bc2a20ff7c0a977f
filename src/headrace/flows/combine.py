"""Answering in several calls, where passages are many or long: map_reduce, refine, map_rerank.

``map_reduce``: a note from each passage, side by side, then one answer from the notes. ``refine``: the
answer is bettered passage by passage. ``map_rerank``: an answer and its certainty from each passage,
the surest wins. ``n`` passages cost n + 1, n and n calls. All cite, and check citations, as
``write.py`` does with one call; it is given an opened model and passages, and looks nothing up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headrace import request, tracing
from headrace.flows import guarding
from headrace.flows import quote as quoting
from headrace.flows import run as rows
from headrace.flows.write import about, complete, read
from headrace.guards import citations as guard
from headrace.prompts.clauses import REFUSAL
from headrace.prompts.strategies import COMBINE, FIRST, NOTE, RATE, REFINE, Step, build_step
from headrace.protocols import Embedder, Model
from headrace.types import Answer, Completion, Decoding, Finding, Message, Passage, Prompt, Usage

LEAST_NOTE = 48  # tokens of a note: below that it says nothing, and notes that do not fit are left out
_CERTAIN = re.compile(
    r"^[\s*_#>-]*(?:certainty|confidence|score)[\s*_]*[:=][\s*_]*(\d{1,3}(?:\.\d+)?)[ \t]*(%|/[ \t]*\d{1,3})?"
    r"[\s*_.]*\Z",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What all calls of one answer share."""

    question: str
    items: Sequence[Passage]
    model: Model
    decoding: Decoding
    history: Sequence[Message]
    embedder: Any
    shown: bool

    def prompt(
        self,
        step: Step,
        numbered: Sequence[tuple[int, Passage]],
        decoding: Decoding | None = None,
        so_far: str = "",
    ) -> Prompt:
        return build_step(
            step,
            self.question,
            numbered,
            count=self.model.count,
            window=self.model.window,
            reserve=(decoding or self.decoding).max_new_tokens,
            history=self.history,
            so_far=so_far,
            fenced=guarding.fenced(),
        )

    def numbered(self) -> list[tuple[int, Passage]]:
        return list(enumerate(self.items, start=1))


def combine(
    question: str,
    items: Sequence[Passage],
    model: Model,
    *,
    strategy: str,
    embedder: Embedder | Callable[[], Embedder | None],
    decoding: Decoding,
    history: Sequence[Message] = (),
    shown: bool = False,
) -> Answer:
    """Have ``model`` answer from ``items`` (at least one) by a strategy of :data:`STRATEGIES`.

    Passages that do not fit into the window even alone are found before any call, left out, and
    listed in ``dropped``; with none left the answer quotes. ``usage`` is of all calls together.
    """
    asked = _Asked(
        question=question,
        items=items,
        model=model,
        decoding=decoding,
        history=history,
        embedder=embedder,
        shown=shown,
    )
    answer = STRATEGIES[strategy](asked)
    tracing.note("strategy", strategy)
    return answer


# ------------------------------------------------------------------ map_reduce


def _map_reduce(asked: _Asked) -> Answer:
    """One call per passage, side by side, and one that combines what they found."""
    short = _note_length(asked)
    prompts = {n: asked.prompt(NOTE, [(n, passage)], short) for n, passage in asked.numbered()}
    notes, too_long = _side_by_side(asked, prompts, short, "note")
    if not notes:
        return _nothing_fits(asked, too_long)
    spent = _spent(notes.values())
    notes, findings = _checked(notes, prompts)
    telling = {
        n: guard.without_references(made.text)
        for n, made in notes.items()
        if not guard.is_refusal(made.text, REFUSAL)
    }
    if not telling:
        return _refused(asked, findings, too_long, spent)
    numbered = [(n, replace(asked.items[n - 1], text=note)) for n, note in telling.items() if note]
    prompt = asked.prompt(COMBINE, numbered)
    with tracing.span("combine", kind="step", notes=len(prompt.kept)):
        made = complete(asked.model, prompt.messages, asked.decoding, shown=asked.shown, canary=prompt.canary)
    return _finished(asked, made, prompt, [*too_long, *prompt.dropped], findings, spent)


def _note_length(asked: _Asked) -> Decoding:
    """Settings of a note: so long that all notes fit into the prompt that combines them."""
    window, most = asked.model.window, asked.decoding.max_new_tokens
    if window is None:
        return asked.decoding
    empty = asked.prompt(COMBINE, []).tokens
    heads = sum(asked.model.count(f"[{n}] {p.document} > {p.heading}") + 2 for n, p in asked.numbered())
    each = (window - most - empty - heads) // len(asked.items)
    return replace(asked.decoding, max_new_tokens=min(most, max(LEAST_NOTE, each)))


# ------------------------------------------------------------------ refine


def _refine(asked: _Asked) -> Answer:
    """One call after the other: the answer so far and the next passage give the next answer."""
    so_far, spent, findings = "", Usage(), list[Finding]()
    too_long: list[int] = []
    seen: list[int] = []
    last: tuple[Completion, Prompt] | None = None
    for n, passage in asked.numbered():
        prompt = asked.prompt(REFINE if so_far else FIRST, [(n, passage)], so_far=so_far)
        if not prompt.kept:
            too_long.append(n)
            continue
        seen.append(n)
        request.checkpoint()
        with tracing.span("refine", kind="step", passage=n):
            made = complete(asked.model, prompt.messages, asked.decoding, shown=False)
        spent += made.usage
        kept, noticed = _checked({n: made}, {n: prompt})
        if not kept:
            findings += noticed
            continue
        if guard.is_refusal(made.text, REFUSAL) and last is not None and so_far:
            continue  # this passage adds nothing; what was found before stays
        last = (made, prompt)
        so_far = "" if guard.is_refusal(made.text, REFUSAL) else made.text.strip()
    if last is None:
        return _refused(asked, findings, too_long, spent) if seen else _nothing_fits(asked, too_long)
    made, prompt = last
    made = replace(made, usage=Usage())  # it is counted with the others
    return _finished(asked, made, prompt, too_long, findings, spent, allowed=seen)


# ------------------------------------------------------------------ map_rerank


def certainty(text: str) -> tuple[str, float | None]:
    """A written answer without its last line ``Certainty: N``, and N as 0 to 1; None where it is missing
    or no number from 0 to 100.

    >>> certainty("In 1871.\\nCertainty: 90")
    ('In 1871.', 0.9)
    >>> certainty("In 1871. I am quite sure.")
    ('In 1871. I am quite sure.', None)
    """
    text = text.strip()
    found = _CERTAIN.search(text)
    if found is None:
        return text, None
    number, unit = float(found[1]), (found[2] or "").replace(" ", "")
    whole = 1.0 if "." in found[1] and number <= 1 and not unit else 100.0
    if unit.startswith("/"):
        whole = float(unit[1:])
    value = number / whole if whole else 2.0
    return text[: found.start()].strip(), value if 0 <= value <= 1 else None


def _map_rerank(asked: _Asked) -> Answer:
    """An answer and how certain it is from each passage; the surest is the answer."""
    prompts = {n: asked.prompt(RATE, [(n, passage)]) for n, passage in asked.numbered()}
    written, too_long = _side_by_side(asked, prompts, asked.decoding, "rate")
    if not written:
        return _nothing_fits(asked, too_long)
    spent = _spent(written.values())
    written, findings = _checked(written, prompts)
    rated = {n: certainty(made.text) for n, made in written.items()}
    answering = {n: pair for n, pair in rated.items() if pair[0] and not guard.is_refusal(pair[0], REFUSAL)}
    if not answering:
        return _refused(asked, findings, too_long, spent)
    for n, (_, sure) in answering.items():
        if sure is None:
            message = f"What was answered from passage [{n}] has no certainty that can be read: ranked last."
            findings.append(Finding(guard="certainty", message=message))
    tracing.note("certainties", {str(n): sure for n, (_, sure) in answering.items()})
    best = max(answering, key=lambda n: _rank(answering[n][1]))
    text, sure = answering[best]
    if best not in {m for reference in guard.references(text) for m in reference.numbers}:
        text = f"{text} [{best}]"
    made = replace(written[best], text=text, usage=Usage(), finish="stop")
    answer = _finished(asked, made, prompts[best], too_long, findings, spent)
    return replace(answer, confidence=sure)


def _rank(sure: float | None) -> float:
    return -1.0 if sure is None else sure


# ------------------------------------------------------------------ what they share


def _side_by_side(
    asked: _Asked, prompts: Mapping[int, Prompt], decoding: Decoding, step: str
) -> tuple[dict[int, Completion], list[int]]:
    """A completion for each prompt that holds its passage, by number; and the numbers of the others."""

    def ask(number: int) -> Completion:
        with tracing.span(step, kind="step", passage=number):
            return complete(asked.model, prompts[number].messages, decoding, shown=False)

    fitting = [n for n, prompt in prompts.items() if prompt.kept]
    made = dict(zip(fitting, rows.map(ask, fitting), strict=True))
    return made, [n for n in prompts if n not in made]


def _checked(
    made: Mapping[int, Completion], prompts: Mapping[int, Prompt]
) -> tuple[dict[int, Completion], list[Finding]]:
    """The completions that may be used further, and what was noticed: one that gives away what is
    private goes no further."""
    kept: dict[int, Completion] = {}
    findings: list[Finding] = []
    for n, completion in made.items():
        leaks = _leaks(completion, prompts[n])
        noticed = [*about(completion), *(replace(leak, severity="warning") for leak in leaks)]
        findings += [replace(found, message=f"Passage [{n}]: {found.message}") for found in noticed]
        if not guarding.blocked(leaks):
            kept[n] = completion
    return kept, findings


def _leaks(completion: Completion, prompt: Prompt) -> list[Finding]:
    return guarding.said(completion.text, canary=prompt.canary, prompt=prompt.messages[0].content)


def _spent(made: Any) -> Usage:
    return sum((completion.usage for completion in made), Usage())


def _finished(
    asked: _Asked,
    made: Completion,
    prompt: Prompt,
    left_out: Sequence[int],
    findings: Sequence[Finding],
    spent: Usage,
    allowed: Sequence[int] | None = None,
) -> Answer:
    answer = read(
        asked.question,
        asked.items,
        made,
        prompt,
        by=asked.model.name,
        embedder=asked.embedder,
        allowed=allowed,
        dropped=_documents(asked, left_out),
    )
    return replace(answer, findings=(*findings, *answer.findings), usage=spent + answer.usage)


def _refused(asked: _Asked, findings: Sequence[Finding], left_out: Sequence[int], spent: Usage) -> Answer:
    return Answer(
        text=REFUSAL,
        abstained=True,
        answered_by=asked.model.name,
        findings=tuple(findings),
        dropped=_documents(asked, left_out),
        usage=spent,
    )


def _nothing_fits(asked: _Asked, left_out: Sequence[int]) -> Answer:
    scorer = asked.embedder if isinstance(asked.embedder, Embedder) else asked.embedder()
    quoted = quoting.quote(asked.question, asked.items, embedder=scorer)
    model = asked.model
    why = f"{model.name} was not asked: no passage fits into its window of {model.window} tokens."
    finding = Finding(guard="window", message=why)
    return replace(quoted, findings=(*quoted.findings, finding), dropped=_documents(asked, left_out))


def _documents(asked: _Asked, numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(asked.items[n - 1].document for n in numbers))


STRATEGIES: Mapping[str, Callable[[_Asked], Answer]] = {
    "map_reduce": _map_reduce,
    "refine": _refine,
    "map_rerank": _map_rerank,
}
