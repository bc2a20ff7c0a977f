"""Seconds of two applications, taken side by side: the only times that can be set against each other.

A machine is busier at one moment than at the next, caches fill, a processor slows down when it is
warm: times of two evaluations differ although nothing differs. Here every example is run by both,
one right after the other, which of them first decided by lot. Nothing else runs meanwhile, results
of earlier runs are not used, and outputs are not scored.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from headrace import request
from headrace.errors import Cancelled
from headrace.evaluation.dataset import Examples
from headrace.flows.app import App
from headrace.protocols import Progress


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds by example id, of A and of B; an example that failed on either side is in neither."""

    a: dict[str, float]
    b: dict[str, float]


def side_by_side(
    a: App, b: App, examples: Examples, *, most: int, seed: int = 0, progress: Progress | None = None
) -> Times:
    """Run up to ``most`` examples (drawn by ``seed``) with both, in turns, after one run to warm up."""
    lot = random.Random(seed)
    rows = list(zip(examples, examples.arguments(a.signature), strict=True))
    chosen = rows if len(rows) <= most else lot.sample(rows, most)
    for app in (a, b):
        _seconds(app, chosen[0][1])
    found = Times(a={}, b={})
    for done, (example, arguments) in enumerate(chosen):
        if progress is not None:
            progress(done, len(chosen), "timing")
        order = [(found.a, a), (found.b, b)]
        if lot.random() < 0.5:
            order.reverse()
        taken = [(into, _seconds(app, arguments)) for into, app in order]
        if all(seconds is not None for _, seconds in taken):
            for into, seconds in taken:
                assert seconds is not None
                into[example.id] = seconds
    return found


def _seconds(app: App, arguments: dict[str, object]) -> float | None:
    began = time.perf_counter()
    try:
        with request.context(session=request.EVALUATION):
            app.run(arguments)
    except Cancelled:
        raise
    except Exception:  # noqa: BLE001 - the application's own; the evaluation says what failed
        return None
    return time.perf_counter() - began
