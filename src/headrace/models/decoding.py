"""From a prompt to a text, opened up: the four stages, and a table of settings tried on one prompt.

Knows no torch: any model can be tried; the stages and log-probabilities are those of a model that
offers ``stages`` (``local.py``). What a Decoding may hold is decided in ``types.py``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

from headrace.errors import InputError
from headrace.protocols import Model
from headrace.types import Decoding, Message

# what a setting of a grid is read as
_AXES = {
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "num_beams": int,
    "min_new_tokens": int,
    "max_new_tokens": int,
    "seed": int,
}
# what says nothing while temperature is 0
_OF_SAMPLING = ("top_k", "top_p", "seed")
MOST = 500  # combinations of one grid


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Texts as tensors: ``ids`` and ``mask`` are (texts, length); the mask is 0 where a row is filled
    up. ``dropped`` is how many tokens of each text did not fit."""

    ids: list[list[int]]
    mask: list[list[int]]
    dropped: list[int]


@dataclass(frozen=True, kw_only=True)
class Read:
    """What the model reads: token ids, the tokens as its vocabulary writes them, the attention mask,
    and how many tokens of the prompt were cut off."""

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    mask: tuple[int, ...]
    dropped: int = 0


@dataclass(frozen=True, kw_only=True)
class Written:
    """What the model wrote, the end token included where it came. ``logprobs`` are natural logarithms
    of the model's own probabilities, before temperature, top-k and top-p."""

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Stages:
    """One generation in its four stages: ``prompt`` → ``read`` → ``written`` → ``text``."""

    prompt: str
    read: Read
    written: Written
    text: str


@dataclass(frozen=True, kw_only=True)
class Next:
    """A token that could come next, as the vocabulary writes it, and its probability."""

    token: str
    id: int
    probability: float


@runtime_checkable
class Opened(Protocol):
    """A model that can be opened up."""

    def stages(
        self, messages: Sequence[Message], decoding: Decoding, *, max_length: int | None = None
    ) -> Stages: ...


