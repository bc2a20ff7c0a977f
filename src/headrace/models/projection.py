"""Many numbers as two: where texts lie beside each other, seen from the side that shows most.

Principal components (Pearson, Philosophical Magazine 2, 1901). Deterministic; draws nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Flat:
    """``points`` is (texts, 2); ``shares`` what part of all variance each axis shows, from 0 to 1."""

    points: NDArray[np.float64]
    shares: tuple[float, float]


def flat(vectors: NDArray[Any]) -> Flat:
    """The first two principal components of (texts, dimension) vectors.

    Signs are fixed (the largest number of each axis is positive), so the same vectors give the same picture.
    """
    if vectors.ndim != 2 or len(vectors) < 3:
        raise InputError(
            f"A map needs at least 3 texts, and there are {len(vectors)}.", hint="Give more texts."
        )
    centred = np.asarray(vectors, dtype=np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    left, values, axes = np.linalg.svd(centred, full_matrices=False)
    total = float((values**2).sum())
    if total <= 1e-18:
        raise InputError("All texts are the same, so there is nothing to see.", hint="Give different texts.")
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    points = (left * values * signs)[:, :2]
    if points.shape[1] < 2:
        points = np.column_stack([points, np.zeros(len(points))])
    shares = [float(value) ** 2 / total for value in values[:2]] + [0.0]
    return Flat(points=points, shares=(shares[0], shares[1]))
