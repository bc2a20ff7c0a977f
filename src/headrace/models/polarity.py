"""The sentiment head: how positive a sentence is, from its vector and its hashed n-grams.

Two logistic regressions, one over the embedder's vector and one over n-grams weighted by their
log-count ratio; their logits are mixed with weights fitted on rows that neither had seen, which is
what calibrates the probability. Without vectors the n-grams answer alone, with a calibration of
their own. The head that ships, ``sentiment.npz``, is made by ``benchmarks/train_sentiment.py`` and
described in docs/reference/sentiment-head.md. It judges a sentence; texts are put together in
``tasks/sentiments.py``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Corrupt
from headrace.models.heads import Floats, Sparse, fit_binary, hashed, log_count_ratio, sigmoid

FILE = Path(__file__).with_name("sentiment.npz")
BITS = 18
LONGEST = 2
GRAM_RIDGE = 0.1
VECTOR_RIDGE = 0.03
INNER = 5  # folds whose scores fit the mixture


@dataclass(frozen=True, kw_only=True)
class Polarity:
    """``grams`` (2**bits,) and ``vector`` (dimension,) are weights, ``constants`` their two offsets.

    ``mixture``: factor of the n-grams' logit, of the vector's, and the constant; ``alone``: factor
    and constant of the n-grams without a vector. ``embedder``: the hash of the weights that made
    the vectors.
    """

    grams: Floats
    vector: Floats
    constants: tuple[float, float]
    mixture: tuple[float, float, float]
    alone: tuple[float, float]
    embedder: str = ""

    def logits(self, texts: Sequence[str], vectors: NDArray[np.floating] | None) -> Floats:
        """(n,) log-odds that each text is positive; ``vectors`` (n, dimension), or None: n-grams alone."""
        bits = len(self.grams).bit_length() - 1
        by_grams = hashed(texts, bits=bits, longest=LONGEST).dot(self.grams) + self.constants[0]
        if vectors is None:
            return self.alone[0] * by_grams + self.alone[1]
        by_vector = vectors.astype(np.float64) @ self.vector + self.constants[1]
        return self.mixture[0] * by_grams + self.mixture[1] * by_vector + self.mixture[2]

    def save(self, path: Path) -> None:
        """Write it, about half a megabyte; the same head gives the same bytes."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            grams=self.grams.astype(np.float16),
            vector=self.vector.astype(np.float32),
            numbers=np.array([*self.constants, *self.mixture, *self.alone], np.float64),
            embedder=np.array(self.embedder),
        )
        path.write_bytes(buffer.getvalue())

    @classmethod
    def read(cls, path: Path = FILE) -> Polarity:
        """The head in a file. Corrupt where it is none."""
        try:
            with np.load(path, allow_pickle=False) as held:
                numbers = [float(number) for number in held["numbers"]]
                return cls(
                    grams=held["grams"].astype(np.float64),
                    vector=held["vector"].astype(np.float64),
                    constants=(numbers[0], numbers[1]),
                    mixture=(numbers[2], numbers[3], numbers[4]),
                    alone=(numbers[5], numbers[6]),
                    embedder=str(held["embedder"]),
                )
        except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
            raise Corrupt(
                f"The sentiment head {str(path)!r} cannot be read: {error}", hint="Install Headrace again."
            ) from error


@lru_cache(maxsize=1)
def shipped() -> Polarity:
    """The head that comes with Headrace, read once per process."""
    return Polarity.read()


def fit(
    texts: Sequence[str],
    positive: NDArray[np.bool_],
    vectors: NDArray[np.floating],
    *,
    embedder: str = "",
    bits: int = BITS,
    seed: int = 0,
) -> Polarity:
    """Train a head: the parts on all rows, the mixture on scores of rows left out of the parts."""
    features = hashed(texts, bits=bits, longest=LONGEST)
    dense = vectors.astype(np.float64)
    folds = np.random.default_rng(seed).permutation(len(texts)) % INNER
    by_grams, by_vector = np.zeros(len(texts)), np.zeros(len(texts))
    for fold in range(INNER):
        learn, judge = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        weights, constant = _grams(features.take(learn), positive[learn])
        by_grams[judge] = features.take(judge).dot(weights) + constant
        weights, constant = _vector(dense[learn], positive[learn])
        by_vector[judge] = dense[judge] @ weights + constant
    both, _, offset = fit_binary(np.stack([by_grams, by_vector], axis=1), None, positive, ridge=1e-3)
    one, _, lone = fit_binary(by_grams[:, None], None, positive, ridge=1e-3)
    grams, gram_constant = _grams(features, positive)
    vector, vector_constant = _vector(dense, positive)
    return Polarity(
        grams=grams,
        vector=vector,
        constants=(gram_constant, vector_constant),
        mixture=(float(both[0]), float(both[1]), offset),
        alone=(float(one[0]), lone),
        embedder=embedder,
    )


def _grams(features: Sparse, positive: NDArray[np.bool_]) -> tuple[Floats, float]:
    """Naive Bayes' log-count ratios, corrected by a regression that scales them."""
    seen, columns = np.unique(features.columns, return_inverse=True)
    dense = Sparse(features.starts, columns.astype(np.int64), features.values, len(seen))
    ratio = log_count_ratio(dense, positive)
    _, weights, constant = fit_binary(None, dense.scaled(ratio), positive, ridge=GRAM_RIDGE, most=60)
    found = np.zeros(features.width)
    found[seen] = ratio * weights
    return found, constant


def _vector(dense: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, float]:
    """Scaled up before the fit, so that it converges in fewer steps: the penalty stays the same."""
    scale = 8.0
    weights, _, constant = fit_binary(
        dense * scale, None, positive, ridge=VECTOR_RIDGE * scale * scale, most=60
    )
    return weights * scale, constant


def probabilities(logits: Floats) -> Floats:
    """(n,) that the text is positive."""
    return sigmoid(logits)
