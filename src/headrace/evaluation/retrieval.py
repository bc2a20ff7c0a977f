"""Search alone as an application, so that it is evaluated like any other: rows, cache, report.

What ``headrace eval retrieval`` runs. No model answers; the output is the list of documents found.
"""

from __future__ import annotations

from dataclasses import replace

from headrace.errors import InputError
from headrace.evaluation.dataset import Examples
from headrace.flows.app import App
from headrace.measure.metrics import Metric, documents_of
from headrace.resources.handles import KnowledgeBase

NAME = "retrieval"
DEPTH = 10


def retrieval_app(kb: KnowledgeBase) -> App:
    """``kb.search`` as an application: the documents of the best ``top_k`` passages, best first."""

    def retrieval(question: str, top_k: int = DEPTH) -> list[str]:
        """The documents in which a question is answered, best first."""
        return [passage.document for passage in kb.search(question, top_k=top_k)]

    return App(retrieval, name=NAME, root=kb.root, handles=(kb,))


def depth_of(metrics: tuple[Metric, ...]) -> int:
    """How many passages the metrics look at: the largest K of ``hit@K``, 10 at least."""
    asked = [int(m.name.removeprefix("hit@")) for m in metrics if m.name.startswith("hit@")]
    return max([DEPTH, *asked])


def questions(examples: Examples, top_k: int) -> Examples:
    """The examples as :func:`retrieval_app` takes them: those that expect documents, and only these.

    InputError where none does, or where an example has several texts and none is called a question.
    """
    items, lines = [], []
    for index, example in enumerate(examples):
        if not documents_of(example):
            continue
        texts = [value for value in example.inputs.values() if isinstance(value, str)]
        question = example.inputs.get("question", texts[0] if len(texts) == 1 else None)
        if not isinstance(question, str):
            raise InputError(
                f"{examples.where(index)}: which of the inputs is the question? "
                f"({', '.join(map(repr, example.inputs))})",
                hint='Name it "question", or give one text only.',
            )
        expected = {"documents": documents_of(example)}
        items.append(replace(example, inputs={"question": question, "top_k": top_k}, expectations=expected))
        lines.append(examples.where(index))
    if not items:
        raise InputError(
            f"None of the {len(examples)} examples expects a document, so search cannot be measured on them.",
            hint='Add "documents": ["docs/leave.md"] to their expectations.',
        )
    return Examples(items=tuple(items), source=examples.source, lines=tuple(lines))
