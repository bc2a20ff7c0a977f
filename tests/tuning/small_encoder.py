"""A BERT sentence encoder of 2 layers with random weights, and a subject that it can learn.

A document is about two of a dozen things; a question calls both by other names. Nothing of the
random weights connects the names, so what a tuned encoder finds it has learned from the pairs.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

THINGS = "mill river owl boat loaf gate miller wheel bridge lamp bell roof".split()
NAMES = "grinder stream bird vessel bread door baker disc crossing light chime cover".split()
FILLER = "the a of and old small by near has".split()


def save_encoder(folder: Path, *, seed: int = 0, width: int = 32, layers: int = 2) -> Path:
    """config.json, tokenizer.json and model.safetensors as sentence-transformers saves them."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *THINGS, *NAMES, *FILLER]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 32,
        "vocab_size": len(words),
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}

    def linear(name: str, many: int, few: int) -> None:
        tensors[f"{name}.weight"] = rng.normal(0, 0.15, (many, few)).astype(np.float32)
        tensors[f"{name}.bias"] = rng.normal(0, 0.05, many).astype(np.float32)

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = np.ones(width, np.float32)
        tensors[f"{name}.bias"] = np.zeros(width, np.float32)

    for name, many in (("word", len(words)), ("position", 32), ("token_type", 2)):
        tensors[f"embeddings.{name}_embeddings.weight"] = rng.normal(0, 0.3, (many, width)).astype(np.float32)
    norm("embeddings.LayerNorm")
    for number in range(layers):
        at = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            linear(f"{at}.attention.self.{part}", width, width)
        linear(f"{at}.attention.output.dense", width, width)
        norm(f"{at}.attention.output.LayerNorm")
        linear(f"{at}.intermediate.dense", 4 * width, width)
        linear(f"{at}.output.dense", width, 4 * width)
        norm(f"{at}.output.LayerNorm")
    save_file(tensors, folder / "model.safetensors")
    return folder


def save_subject(folder: Path) -> tuple[Path, Path]:
    """(pairs, passages) as JSON lines: 66 documents, a question for each."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs, passages = [], []
    for number, (one, two) in enumerate(itertools.combinations(range(len(THINGS)), 2)):
        name = f"d{number}"
        passages.append({"id": name, "title": "the old", "text": f"a {THINGS[one]} near the {THINGS[two]}"})
        pairs.append({"question": f"{NAMES[two]} by {NAMES[one]}", "documents": [name]})
    found = []
    for name, rows in (("pairs", pairs), ("passages", passages)):
        found.append(folder / f"{name}.jsonl")
        found[-1].write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return found[0], found[1]
