"""Having a model answer from passages, and checking what it wrote.

The model's ``[n]`` are checked against what its prompt held and point to the sentence of the
passage that supports them best. It is given an opened model and passages; it looks nothing up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from headrace import request, tracing
from headrace.flows import evidence, guarding
from headrace.flows import quote as quoting
from headrace.guards import citations as guard
from headrace.prompts.clauses import REFUSAL
from headrace.prompts.context import ANSWER, BARE, build_prompt
from headrace.prompts.template import Template
from headrace.protocols import Embedder, Model
from headrace.types import Answer, Citation, Completion, Decoding, Event, Finding, Message, Passage, Prompt

# The share of what is said, by the rarity of its words, that a sentence must hold to be its place
# without being embedded.
SAID = 0.6


def write(
    question: str,
    items: Sequence[Passage],
    model: Model,
    *,
    embedder: Embedder | Callable[[], Embedder | None],
    decoding: Decoding,
    history: Sequence[Message] = (),
    shown: bool = False,
    template: Template | None = None,
) -> Answer:
    """Have ``model`` answer from ``items``; a refusal becomes an abstention. ``template`` takes the place
    of the usual prompt.

    ``embedder``, or what gives one, is needed only where something is cited. ``shown``: the text
    goes to whoever listens to the run while it is written.
    """
    fenced = guarding.fenced()
    prompt = build_prompt(
        question,
        items,
        template=template or (ANSWER if fenced else BARE),
        fenced=fenced,
        count=model.count,
        window=model.window,
        reserve=decoding.max_new_tokens,
        history=history,
    )
    dropped = tuple(dict.fromkeys(items[n - 1].document for n in prompt.dropped))
    # Fences make each prompt's text its own; the template is what two prompts have in common.
    tracing.note(
        "contexts",
        {
            "template": prompt.template,
            "tokens": prompt.tokens,
            "kept": list(prompt.kept),
            "dropped": list(prompt.dropped),
        },
    )
    if not prompt.kept:  # the model would have to answer from nothing
        quoted = quoting.quote(question, items, embedder=_scorer(embedder))
        why = f"{model.name} was not asked: no passage fits into its window of {model.window} tokens."
        return replace(
            quoted, findings=(*quoted.findings, Finding(guard="window", message=why)), dropped=dropped
        )
    completion = complete(model, prompt.messages, decoding, shown=shown, canary=prompt.canary)
    request.checkpoint()
    return read(
        question,
        items,
        completion,
        prompt,
        by=model.name,
        embedder=embedder,
        dropped=dropped,
        refusal=getattr(template, "refusal", "") or REFUSAL,
    )


def read(
    question: str,
    items: Sequence[Passage],
    completion: Completion,
    prompt: Prompt,
    *,
    by: str,
    embedder: Embedder | Callable[[], Embedder | None],
    allowed: Collection[int] | None = None,
    dropped: tuple[str, ...] = (),
    refusal: str = REFUSAL,
) -> Answer:
    """What a model wrote, checked: a refusal is an abstention, each ``[n]`` has its place.

    ``by`` is the model's name. ``allowed``: the numbers that may be cited; None takes those of the prompt.
    """
    leaks = guarding.said(completion.text, canary=prompt.canary, prompt=prompt.messages[0].content)
    findings = [*about(completion), *leaks]
    if guarding.blocked(leaks):
        return Answer(
            text=guarding.WITHHELD,
            abstained=True,
            answered_by=by,
            findings=tuple(findings),
            dropped=dropped,
            usage=completion.usage,
        )
    if guard.is_refusal(completion.text, refusal):
        return Answer(
            text=completion.text.strip() or refusal,
            abstained=True,
            answered_by=by,
            findings=tuple(findings),
            dropped=dropped,
            usage=completion.usage,
        )
    with tracing.span("citations", kind="guard") as span:
        checked = guard.check(completion.text, frozenset(prompt.kept if allowed is None else allowed))
        findings += checked.findings
        span.set(numbers=list(checked.numbers), findings=len(checked.findings))
        cited = tuple(_support(n, items[n - 1], question, checked, embedder) for n in checked.numbers)
    return Answer(
        text=checked.text,
        citations=cited,
        answered_by=by,
        findings=tuple(findings),
        dropped=dropped,
        usage=completion.usage,
    )


def _scorer(embedder: Embedder | Callable[[], Embedder | None]) -> Embedder | None:
    return embedder if isinstance(embedder, Embedder) else embedder()


def complete(
    model: Model, messages: Sequence[Message], decoding: Decoding, *, shown: bool, canary: str = ""
) -> Completion:
    """The whole completion; its pieces go to whoever listens as they come.

    Where answers that leak are withheld, text leaves in whole sentences that were looked at, and none
    leaves after one that leaks.
    """
    beams = decoding.num_beams > 1  # which text wins is known at the end: nothing to stream
    if not shown or beams or request.current().listener is None:
        return model.complete(messages, decoding)
    stream = model.stream(messages, decoding)
    gate = guarding.Gate(canary=canary, prompt=messages[0].content if messages[0].role == "system" else "")
    try:
        for piece in stream:
            request.checkpoint()
            if text := gate.take(piece):
                request.emit(Event(kind="delta", text=text))
        if text := gate.rest():
            request.emit(Event(kind="delta", text=text))
        return stream.completion
    finally:
        stream.close()


def about(completion: Completion, canary: str = "") -> Iterator[Finding]:
    """What is to be said about a completion as such: cut off, or giving its instructions away."""
    if completion.finish == "length":
        yield Finding(
            guard="length",
            message=f"The answer was cut off after {completion.usage.output_tokens} tokens: "
            "raise max_new_tokens in Decoding.",
        )
    if canary and canary in completion.text:
        yield Finding(guard="canary", message="The answer repeats the private part of its instructions.")


def _support(
    number: int,
    passage: Passage,
    question: str,
    checked: guard.Checked,
    embedder: Embedder | Callable[[], Embedder | None],
) -> Citation:
    """The sentence of the passage that fits best what the answer says where it cites ``number``.

    Answers mostly take over the passage's words, and then these decide. Where they do not, the
    sentences are embedded, which costs as much as all other checks together, and far more the first time.
    """
    said = [claim.text for claim in checked.claims if number in claim.numbers]
    found = evidence.candidates([passage])
    if not found:  # nothing but headings or signs: the whole passage is the place
        return quoting.cite(number, passage, 0, len(passage.text))
    asked = quoting.read(guard.without_references(" ".join(said)) or question, [passage], found)
    cover = evidence.covered(asked, found)
    at = int(np.argmax(cover))
    if cover[at] < SAID:
        scorer = _scorer(embedder)
        table = quoting.measure(asked, [passage], found, scorer)
        at = int(np.argmax(quoting.rank(table, by_words=scorer is None)))
    return quoting.cite(number, passage, found[at].start, found[at].end)
