"""The headers of safetensors files: how many numbers of which kind, and the memory that they take.

Reads a few kilobytes of each file, however large it is. Loads nothing.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import Corrupt

BYTES = {
    "F64": 8.0, "I64": 8.0, "U64": 8.0, "F32": 4.0, "I32": 4.0, "U32": 4.0, "F16": 2.0, "BF16": 2.0,
    "I16": 2.0, "U16": 2.0, "F8_E4M3": 1.0, "F8_E5M2": 1.0, "I8": 1.0, "U8": 1.0, "BOOL": 1.0,
}  # fmt: skip
_MOST_HEADER = 100_000_000  # bytes, as the format's own reader allows


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """What the headers of the weights say. ``parameters`` counts numbers; ``bytes`` is their size."""

    parameters: int
    bytes: int
    dtypes: Mapping[str, int]  # kind of number → how many

    @property
    def dtype(self) -> str:
        """The kind that most of the numbers have, as ``F32``; "" where there are none."""
        return max(self.dtypes, key=lambda kind: self.dtypes[kind], default="")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Estimates in bytes: the weights as they lie, and as other kinds of number; and what a text of
    1,000 tokens adds while it is read and written (None where the shape is not known)."""

    weights: int
    float32: int
    bfloat16: int
    int8: int
    per_1000_tokens: int | None


def tensors_of(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """name → (kind of number, shape), from the header of a safetensors file: eight bytes of length,
    then JSON (https://huggingface.co/docs/safetensors). Nothing else of the file is read."""
    again = "Copy the file again: it is damaged or was cut short."
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if not 2 <= length <= min(_MOST_HEADER, size - 8):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length))
        found = {
            name: (str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
            for name, entry in header.items()
            if name != "__metadata__"
        }
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
        for name, (kind, shape) in found.items():
            begin, end = header[name]["data_offsets"]
            if kind in BYTES and math.prod(shape) * BYTES[kind] != end - begin:
                raise ValueError(f"{name!r} says it is {shape} of {kind} and takes {end - begin} bytes")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Corrupt(f"{str(path)!r} is not a safetensors file: {error}.", hint=again) from error
    promised = 8 + length + max(ends, default=0)
    if promised != size:
        raise Corrupt(f"{str(path)!r} has {size:,} bytes and its header promises {promised:,}.", hint=again)
    return found


def counted(paths: Sequence[Path]) -> Tensors:
    """All tensors of some files, counted."""
    dtypes: dict[str, int] = {}
    size = 0.0
    for path in paths:
        for kind, shape in tensors_of(path).values():
            count = math.prod(shape)
            dtypes[kind] = dtypes.get(kind, 0) + count
            size += count * BYTES.get(kind, 1.0)
    return Tensors(parameters=sum(dtypes.values()), bytes=int(size), dtypes=dict(sorted(dtypes.items())))


def memory_of(tensors: Tensors, config: Mapping[str, Any]) -> Memory:
    """Weights, and keys and values of each layer: 2 × layers × key heads × head size × bytes a token."""
    number = tensors.parameters
    layers = whole_number(config, "num_hidden_layers", "n_layer", "num_layers", "n_layers")
    heads = whole_number(config, "num_attention_heads", "n_head", "num_heads", "n_heads")
    width = whole_number(config, "hidden_size", "n_embd", "d_model", "dim")
    keys = whole_number(config, "num_key_value_heads") or heads
    size = whole_number(config, "head_dim", "d_kv") or (width // heads if width and heads else None)
    each = BYTES.get(tensors.dtype, 4.0)
    per = int(2 * layers * keys * size * each * 1000) if layers and keys and size else None
    return Memory(
        weights=tensors.bytes, float32=4 * number, bfloat16=2 * number, int8=number, per_1000_tokens=per
    )


def whole_number(config: Mapping[str, Any], *names: str) -> int | None:
    """The first of these settings that is a whole number above 0."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
