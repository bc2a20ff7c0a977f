"""Decoding beside transformers' own ``generate``: the same tokens, at what cost, and how fast together.

``python benchmarks/decoding.py``, with ``--model FOLDER`` for another causal model. Prints the share of
(prompt, setting) pairs with equal tokens, seconds of our call over those of ``generate`` alone
(sides take turns), and how much faster the prompts are written when they arrive together.
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from pathlib import Path

import torch

import machine
from headrace.models.local import open_local
from headrace.settings import ModelSettings
from headrace.types import Decoding, Message

PROMPTS = (
    *("Once upon a time", "Lily", "The dog saw a big", "One day, Tom", "Mom said", "In the park", "A bird"),
    *("Tim had a red ball", "It was a sunny day", "The cat and the", "She was very", "They went to the"),
)
SETTINGS = {
    "greedy": {},
    "beam 4": {"num_beams": 4},
    "sampling": {"temperature": 1.0, "seed": 1},
    "top_k 10": {"temperature": 0.7, "top_k": 10, "seed": 2},
    "top_p 0.8": {"temperature": 0.7, "top_p": 0.8, "seed": 3},
    "lab cell": {"temperature": 0.7, "top_k": 20, "top_p": 0.5, "num_beams": 2, "seed": 4},
    "min and max": {"min_new_tokens": 20, "max_new_tokens": 40, "num_beams": 10},
}
LENGTH = 40
MODEL = Path(__file__).resolve().parents[2] / "shared" / "models" / "stories260K"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--model", default=MODEL, type=Path)
    folder = asked.parse_args().model.absolute()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)  # the model is so small that threads only wait for each other
    model = open_local(str(folder), ModelSettings(), policy="off", root=folder)
    say = [[Message("user", prompt)] for prompt in PROMPTS]
    model.complete(say[0], Decoding(max_new_tokens=2))
    rows = []
    for name, settings in SETTINGS.items():
        settings = {"max_new_tokens": LENGTH, **settings}
        equal, ratios = 0, []
        for prompt, messages in zip(PROMPTS, say, strict=True):
            ids = list(model.stages(messages, Decoding(**settings)).written.ids)
            begun = time.perf_counter()
            expected = theirs(model, prompt, settings)
            middle = time.perf_counter()
            model.complete(messages, Decoding(**settings))
            ratios.append((time.perf_counter() - middle) / (middle - begun))
            equal += ids == expected
        rows.append(
            {"setting": name, "equal": equal, "of": len(PROMPTS), "time_ratio": statistics.median(ratios)}
        )
        print(f"{name:12} equal {equal}/{len(PROMPTS)}, time beside generate {rows[-1]['time_ratio']:.2f}")
    decoding = Decoding(max_new_tokens=LENGTH)
    apart, together = [], []
    for _ in range(3):
        begun = time.perf_counter()
        for messages in say:
            model.complete(messages, decoding)
        apart.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        threads = [threading.Thread(target=model.complete, args=(messages, decoding)) for messages in say]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        together.append(time.perf_counter() - begun)
    faster = statistics.median(a / b for a, b in zip(apart, together, strict=True))
    print(f"{len(PROMPTS)} prompts together: {faster:.1f} times faster than one after the other")
    result = {
        "model": folder.name,
        "load_at_start": load,
        "settings": rows,
        "equal": sum(row["equal"] for row in rows) / sum(row["of"] for row in rows),
        "together_faster": faster,
    }
    machine.save("decoding", result, command="benchmarks/decoding.py")


def theirs(model, prompt: str, settings: dict) -> list[int]:  # type: ignore[no-untyped-def, type-arg]
    """What ``generate`` writes, called as its documentation shows."""
    encoded = model._tokenizer(prompt, return_tensors="pt")
    asked = {key: value for key, value in settings.items() if key != "seed"}
    if "seed" in settings:
        torch.manual_seed(settings["seed"])
    with torch.inference_mode():
        out = model._model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            do_sample="temperature" in settings,
            **asked,
        )
    return out[0, encoded["input_ids"].shape[1] :].tolist()


if __name__ == "__main__":
    main()
