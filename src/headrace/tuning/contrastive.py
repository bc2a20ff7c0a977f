"""Contrastive training of the encoder: one loss, one loop, checkpoints that resume exactly.

The loss is InfoNCE with in-batch negatives (van den Oord et al. 2018, arXiv:1807.03748; Henderson
et al. 2017, arXiv:1705.00652): among the passages of a batch, its own and mined hard ones, each
question must find the one that answers it. A passage that is right for another question of the
batch too is left out of that question's choice. AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101),
the rate rising over the first steps and then falling linearly to 0.

A step depends on settings, data and its number alone, so a run that was killed and goes on from its
checkpoint has the losses that it would have had. Not here: which pairs, what they are worth.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace import request
from headrace.errors import InputError, ModelError, StateError
from headrace.protocols import Progress
from headrace.tuning.encoder import Encoder
from headrace.tuning.mining import Pair
from headrace.tuning.pairs import Corpus

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How it is trained. What was tried, and on which split, is in docs/why/tuned-embedder.md.

    ``rate``: the highest learning rate. ``warmup``: share of the steps over which it rises.
    ``temperature`` divides the cosines. ``frozen``: lowest layers left as they are (-1: none, and
    the embeddings trained too). ``tokens``: where texts are cut in training. ``negatives``: mined
    ones per pair and step.
    """

    epochs: int = 3
    batch: int = 32
    rate: float = 1e-4
    warmup: float = 0.1
    temperature: float = 0.05
    decay: float = 0.01
    frozen: int = 3
    tokens: int = 128
    negatives: int = 1
    seed: int = 0
    every: int = 10  # steps between checkpoints

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 2), ("tokens", 8), ("negatives", 0), ("every", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)!r}.", hint=f"Give {least} or more.")
        for name in ("rate", "temperature"):
            if not 0 < getattr(self, name) < 10:
                raise InputError(f"{name} is {getattr(self, name)!r}.", hint="Give a number above 0.")


