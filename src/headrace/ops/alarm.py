"""Has the rate of thumbs up fallen? A test that may be looked at after every vote.

An e-process against 'the votes of this stream come from one unchanging rate, whatever it is'
(universal inference: Ramdas, Ruf, Larsson & Koolen, "Testing exchangeability: fork-convexity,
supermartingales and e-processes", International Journal of Approximate Reasoning 141, 2022). Its
value after n votes is Q(votes) / max over p of P_p(votes). The denominator is the best that any
constant rate can do. Q is a probability over sequences of votes, fixed in advance: a mixture over
parts of the stream that could be worse, with the Krichevsky-Trofimov estimate for the other votes
and, for those of the part, a running estimate that never exceeds the others' so far. For every
constant rate the expectation of the value is at most 1 at any stopping time, so by Ville's
inequality it reaches 1 / alpha in at most a share alpha of all streams, for ever, however often
somebody looks.

Half of Q's weight lies on releases (the part: all votes on answers of the second, third, … release
to appear, whether it took over or answers beside another), half on moments (the part: all votes
from then on). Assumed: votes are independent given the rate. Not here: where votes come from, and
what to do about a fall.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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
    1 / ``false_alarms``. Where something points to a fall, the likeliest part is either ``release``, or
    what follows the vote number ``fell_after``; ``worse`` is (up, votes) of that part, ``rest`` of all
    others.
    """

    votes: int
    raised: int | None
    evidence: float
    limit: float
    false_alarms: float
    release: str | None = None
    fell_after: int | None = None
    worse: tuple[int, int] | None = None
    rest: tuple[int, int] | None = None


def watch(
    votes: Sequence[bool], releases: Sequence[str] = (), *, false_alarms: float = FALSE_ALARMS
) -> Alarm:
    """The state of the alarm after these votes, True for up, oldest first.

    ``releases``: which release each vote is about; without it they are taken to be about one.
    """
    if not 0 < false_alarms < 1:
        raise InputError(f"false_alarms={false_alarms!r} is not between 0 and 1.", hint="Give 0.05.")
    if releases and len(releases) != len(votes):
        raise InputError(f"{len(votes)} votes on {len(releases)} releases.", hint="Give one for each vote.")
    x = np.asarray(votes, dtype=bool)
    names = list(dict.fromkeys(releases))
    number = {name: i for i, name in enumerate(names)}
    labels = np.asarray([number[name] for name in releases] or np.zeros(len(x)), dtype=np.int64)
    values, parts = evidence(x, labels)
    limit = 1 / false_alarms
    reached = np.flatnonzero(values >= math.log(limit))
    found = Alarm(
        votes=len(x),
        raised=int(reached[0]) if len(reached) else None,
        evidence=float(np.exp(min(values.max(), 700.0))),
        limit=limit,
        false_alarms=false_alarms,
    )
    if not parts or values[-1] <= 0:  # one constant rate explains the votes better than a fall
        return found
    kind, at = max(parts, key=lambda part: parts[part])
    inside = labels == at if kind == "release" else np.arange(len(x)) >= at
    return replace(
        found,
        release=names[at] if kind == "release" else None,
        fell_after=None if kind == "release" else at,
        worse=(int(x[inside].sum()), int(inside.sum())),
        rest=(int(x[~inside].sum()), int((~inside).sum())),
    )


Part = tuple[str, int]  # ("release", its number) or ("moment", votes before it)


def evidence(
    x: NDArray[np.bool_], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], dict[Part, float]]:
    """Natural logarithms: the e-process after 0, 1, … n votes, and the share of each part in it at the end.

    ``labels``: the number of each vote's release, from 0 in the order in which they appear.
    """
    n = len(x)
    up, seen = np.cumsum(x, dtype=np.int64), np.arange(1, n + 1, dtype=np.int64)
    constant = _times_log(up, seen) + _times_log(seen - up, seen)
    total = np.full(n, -np.inf)
    ends: dict[Part, float] = {}
    before = np.log(np.where(x, _estimate(up, seen, x), 1 - _estimate(up, seen, x)))
    whole = np.concatenate([[0.0], np.cumsum(before)])
    for weight, k in _moments(n):
        most = (up[k - 1] + 0.5) / (k + 1.0)
        y = x[k:]
        chance = _after(np.cumsum(y) - y, np.arange(n - k), np.full(n - k, most))
        value = weight + whole[k] + np.cumsum(np.log(np.where(y, chance, 1 - chance)))
        total[k:] = np.logaddexp(total[k:], value)
        ends["moment", k] = float(value[-1] - constant[-1])
    for number in range(1, int(labels.max(initial=0)) + 1):
        mine = labels == number
        ups, votes = np.cumsum(x & mine) - (x & mine), np.cumsum(mine) - mine
        others = (np.cumsum(x & ~mine) - (x & ~mine) + 0.5) / (np.cumsum(~mine) - ~mine + 1.0)
        chance = np.where(mine, _after(ups, votes, others), others)
        value = math.log(0.5 / (number * (number + 1))) + np.cumsum(np.log(np.where(x, chance, 1 - chance)))
        # Before its first vote the part is empty, and says nothing that a constant rate does not.
        total = np.where(votes + mine > 0, np.logaddexp(total, value), total)
        ends["release", number] = float(value[-1] - constant[-1])
    values = np.concatenate([[-np.inf if n else 0.0], total - constant])
    return values, ends


def _estimate(up: NDArray[np.int64], seen: NDArray[np.int64], x: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The chance of up before each vote (Krichevsky & Trofimov 1981)."""
    return (up - x + 0.5) / seen


def _after(
    ups: NDArray[np.int64], votes: NDArray[np.int64], most: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The chance of up before each vote of the part, at most ``most``, the chance among the others."""
    guess = np.maximum(0.05, 1 - FACTOR * (1 - most))
    found: NDArray[np.float64] = np.minimum((ups + WORTH * guess) / (votes + WORTH), most)
    return found


def _moments(n: int) -> Iterator[tuple[float, int]]:
    """(logarithm of the weight, votes before): the weights of all that can ever come add up to a half."""
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
