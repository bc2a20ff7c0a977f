"""Linear heads: logistic regression over sentence vectors and hashed n-grams, in numpy alone.

What the shipped sentiment head and the heads that are trained from a handful of examples have in
common: features, the fit, calibrated probabilities. No words are stored, only weights by hash. It
embeds nothing and reads no files but its own.

Sources: Liu and Nocedal, "On the limited memory BFGS method", 1989 (the fit); Weinberger et al.,
"Feature hashing for large scale multitask learning", 2009 (features); Wang and Manning, "Baselines
and bigrams", 2012 (n-grams weighted by their log-count ratio).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)?|[!?]+")
_HISTORY = 10  # pairs that L-BFGS remembers


# --------------------------------------------------------------------------- features


@dataclass(frozen=True)
class Sparse:
    """Rows of (column, value) pairs: ``starts`` (n + 1,), ``columns`` and ``values`` (entries,)."""

    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: Floats
    width: int

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The row of each entry."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def dot(self, weights: Floats) -> Floats:
        """(n,) or (n, k): rows times weights (width,) or (width, k)."""
        taken = weights[self.columns]
        n = len(self.starts) - 1
        if weights.ndim == 1:
            return _sums(self.rows, taken * self.values, n)
        return np.stack([_sums(self.rows, column * self.values, n) for column in taken.T], axis=1)

    def back(self, errors: Floats) -> Floats:
        """(width,) or (width, k): the transpose times errors (n,) or (n, k)."""
        taken = errors[self.rows]
        if errors.ndim == 1:
            return _sums(self.columns, taken * self.values, self.width)
        return np.stack(
            [_sums(self.columns, c * self.values, self.width) for c in taken.T],
            axis=1,
        )

    def take(self, rows: NDArray[np.int64]) -> Sparse:
        """Some of the rows, in the order given."""
        lengths = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        entries = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return Sparse(starts, self.columns[entries], self.values[entries], self.width)

    def scaled(self, columns: Floats) -> Sparse:
        """Each column times its factor."""
        return Sparse(self.starts, self.columns, self.values * columns[self.columns], self.width)


def _sums(places: NDArray[np.int64], values: Floats, n: int) -> Floats:
    """(n,): the values added up by place."""
    return np.bincount(places, weights=values, minlength=n).astype(np.float64, copy=False)


def grams(text: str, longest: int) -> list[str]:
    """The words and runs of ! and ? of a text in lower case, and their n-grams up to ``longest``."""
    words = [m.group().lower().replace("’", "'") for m in _TOKEN.finditer(text)]
    found = list(words)
    for n in range(2, longest + 1):
        found += [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    return found


def hashed(texts: Sequence[str], *, bits: int, longest: int = 2, unit: bool = True) -> Sparse:
    """Which of 2**bits buckets the n-grams of each text fall into (CRC-32), each counted once.

    ``unit``: rows have length 1, so that long and short texts weigh the same.
    """
    starts = [0]
    columns: list[int] = []
    values: list[float] = []
    shift = 32 - bits
    for text in texts:
        mine = sorted({zlib.crc32(gram.encode("utf-8")) >> shift for gram in grams(text, longest)})
        columns += mine
        values += [1.0 / max(1, len(mine)) ** 0.5 if unit else 1.0] * len(mine)
        starts.append(len(columns))
    return Sparse(
        np.array(starts, np.int64), np.array(columns, np.int64), np.array(values, np.float64), 1 << bits
    )


def log_count_ratio(features: Sparse, positive: NDArray[np.bool_], smoothing: float = 1.0) -> Floats:
    """(width,): the logarithm of how much likelier each column is in positive rows than in others."""
    here = np.bincount(
        features.columns, weights=positive[features.rows].astype(float), minlength=features.width
    )
    there = np.bincount(features.columns, minlength=features.width) - here
    p, q = here + smoothing, there + smoothing
    return np.asarray(np.log((p / p.sum()) / (q / q.sum())))


# --------------------------------------------------------------------------- the fit


def minimise(
    function: Callable[[Floats], tuple[float, Floats]],
    start: Floats,
    *,
    most: int = 200,
    tolerance: float = 1e-5,
) -> Floats:
    """Where a smooth function is least, by L-BFGS; ``function`` gives value and gradient.

    Ends when no part of the gradient exceeds ``tolerance``, or after ``most`` steps.
    """
    x = start.astype(np.float64)
    value, gradient = function(x)
    steps: list[tuple[Floats, Floats, float]] = []
    for _ in range(most):
        if float(np.abs(gradient).max(initial=0.0)) <= tolerance:
            break
        direction = -_inverse(gradient, steps)
        slope = float(gradient @ direction)
        if slope >= 0:  # the memory misleads: begin again downhill
            steps.clear()
            direction, slope = -gradient, -float(gradient @ gradient)
        length = 1.0 if steps else min(1.0, 1.0 / max(1e-12, float(np.abs(gradient).sum())))
        while True:
            moved = x + length * direction
            there, slopes = function(moved)
            if there <= value + 1e-4 * length * slope or length < 1e-12:
                break
            length *= 0.5
        step, change = moved - x, slopes - gradient
        curvature = float(step @ change)
        if curvature > 1e-12:
            steps = [*steps[-_HISTORY + 1 :], (step, change, 1.0 / curvature)]
        if there >= value:
            break
        x, value, gradient = moved, there, slopes
    return x


def _inverse(gradient: Floats, steps: Sequence[tuple[Floats, Floats, float]]) -> Floats:
    """The inverse Hessian of the remembered steps times the gradient (the two-loop recursion)."""
    direction = gradient.copy()
    kept = []
    for step, change, rho in reversed(steps):
        share = rho * float(step @ direction)
        kept.append(share)
        direction -= share * change
    if steps:
        step, change, _ = steps[-1]
        direction *= float(step @ change) / float(change @ change)
    for (step, change, rho), share in zip(steps, reversed(kept), strict=True):
        direction += (share - rho * float(change @ direction)) * step
    return direction


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(-z)), without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def softmax(z: Floats) -> Floats:
    """Rows (n, k) of probabilities."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def fit_binary(
    dense: Floats | None,
    sparse: Sparse | None,
    truth: NDArray[np.bool_],
    *,
    ridge: float,
    offset: Floats | None = None,
    most: int = 100,
    tolerance: float = 1e-2,
) -> tuple[Floats, Floats, float]:
    """Logistic regression: weights of the dense columns, of the sparse ones, and the constant.

    Least is the summed log loss + ``ridge``/2 times the squared weights (the constant is free).
    ``offset`` (n,) is added to each row's logit and not fitted.
    """
    d = 0 if dense is None else dense.shape[1]
    s = 0 if sparse is None else sparse.width
    sign = np.where(truth, 1.0, -1.0)
    base = np.zeros(len(truth)) if offset is None else offset

    def loss(w: Floats) -> tuple[float, Floats]:
        z = base + w[-1]
        if dense is not None:
            z = z + dense @ w[:d]
        if sparse is not None:
            z = z + sparse.dot(w[d : d + s])
        margin = sign * z
        total = float(np.logaddexp(0.0, -margin).sum()) + 0.5 * ridge * float(w[:-1] @ w[:-1])
        error = -sign * sigmoid(-margin)
        parts = [] if dense is None else [dense.T @ error]
        parts += [] if sparse is None else [sparse.back(error)]
        gradient = np.concatenate([*parts, [error.sum()]])
        gradient[:-1] += ridge * w[:-1]
        return total, gradient

    found = minimise(loss, np.zeros(d + s + 1), most=most, tolerance=tolerance)
    return found[:d], found[d : d + s], float(found[-1])