class Training:
    """The loop. ``losses`` has one number a step, those of an earlier run of the same work included."""

    def __init__(
        self, encoder: Encoder, pairs: Sequence[Pair], corpus: Corpus, recipe: Recipe, folder: Path, key: str
    ) -> None:
        if len(pairs) < 2:
            raise InputError(
                f"{len(pairs)} pairs are left to train on.", hint="Give more pairs: some hundreds help."
            )
        self.encoder, self.pairs, self.corpus, self.recipe = encoder, pairs, corpus, recipe
        self.folder, self.key = folder, key
        self.per_epoch = max(1, round(len(pairs) / recipe.batch))
        self.steps = self.per_epoch * recipe.epochs
        torch = self.torch = encoder.torch
        named = encoder.parameters
        plain = [named[n] for n in encoder.trained if n.endswith("bias") or "LayerNorm" in n]
        decayed = [named[n] for n in encoder.trained if not (n.endswith("bias") or "LayerNorm" in n)]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": recipe.decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=recipe.rate,
        )
        self.spent = (0.0, 0.0)  # seconds and CPU seconds of earlier runs, up to their last checkpoint
        self.clock: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)  # and those of this one
        self.losses: list[float] = []
        self.notes: list[dict[str, Any]] = []  # what was said at the end of each epoch
        self.resumed = self._resume()

    @property
    def done(self) -> int:
        return len(self.losses)

    def run(
        self,
        epoch_ended: Callable[[int, float], dict[str, Any]] = lambda epoch, loss: {},
        progress: Progress | None = None,
    ) -> None:
        """All steps that are left. ``epoch_ended(epoch from 1, mean loss)`` is asked after each epoch.

        Stopped (Ctrl-C, a cancelled request): the step is finished and kept. ModelError where the
        loss is no number any more; what was good before is still there.
        """
        try:
            while self.done < self.steps or len(self.notes) < self.recipe.epochs:
                if self.done < self.steps and self.done // self.per_epoch == len(self.notes):
                    request.checkpoint()
                    self.losses.append(self._step(self.done))
                    if self.done % self.recipe.every == 0 and self.done % self.per_epoch:
                        self.save()
                    if progress is not None:
                        progress(self.done, self.steps, f"loss {self.losses[-1]:.3f}")
                    continue
                epoch = len(self.notes) + 1
                past = self.losses[-self.per_epoch :]
                self.notes.append(epoch_ended(epoch, sum(past) / len(past)))
                self.save()
        except KeyboardInterrupt:
            self.save()
            raise

    def _step(self, step: int) -> float:
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate * _shape(step, self.steps, recipe.warmup)
        batch = self._batch(step)
        loss = self._loss(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"The loss of step {step + 1} is {value!r}: training has diverged.",
                hint=f"Take a smaller --rate than {recipe.rate:g}, and look for odd texts among the pairs.",
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(
            [self.encoder.parameters[name] for name in self.encoder.trained], 1.0
        )
        self.optimizer.step()
        return value

    def _batch(self, step: int) -> list[tuple[Pair, list[int]]]:
        """Pairs of this step with their negatives, from the seed and the numbers of epoch and step."""
        epoch, at = divmod(step, self.per_epoch)
        order = list(range(len(self.pairs)))
        random.Random(f"{self.recipe.seed} {epoch}").shuffle(order)
        edges = [round(i * len(order) / self.per_epoch) for i in (at, at + 1)]
        rng = random.Random(f"{self.recipe.seed} {epoch} {at}")
        chosen = []
        for number in order[edges[0] : edges[1]]:
            pair = self.pairs[number]
            many = min(self.recipe.negatives, len(pair.negatives))
            chosen.append((pair, rng.sample(pair.negatives, many)))
        return chosen

    def _loss(self, batch: Sequence[tuple[Pair, list[int]]]) -> Any:
        torch, encode = self.torch, self.encoder.encode
        rows = list(dict.fromkeys([p.positive for p, _ in batch] + [n for _, some in batch for n in some]))
        place = {row: at for at, row in enumerate(rows)}
        asked = encode([pair.question for pair, _ in batch], remember=True)
        passages = encode([self.corpus.texts[row] for row in rows], remember=True)
        scores = asked @ passages.T / self.recipe.temperature
        aside = torch.zeros(scores.shape, dtype=torch.bool)
        for at, (pair, _) in enumerate(batch):
            for row in pair.positives:
                if row in place and row != pair.positive:
                    aside[at, place[row]] = True
        wanted = torch.tensor([place[pair.positive] for pair, _ in batch])
        return torch.nn.functional.cross_entropy(scores.masked_fill(aside, -1e4), wanted)

    # ----------------------------------------------------------------- checkpoints

    def save(self) -> None:
        """The state of the run, replaced in one move."""
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f".{CHECKPOINT}.{os.getpid()}"
        try:
            self.torch.save(
                {
                    "key": self.key,
                    "losses": self.losses,
                    "notes": self.notes,
                    "spent": [then + now for then, now in zip(self.spent, self.clock(), strict=True)],
                    "tensors": {n: self.encoder.parameters[n].detach() for n in self.encoder.trained},
                    "optimizer": self.optimizer.state_dict(),
                },
                beside,
            )
            beside.replace(self.folder / CHECKPOINT)
        except OSError as error:
            raise StateError(
                f"The checkpoint {str(self.folder / CHECKPOINT)!r} cannot be written: {error.strerror}.",
                hint="Make room, or name another --out.",
            ) from error

    def _resume(self) -> int:
        """Steps that an earlier run of the same work has done; 0 where there was none."""
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return 0
        try:
            found = self.torch.load(path, weights_only=True)
        except (RuntimeError, ValueError, OSError, EOFError):
            path.unlink()
            return 0
        if found["key"] != self.key:
            raise InputError(
                f"{str(self.folder)!r} holds a run with other settings, pairs or base.",
                hint="Run it with the same ones, delete the folder, or name another --out.",
            )
        self.encoder.load({name: value.numpy() for name, value in found["tensors"].items()})
        self.optimizer.load_state_dict(found["optimizer"])
        self.losses, self.notes = list(found["losses"]), list(found["notes"])
        self.spent = tuple(found["spent"])
        return self.done


def _shape(step: int, steps: int, warmup: float) -> float:
    """The learning rate of a step as a share of the highest: up over ``warmup``, then down to 0."""
    rise = max(1, round(warmup * steps))
    return min((step + 1) / rise, (steps - step) / max(1, steps - rise + 1))
