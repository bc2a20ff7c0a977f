"""Linear layers in 8-bit integers: how weights and their inputs are rounded.

Weights are int8, symmetric, one scale per output channel. Inputs are rounded either by the
plugin as they come (dynamic quantisation, any model), or on grids: one step and one zero per
input channel, measured once for the packaged weights by ``benchmarks/calibrate_int8.py`` and
shipped beside this file. A grid costs no reduction at run time and gives unsigned bytes, which is
what the processor's integer dot product (avx512_vnni) takes without a correction.

A grid per channel matters: a few channels of this model reach 25 while most stay below 1, and
cutting them off ruins the vectors. Moving part of a channel's range into the weights is
SmoothQuant (Xiao et al. 2023, arXiv:2211.10438). Where that is not enough, in the second layer of
each feed-forward part, a channel with a long range is split into several, each of which writes
one stretch of it (after Zhao et al. 2019, arXiv:1901.09504): what lies beyond a stretch is cut
off at its end, and the pieces add up to the value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
GRIDS_FILE = Path(__file__).with_name("minilm_int8.safetensors")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """How one layer's input is written in bytes: byte = round((x[channel] - zero) / step).

    One entry per byte. ``channel``: which channel of the input it writes (int32; a channel with
    several entries is split, lowest stretch first). ``mean``: what the entry's part of the value
    is on average; the rounded weights' error on it goes into the bias.
    """

    channel: NDArray[np.int32]
    step: Array
    zero: Array
    mean: Array

    @property
    def base(self) -> Array:
        """What byte 0 stands for: the zero of a channel's first entry, and nothing of the others."""
        first = np.zeros(len(self.channel), bool)
        first[np.unique(self.channel, return_index=True)[1]] = True
        return np.where(first, self.zero, np.float32(0))


@cache
def packaged_grids() -> Mapping[str, Grid]:
    """The grids of the packaged weights by the name of the layer whose input they write."""
    from safetensors.numpy import load_file

    found = load_file(GRIDS_FILE)
    layers = sorted({name.rpartition(".")[0] for name in found})
    return {
        layer: Grid(
            channel=found[f"{layer}.channel"].astype(np.int32),
            step=found[f"{layer}.step"].astype(np.float32),
            zero=found[f"{layer}.zero"].astype(np.float32),
            mean=found[f"{layer}.mean"].astype(np.float32),
        )
        for layer in layers
    }


def round_rows(weight: NDArray[Any]) -> tuple[NDArray[np.int8], Array]:
    """(out, in) → int8 of the same shape, and scales (out, 1): weight ≈ int8 × scale."""
    scale = np.abs(weight).max(axis=1, keepdims=True) / 127
    scale[scale == 0] = 1
    return np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), scale.astype(np.float32)


def int8_weight(op: Any, weight: Array) -> Any:
    """constant int8 → convert → multiply by the scale: the form that the plugin keeps as int8."""
    stored, scale = round_rows(weight)
    return op.multiply(op.convert(op.constant(stored), "f32"), op.constant(scale))


def round_on_grid(
    weight: Array, bias: Array, grid: Grid
) -> tuple[NDArray[np.int8], Array, NDArray[np.float64]]:
    """A layer whose input comes as bytes u: int8 weights and scales per row, and the bias.

    x ≈ step·u + base, hence W·x + b ≈ (W·step)·u + (W·base + b): the steps go into the weights,
    what byte 0 stands for into the bias, and the product is one of unsigned and signed bytes.
    """
    step = grid.step.astype(np.float64)
    placed = weight[:, grid.channel]
    stored, scale = round_rows(placed * step)
    kept = stored * scale.astype(np.float64) / step  # the weights that the integers stand for
    shift = bias + kept @ grid.base.astype(np.float64) + (placed - kept) @ grid.mean.astype(np.float64)
    return stored, scale, shift


def grid_linears(op: Any, x: Any, layers: Sequence[tuple[Array, Array]], grid: Grid) -> list[Any]:
    """Linear layers of one input on a grid. The input has one channel per entry of the grid."""

    def row(values: NDArray[Any]) -> Any:
        return op.constant(np.ascontiguousarray(values.reshape(1, 1, -1), dtype=np.float32))

    placed = op.add(op.multiply(x, row(1 / grid.step)), row(-grid.zero / grid.step))
    ends = op.constant(np.float32(0)), op.constant(np.float32(255))
    rounded = op.fake_quantize(placed, *ends, *ends, 256)
    results = []
    for weight, bias in layers:
        stored, scale, shift = round_on_grid(weight, bias, grid)
        factor = op.multiply(op.convert(op.constant(stored), "f32"), op.constant(scale))
        results.append(op.add(op.matmul(rounded, factor, False, True), row(shift)))
    return results