def stages(
    model: Model,
    prompt: str | Sequence[Message],
    decoding: Decoding | None = None,
    *,
    max_length: int | None = None,
) -> Stages:
    """Write once and show each stage; the text is the one that ``complete`` gives.

    ``max_length`` cuts the end of a longer prompt, in tokens; without it, a prompt that does not fit
    is refused. InputError for a model that cannot be opened up.
    """
    if not isinstance(model, Opened):
        raise InputError(
            f"{getattr(model, 'name', model)!r} cannot be opened up: it shows a text, not its tokens.",
            hint="The stages are those of a model on this machine: name a folder, local:PATH.",
        )
    return model.stages(_messages(prompt), decoding or Decoding(), max_length=max_length)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One combination of a grid and what came of it.

    ``asked`` is the combination; ``decoding`` what was used; ``ignored`` names the settings that say
    nothing here (top_p while temperature is 0). ``logprob`` is the sum over the ``tokens`` written,
    ``logprob_per_token`` their mean, the end token included; None where the model does not tell.
    """

    asked: Mapping[str, Any]
    decoding: Decoding
    text: str
    finish: str
    seconds: float
    tokens: int
    logprob: float | None = None
    logprob_per_token: float | None = None
    ignored: tuple[str, ...] = field(default=())


def axes(written: Sequence[str]) -> dict[str, list[Any]]:
    """``["temperature=0,0.7", "top_k=5"]`` → values by name. InputError names what is wrong."""
    found: dict[str, list[Any]] = {}
    for item in written:
        name, sign, values = item.partition("=")
        if not sign or name not in _AXES:
            raise InputError(
                f"{item!r} is not a setting to try.",
                hint=f"Write NAME=VALUE,VALUE with one of {', '.join(_AXES)}.",
            )
        if name in found:
            raise InputError(f"{name!r} is given twice.", hint=f"Write all values at once: {name}=A,B,C.")
        try:
            found[name] = [_AXES[name](value) for value in values.split(",")]
        except ValueError as error:
            raise InputError(
                f"{item!r}: one of {values.split(',')!r} is not a {_AXES[name].__name__}.",
                hint=f"Write for example {name}={'0.5,0.9' if _AXES[name] is float else '1,4'}.",
            ) from error
        if len(set(found[name])) < len(found[name]):
            raise InputError(f"{item!r} names a value twice.", hint="Give each value once.")
    return found


def grid(
    model: Model,
    prompt: str | Sequence[Message],
    values: Mapping[str, Sequence[Any]],
    *,
    base: Decoding | None = None,
    max_length: int | None = None,
) -> Iterator[Trial]:
    """Try every combination of ``values`` on one prompt; a trial at a time, in the order given.

    ``base`` holds the settings that stay. All combinations are checked before the first is tried. A
    combination that comes to the same decoding as an earlier one is not computed again.
    """
    asked = [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]
    if len(asked) > MOST:
        raise InputError(
            f"The grid has {len(asked)} combinations; {MOST} is the most.", hint="Give fewer values."
        )
    planned = [(one, *_effective(base or Decoding(), one)) for one in asked]
    for name in _OF_SAMPLING:
        if name in values and all(name in ignored for _, _, ignored in planned):
            raise InputError(
                f"{name} says nothing in any combination: the temperature is 0 in all of them.",
                hint="Add a temperature above 0 to the grid, for example temperature=0.7.",
            )
    return _tried(model, _messages(prompt), planned, max_length)


def _tried(
    model: Model,
    messages: Sequence[Message],
    planned: Sequence[tuple[Mapping[str, Any], Decoding, tuple[str, ...]]],
    max_length: int | None,
) -> Iterator[Trial]:
    if isinstance(model, Opened):  # what a model does only at its first call is no trial's time
        model.stages(messages, Decoding(max_new_tokens=1), max_length=max_length)
    known: dict[Decoding, Trial] = {}
    for asked, decoding, ignored in planned:
        if decoding not in known:
            known[decoding] = _try(model, messages, decoding, max_length)
        yield replace(known[decoding], asked=asked, ignored=ignored)


def _try(model: Model, messages: Sequence[Message], decoding: Decoding, max_length: int | None) -> Trial:
    if isinstance(model, Opened):
        done = model.stages(messages, decoding, max_length=max_length)
        logprobs = done.written.logprobs
        total = sum(logprobs) if logprobs else None
        return Trial(
            asked={},
            decoding=decoding,
            text=done.text,
            finish=done.written.finish,
            seconds=done.written.seconds,
            tokens=len(done.written.ids),
            logprob=total,
            logprob_per_token=None if total is None else total / len(logprobs),
        )
    if max_length is not None:
        raise InputError(
            f"{model.name!r} cannot cut its prompt to max_length={max_length} tokens.",
            hint="Only a model on this machine counts its tokens exactly; shorten the prompt yourself.",
        )
    begun = time.perf_counter()
    completion = model.complete(messages, decoding)
    return Trial(
        asked={},
        decoding=decoding,
        text=completion.text,
        finish=completion.finish,
        seconds=time.perf_counter() - begun,
        tokens=completion.usage.output_tokens,
    )


def _effective(base: Decoding, asked: Mapping[str, Any]) -> tuple[Decoding, tuple[str, ...]]:
    """The decoding of a combination, without what says nothing at temperature 0, and its names.

    A value out of its range is refused all the same.
    """
    settings = {**asdict(base), **asked}
    if settings["temperature"] != 0:
        return Decoding(**settings), ()
    Decoding(**{**settings, "temperature": 1.0})
    ignored = tuple(name for name in _OF_SAMPLING if asked.get(name) is not None)
    return Decoding(**{**settings, **dict.fromkeys(_OF_SAMPLING)}), ignored


def _messages(prompt: str | Sequence[Message]) -> Sequence[Message]:
    return [Message("user", prompt)] if isinstance(prompt, str) else prompt
