"""Questions for a demonstration: from a file, or made from the headings of the documents."""

from __future__ import annotations

from pathlib import Path

from headrace.errors import NotFound, UserError
from headrace.resources.handles import KnowledgeBase


def read_questions(path: Path) -> list[str]:
    """One question a line; empty lines and lines that begin with # are left out."""
    if not path.is_file():
        raise NotFound(
            f"There is no file of questions {str(path)!r}.", hint="Give a text file, one question a line."
        )
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise UserError(f"{str(path)!r} holds no question.", hint="Write one question a line.")
    return found


def questions_about(kb: KnowledgeBase, count: int = 5) -> list[str]:
    """Questions made from the deepest headings of documents spread over the knowledge base."""
    headings = kb.engine().headings()
    step = max(1, len(headings) // count)
    chosen = headings[::step][:count]
    return [f"What do the documents say about {heading.split(' > ')[-1]}?" for heading in chosen]
