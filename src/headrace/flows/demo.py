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
    """Questions made from headings of documents spread over the knowledge base."""
    headings: list[str] = []
    with kb.engine().store.snapshot() as snapshot:
        ids = list(snapshot.ids())
        for id in ids[:: max(1, len(ids) // (4 * count))]:
            document = snapshot.get(id)
            if document is not None and document.sections:
                deepest = max(document.sections, key=lambda section: section.level)
                headings.append(deepest.title)
            elif document is not None:
                headings.append(str(document.metadata.get("title", id)))
    chosen = list(dict.fromkeys(headings))
    return [
        f"What do the documents say about {title}?"
        for title in chosen[:: max(1, len(chosen) // count)][:count]
    ]
