"""The sentence encoder in torch: the same BERT that ``models/minilm.py`` builds, for training.

Reads the same safetensors weights and writes them back under the same names, so that a tuned model
goes into the torch-free runtime without a conversion. Architecture: Devlin et al. 2019
(arXiv:1810.04805); pooling and unit length: Reimers & Gurevych 2019 (arXiv:1908.10084). No dropout:
a run is then a function of its settings and its seed, and a step costs a tenth less.

Not here: what is trained on, the loss, the loop (``contrastive.py``).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace import extras
from headrace.errors import InputError
from headrace.models.minilm import read_tensors
from headrace.models.tokens import Tokenizer
from headrace.models.weights import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, Weights

EXTRA = "tune"
CHUNK_TOKENS = 2048  # padded tokens that go through the layers together: what the cache likes
_BESIDE = (
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "modules.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


class Encoder:
    """Weights as torch parameters; ``frozen`` counts the lowest layers that are not trained.

    The embeddings are frozen with them where ``frozen`` is 0 or more; -1 trains everything. What
    the frozen part makes of a text never changes, so it is computed once per text and kept in 16
    bits (``remember``): half the work of a step where half of the layers are frozen.
    """

    def __init__(self, weights: Weights, *, frozen: int, window: int, threads: int = 0) -> None:
        self.torch = extras.need("torch", extra=EXTRA, for_what="Tuning the embedder")
        if threads:
            self.torch.set_num_threads(threads)
        self.weights, self.shape = weights, weights.shape
        check_frozen(frozen, self.shape.layers)
        self.frozen = frozen
        self.window = min(window, self.shape.window)
        self.tokenizer = Tokenizer(weights.folder / TOKENIZER_FILE, self.window, weights.tokenizer)
        read = read_tensors(weights.folder)
        self.parameters: dict[str, Any] = {
            name: self.torch.from_numpy(np.array(value)) for name, value in read.items()
        }
        self.trained = [name for name in self.parameters if self._is_trained(name)]
        for name in self.trained:
            self.parameters[name].requires_grad_(True)
        self._seen: dict[str, Any] = {}

    def _is_trained(self, name: str) -> bool:
        if name.startswith("encoder.layer."):
            return int(name.split(".")[2]) >= self.frozen
        return self.frozen < 0 and name.startswith("embeddings.")

    # ----------------------------------------------------------------- forward

    def encode(self, texts: Sequence[str], *, remember: bool = False) -> Any:
        """(len(texts), width), rows of unit length, with a gradient unless torch is told otherwise.

        Texts of like length go through together. ``remember`` keeps what the frozen layers made.
        """
        torch = self.torch
        known = [self._seen.get(text) for text in texts]
        tokens = self.tokenizer.ids([text for text, k in zip(texts, known, strict=True) if k is None])
        found = iter(tokens)
        ids: list[Any] = [None if k is not None else next(found) for k in known]
        lengths = [len(i if k is None else k) for i, k in zip(ids, known, strict=True)]
        rows, parts = [], []
        for chunk in _chunks(lengths):
            longest = max(lengths[row] for row in chunk)
            mask = torch.zeros(len(chunk), longest)
            for at, row in enumerate(chunk):
                mask[at, : lengths[row]] = 1
            x = self._lower(chunk, texts, ids, known, lengths, mask, remember)
            for number in range(max(self.frozen, 0), self.shape.layers):
                x = self._layer(x, mask, number)
            parts.append(self._pool(x, mask))
            rows += chunk
        order = torch.empty(len(rows), dtype=torch.long)
        order[torch.tensor(rows)] = torch.arange(len(rows))
        return torch.cat(parts)[order]

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), width) float32, without gradients."""
        with self.torch.inference_mode():
            found: NDArray[np.float32] = self.encode(texts).numpy()
        return found

    def _lower(
        self,
        chunk: Sequence[int],
        texts: Sequence[str],
        ids: Sequence[Any],
        known: Sequence[Any],
        lengths: Sequence[int],
        mask: Any,
        remember: bool,
    ) -> Any:
        """What goes into the first trained layer: from memory, or through the frozen part."""
        torch = self.torch
        if self.frozen < 0:
            return self._embeddings(self._padded(chunk, ids, mask))
        x = torch.zeros(len(chunk), mask.shape[1], self.shape.width)
        new = [at for at, row in enumerate(chunk) if known[row] is None]
        with torch.no_grad():
            if new:
                part = mask[new]
                y = self._embeddings(self._padded([chunk[at] for at in new], ids, part))
                for number in range(self.frozen):
                    y = self._layer(y, part, number)
                x[new] = y
            for at, row in enumerate(chunk):
                if known[row] is not None:
                    x[at, : lengths[row]] = known[row].float()
                elif remember:
                    self._seen[texts[row]] = x[at, : lengths[row]].to(torch.bfloat16)
        return x

    def _padded(self, chunk: Sequence[int], ids: Sequence[Any], mask: Any) -> Any:
        padded = self.torch.zeros(mask.shape, dtype=self.torch.long)
        for at, row in enumerate(chunk):
            padded[at, : len(ids[row])] = self.torch.tensor(ids[row])
        return padded

    def _embeddings(self, ids: Any) -> Any:
        functional, p = self.torch.nn.functional, self.parameters
        places = p["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = functional.embedding(ids, p["embeddings.word_embeddings.weight"]) + places
        return self._norm(x + p["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")

    def _layer(self, x: Any, mask: Any, number: int) -> Any:
        at, heads = f"encoder.layer.{number}", self.shape.heads
        many, length, width = x.shape

        def by_head(part: str) -> Any:
            y = self._linear(x, f"{at}.attention.self.{part}")
            return y.view(many, length, heads, width // heads).transpose(1, 2)

        functional = self.torch.nn.functional
        seen = functional.scaled_dot_product_attention(
            by_head("query"), by_head("key"), by_head("value"), attn_mask=(mask > 0)[:, None, None, :]
        )
        seen = seen.transpose(1, 2).reshape(many, length, width)
        x = self._norm(
            self._linear(seen, f"{at}.attention.output.dense") + x, f"{at}.attention.output.LayerNorm"
        )
        wide = functional.gelu(self._linear(x, f"{at}.intermediate.dense"))
        return self._norm(self._linear(wide, f"{at}.output.dense") + x, f"{at}.output.LayerNorm")

    def _pool(self, x: Any, mask: Any) -> Any:
        if self.shape.pooling == "cls":
            pooled = x[:, 0]
        else:
            pooled = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return self.torch.nn.functional.normalize(pooled, dim=1, eps=1e-12)

    def _linear(self, x: Any, name: str) -> Any:
        p = self.parameters
        return self.torch.nn.functional.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])

    def _norm(self, x: Any, name: str) -> Any:
        p = self.parameters
        return self.torch.nn.functional.layer_norm(
            x, (self.shape.width,), p[f"{name}.weight"], p[f"{name}.bias"], self.shape.epsilon
        )

    # ----------------------------------------------------------------- state

    def state(self) -> dict[str, NDArray[np.float32]]:
        """The trained tensors as they are now, copied."""
        return {name: self.parameters[name].detach().numpy().copy() for name in self.trained}

    def load(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Put trained tensors back."""
        with self.torch.no_grad():
            for name in self.trained:
                self.parameters[name].copy_(self.torch.from_numpy(np.asarray(state[name])))

    def save(self, folder: Path, state: Mapping[str, NDArray[np.float32]] | None = None) -> None:
        """The encoder as a folder that the embedder (and sentence-transformers) opens.

        ``state`` takes the place of the trained tensors. Everything but the weights is copied.
        """
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        whole = {name: value.detach().numpy() for name, value in self.parameters.items()}
        whole |= dict(state or {})
        save_file({name: np.ascontiguousarray(value) for name, value in whole.items()}, folder / WEIGHTS_FILE)
        for name in (CONFIG_FILE, TOKENIZER_FILE, *_BESIDE):
            if (self.weights.folder / name).is_file():
                (folder / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(self.weights.folder / name, folder / name)


def check_frozen(frozen: int, layers: int) -> None:
    """Raise InputError unless something is left to train."""
    if not -1 <= frozen < layers:
        raise InputError(
            f"{frozen!r} frozen layers of {layers}.",
            hint=f"-1 trains everything, 0 all layers, {layers - 1} only the last.",
        )


def _chunks(lengths: Sequence[int]) -> list[list[int]]:
    """Rows in chunks of like length, longest first, about CHUNK_TOKENS tokens each."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    chunks, at = [], 0
    while at < len(order):
        size = max(1, CHUNK_TOKENS // max(1, lengths[order[at]]))
        chunks.append(order[at : at + size])
        at += size
    return chunks
