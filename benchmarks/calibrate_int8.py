"""Measure the ranges on which the packaged embedder's 8-bit arithmetic rounds, and write the grids.

    .venv/bin/python benchmarks/calibrate_int8.py ../shared/data

Needs the extra ``test`` (transformers) and the data folder; nothing of its text is kept, only one
step, one zero and one mean per input channel of each linear layer, in
``src/headrace/models/minilm_int8.safetensors``. None of the sets that Headrace reports search
quality on (SciFact, SQuAD, python_peps) is read. About ten minutes of CPU.

A grid is chosen per layer: steps = max(need, k · need^a / weight^(1 - a)), where ``need`` is what
the channel's range asks for, ``weight`` its column's size, and a and k are searched for the least
squared error of the layer's output, relative to the row's size. In the second layer of each
feed-forward part, where nearly all of the error arose, channels that need more are split instead.
"""

from __future__ import annotations

import json
import random
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from transformers import BertModel

from headrace.models.minilm import read_tensors
from headrace.models.quantise import GRIDS_FILE, Grid, round_on_grid
from headrace.models.tokens import Tokenizer
from headrace.models.weights import TOKENIZER_FILE, find_weights
from headrace.settings import home

Array = NDArray[np.float32]
EXTRA = 64  # entries for the parts of split channels
MARGIN = 1.1  # ranges are widened by this: texts to come may reach a little further
ODD = (
    "|a|hello|?|.|!|...|42|\U0001f600|_|-|ok|the|日本語のテキスト|Привет мир|مرحبا بالعالم|Ω ≈ 3.14|"
    "def area(r): return 3.14 * r ** 2|a b c|=====|1 2 3 4 5 6 7 8 9|https://example.org/a?b=c#d|"
    "NAME,AGE,CITY|{}|[1]|don't|e-mail|“quoted”|50 %|…|—|\n\n|\t"
).split("|")


def texts(data: Path, seed: int = 7) -> Iterator[str]:
    """A mixture: speeches, abstracts, sums, instructions, plays, scripts, code, scraps."""
    rng = random.Random(seed)

    def lines(path: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (data / path).read_text(encoding="utf-8").splitlines()]

    def pieces(path: Path, count: int) -> Iterator[str]:
        text = path.read_text(encoding="utf-8", errors="replace")
        for _ in range(count):
            start = rng.randrange(max(1, len(text) - 1300))
            yield text[start : start + rng.choice((20, 60, 300, 800, 1300))]

    for path in rng.sample(sorted((data / "state_union").glob("*.txt")), 40):
        yield from pieces(path, 2)
    for path in sorted((data / "shakespeare").glob("*.txt")):
        yield from pieces(path, 5)
    for path in sorted(Path(__file__).parents[1].glob("src/headrace/*.py")):
        yield from pieces(path, 6)
    for row in rng.sample(lines("scitldr/scitldr-a.train.jsonl"), 120):
        yield " ".join(row["source"])
    for row in rng.sample(lines("gsm8k/train.jsonl"), 80):
        yield row["question"]
    for row in rng.sample(lines("instructions/seed_tasks.jsonl"), 80):
        yield row["instruction"]
    yield from ODD
    yield from ("word " * 300, ". " * 100, "A" * 300, "x" * 90, "0 " * 400)
    yield from salads(rng)
    abstracts = lines("scitldr/scitldr-a.dev.jsonl")[:50]
    words = [word for row in abstracts for word in " ".join(row["source"]).split()]
    for count in (1, 1, 1, 2, 2, 2, 3, 3, 3, 5, 5, 8, 8, 20, 40) * 8:
        yield " ".join(rng.sample(words, count))


def salads(rng: random.Random) -> Iterator[str]:
    """Letters of every script that the model's vocabulary has, as words and as repetitions of a few.

    Whoever asks in a script that the ranges were not measured on must not have values cut off.
    """
    weights = find_weights(home=home(), originals=True)
    vocabulary = json.loads((weights.folder / TOKENIZER_FILE).read_text(encoding="utf-8"))["model"]["vocab"]
    scripts: dict[str, list[str]] = {}
    for token in vocabulary:
        piece = token.removeprefix("##")
        if len(piece) == 1:
            scripts.setdefault(unicodedata.name(piece, "NONE").split()[0], []).append(piece)
    whole = [token for token in vocabulary if token.isalpha() and len(token) > 2]
    for letters in [*scripts.values(), [p for pieces in scripts.values() for p in pieces], whole]:
        for length in (1, 3, 8, 20, 60, 120):
            words = ["".join(rng.choices(letters, k=rng.randint(1, 6))) for _ in range(length)]
            yield " ".join(words)
            yield " ".join(rng.choices(words[:4], k=length))


class Seen:
    """What was seen of one layer's input: ranges and mean over all tokens, and some rows."""

    def __init__(self) -> None:
        self.low = self.high = self.total = np.zeros(0)
        self.count = 0
        self.rows: list[Array] = []

    def add(self, x: Array, rng: np.random.Generator) -> None:
        first = not self.count
        self.low = x.min(0) if first else np.minimum(self.low, x.min(0))
        self.high = x.max(0) if first else np.maximum(self.high, x.max(0))
        self.total = x.sum(0, dtype=np.float64) + (0 if first else self.total)
        self.count += len(x)
        # the special tokens carry the extremes; three others speak for the text
        self.rows.append(x[sorted({0, len(x) - 1, *rng.integers(0, len(x), 3).tolist()})])


