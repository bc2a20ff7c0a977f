"""From a question and passages to a cited answer: by a language model, or by quoting without one.

``hr.answer``. The model's ``[n]`` are checked against what its prompt held and point to the
sentence of the passage that supports them best; a refusal becomes an abstention. It searches
nothing: the passages are given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace import request, tracing
from headrace.errors import InputError
from headrace.flows import evidence
from headrace.flows import quote as quoting
from headrace.guards import citations as guard
from headrace.prompts.context import REFUSAL, build_prompt
from headrace.resources.handles import ModelHandle
from headrace.types import Answer, Citation, Completion, Decoding, Event, Finding, Message, Passage, Passages

if TYPE_CHECKING:
    from headrace.protocols import Embedder, Model

LONGEST_QUESTION = 32_768  # code points, for a model; what fits its window is counted in tokens


def answer(
    question: str,
    passages: Passages | Sequence[Passage],
    *,
    model: ModelHandle | Model | None = None,
    embedder: Embedder | None = None,
    decoding: Decoding | None = None,
    history: Sequence[Message] = (),
    visible: bool | None = None,
) -> Answer:
    """Answer from the passages, citing them, or abstain and say what was looked for.

    Without an available ``model`` the answer quotes (see :func:`headrace.flows.quote.quote`).
    ``embedder`` scores sentences; None takes the project's, where there is one. ``history`` are
    earlier turns for the model. The text is streamed to whoever listens to the run when
    ``visible`` is True, or when it is None and the application itself calls (not a step of it).
    Raises InputError for a question that is empty or too long, or for passages that are not.
    """
    items = quoting.check_passages(passages)
    shown = _is_visible() if visible is None else visible
    opened = _open(model)
    quoting.check_question(question, quoting.LONGEST_QUESTION if opened is None else LONGEST_QUESTION)
    request.checkpoint()
    with tracing.span("answer", passages=len(items)) as span:
        if opened is None or not items:
            given = quoting.quote(question, passages, embedder=embedder or _default_embedder())
            if opened is not None:
                given = replace(
                    given,
                    findings=(
                        *given.findings,
                        Finding(
                            guard="passages",
                            message=f"{opened.name} was not asked: no passage is relevant enough.",
                            severity="note",
                        ),
                    ),
                )
        else:
            given = _generate(
                question, items, opened, embedder, decoding or _decoding(opened), history, shown
            )
        span.set(answered_by=given.answered_by, abstained=given.abstained, citations=len(given.citations))
        tracing.note("answered_by", given.answered_by)
        for finding in given.findings:
            tracing.note("findings", finding)
    return given


def _open(model: Any) -> Model | None:
    if model is None:
        return None
    if isinstance(model, ModelHandle):
        return model.open() if model.available else None
    if not (hasattr(model, "complete") and hasattr(model, "stream") and hasattr(model, "count")):
        raise InputError(
            f"model={model!r} is not a model.",
            hint="Pass hr.model('auto') or hr.model('provider:model'), or an object with complete, "
            "stream and count; None quotes without a model.",
        )
    opened: Model = model
    return opened


def _decoding(model: Model) -> Decoding:
    """The usual settings; a small window keeps at least three quarters for the prompt."""
    usual = Decoding()
    if model.window is None:
        return usual
    return replace(usual, max_new_tokens=max(1, min(usual.max_new_tokens, model.window // 4)))


def _is_visible() -> bool:
    """Whether the caller is the application's own body, and not a step within it."""
    here = tracing.current()
    return here is None or here.depth == 0


def _default_embedder() -> Embedder | None:
    from headrace.resources.build import default_embedder

    return default_embedder()


def _generate(
    question: str,
    items: Sequence[Passage],
    model: Model,
    embedder: Embedder | None,
    decoding: Decoding,
    history: Sequence[Message],
    shown: bool,
) -> Answer:
    prompt = build_prompt(
        question,
        items,
        count=model.count,
        window=model.window,
        reserve=decoding.max_new_tokens,
        history=history,
    )
    completion = _complete(model, prompt.messages, decoding, shown)
    request.checkpoint()
    dropped = tuple(dict.fromkeys(items[n - 1].document for n in prompt.dropped))
    findings = list(_about(completion, prompt.canary))
    if guard.is_refusal(completion.text, REFUSAL):
        return Answer(
            text=completion.text.strip() or REFUSAL,
            abstained=True,
            answered_by=model.name,
            findings=tuple(findings),
            dropped=dropped,
            usage=completion.usage,
        )
    with tracing.span("citations", kind="guard") as span:
        checked = guard.check(completion.text, frozenset(prompt.kept))
        findings += checked.findings
        span.set(numbers=list(checked.numbers), findings=len(checked.findings))
        if checked.numbers and embedder is None:
            embedder = _default_embedder()
        cited = tuple(_support(n, items[n - 1], question, checked, embedder) for n in checked.numbers)
    return Answer(
        text=checked.text,
        citations=cited,
        answered_by=model.name,
        findings=tuple(findings),
        dropped=dropped,
        usage=completion.usage,
    )


def _complete(model: Model, messages: Sequence[Message], decoding: Decoding, shown: bool) -> Completion:
    """The whole completion; its pieces go to whoever listens as they come."""
    if not shown or request.current().listener is None:
        return model.complete(messages, decoding)
    stream = model.stream(messages, decoding)
    try:
        for piece in stream:
            request.checkpoint()
            request.emit(Event(kind="delta", text=piece))
        return stream.completion
    finally:
        stream.close()


def _about(completion: Completion, canary: str) -> Iterator[Finding]:
    if completion.finish == "length":
        yield Finding(
            guard="length",
            message=f"The answer was cut off after {completion.usage.output_tokens} tokens: "
            "raise max_new_tokens in Decoding.",
        )
    if canary and canary in completion.text:
        yield Finding(guard="canary", message="The answer repeats the private part of its instructions.")


def _support(
    number: int, passage: Passage, question: str, checked: guard.Checked, embedder: Embedder | None
) -> Citation:
    """The sentence of the passage that fits best what the answer says where it cites ``number``."""
    said = [claim.text for claim in checked.claims if number in claim.numbers]
    found = evidence.candidates([passage])
    if not found:  # nothing but headings or signs: the whole passage is the place
        return quoting.cite(number, passage, 0, len(passage.text))
    asked = quoting.read(guard.without_references(" ".join(said)) or question, [passage], found)
    table = quoting.measure(asked, [passage], found, embedder)
    best = found[int(np.argmax(quoting.rank(table, by_words=embedder is None)))]
    return quoting.cite(number, passage, best.start, best.end)
