"""What the tasks take and give: the catalogue behind ``headrace task --help`` and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Task:
    """``kind`` is what kind of problem it is; ``takes`` and ``gives`` describe one input, one output.

    ``without_model`` says what serves where no language model is named, "" if nothing does.
    ``alias`` is transformers' name of the same task.
    """

    name: str
    kind: Literal["sequence to label", "sequence to sequence", "token to label", "question to value"]
    takes: str
    gives: str
    without_model: str
    alias: str


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="summarize",
            kind="sequence to sequence",
            takes="a text",
            gives='[{"summary_text"}]',
            without_model="sentences of the text, word for word",
            alias="summarization",
        ),
        Task(
            name="sentiment",
            kind="sequence to label",
            takes="a text",
            gives='[{"label", "score"}]: positive, negative',
            without_model="a linear head that ships with Headrace",
            alias="sentiment-analysis",
        ),
        Task(
            name="classify",
            kind="sequence to label",
            takes="a text; labels, or examples",
            gives='[{"label", "score"}], best first',
            without_model="label descriptions by embedding, or a head trained on the examples",
            alias="zero-shot-classification",
        ),
        Task(
            name="translate",
            kind="sequence to sequence",
            takes="a text; the language to translate to",
            gives='[{"translation_text"}]',
            without_model="",
            alias="translation",
        ),
        Task(
            name="tag",
            kind="token to label",
            takes="a text",
            gives='[{"entity_group", "score", "word", "start", "end"}]',
            without_model="",
            alias="token-classification",
        ),
        Task(
            name="table",
            kind="question to value",
            takes="a question; a csv file",
            gives='{"answer", "query", "columns", "rows"}',
            without_model="questions of a few known forms",
            alias="table-question-answering",
        ),
        Task(
            name="chat",
            kind="sequence to sequence",
            takes="a message, and the turns before it",
            gives='[{"generated_text"}]',
            without_model="",
            alias="conversational",
        ),
        Task(
            name="generate",
            kind="sequence to sequence",
            takes="the beginning of a text",
            gives='[{"generated_text"}]',
            without_model="",
            alias="text-generation",
        ),
    )
}