def fit_softmax(
    dense: Floats | None, sparse: Sparse | None, truth: NDArray[np.int64], classes: int, *, ridge: float
) -> tuple[Floats, Floats, Floats]:
    """Multinomial logistic regression: (d, classes), (width, classes) and (classes,) weights.

    Least is the summed log loss + ``ridge``/2 times the squared weights (the constants are free).
    """
    n = len(truth)
    d = 0 if dense is None else dense.shape[1]
    s = 0 if sparse is None else sparse.width
    wanted = np.zeros((n, classes))
    wanted[np.arange(n), truth] = 1.0

    def loss(flat: Floats) -> tuple[float, Floats]:
        w = flat.reshape(d + s + 1, classes)
        z = np.broadcast_to(w[-1], (n, classes))
        if dense is not None:
            z = z + dense @ w[:d]
        if sparse is not None:
            z = z + sparse.dot(w[d : d + s])
        p = softmax(z)
        total = -float(np.log(np.maximum(p[np.arange(n), truth], 1e-300)).sum())
        total += 0.5 * ridge * float((w[:-1] ** 2).sum())
        error = p - wanted
        parts = [] if dense is None else [dense.T @ error]
        parts += [] if sparse is None else [sparse.back(error)]
        gradient = np.concatenate([*parts, error.sum(axis=0)[None]])
        gradient[:-1] += ridge * w[:-1]
        return total, gradient.ravel()

    found = minimise(loss, np.zeros((d + s + 1) * classes), tolerance=1e-4).reshape(d + s + 1, classes)
    return found[:d], found[d : d + s], found[-1]


# --------------------------------------------------------------------------- calibration


def calibration_error(probabilities: Floats, right: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error: |accuracy - mean probability| over bins of equal count, weighted.

    ``probabilities`` (n,) of the predicted class, ``right`` whether it was the true one
    (Naeini et al., 2015; equal counts after Nixon et al., 2019).
    """
    order = np.argsort(probabilities, kind="stable")
    parts = np.array_split(order, min(bins, max(1, len(order))))
    gaps = [abs(float(right[p].mean()) - float(probabilities[p].mean())) * len(p) for p in parts if len(p)]
    return float(sum(gaps) / max(1, len(order)))
