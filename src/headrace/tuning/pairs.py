"""Question-passage pairs and the corpus they point into: read, checked, split without leaks.

A line of a pairs file is ``{"question": …, "documents": [ids]}`` or ``{"question": …, "passage":
text}``; csv has the same columns; examples of ``headrace eval`` (``inputs.question``,
``expectations.documents``) are read as they are. Everything wrong is told with its line.

Not here: negatives (``mining.py``), training, scoring.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import InputError, NotFound
from headrace.types import digest

if TYPE_CHECKING:
    from headrace.resources.handles import KnowledgeBase

SHOWN = 5  # rows named in an error
NEAR = 0.8  # of the words of two questions together, what they share: then they are near-duplicates
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Corpus:
    """Passages, and the document of each (several passages may have one)."""

    texts: tuple[str, ...]
    documents: tuple[str, ...]
    source: str = ""

    @cached_property
    def of(self) -> Mapping[str, tuple[int, ...]]:
        """Document → its passages, in order."""
        found: dict[str, list[int]] = defaultdict(list)
        for at, document in enumerate(self.documents):
            found[document].append(at)
        return {document: tuple(rows) for document, rows in found.items()}

    @cached_property
    def hash(self) -> str:
        return digest([list(self.documents), list(self.texts)])

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Question:
    """A question and the documents that answer it. ``where``: the line it came from."""

    text: str
    documents: frozenset[str]
    where: str = ""

    @property
    def key(self) -> str:
        """What stays of a question when case, punctuation and spaces do not count."""
        return " ".join(_WORD.findall(self.text.casefold()))


def hash_of(questions: Sequence[Question]) -> str:
    """SHA-256 over questions and their documents, in any order."""
    return digest(sorted(digest([q.text, sorted(q.documents)]) for q in questions))


# --------------------------------------------------------------------------- reading


def read_corpus(paths: Sequence[str | Path]) -> Corpus:
    """Files of passages: JSON lines or csv with ``text``, and ``_id`` or ``id``, and maybe ``title``.

    The title stands above the text, as a heading does in a document.
    """
    texts: list[str] = []
    documents: list[str] = []
    problems: list[str] = []
    for path in map(Path, paths):
        for where, row in _rows(path):
            text, title = row.get("text"), row.get("title") or ""
            name = next((row[key] for key in ("_id", "id", "document") if row.get(key) is not None), None)
            if not isinstance(text, str) or not text.strip() or name is None:
                problems.append(f"{where}: a passage needs 'id' and 'text'; it has {sorted(row)!r}")
                continue
            texts.append(f"{title}\n{text}" if title else text)
            documents.append(str(name))
    _refuse(problems, 'Each line: {"id": …, "text": …}, and a "title" where there is one.')
    if not texts:
        raise InputError(f"{', '.join(map(str, paths))} holds no passage.", hint="Give id and text a line.")
    return Corpus(tuple(texts), tuple(documents), ", ".join(map(str, paths)))


def corpus_of(kb: KnowledgeBase) -> Corpus:
    """The chunks of a knowledge base as it is now, in order."""
    with kb.engine().store.snapshot() as seen:
        rows = seen.rows([int(seq) for seq in seen.select("TRUE")])
    if not rows:
        raise InputError(f"The knowledge base {kb.name!r} is empty.", hint="headrace ingest FOLDER")
    ordered = [rows[seq] for seq in sorted(rows)]
    return Corpus(tuple(r.text for r in ordered), tuple(r.document for r in ordered), kb.name)


def read_questions(path: str | Path, corpus: Corpus | None = None) -> tuple[list[Question], Corpus]:
    """Questions with the documents that answer them, and the corpus.

    Without a corpus the passages that the pairs hold are it. A question on several lines gathers
    their documents. InputError names the lines without the columns, or whose document or passage
    is not in the corpus.
    """
    problems: list[str] = []
    gathered: dict[str, tuple[str, set[str], str]] = {}
    own: dict[str, str] = {}  # passage → the name it got
    whole = dict(zip(corpus.texts, corpus.documents, strict=True)) if corpus else {}
    for where, row in _rows(Path(path)):
        question, names, passage = _columns(row)
        if not isinstance(question, str) or not question.strip() or (not names and not passage):
            problems.append(f"{where}: needs 'question' and 'documents' or 'passage'; it has {sorted(row)!r}")
            continue
        if passage and corpus is None:
            names = [own.setdefault(passage, f"passage {len(own) + 1}")]
        elif passage:
            found = whole.get(passage) or next((n for t, n in whole.items() if passage in t), None)
            names = [found] if found else []
            if not found:
                problems.append(f"{where}: the passage {passage!r:.60} is not in {corpus.source}")  # type: ignore[union-attr]
        elif corpus is None:
            problems.append(f"{where}: names documents, and no corpus is given")
        else:
            problems += [
                f"{where}: there is no document {n!r} in {corpus.source}" for n in names if n not in corpus.of
            ]
        _text, known, _first = gathered.setdefault(question.strip(), (question.strip(), set(), where))
        known.update(names)
    _refuse(
        problems,
        'One object a line: {"question": "…", "documents": ["id"]} or {"question": "…", "passage": "…"}; '
        "give --kb or --corpus where documents are named.",
    )
    if not gathered:
        raise InputError(f"{str(path)!r} holds no pair.", hint='{"question": "…", "passage": "…"} a line.')
    questions = [Question(text, frozenset(names), where) for text, names, where in gathered.values()]
    return questions, corpus or Corpus(tuple(own), tuple(own.values()), str(path))


def _columns(row: Mapping[str, Any]) -> tuple[Any, list[str], str]:
    """(question, documents, passage) of a line, whatever of the known names it uses."""
    if isinstance(row.get("inputs"), Mapping):
        row = {**row["inputs"], **(row.get("expectations") or {})}
    question = row.get("question", row.get("query"))
    names = row.get("documents", row.get("document"))
    if isinstance(names, str):
        names = [name.strip() for name in names.split("|") if name.strip()]
    elif isinstance(names, (list, tuple)):
        names = [str(name) for name in names]
    else:
        names = [] if names is None else [str(names)]
    passage = row.get("passage")
    return question, names, passage if isinstance(passage, str) else ""


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"There is no file {str(path)!r}.", hint="Give JSON lines or csv.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}.", hint="Give UTF-8 text.") from error
    if path.suffix == ".csv":
        for number, row in enumerate(csv.DictReader(text.splitlines(keepends=True)), 2):
            yield f"{path}:{number}", row
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}:{number} is not JSON: {error}.", hint="One object a line.") from error
        if not isinstance(value, dict):
            raise InputError(f"{path}:{number} is {value!r:.40}, no object.", hint="One object a line.")
        yield f"{path}:{number}", value


# --------------------------------------------------------------------------- splitting, leaks


def leaks(train: Sequence[Question], test: Sequence[Question]) -> list[tuple[Question, Question, str]]:
    """(train, test, "same" or "near") for every train question that a test question gives away.

    ``near``: the two share NEAR of their words (Jaccard 1901): a claim and its negation, say.
    """
    by_word: dict[str, list[int]] = defaultdict(list)
    words = [set(q.key.split()) for q in test]
    for at, there in enumerate(words):
        for word in there:
            by_word[word].append(at)
    found = []
    for question in train:
        mine = set(question.key.split())
        shared: dict[int, int] = defaultdict(int)
        for word in mine:
            for at in by_word.get(word, ()):
                shared[at] += 1
        best = max(
            ((n / len(mine | words[at]), -at) for at, n in shared.items()), default=(0.0, 0)
        )  # fmt: skip
        if best[0] >= NEAR:
            other = test[-best[1]]
            found.append((question, other, "same" if other.key == question.key else "near"))
    return found


def refuse_leaks(train: Sequence[Question], test: Sequence[Question]) -> None:
    """InputError with the rows where a question is in both; near-duplicates are not refused."""
    same = [(a, b) for a, b, how in leaks(train, test) if how == "same"]
    if same:
        rows = "\n".join(f"  {a.where} and {b.where}: {a.text!r:.70}" for a, b in same[:SHOWN])
        more = f"\n  and {len(same) - SHOWN} more" if len(same) > SHOWN else ""
        raise InputError(
            f"{len(same)} of the questions in the pairs stand in the test too:\n{rows}{more}",
            hint="Take them out of the pairs, or let --drop-shared do it: a model must not be tested on "
            "what it was trained on.",
        )


def split(
    questions: Sequence[Question], share: float, seed: int, least: int = 1
) -> tuple[list[Question], list[Question]]:
    """(kept, set aside): about ``share`` of the questions, whole groups that share a document.

    So no document of the questions that are set aside is trained on.
    """
    group = {q.text: q.text for q in questions}

    def root(name: str) -> str:
        while group[name] != name:
            group[name] = group[group[name]]
            name = group[name]
        return name

    first: dict[str, str] = {}
    for q in questions:
        for document in sorted(q.documents):
            group[root(q.text)] = root(first.setdefault(document, q.text))
    members: dict[str, list[Question]] = defaultdict(list)
    for q in questions:
        members[root(q.text)].append(q)
    order = sorted(members)
    random.Random(seed).shuffle(order)
    wanted = max(least, round(share * len(questions)))
    aside: list[Question] = []
    for name in order:
        if len(aside) < wanted and len(aside) + len(members[name]) <= 2 * wanted:
            aside += members[name]
    away = {q.text for q in aside}
    return [q for q in questions if q.text not in away], aside


def _refuse(problems: Sequence[str], hint: str) -> None:
    if problems:
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise InputError("\n  ".join(["Nothing was trained:", *problems[:SHOWN]]) + more, hint=hint)
