"""From a question and passages to a cited answer: by a language model, or by quoting without one.

``hr.answer``: the door. ``quote.py`` quotes, ``write.py`` has a model write; both are imported when
they are used, so that touching this name costs nothing. It searches nothing: the passages are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from headrace import request, tracing
from headrace.errors import InputError
from headrace.flows import guarding
from headrace.resources.handles import ModelHandle
from headrace.resources.prompt import PromptHandle
from headrace.types import Answer, Decoding, Finding, Message, Passage, Passages

if TYPE_CHECKING:
    from headrace.prompts.template import Template
    from headrace.protocols import Embedder, Model

Strategy = Literal["stuff", "map_reduce", "refine", "map_rerank"]
LONGEST_QUESTION = 32_768  # code points, for a model; what fits its window is counted in tokens


def answer(
    question: str,
    passages: Passages | Sequence[Passage],
    model: ModelHandle | Model | None = None,
    *,
    strategy: Strategy = "stuff",
    prompt: PromptHandle | Template | None = None,
    embedder: Embedder | None = None,
    decoding: Decoding | None = None,
    history: Sequence[Message] = (),
    threshold: float | None = None,
    visible: bool | None = None,
) -> Answer:
    """Answer from the passages, citing them, or abstain and say what was looked for.

    Without an available ``model`` the answer quotes (see :func:`headrace.flows.quote.quote`).
    ``strategy`` is how a model reads many passages: ``stuff`` (all in one call; those that do not
    fit into its window are left out and listed), ``map_reduce`` (a note from each, side by side,
    and one call that combines them), ``refine`` (one after the other, each may better the answer)
    or ``map_rerank`` (an answer and its certainty from each, the surest wins; ``confidence`` is
    it). ``prompt`` is the wording for a model, with ``{passages}`` and ``{question}``; None takes
    the usual one, and only ``stuff`` takes another. ``embedder`` scores sentences; None takes the
    project's, where there is one. ``history`` are earlier turns for the model. ``threshold`` is the
    confidence (0 to 1) below which quoting abstains; None takes the fitted one, 0 never abstains.
    The text is streamed to whoever listens to the run when ``visible`` is True, or when it is None
    and the application itself calls (not a step of it).
    Raises InputError for a question that is empty or too long, or for passages that are not.
    """
    if strategy not in get_args(Strategy):
        raise InputError(
            f"strategy={strategy!r} is not known.", hint=f"Use one of: {', '.join(get_args(Strategy))}."
        )
    if prompt is not None and strategy != "stuff":
        raise InputError(
            f"strategy={strategy!r} has prompts of its own.", hint="Give a prompt with strategy='stuff'."
        )
    from headrace.flows import quote as quoting

    items = quoting.check_passages(passages)
    shown = _is_visible() if visible is None else visible
    opened = _open(model)
    longest = quoting.LONGEST_QUESTION if opened is None else LONGEST_QUESTION
    quoting.check_question(question, longest if guarding.limited() else 100 * longest)
    request.checkpoint()
    found = guarding.question(question) if opened is not None else []
    with tracing.span("answer", passages=len(items)) as span:
        if guarding.blocked(found):
            given = Answer(text=guarding.REFUSED, abstained=True, answered_by="guards")
        elif opened is None or not items:
            given = quoting.quote(
                question, passages, embedder=embedder or _default_embedder(), threshold=threshold
            )
            if opened is not None:
                given = _noted(given, f"{opened.name} was not asked: no passage is relevant enough.")
            elif strategy != "stuff":
                given = _noted(given, f"There is no model that could answer by {strategy}: this is a quote.")
        else:
            clean, orders = guarding.passages(items)
            found += orders
            given = _written(strategy, prompt)(
                question,
                clean,
                opened,
                embedder=embedder or _default_embedder,
                decoding=decoding or _decoding(opened),
                history=history,
                shown=shown,
            )
        if found:
            given = replace(given, findings=(*found, *given.findings))
        span.set(answered_by=given.answered_by, abstained=given.abstained, citations=len(given.citations))
        tracing.note("answered_by", given.answered_by)
        for finding in given.findings:
            tracing.note("findings", finding)
    return given


def _noted(given: Answer, message: str) -> Answer:
    return replace(
        given, findings=(*given.findings, Finding(guard="passages", message=message, severity="note"))
    )


def _written(strategy: str, prompt: PromptHandle | Template | None) -> Callable[..., Answer]:
    if strategy == "stuff":
        from headrace.flows.write import write

        return partial(write, template=prompt.use() if isinstance(prompt, PromptHandle) else prompt)
    from headrace.flows.combine import combine

    return partial(combine, strategy=strategy)


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
    usual = Decoding() if guarding.limited() else Decoding(max_new_tokens=guarding.UNLIMITED)
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
