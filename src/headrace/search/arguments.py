"""What a caller may ask of a search: every argument is looked at here, and nowhere else.

Brings in what the request's context says: its filters are and-ed with the caller's and cannot be
widened, its deadline caps the time limit. Searches nothing.
"""

from __future__ import annotations

from headrace import request as context
from headrace.errors import InputError
from headrace.request import Filters
from headrace.search import filters as filtering
from headrace.search.retrieve import Request
from headrace.search.vectors import METRICS

MODES = ("hybrid", "dense", "lexical")
MOST = 10_000  # the largest top_k
LONGEST = 1_000_000  # code points of a question
PLENTY = 10.0  # seconds; a deadline further off needs no watching by a search, which takes milliseconds


def request(
    query: str,
    top_k: int,
    mode: str,
    filters: Filters | None,
    metric: str = "cosine",
    version: int | None = None,
) -> Request:
    """A search that makes sense; InputError says which argument does not."""
    if not isinstance(query, str) or not query.strip():
        raise InputError(f"The question is empty ({query!r}).", hint="Ask something.")
    if len(query) > LONGEST:
        raise InputError(
            f"The question has {len(query):,} characters; {LONGEST:,} are the most.",
            hint="Ask about a shorter text.",
        )
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= MOST:
        raise InputError(
            f"top_k={top_k!r} is not a whole number from 1 to {MOST:,}.", hint="4 is the default."
        )
    for value, known, what in ((mode, MODES, "mode"), (metric, METRICS, "metric")):
        if value not in known:
            raise InputError(f"{what}={value!r} is not known.", hint=f"Use one of {', '.join(known)}.")
    return Request(
        query=query,
        top_k=top_k,
        mode=mode,
        metric=metric,
        condition=filtering.condition(*context.current().filters, filters),
        version=version,
    )


def visible() -> filtering.Condition | None:
    """What the request's context lets its caller see; None: everything."""
    return filtering.condition(*context.current().filters)


def check_threshold(threshold: float | None) -> None:
    """A bound on relevance is a probability."""
    if threshold is None:
        return
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise InputError(
            f"score_threshold={threshold!r} is not between 0 and 1.",
            hint="It is a bound on relevance, a probability; 0.5 is a good first try.",
        )


def limit(timeout: float | None) -> float | None:
    """Seconds that a search may take: the timeout, and no more than the request has left.

    None: without one. Keeping a limit takes threads and a second look at the store, a millisecond or
    more; a request that has ``PLENTY`` left need not pay it, its deadline is tested at every step.
    """
    if timeout is not None and (isinstance(timeout, bool) or not timeout > 0):
        raise InputError(
            f"timeout={timeout!r} is not a number of seconds above 0.", hint="Give for example 2.0."
        )
    remaining = context.current().remaining
    if timeout is None and remaining is not None and remaining > PLENTY:
        return None
    limits = [limit for limit in (timeout, remaining) if limit is not None]
    return max(0.0, min(limits)) if limits else None