def observe(folder: Path, tokens: list[list[int]], layers: int) -> dict[str, Seen]:
    """Run the original model, one text at a time, and look at the inputs of its linear layers."""
    model = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    rng = np.random.default_rng(0)
    seen: dict[str, Seen] = {}

    def watch(name: str) -> Any:
        def hook(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            seen.setdefault(name, Seen()).add(inputs[0][0].numpy(), rng)

        return hook

    for number in range(layers):
        at, layer = f"encoder.layer.{number}", model.encoder.layer[number]
        for name, module in (
            (f"{at}.attention.self", layer.attention.self.query),
            (f"{at}.attention.output.dense", layer.attention.output.dense),
            (f"{at}.intermediate.dense", layer.intermediate.dense),
            (f"{at}.output.dense", layer.output.dense),
        ):
            module.register_forward_pre_hook(watch(name))
    with torch.inference_mode():
        for ids in tokens:
            model(torch.tensor([ids]))
    return seen


def choose(name: str, seen: Seen, tensors: dict[str, Array]) -> tuple[Grid, float]:
    """The grid for one layer, and the relative squared error that it leaves."""
    parts = [f"{name}.{p}" for p in ("query", "key", "value")] if name.endswith("self") else [name]
    weight = np.concatenate([tensors[f"{part}.weight"] for part in parts])
    rows = np.concatenate(seen.rows)
    rows = rows[np.random.default_rng(1).permutation(len(rows))[:1500]]
    exact = rows @ weight.T
    size = (exact**2).sum(1)
    best: tuple[float, Grid] | None = None
    for grid in candidates(seen, weight, split=EXTRA if "attention" not in name and "output" in name else 0):
        grid = replace(grid, mean=_values(rows, grid).mean(0))
        stored, scale, shift = round_on_grid(weight, np.zeros(len(weight), np.float32), grid)
        values = _values(rows, grid) - grid.base  # what the bytes say beyond their base
        error = values @ (stored * scale / grid.step).T + shift - exact
        loss = float(((error**2).sum(1) / (size + np.median(size))).mean())
        if best is None or loss < best[0]:
            best = loss, grid
    assert best is not None
    return best[1], best[0]


def candidates(seen: Seen, weight: Array, split: int) -> Iterator[Grid]:
    """Grids that cover what was seen, with up to ``split`` entries more than channels."""
    half = (seen.high - seen.low) / 2 * MARGIN
    low = (seen.high + seen.low) / 2 - half
    need = np.maximum(2 * half, 1e-4) / 255
    channels = np.arange(len(need), dtype=np.int32)
    for measure in (np.abs(weight).max(0), np.sqrt((weight**2).mean(0))):
        for a in (0.0, 0.15, 0.3, 0.5, 0.7, 1.0):
            wanted = need**a / np.maximum(measure, 1e-6) ** (1 - a)
            if split:
                # the smallest factor for which the ranges are covered with this many entries
                factors = np.geomspace((need / wanted).max(), (need / wanted).min() / 4, 2000)
                fitting = [k for k in factors if np.ceil(need / (wanted * k)).sum() <= len(need) + split]
                counts = np.ceil(need / (wanted * fitting[-1])).astype(int)
                counts[0] += len(need) + split - counts.sum()  # entries left over see nothing
                step = _half(wanted * fitting[-1] * 1.001)
                number = np.concatenate([np.arange(count) for count in counts])
                channel = np.repeat(channels, counts)
                yield _grid(channel, step[channel], _half(low)[channel] + number * 255 * step[channel])
                continue
            for k in np.percentile(need / wanted, (100, 99.8, 99, 97, 90, 75, 50, 25)):
                step = _half(np.maximum(wanted * k, need))
                yield _grid(channels, step, _half(low + half - 127.5 * step))


def _half(values: NDArray[Any]) -> Array:
    """What is left of the values once they are stored in 16 bits."""
    return values.astype(np.float16).astype(np.float32)


def _grid(channel: NDArray[np.int32], step: Array, zero: Array) -> Grid:
    return Grid(channel=channel, step=step, zero=zero.astype(np.float32), mean=np.zeros(0, np.float32))


def _values(rows: Array, grid: Grid) -> Array:
    """What each entry of the grid makes of its part of the rows."""
    found = np.clip(np.rint((rows[:, grid.channel] - grid.zero) / grid.step), 0, 255)
    return (found * grid.step + grid.base).astype(np.float32)


def main(data: Path) -> None:
    weights = find_weights(home=home(), originals=True)
    tokenizer = Tokenizer(weights.folder / TOKENIZER_FILE, weights.shape.window, weights.tokenizer)
    tokens = tokenizer.ids(list(texts(data)))
    print(f"{len(tokens)} texts, {sum(map(len, tokens))} tokens")
    tensors = read_tensors(weights.folder)
    found: dict[str, NDArray[Any]] = {}
    for name, seen in observe(weights.folder, tokens, weights.shape.layers).items():
        grid, error = choose(name, seen, tensors)
        found[f"{name}.channel"] = grid.channel.astype(np.int16)
        found[f"{name}.step"] = grid.step.astype(np.float16)
        found[f"{name}.zero"] = grid.zero
        found[f"{name}.mean"] = grid.mean.astype(np.float16)
        print(f"{name:42s} relative squared error {error:.6f}", flush=True)
    save_file(found, GRIDS_FILE, {"weights": weights.sha256, "made_by": "benchmarks/calibrate_int8.py"})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
