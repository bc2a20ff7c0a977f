"""The graph of a BERT sentence encoder, written with OpenVINO's operators from safetensors weights.

Builds; does not compile, run or cache (``runtime.py`` does). Architecture: Devlin et al. 2019
(arXiv:1810.04805), post-norm encoder with exact gelu; pooling and unit length as
sentence-transformers does them (Reimers & Gurevych 2019, arXiv:1908.10084).

Inputs: ``ids`` (n, t) int32 and ``mask`` (n, t) float32, 1 for a token and 0 for padding. Output:
(n, width) float32, unit length. Padding has no influence: its attention weight is exactly zero
and it is left out of the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Corrupt
from headrace.models.weights import WEIGHTS_FILE, Shape

Array = NDArray[np.float32]


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


def build(openvino: Any, tensors: dict[str, Array], shape: Shape, *, int8: bool) -> Any:
    """An ``openvino.Model``. With ``int8`` the weights of the linear layers are stored as int8."""
    op = openvino.opset13
    width, heads = shape.width, shape.heads

    def indices(*values: int) -> Any:
        return op.constant(np.array(values, np.int32))

    def tensor(name: str) -> Array:
        if name not in tensors:
            raise Corrupt(f"The weights have no tensor {name!r}.", hint="Name a BERT sentence encoder.")
        return tensors[name]

    def row(values: Array) -> Any:
        return op.constant(np.ascontiguousarray(values.reshape(1, 1, -1)))

    def linear(x: Any, weight: Array, bias: Array) -> Any:
        stored = _int8_weight(op, weight) if int8 else op.constant(np.ascontiguousarray(weight))
        return op.add(op.matmul(x, stored, False, True), row(bias))

    def layer(x: Any, name: str) -> Any:
        return linear(x, tensor(f"{name}.weight"), tensor(f"{name}.bias"))

    def norm(x: Any, name: str) -> Any:
        centred = op.mvn(x, indices(-1), True, shape.epsilon, "inside_sqrt")
        return op.add(op.multiply(centred, row(tensor(f"{name}.weight"))), row(tensor(f"{name}.bias")))

    def by_head(x: Any) -> Any:  # (n, t, width) → (n, heads, t, width / heads)
        split = op.reshape(x, indices(0, 0, heads, width // heads), True)
        return op.transpose(split, indices(0, 2, 1, 3))

    ids = op.parameter([-1, -1], np.int32, name="ids")
    mask = op.parameter([-1, -1], np.float32, name="mask")

    words = op.gather(op.constant(tensor("embeddings.word_embeddings.weight")), ids, indices(0))
    # every token is of type 0, so its embedding can be added to the positions once and for all
    places = tensor("embeddings.position_embeddings.weight")
    places = places[: shape.window] + tensor("embeddings.token_type_embeddings.weight")[0]
    length = op.gather(op.shape_of(ids, "i32"), indices(1), indices(0))
    places_used = op.slice(op.constant(places), indices(0), length, indices(1), indices(0))
    x = norm(op.add(words, op.unsqueeze(places_used, indices(0))), "embeddings.LayerNorm")

    # 0 for a token, about -1e38 for padding: exp of it is exactly 0 in every precision
    hidden = op.multiply(
        op.subtract(op.unsqueeze(mask, indices(1, 2)), op.constant(np.float32(1))),
        op.constant(np.float32(1e38)),
    )
    for number in range(shape.layers):
        at = f"encoder.layer.{number}"
        query, key, value = (
            by_head(layer(x, f"{at}.attention.self.{part}")) for part in ("query", "key", "value")
        )
        seen = op.scaled_dot_product_attention(query, key, value, hidden, causal=False)
        seen = op.reshape(op.transpose(seen, indices(0, 2, 1, 3)), indices(0, 0, width), True)
        x = norm(op.add(layer(seen, f"{at}.attention.output.dense"), x), f"{at}.attention.output.LayerNorm")
        wide = op.gelu(layer(x, f"{at}.intermediate.dense"), "erf")
        x = norm(op.add(layer(wide, f"{at}.output.dense"), x), f"{at}.output.LayerNorm")

    pool: Callable[[], Any] = {
        "mean": lambda: _mean(op, x, mask, indices),
        "cls": lambda: op.squeeze(op.slice(x, indices(0), indices(1), indices(1), indices(1)), indices(1)),
    }[shape.pooling]
    vector = op.normalize_l2(pool(), indices(1), 1e-24, "max")
    return openvino.Model([vector], [ids, mask], "sentence_encoder")


def _mean(op: Any, x: Any, mask: Any, indices: Callable[..., Any]) -> Any:
    total = op.reduce_sum(op.multiply(x, op.unsqueeze(mask, indices(2))), indices(1), False)
    return op.divide(total, op.reduce_sum(mask, indices(1), True))


def _int8_weight(op: Any, weight: Array) -> Any:
    """Symmetric int8 per output channel: constant → convert → multiply by the scale.

    The plugin keeps the constant as it is and quantises the activations row by row as they come.
    """
    scale = np.abs(weight).max(axis=1, keepdims=True) / 127
    scale[scale == 0] = 1
    stored = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
    return op.multiply(op.convert(op.constant(stored), "f32"), op.constant(scale.astype(np.float32)))
