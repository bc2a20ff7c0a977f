"""What the tasks take and give: the catalogue behind ``headrace task --help`` and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input as a form asks for it. ``kind``: ``text`` (may be long), ``line``, ``lines``,
    ``integer``, ``table`` (csv), ``history`` (the turns of a chat, as JSON)."""

    name: str
    label: str
    kind: Literal["text", "line", "lines", "integer", "table", "history"] = "text"
    required: bool = True
    help: str = ""


_TEXT = Input(name="text", label="Text")
_TOKENS = Input(name="tokens", label="Longest answer, in tokens", kind="integer", required=False)


@dataclass(frozen=True, kw_only=True)
class Task:
    """``kind`` is what kind of problem it is; ``takes`` and ``gives`` describe one input, one output.

    ``without_model`` says what serves where no language model is named, "" if nothing does.
    ``alias`` is transformers' name of the same task. ``inputs`` are what a form asks for, the first
    of them the text; ``takes_model``: a language model can be named.
    """

    name: str
    kind: Literal["sequence to label", "sequence to sequence", "token to label", "question to value"]
    takes: str
    gives: str
    without_model: str
    alias: str
    inputs: tuple[Input, ...] = (_TEXT,)
    takes_model: bool = True


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
            inputs=(
                _TEXT,
                Input(name="sentences", label="At most so many sentences", kind="integer", required=False),
                Input(name="words", label="At most so many words", kind="integer", required=False),
            ),
        ),
        Task(
            name="sentiment",
            kind="sequence to label",
            takes="a text",
            gives='[{"label", "score"}]: positive, negative',
            without_model="a linear head that ships with Headrace",
            alias="sentiment-analysis",
            takes_model=False,
        ),
        Task(
            name="classify",
            kind="sequence to label",
            takes="a text; labels, or examples",
            gives='[{"label", "score"}], best first',
            without_model="label descriptions by embedding, or a head trained on the examples",
            alias="zero-shot-classification",
            inputs=(
                _TEXT,
                Input(
                    name="labels",
                    label="Labels",
                    kind="lines",
                    required=False,
                    help="One per line. Leave it empty to learn from examples.",
                ),
                Input(
                    name="examples",
                    label="Examples",
                    kind="lines",
                    required=False,
                    help='One per line, as JSON: {"text": "…", "label": "…"}.',
                ),
            ),
        ),
        Task(
            name="translate",
            kind="sequence to sequence",
            takes="a text; the language to translate to",
            gives='[{"translation_text"}]',
            without_model="",
            alias="translation",
            inputs=(
                _TEXT,
                Input(name="to", label="Language to translate to", kind="line", help="Such as fr."),
                Input(name="source", label="Language of the text", kind="line", required=False),
            ),
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
            inputs=(
                Input(name="text", label="Question"),
                Input(
                    name="table",
                    label="Table",
                    kind="table",
                    help="Paste csv, its first row the names of the columns, or choose a file.",
                ),
            ),
        ),
        Task(
            name="chat",
            kind="sequence to sequence",
            takes="a message, and the turns before it",
            gives='[{"generated_text"}]',
            without_model="",
            alias="conversational",
            inputs=(
                Input(name="text", label="Message"),
                Input(name="history", label="Turns before", kind="history", required=False),
                _TOKENS,
            ),
        ),
        Task(
            name="generate",
            kind="sequence to sequence",
            takes="the beginning of a text",
            gives='[{"generated_text"}]',
            without_model="",
            alias="text-generation",
            inputs=(Input(name="text", label="Beginning"), _TOKENS),
        ),
    )
}
