"""How good a model is on rows that it never saw: likelihoods, texts, and the figures made of them.

Models and token ids are given; torch is asked for where it is used. Not here: which rows are judged, and
what is told about them (``instruct.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Diverged
from headrace.extras import need
from headrace.measure import statistics, verdict
from headrace.protocols import Progress
from headrace.tuning.formatter import Tokens

TOGETHER = 4096  # tokens that are judged at once
MARGIN = math.log(1.01)  # one per cent of perplexity is the least that matters


def _torch() -> Any:
    return need("torch", extra="tune", for_what="Tuning a language model")


def judge(model: Any, rows: Sequence[Tokens], progress: Progress | None = None) -> list[NDArray[np.float64]]:
    """Negative log-likelihoods (nats) of the tokens of each answer, the end left out: (tokens,) a row.

    The end is left out because the base was never told of it: it would pay for that alone.
    """
    torch = _torch()
    found: dict[int, NDArray[np.float64]] = {}
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    model.eval()
    while order:
        batch: list[int] = []
        longest = 0
        while order and (not batch or (len(batch) + 1) * max(longest, len(rows[order[0]].ids)) <= TOGETHER):
            longest = max(longest, len(rows[order[0]].ids))
            batch.append(order.pop(0))
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, index in enumerate(batch):
            whole = rows[index].ids
            ids[place, : len(whole)] = torch.tensor(whole)
            mask[place, : len(whole)] = 1
        with torch.inference_mode():
            logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
            for place, index in enumerate(batch):
                row = rows[index]
                start, count = len(row.prompt), len(row.response)
                logs = torch.log_softmax(logits[place, start - 1 : start - 1 + count].float(), dim=-1)
                wanted = torch.tensor(row.response, device=logs.device)[:, None]
                found[index] = -logs.gather(1, wanted)[:, 0].double().cpu().numpy()
        if progress is not None:
            progress(len(found), len(rows), "judging")
    return [found[index] for index in range(len(rows))]


def logits(model: Any, rows: Sequence[Tokens]) -> list[NDArray[np.float64]]:
    """(tokens, vocabulary) of each row: for comparing two forms of one model."""
    torch = _torch()
    model.eval()
    with torch.inference_mode():
        return [
            model(input_ids=torch.tensor([row.ids], device=model.device)).logits[0].double().cpu().numpy()
            for row in rows
        ]


def write(model: Any, rows: Sequence[Tokens], *, most: int) -> list[list[int]]:
    """The token ids that the model writes after each prompt, greedily, up to the end marker and with it,
    or ``most``; all rows together."""
    torch = _torch()
    model.eval()
    model.config.use_cache = True
    longest = max(len(row.prompt) for row in rows)
    end = rows[0].end
    ids = torch.tensor([[end] * (longest - len(row.prompt)) + list(row.prompt) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row.prompt)) + [1] * len(row.prompt) for row in rows])
    settings = {"max_new_tokens": most, "do_sample": False, "eos_token_id": end, "pad_token_id": end}
    with torch.inference_mode():
        out = model.generate(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), **settings)
    made = []
    for row in out[:, longest:].tolist():
        made.append(row[: row.index(end) + 1] if end in row else row)
    return made


# --------------------------------------------------------------------------- figures


def numbers(found: Sequence[NDArray[np.float64]], whose: str, name: str) -> None:
    """Raise Diverged where a likelihood is not a number."""
    if not all(np.isfinite(row).all() for row in found):
        raise Diverged(
            f"{whose} ({name!r}) computes values that are not numbers on the held-out rows.",
            hint="Weights are damaged, or training went astray: fetch the base again, lower --rate.",
        )


def figures(
    base: Sequence[NDArray[np.float64]], tuned: Sequence[NDArray[np.float64]], groups: Sequence[int]
) -> dict[str, Any]:
    """Perplexities exp(mean NLL of a token) with intervals, and their ratio. Tokens of one row, and rows
    of one group, are not independent: intervals go by groups."""
    of = [group for row, group in zip(base, groups, strict=True) for _ in row]
    first, second = np.concatenate(base).tolist(), np.concatenate(tuned).tolist()
    found = verdict.paired(second, first, direction="lower", margin=MARGIN, clusters=of)
    return {
        "baseline": _exp(statistics.mean(first, clusters=of)),
        "tuned": _exp(statistics.mean(second, clusters=of)),
        "ratio": {
            "value": _raised(found.difference),
            "low": _raised(found.low),
            "high": _raised(found.high),
            "verdict": found.verdict,
            "tokens": len(first),
            "method": found.method,
        },
    }


def _exp(interval: statistics.Interval) -> dict[str, float | None]:
    return {key: _raised(getattr(interval, key)) for key in ("value", "low", "high")}


def _raised(value: float | None) -> float | None:
    return None if value is None else math.exp(min(value, 700.0))


def parity(
    before: Sequence[NDArray[np.float64]], after: Sequence[NDArray[np.float64]]
) -> tuple[float, float]:
    """(lowest cosine, largest difference) of the logits of a token: trained against saved and loaded."""
    cosines, largest = [], 0.0
    for one, other in zip(before, after, strict=True):
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines.append(float(((one * other).sum(axis=1) / norms).min()))
        largest = max(largest, float(np.abs(one - other).max()))
    return min(cosines), largest


def rate(count: int, n: int) -> dict[str, Any]:
    """``count`` of ``n`` as value, low, high (Wilson) and n."""
    found = statistics.rate(count, n)
    return {"value": found.value, "low": found.low, "high": found.high, "n": n}
