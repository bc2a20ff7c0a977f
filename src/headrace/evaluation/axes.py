"""Models side by side on the four axes of choosing: quality, cost, speed, and what can be changed.

Each is measured on the user's own examples, one call after the other, so that times are those of a call
alone. It looks at models, not at applications: those are compared with ``compare.py``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace import request
from headrace.errors import HeadraceError, InputError
from headrace.evaluation.dataset import Examples
from headrace.measure import metrics
from headrace.measure.statistics import Interval, quantile, summary
from headrace.measure.verdict import Verdict, paired
from headrace.models.card import card
from headrace.protocols import Model, Progress
from headrace.types import Decoding, Example, Message

TRAINING = 16  # bytes a parameter: weights, gradients and both moments of Adam, in 32 bits


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What the owner of a model can do with it. ``score`` counts the three, from 0 to 3."""

    here: bool  # its weights lie on this machine
    licensed: bool  # its licence lets changed versions be made and used
    trainable: bool  # all of it fits into this machine's memory while it is trained

    @property
    def score(self) -> int:
        """How many of the three hold."""
        return self.here + self.licensed + self.trainable

    def __json__(self) -> dict[str, Any]:
        return {
            "score": self.score,
            "here": self.here,
            "licensed": self.licensed,
            "trainable": self.trainable,
        }


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One model's figures. ``cost`` is in US dollars for 1,000 calls, None where prices are unknown;
    ``cpu`` the seconds of this machine's processors for 1,000 calls; ``seconds`` the median of a call.
    ``against`` is the verdict on its quality against the first model, None for that one itself."""

    name: str
    quality: Interval
    seconds: Interval
    cost: float | None
    cpu: float
    changes: Changes
    failed: int
    against: Verdict | None


def measure(
    models: Sequence[Model],
    examples: Examples,
    metric: str,
    *,
    decoding: Decoding | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Candidate]:
    """Ask every model every example and score the answers; in the order given.

    The prompt is the example's one input that is a text. A call that fails counts as failed and has no
    score. InputError for an example with no such input, and for a metric that no example can be scored by.
    """
    chosen = metrics.get(metric)
    prompts = [_prompt(example, examples.where(at)) for at, example in enumerate(examples.items)]
    scores: list[list[float | None]] = []
    found: list[Candidate] = []
    for model in models:
        own: list[float | None] = []
        seconds: list[float | None] = []
        spent: list[float | None] = []
        failed, before = 0, time.process_time()
        for example, prompt in zip(examples.items, prompts, strict=True):
            request.checkpoint()
            begun = clock()
            try:
                made = model.complete([Message("user", prompt)], decoding or Decoding(max_new_tokens=128))
            except HeadraceError:
                failed += 1
                own.append(None)
                seconds.append(None)
                continue
            took = clock() - begun
            seconds.append(took)
            spent.append(made.usage.cost)
            seen = metrics.Observed(output=made.text, seconds=took, usage=made.usage)
            own.append(chosen.score(example, seen).value)
            if progress is not None:
                progress(len(scores) * len(prompts) + len(own), len(models) * len(prompts), model.name)
        cpu = time.process_time() - before
        if all(value is None for value in own) and failed < len(own):
            raise InputError(
                f"No example can be scored by {metric!r}.",
                hint="Give expectations that it compares with, such as answer.",
            )
        known = [cost for cost in spent if cost is not None]
        bounds = (0.0, 1.0) if chosen.unit == "share" else None
        against = None
        if scores:
            against = paired(
                own,
                scores[0],
                direction=chosen.direction,
                margin=chosen.margin,
                kind=chosen.kind,
                bounds=bounds,
            )
        scores.append(own)
        found.append(
            Candidate(
                name=model.name,
                quality=summary(own, chosen.kind, bounds=bounds),
                seconds=quantile(seconds),
                cost=1000 * sum(known) / len(known) if known and len(known) == len(spent) else None,
                cpu=1000 * cpu / len(prompts),
                changes=changes(model),
                failed=failed,
                against=against,
            )
        )
    return found


def changes(model: Model) -> Changes:
    """What can be done with a model, by its folder's card; nothing for one behind a server."""
    folder = getattr(model, "folder", None)
    if not isinstance(folder, Path):
        return Changes(here=False, licensed=False, trainable=False)
    own = card(folder, hashed=False)
    licence = own.stated.licence
    needed = TRAINING * own.tensors.parameters if own.tensors else None
    return Changes(
        here=True,
        licensed=licence.kind in ("permissive", "copyleft", "conditional") and "-nd" not in licence.id,
        trainable=needed is not None and needed < _memory(),
    )


def _memory() -> int:
    """Bytes of memory of this machine; 0 where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return 0


def _prompt(example: Example, where: str) -> str:
    texts = [value for value in example.inputs.values() if isinstance(value, str) and value.strip()]
    if len(texts) != 1:
        raise InputError(
            f"{where} has {len(texts)} inputs that are texts, and a model takes one.",
            hint='Write {"inputs": {"question": "…"}, "expectations": {"answer": "…"}}.',
        )
    return texts[0]
