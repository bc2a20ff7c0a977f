"""Tasks by prompt: what is written to a language model, and how its text is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headrace.errors import ModelError
from headrace.text import normalise, shorten
from headrace.types import Decoding, Message

if TYPE_CHECKING:
    from headrace.protocols import Model

MARK = "###"  # between examples; the model is stopped at it
SHOWN = 24  # examples at most: more do not help small models and cost window


def choose(
    text: str, labels: Mapping[str, str], examples: Sequence[tuple[str, str]], model: Model
) -> list[dict[str, Any]]:
    """Have a model choose a label.

    A model that gives log-probabilities is asked how likely each label is after the prompt, and the
    scores are their shares; any other one writes a label, which gets the score 1. ModelError where
    it writes something else.
    """
    from headrace.tasks.classes import ranked

    names = list(labels)
    prompt = classify_prompt(text, names, examples)
    logprobs = getattr(model, "logprobs", None)
    if logprobs is not None:
        import numpy as np

        from headrace.models.heads import softmax

        totals = np.array([[float(np.sum(logprobs(prompt, " " + name))) for name in names]])
        return ranked(names, softmax(totals))[0]
    written = model.complete([Message("user", prompt)], Decoding(max_new_tokens=24, stop=(MARK, "\n\n"))).text
    best = label_in(written, names)
    if best is None:
        raise ModelError(
            f"{model.name} was asked for one of {', '.join(names)} and wrote {shorten(written, 60)!r}.",
            hint="Give examples, clearer labels, or a model that follows instructions.",
        )
    rest = [name for name in names if name != best]
    return [{"label": best, "score": 1.0}, *({"label": name, "score": 0.0} for name in rest)]


def classify_prompt(text: str, labels: Sequence[str], examples: Sequence[tuple[str, str]]) -> str:
    """Instruction, examples in turns of the labels, the text; the mark never stands inside a text."""
    parts = [f"Classify each text. The label is one of: {', '.join(labels)}."]
    by_label = {label: [row for row in examples if row[1] == label] for label in labels}
    turns = [rows[i] for i in range(SHOWN) for rows in by_label.values() if i < len(rows)][:SHOWN]
    parts += [f"Text: {_inside(shown)}\nLabel: {label}" for shown, label in turns]
    parts.append(f"Text: {_inside(text)}\nLabel:")
    return f"\n{MARK}\n".join(parts)


def _inside(text: str) -> str:
    """A user's text on one line, in which the mark does not occur."""
    return " ".join(text.replace(MARK, "# # #").split())


def label_in(written: str, labels: Sequence[str]) -> str | None:
    """The one label that a text names: at its beginning, or the only one in it; None: none or several."""
    line = normalise(written).strip(" .:\"'*`")
    exact = [label for label in labels if normalise(label) == line]
    if exact:
        return exact[0]
    begins = [label for label in labels if re.match(rf"{re.escape(normalise(label))}\b", line)]
    if begins:
        return max(begins, key=len)
    within = [label for label in labels if re.search(rf"\b{re.escape(normalise(label))}\b", line)]
    return within[0] if len(within) == 1 else None
