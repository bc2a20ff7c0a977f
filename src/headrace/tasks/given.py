"""What a task is given: one text or many, checked once for all tasks; and the project's embedder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from headrace import request
from headrace.errors import InputError
from headrace.text import shorten

if TYPE_CHECKING:
    from headrace.protocols import Embedder, Model
    from headrace.resources.handles import ModelHandle

T = TypeVar("T")


def each(
    given: str | Sequence[str], run: Callable[[Sequence[str]], list[T]], what: str = "text"
) -> T | list[T]:
    """``run`` over the texts that were given: one result for one text, a list of them for many."""
    if isinstance(given, str):
        return run([check(given, what)])[0]
    if isinstance(given, (bytes, dict)) or not isinstance(given, Sequence):
        raise InputError(
            f"A task takes a {what} or a list of them, and was given {type(given).__name__} ({given!r:.60}).",
            hint="Give a str, or a list of str.",
        )
    texts = [check(text, what, at) for at, text in enumerate(given)]
    request.checkpoint()
    return run(texts) if texts else []


def check(text: Any, what: str = "text", at: int | None = None) -> str:
    """The text, if it is one and not empty; InputError says which one is not."""
    where = "" if at is None else f" (number {at + 1})"
    if not isinstance(text, str):
        raise InputError(
            f"A {what} must be a str{where}, not {type(text).__name__} ({text!r:.60}).",
            hint="Give a str, or a list of str.",
        )
    if not text.strip():
        raise InputError(
            f"The {what}{where} is empty: {shorten(text, 20)!r}.", hint="Leave it out, or give some words."
        )
    if "\0" in text:
        raise InputError(
            f"The {what}{where} contains a null character.", hint="Give text, not a binary file."
        )
    return text


def side_by_side(one: Callable[[str], T], texts: Sequence[str]) -> list[T]:
    """``one`` of each text, where a model is asked: together, so that it can write them together."""
    from headrace.flows import run

    return [one(texts[0])] if len(texts) == 1 else run.map(one, texts)


def project_embedder() -> Embedder | None:
    """The embedder of the project in which this runs, None where there are no weights."""
    from headrace.resources.build import default_embedder

    return default_embedder()


def opened(model: str | ModelHandle | Model | None) -> Model | None:
    """The model that was given; None for None. Raises Unavailable where nothing stands behind a handle."""
    from headrace.resources.handles import ModelHandle

    if model is None:
        return None
    handle = ModelHandle(model) if isinstance(model, str) else model
    if isinstance(handle, ModelHandle):
        return handle.open()
    if not (hasattr(handle, "complete") and hasattr(handle, "count")):
        raise InputError(
            f"model={model!r} is not a model.",
            hint="Give 'provider:model', hr.model(...), or an object with complete, stream and count.",
        )
    return handle
