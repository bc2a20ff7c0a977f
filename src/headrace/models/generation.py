"""One batch of jobs through transformers' own ``generate``, and what a model thinks of given tokens.

Knows token ids, not texts: ``local.py`` makes them and reads them. Two kinds of model: a *causal* one
goes on after the prompt; a *sequence-to-sequence* one reads the prompt with its encoder and writes
with its decoder from a start token. torch and transformers are given, not imported.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import ModelError
from headrace.models.batching import Job

# torch draws from one generator per process: whoever samples has it alone meanwhile
_RANDOM = threading.Lock()


class Generation:
    """Writes with ``model``; ``ends`` are the tokens that end a text, ``pad`` fills short rows."""

    def __init__(
        self, torch: Any, transformers: Any, model: Any, *, name: str, ends: frozenset[int], pad: int
    ) -> None:
        self.two_parts = bool(model.config.is_encoder_decoder)
        self._torch, self._model, self._name = torch, model, name
        self._ends, self._pad = ends, pad
        # Lengths are the Decoding's business alone; generate would take the model's own where we say None.
        model.generation_config.update(max_length=None, min_length=None)
        self._watch = _watch(transformers, torch)
        self._check = _check(transformers, torch, name)

    # ------------------------------------------------------------------ writing

    def key(self, job: Job) -> Any:
        """What jobs must have in common to share a batch; None: runs alone."""
        decoding = job.decoding
        if decoding.num_beams > 1 or (decoding.temperature > 0 and decoding.seed is not None):
            return None
        settings = (decoding.min_new_tokens, decoding.temperature, decoding.top_k, decoding.top_p)
        return (job.room, *settings)

    def padded(
        self, rows: Sequence[Sequence[int]], length: int | None = None
    ) -> tuple[list[list[int]], list[list[int]]]:
        """(ids, mask), each row as long as the longest, or as ``length``. A causal model must find the
        end of the prompt at the end of the row, an encoder the beginning at position 0."""
        longest = max((len(row) for row in rows), default=0) if length is None else length
        fill = [longest - len(row) for row in rows]
        if self.two_parts:
            return (
                [[*row, *[self._pad] * n] for row, n in zip(rows, fill, strict=True)],
                [[1] * len(row) + [0] * n for row, n in zip(rows, fill, strict=True)],
            )
        return (
            [[*[self._pad] * n, *row] for row, n in zip(rows, fill, strict=True)],
            [[0] * n + [1] * len(row) for row, n in zip(rows, fill, strict=True)],
        )

    def write(self, batch: list[Job]) -> None:
        """Feed each job of the batch until it has ended."""
        torch, first = self._torch, batch[0]
        ids, mask = self.padded([job.prompt for job in batch])
        beams = first.decoding.num_beams > 1
        watch = self._watch(batch, self._ends, feeding=not beams)
        try:
            with torch.inference_mode(), self._randomness(first):
                device = self._model.device
                out = self._model.generate(
                    input_ids=torch.tensor(ids, device=device),
                    attention_mask=torch.tensor(mask, device=device),
                    generation_config=self._config(first),
                    stopping_criteria=[watch],
                    logits_processor=[self._check()],
                )
        except RuntimeError as error:  # out of memory, and what else a device can run into
            raise ModelError(
                f"{self._name!r} could not write: {error}",
                hint="Give it shorter prompts or fewer at once (options.rows), or another device.",
            ) from error
        if beams:
            for token in out[0, 1 if self.two_parts else len(ids[0]) :].tolist():
                if first.take(token, end=token in self._ends):
                    break
        for job in batch:
            job.end("length")

    def _config(self, job: Job) -> Any:
        """The model's own generation settings, with what the Decoding decides."""
        decoding, config = job.decoding, copy.deepcopy(self._model.generation_config)
        sampled = decoding.temperature > 0
        config.update(
            max_new_tokens=job.room,
            min_new_tokens=decoding.min_new_tokens or None,
            do_sample=sampled,
            num_beams=decoding.num_beams,
            num_return_sequences=1,
            temperature=decoding.temperature if sampled else None,
            eos_token_id=sorted(self._ends) or None,
            pad_token_id=self._pad,
        )
        if not sampled:
            config.update(top_k=None, top_p=None)
        else:
            given = {"top_k": decoding.top_k, "top_p": decoding.top_p}
            config.update(**{key: value for key, value in given.items() if value is not None})
        return config

    @contextmanager
    def _randomness(self, first: Job) -> Iterator[None]:
        """torch's generator for this batch alone, seeded where a seed is given, and put back after."""
        torch, decoding = self._torch, first.decoding
        if decoding.temperature <= 0:
            yield
        elif decoding.seed is None:
            with _RANDOM:
                yield
        else:
            devices = [self._model.device] if self._model.device.type == "cuda" else []
            with first.held(), _RANDOM, torch.random.fork_rng(devices=devices):
                torch.manual_seed(decoding.seed)
                yield

    # ------------------------------------------------------------------ judging

    def judge(self, before: Sequence[int], after: Sequence[int]) -> NDArray[np.float64]:
        """Natural logarithm of the probability of each token of ``after``, given ``before`` and the
        tokens of ``after`` that precede it. (len(after),), float64; no temperature, nothing left out."""
        torch = self._torch
        with torch.inference_mode():
            wanted = torch.tensor(list(after), device=self._model.device)[:, None]
            found = self._logs(before, after[:-1]).gather(1, wanted)[:, 0]
        values = np.asarray(found.double().cpu().numpy(), dtype=np.float64)
        if np.isnan(values).any():
            raise _broken(self._name)
        return values

    def next(self, before: Sequence[int], top: int) -> tuple[list[int], list[float]]:
        """(ids, probabilities) of the likeliest tokens to begin with after ``before``, best first."""
        with self._torch.inference_mode():
            logs = self._logs(before, [])[0]
            best = logs.exp().topk(min(top, len(logs)))
        if not self._torch.isfinite(best.values).all():
            raise _broken(self._name)
        return best.indices.tolist(), best.values.tolist()

    def _logs(self, before: Sequence[int], after: Sequence[int]) -> Any:
        """(len(after) + 1, vocabulary): logarithms for the token after ``before``, and after each of
        ``after``."""
        torch, device = self._torch, self._model.device
        if self.two_parts:
            config = self._model.generation_config
            start = config.decoder_start_token_id
            start = config.bos_token_id if start is None else start
            logits = self._model(
                input_ids=torch.tensor([list(before)], device=device),
                decoder_input_ids=torch.tensor([[start, *after]], device=device),
            ).logits[0]
        else:
            ids = torch.tensor([[*before, *after]], device=device)
            logits = self._model(input_ids=ids).logits[0, len(before) - 1 :]
        return torch.log_softmax(logits.float(), dim=-1)


