"""The graph of a BERT sentence encoder, written with OpenVINO's operators from safetensors weights.

Builds; does not compile, run or cache (``runtime.py`` and ``converted.py`` do). Architecture:
Devlin et al. 2019 (arXiv:1810.04805), post-norm encoder with exact gelu; pooling and unit length
as sentence-transformers does them (Reimers & Gurevych 2019, arXiv:1908.10084).

Inputs: ``ids`` (n, t) int32 and ``mask`` (n, t) float32, 1 for a token and 0 for padding. Output:
(n, width) float32, unit length. Padding has no influence: its attention weight is exactly zero
and it is left out of the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Corrupt
from headrace.models.quantise import Grid, grid_linears, int8_weight
from headrace.models.weights import WEIGHTS_FILE, Shape

Array = NDArray[np.float32]
Linear = tuple[Array, Array]  # weight (out, in) and bias (out,)


def read_tensors(folder: Path) -> dict[str, Array]:
    """The tensors of model.safetensors as float32, without a leading ``bert.`` in their names."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(folder / WEIGHTS_FILE)
    except SafetensorError as error:
        raise Corrupt(
            f"{str(folder / WEIGHTS_FILE)!r} cannot be read: {error}", hint="Put the file there again."
        ) from error
    return {
        name.removeprefix("bert."): np.asarray(tensor, dtype=np.float32)
        for name, tensor in found.items()
        if np.issubdtype(tensor.dtype, np.floating)
    }


def build(
    openvino: Any,
    tensors: Mapping[str, Array],
    shape: Shape,
    *,
    int8: bool = False,
    grids: Mapping[str, Grid] | None = None,
) -> Any:
    """An ``openvino.Model``.

    ``int8`` stores the weights of the linear layers as int8. With ``grids`` (measured ranges, see
    ``quantise.py``) their inputs are rounded to 8 bits as well, and the whole product is one of
    integers; without, that is left to the plugin's dynamic quantisation.
    """
    return _Builder(openvino, tensors, shape, int8, grids or {}).model()


class _Builder:
    """One graph in the making: the operators, the tensors and the choices, at hand."""

    def __init__(
        self,
        openvino: Any,
        tensors: Mapping[str, Array],
        shape: Shape,
        int8: bool,
        grids: Mapping[str, Grid],
    ) -> None:
        self.openvino, self.op = openvino, openvino.opset13
        self.tensors, self.shape, self.int8, self.grids = tensors, shape, int8, grids

    def model(self) -> Any:
        op = self.op
        ids = op.parameter([-1, -1], np.int32, name="ids")
        mask = op.parameter([-1, -1], np.float32, name="mask")
        # 0 for a token, -10,000 for padding: its exponential is exactly 0, and bf16 can hold it
        # (with -1e38 the bf16 kernels of processors without avx512_bf16 gave wrong vectors)
        hidden = op.multiply(
            op.subtract(op.unsqueeze(mask, self.indices(1, 2)), op.constant(np.float32(1))),
            op.constant(np.float32(1e4)),
        )
        x = self.embeddings(ids)
        for number in range(self.shape.layers):
            x = self.layer(x, hidden, f"encoder.layer.{number}")
        pooled = self.mean(x, mask) if self.shape.pooling == "mean" else self.first(x)
        vector = op.normalize_l2(pooled, self.indices(1), 1e-24, "max")
        return self.openvino.Model([vector], [ids, mask], "sentence_encoder")

    def embeddings(self, ids: Any) -> Any:
        op = self.op
        words = op.gather(op.constant(self.tensor("embeddings.word_embeddings.weight")), ids, self.indices(0))
        # every token is of type 0, so its embedding can be added to the positions once and for all
        places = self.tensor("embeddings.position_embeddings.weight")[: self.shape.window]
        places = places + self.tensor("embeddings.token_type_embeddings.weight")[0]
        length = op.gather(op.shape_of(ids, "i32"), self.indices(1), self.indices(0))
        used = op.slice(op.constant(places), self.indices(0), length, self.indices(1), self.indices(0))
        return self.norm(op.add(words, op.unsqueeze(used, self.indices(0))), "embeddings.LayerNorm")

    def layer(self, x: Any, hidden: Any, at: str) -> Any:
        op, width = self.op, self.shape.width
        query, key, value = (
            self.weights(f"{at}.attention.self.{part}") for part in ("query", "key", "value")
        )
        shrink = np.float32((width // self.shape.heads) ** -0.5)
        query = (query[0] * shrink, query[1] * shrink)
        q, k, v = (self.by_head(y) for y in self.linears(x, [query, key, value], f"{at}.attention.self"))
        scores = op.add(op.matmul(q, k, False, True), hidden)
        seen = op.matmul(op.softmax(scores, -1), v, False, False)
        seen = op.reshape(op.transpose(seen, self.indices(0, 2, 1, 3)), self.indices(0, 0, width), True)
        x = self.norm(
            op.add(self.linear(seen, f"{at}.attention.output.dense"), x), f"{at}.attention.output.LayerNorm"
        )
        inner = self.weights(f"{at}.intermediate.dense")
        if (grid := self.grids.get(f"{at}.output.dense")) is not None:
            inner = inner[0][grid.channel], inner[1][grid.channel]  # one unit per entry of the grid
        wide = op.gelu(self.linears(x, [inner], f"{at}.intermediate.dense")[0], "erf")
        return self.norm(op.add(self.linear(wide, f"{at}.output.dense"), x), f"{at}.output.LayerNorm")

    def linear(self, x: Any, name: str) -> Any:
        return self.linears(x, [self.weights(name)], name)[0]

    def linears(self, x: Any, layers: Sequence[Linear], name: str) -> list[Any]:
        """One or more linear layers of the same input."""
        op = self.op
        if name in self.grids:
            return grid_linears(op, x, layers, self.grids[name])
        return [
            op.add(
                op.matmul(x, int8_weight(op, weight) if self.int8 else op.constant(weight), False, True),
                self.row(bias),
            )
            for weight, bias in layers
        ]

    def norm(self, x: Any, name: str) -> Any:
        op = self.op
        centred = op.mvn(x, self.indices(-1), True, self.shape.epsilon, "inside_sqrt")
        gain, offset = self.weights(name)
        return op.add(op.multiply(centred, self.row(gain)), self.row(offset))

    def by_head(self, x: Any) -> Any:  # (n, t, width) → (n, heads, t, width / heads)
        heads, width = self.shape.heads, self.shape.width
        split = self.op.reshape(x, self.indices(0, 0, heads, width // heads), True)
        return self.op.transpose(split, self.indices(0, 2, 1, 3))

    def mean(self, x: Any, mask: Any) -> Any:
        op = self.op
        kept = op.multiply(x, op.unsqueeze(mask, self.indices(2)))
        total = op.reduce_sum(kept, self.indices(1), False)
        return op.divide(total, op.reduce_sum(mask, self.indices(1), True))

    def first(self, x: Any) -> Any:
        return self.op.gather(x, self.op.constant(np.int32(0)), self.indices(1))

    def weights(self, name: str) -> Linear:
        return self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")

    def tensor(self, name: str) -> Array:
        if name not in self.tensors:
            raise Corrupt(f"The weights have no tensor {name!r}.", hint="Name a BERT sentence encoder.")
        return self.tensors[name]

    def indices(self, *values: int) -> Any:
        return self.op.constant(np.array(values, np.int32))

    def row(self, values: Array) -> Any:
        return self.op.constant(np.ascontiguousarray(values.reshape(1, 1, -1), dtype=np.float32))
