"""Model folders made of bytes, without torch: for what only reads headers and cards."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
}
SIZES = {"F32": 4, "BF16": 2, "I8": 1}


def tensors(path: Path, shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """A safetensors file full of zeros."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (kind, shape) in shapes.items():
        size = SIZES[kind]
        for n in shape:
            size *= n
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


def model(
    folder: Path, *, readme: str | None = "", config: Mapping[str, Any] | None = None, parameters: int = 1000
) -> Path:
    """A folder that looks like a model; ``readme`` is its front matter, None for no README."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    tensors(folder / "model.safetensors", {"w": ("F32", (parameters,))})
    vocabulary = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}
    (folder / "tokenizer.json").write_text(
        json.dumps({"model": vocabulary, "added_tokens": [{"id": 2, "content": "<s>"}]})
    )
    if readme is not None:
        (folder / "README.md").write_text(f"---\n{readme}\n---\n# A model\n\nMade for tests.\n")
    return folder
