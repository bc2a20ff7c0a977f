"""Linear heads: the fit against scipy's, features, calibration, the file that ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from headrace.errors import Corrupt
from headrace.models import polarity
from headrace.models.heads import (
    calibration_error,
    fit_binary,
    fit_softmax,
    grams,
    hashed,
    log_count_ratio,
    minimise,
    sigmoid,
)


def test_minimise_finds_the_minimum_that_scipy_finds() -> None:
    def rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
        value = float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())
        slope = np.zeros_like(x)
        slope[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
        slope[1:] += 200 * (x[1:] - x[:-1] ** 2)
        return value, slope

    found = minimise(rosenbrock, np.zeros(4), most=500, tolerance=1e-8)
    theirs = minimize(rosenbrock, np.zeros(4), jac=True, method="L-BFGS-B")
    assert found == pytest.approx(theirs.x, abs=1e-3)
    assert found == pytest.approx(np.ones(4), abs=1e-6)


def test_binary_fit_is_scipys() -> None:
    rng = np.random.default_rng(1)
    dense = rng.normal(size=(80, 3))
    sparse = hashed([" ".join(rng.choice(list("abcdefgh"), 5)) for _ in range(80)], bits=6)
    truth = dense[:, 0] + rng.normal(size=80) > 0
    a, b, c = fit_binary(dense, sparse, truth, ridge=0.5, most=300, tolerance=1e-8)
    table = np.zeros((80, sparse.width))
    table[sparse.rows, sparse.columns] = sparse.values
    whole = np.hstack([dense, table])

    def loss(w: np.ndarray) -> float:
        margin = np.where(truth, 1, -1) * (whole @ w[:-1] + w[-1])
        return float(np.logaddexp(0, -margin).sum() + 0.25 * (w[:-1] ** 2).sum())

    theirs = minimize(loss, np.zeros(whole.shape[1] + 1), method="L-BFGS-B", options={"maxfun": 200_000})
    ours = np.concatenate([a, b, [c]])
    assert loss(ours) <= theirs.fun + 1e-6
    assert ours == pytest.approx(theirs.x, abs=2e-3)


def test_softmax_fit_is_scipys() -> None:
    rng = np.random.default_rng(2)
    dense = rng.normal(size=(60, 4))
    truth = rng.integers(3, size=60)
    w, none, c = fit_softmax(dense, None, truth, 3, ridge=1.0)
    assert none.shape == (0, 3)

    def loss(flat: np.ndarray) -> float:
        v = flat.reshape(5, 3)
        logs = log_softmax(dense @ v[:-1] + v[-1], axis=1)
        return float(-logs[np.arange(60), truth].sum() + 0.5 * (v[:-1] ** 2).sum())

    theirs = minimize(loss, np.zeros(15), method="L-BFGS-B")
    assert loss(np.vstack([w, c]).ravel()) <= theirs.fun + 1e-5
    assert w == pytest.approx(theirs.x.reshape(5, 3)[:-1], abs=2e-3)


def test_rows_of_sparse_features() -> None:
    features = hashed(["one two", "three!", ""], bits=10)
    assert grams("One two!", 2) == ["one", "two", "!", "one two", "two !"]
    assert np.diff(features.starts).tolist() == [3, 3, 0]
    weights = np.random.default_rng(0).normal(size=features.width)
    some = features.take(np.array([1, 0]))
    assert some.dot(weights) == pytest.approx(features.dot(weights)[[1, 0]])
    table = np.zeros((3, features.width))
    table[features.rows, features.columns] = features.values
    assert np.linalg.norm(table, axis=1) == pytest.approx([1, 1, 0])
    assert features.back(np.array([1.0, 2.0, 3.0])) == pytest.approx(table.T @ [1, 2, 3])


def test_log_count_ratio_has_the_sign_of_the_side() -> None:
    features = hashed(["good", "good", "bad", "bad"], bits=12, longest=1)
    ratio = log_count_ratio(features, np.array([True, True, False, False]))
    good, bad = features.columns[0], features.columns[-1]
    assert ratio[good] == pytest.approx(-ratio[bad])
    assert ratio[good] == pytest.approx(np.log(3))  # (2 + 1) against (0 + 1)


def test_calibration_error_of_the_calibrated_and_the_sure() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 20_000)
    assert calibration_error(p, rng.uniform(size=20_000) < p) < 0.02
    assert calibration_error(np.ones(100), np.arange(100) < 60) == pytest.approx(0.4)


WARM = ["warm", "funny", "moving", "lovely", "charming"]
DULL = ["dull", "stale", "lifeless", "clumsy", "tedious"]


def small() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Own little reviews, and vectors that say a bit about them."""
    rng = np.random.default_rng(0)
    texts, truth = [], []
    for i in range(200):
        words = WARM if i % 2 else DULL
        texts.append(f"a {rng.choice(words)} and {rng.choice(words)} film about {rng.choice(list('xyz'))}")
        truth.append(bool(i % 2))
    positive = np.array(truth)
    vectors = rng.normal(size=(200, 8))
    vectors[:, 0] += np.where(positive, 1.5, -1.5)
    return texts, positive, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_head_learns_is_saved_and_read_again(tmp_path: Path) -> None:
    texts, positive, vectors = small()
    head = polarity.fit(texts, positive, vectors, embedder="e", bits=12)
    assert ((head.logits(texts, vectors) > 0) == positive).mean() > 0.97
    assert ((head.logits(texts, None) > 0) == positive).mean() > 0.97
    head.save(tmp_path / "a.npz")
    head.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = polarity.Polarity.read(tmp_path / "a.npz")
    assert again.embedder == "e"
    assert again.logits(texts, vectors) == pytest.approx(head.logits(texts, vectors), abs=0.02)


def test_a_damaged_head_is_named(tmp_path: Path) -> None:
    (tmp_path / "head.npz").write_bytes(b"no zip at all")
    with pytest.raises(Corrupt, match="head.npz"):
        polarity.Polarity.read(tmp_path / "head.npz")


def test_the_head_that_ships_is_small_and_holds_no_words() -> None:
    assert polarity.FILE.stat().st_size <= 1_000_000
    with np.load(polarity.FILE, allow_pickle=False) as held:
        assert set(held.files) == {"grams", "vector", "numbers", "embedder"}
        assert held["grams"].dtype == np.float16
    assert 0 < sigmoid(polarity.shipped().logits(["a warm and funny film"], None))[0] < 1
