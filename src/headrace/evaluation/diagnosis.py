"""What went wrong with a row, in words: was it the search, or the answer made of what was found?

A reading of one row's record, for people; no metric and no judgement of quality. "" where nothing
is wrong as far as the expectations tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.measure import metrics, squad
from headrace.text import shorten
from headrace.types import Example


def diagnose(example: Example, output: Any, result: Mapping[str, Any]) -> str:
    """One line on a row. ``result`` is what ``flows.rows`` kept of it."""
    if result["error"] is not None:
        return f"failed: {shorten(str(result['error']).splitlines()[0], 200)}"
    abstained = metrics.abstained(output)
    if example.expectations.get("unanswerable"):
        return "" if abstained else "answered although unanswerable"
    passages: Sequence[Mapping[str, Any]] = result["passages"]
    documents, answers = metrics.documents_of(example), metrics.answers_of(example)
    rank = rank_of(example, passages)
    found = f"found at rank {rank}" if rank is not None else ""
    missing = _missing(documents, passages, str(result.get("outcome", ""))) if documents and not rank else ""
    if abstained and (documents or answers):
        return (
            f"abstained although the expected document was {found}"
            if found
            else _joined("abstained", missing)
        )
    text = metrics.text_of(output)
    if answers and not any(squad.contains(text, answer) for answer in answers):
        wrong = f"the answer does not contain {answers[0]!r:.80}"
        if documents:
            return f"{found} but {wrong}" if found else _joined(missing, wrong)
        return wrong
    return missing if documents and not answers else ""


def rank_of(example: Example, passages: Sequence[Mapping[str, Any]]) -> int | None:
    """Place (from 1) of the first expected document among the passages; None: not there, or none expected."""
    expected = metrics.documents_of(example)
    for place, passage in enumerate(passages, 1):
        if any(metrics.is_document(str(passage.get("document", "")), one) for one in expected):
            return place
    return None


def _missing(documents: Sequence[str], passages: Sequence[Mapping[str, Any]], outcome: str) -> str:
    what = "the expected document was not found"
    if outcome in ("timeout", "partial"):
        return f"{what} (the search ended with {outcome!r})"
    if not passages:
        return (
            f"{what}: nothing was relevant enough" if outcome == "below threshold" else f"{what}: nothing was"
        )
    return f"{what}; first was {passages[0].get('document')!r:.60}"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
