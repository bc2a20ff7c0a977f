"""SQuAD v1.1 dev as open search: its paragraphs are the base, its questions are asked of all of it.

What several benchmarks share: loading, and the fixed halves. Everything fitted on SQuAD is fitted
on the even half of the articles and reported on the odd half; both halves' paragraphs are in the
base, so that neither half is easier. Articles are sorted by the SHA-256 of their title: a fixed
order that no one chose.

The data set lies beside the checkout (``../shared``) or where ``--data`` points; nothing of it is
part of the project.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "squad" / "dev-v1.1.json"


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """One paragraph. ``id`` is its place in the file (``"12"``), used as the document's id."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question with its gold answers. ``starts`` are code points into the paragraph."""

    id: str
    text: str
    title: str
    paragraph: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Squad:
    paragraphs: tuple[Paragraph, ...]
    questions: tuple[Question, ...]

    def half(self, which: str) -> tuple[Question, ...]:
        """The questions of the ``fit`` or of the ``report`` half of the articles."""
        titles = halves(sorted({p.title for p in self.paragraphs}))[which]
        return tuple(q for q in self.questions if q.title in titles)


def load(path: Path = DATA) -> Squad:
    """All 2,067 paragraphs and 10,570 questions, in the order of the file."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    paragraphs: list[Paragraph] = []
    questions: list[Question] = []
    for article in articles:
        for entry in article["paragraphs"]:
            key = str(len(paragraphs))
            paragraphs.append(Paragraph(id=key, title=article["title"], text=entry["context"]))
            questions.extend(
                Question(
                    id=qa["id"],
                    text=qa["question"].strip(),
                    title=article["title"],
                    paragraph=key,
                    answers=tuple(a["text"] for a in qa["answers"]),
                    starts=tuple(a["answer_start"] for a in qa["answers"]),
                )
                for qa in entry["qas"]
            )
    return Squad(paragraphs=tuple(paragraphs), questions=tuple(questions))


def halves(titles: list[str]) -> dict[str, frozenset[str]]:
    """``fit`` (even) and ``report`` (odd) articles, in the order of their titles' hashes."""
    order = sorted(titles, key=lambda title: hashlib.sha256(title.encode("utf-8")).hexdigest())
    return {"fit": frozenset(order[0::2]), "report": frozenset(order[1::2])}