def _broken(name: str) -> ModelError:
    return ModelError(
        f"{name!r} computed values that are not numbers (NaN or infinity).",
        hint="Its weights are damaged, or too coarse for this machine: fetch them again, or give the model "
        "options = {dtype = 'float32'}.",
    )


def _watch(transformers: Any, torch: Any) -> Any:
    """The class that looks at every decoding step: hands tokens to their jobs, says who is done."""

    class Watch(transformers.StoppingCriteria):  # type: ignore[misc]
        def __init__(self, batch: list[Job], ends: frozenset[int], *, feeding: bool) -> None:
            self._batch, self._ends, self._feeding = batch, ends, feeding

        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            if not self._feeding:  # beams: rows are candidates of one job
                done = [not self._batch[0].wanted] * len(input_ids)
            else:
                done = [
                    job.take(token, end=token in self._ends)
                    for job, token in zip(self._batch, input_ids[:, -1].tolist(), strict=True)
                ]
            return torch.tensor(done, device=input_ids.device, dtype=torch.bool)

    return Watch


def _check(transformers: Any, torch: Any, name: str) -> Any:
    """The class that refuses what is not a number, which ``generate`` would turn into some token."""

    class Check(transformers.LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            if not torch.isfinite(scores.amax(dim=-1)).all():
                raise _broken(name)
            return scores

    return Check
