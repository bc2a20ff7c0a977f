"""Has the rate of thumbs up fallen? A test that may be looked at after every vote.

An e-process against 'the votes of this stream come from one unchanging rate, whatever it is'
(universal inference: Ramdas, Ruf, Larsson & Koolen, "Testing exchangeability: fork-convexity,
supermartingales and e-processes", International Journal of Approximate Reasoning 141, 2022). Its
value after n votes is Q(votes) / max over p of P_p(votes). The denominator is the best that any
constant rate can do. Q is a probability over sequences of votes, fixed in advance: a mixture over
the vote k after which the rate fell, with the Krichevsky-Trofimov estimate before k and, after it,
a running estimate that never exceeds the one before. For every constant rate the expectation of
the value is at most 1 at any stopping time, so by Ville's inequality it reaches 1 / alpha in at
most a share alpha of all streams, for ever, however often somebody looks.

Half of Q's weight lies on given marks (votes at which something is known to have changed: another
release answers), half on a grid of all other moments. Assumed: votes are independent given the
rate. Not here: where votes come from, and what to do about a fall.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InputError

FALSE_ALARMS = 0.05
# The first idea of a fall: thumbs down twice as frequent as before, worth ten votes.
FACTOR, WORTH = 2.0, 10.0


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """What the votes of a stream say about a fall.

    ``raised``: the number of the vote (from 1) with which the alarm went off, None where it did
    not. ``evidence`` is the largest value of the e-process so far, ``limit`` what it must reach:
    1 / ``false_alarms``. ``fell_after`` is the most likely number of votes before the fall;
    ``before`` and ``after`` are (up, votes) on its two sides; None where nothing points to a fall.
    """

    votes: int
    raised: int | None
    evidence: float
    limit: float
    false_alarms: float
    fell_after: int | None
    before: tuple[int, int] | None
    after: tuple[int, int] | None


def watch(votes: Sequence[bool], marks: Sequence[int] = (), *, false_alarms: float = FALSE_ALARMS) -> Alarm:
    """The state of the alarm after these votes, True for up, oldest first.

    ``marks``: numbers of votes before which something changed, ascending: 40 means that the 41st
    vote is the first on the other release. A mark must not depend on votes that come after it.
    """
    if not 0 < false_alarms < 1:
        raise InputError(f"false_alarms={false_alarms!r} is not between 0 and 1.", hint="Give 0.05.")
    x = np.asarray(votes, dtype=bool)
    values, parts = evidence(x, marks)
    limit = 1 / false_alarms
    reached = np.flatnonzero(values >= math.log(limit))
    raised = int(reached[0]) if len(reached) else None
    at = None
    if parts and values[-1] > 0:  # else a constant rate explains the votes better than a fall
        at = max(parts, key=lambda k: parts[k])
    ups = int(x.sum())
    before = None if at is None else (int(x[:at].sum()), at)
    return Alarm(
        votes=len(x),
        raised=raised,
        evidence=float(np.exp(min(values.max(), 700.0))),
        limit=limit,
        false_alarms=false_alarms,
        fell_after=at,
        before=before,
        after=None if before is None or at is None else (ups - before[0], len(x) - at),
    )


def evidence(x: NDArray[np.bool_], marks: Sequence[int] = ()) -> tuple[NDArray[np.float64], dict[int, float]]:
    """Natural logarithms: the e-process after 0, 1, … n votes, and Q_k / max P at the end for each k,
    weighted."""
    n = len(x)
    up = np.concatenate([[0], np.cumsum(x)])
    seen = np.arange(n + 1)
    constant = _times_log(up, seen) + _times_log(seen - up, seen)
    chance = (up[:-1] + 0.5) / (seen[:-1] + 1.0)
    before = np.concatenate([[0.0], np.cumsum(np.log(np.where(x, chance, 1 - chance)))])
    total = np.full(n + 1, -np.inf)
    ends: dict[int, float] = {}
    for weight, k in _moments(n, marks):
        y = x[k:]
        most = (up[k] + 0.5) / (k + 1.0)
        guess = max(0.05, 1 - FACTOR * (1 - most))
        later = np.arange(len(y))
        chance = np.minimum(((up[k:-1] - up[k]) + WORTH * guess) / (later + WORTH), most)
        after = before[k] + np.cumsum(np.log(np.where(y, chance, 1 - chance)))
        total[k + 1 :] = np.logaddexp(total[k + 1 :], weight + after)
        ends[k] = float(weight + after[-1] - constant[-1])
    values = total - constant
    values[0] = -np.inf if n else 0.0
    return values, ends


def _moments(n: int, marks: Sequence[int]) -> Iterator[tuple[float, int]]:
    """(logarithm of the weight, votes before the fall): the weights of all that can ever come add up to 1."""
    for number, k in enumerate(marks, 1):
        if 0 < k < n:
            yield math.log(0.5 / (number * (number + 1))), k
    j = 1
    while (k := 20 * j + j * j // 5) < n:  # ever wider apart, so that long streams cost little
        yield math.log(0.5) + _weight(j), k
        j += 1


def _weight(j: int) -> float:
    """The logarithm of the j-th moment's weight: (j + 20)^-1.5, over its sum from 1 to infinity."""
    return -1.5 * math.log(j + 20) - math.log(_SUM)


# Between the integrals from 21 and from 20 to infinity lies the sum; the larger one keeps Q at most 1.
_SUM = 2 / math.sqrt(20)


def _times_log(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """part · ln(part / whole), 0 where part is 0."""
    safe = np.maximum(part, 1)
    found: NDArray[np.float64] = np.where(part > 0, part * np.log(safe / np.maximum(whole, 1)), 0.0)
    return found
