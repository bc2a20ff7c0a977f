"""Search in a knowledge base, as a tool. It is given the knowledge base and looks nothing up itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Searchable(Protocol):
    """What can be searched: ``hr.KnowledgeBase`` can."""

    def search(self, query: str, *, top_k: int) -> Sequence[Any]: ...


def knowledge(
    kb: Searchable, *, top_k: int = 4, name: str = "search", about: str = ""
) -> Callable[[str], str]:
    """A tool that searches ``kb`` and gives the passages with their documents.

    ``about`` says what the knowledge base holds; a model that knows chooses better.
    """

    def search(question: str) -> str:
        found = kb.search(question, top_k=top_k)
        if not len(found):
            return "No passage is relevant to this question."
        return "\n\n".join(
            f"[{number}] {' > '.join(filter(None, (passage.document, passage.heading)))}\n{passage.text}"
            for number, passage in enumerate(found, start=1)
        )

    search.__name__ = search.__qualname__ = name
    search.__doc__ = (
        f"Search the documents{' about ' + about if about else ''} for a question. Gives the passages "
        "that fit best, with the names of their documents."
    )
    return search
