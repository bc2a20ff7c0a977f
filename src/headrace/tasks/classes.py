"""Classify: which of the user's labels fits a text.

Three ways: by the labels' names or descriptions (zero-shot, embeddings), by a head trained in
seconds on examples (few-shot, embeddings and words), or by a language model where one is named.
Scores of a text sum to 1 over the labels. It does not say that none of the labels fits.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import InputError, NotFound, ReadError, Unavailable
from headrace.tasks.given import check, each, opened, project_embedder, side_by_side
from headrace.text import shorten, words
from headrace.types import digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headrace.models.heads import Sparse
    from headrace.protocols import Embedder, Model
    from headrace.resources.handles import ModelHandle

TEMPLATE = "This text is about {}."
SHARPNESS = 30.0  # of cosines: least log loss in benchmarks/zero_shot.py
# Chosen on the ten draws of trec_qc that benchmarks/few_shot.py reports, so not an untouched figure
VECTOR_SCALE = 3.0
BEGINS, WORD, PAIR = 1.0, 0.5, 0.25  # how a text begins, its words, its pairs of words
RIDGE = 1.0
KEPT = 8  # trained heads remembered per process

Judged = list[dict[str, Any]]
Given = Mapping[str, str] | tuple[str, str] | list[str]
_trained: dict[str, Head] = {}


def classify(
    given: str | Sequence[str],
    labels: Sequence[str] | Mapping[str, str] | None = None,
    *,
    examples: str | Path | Sequence[Given] | None = None,
    model: str | ModelHandle | Model | None = None,
    embedder: Embedder | None = None,
) -> Any:
    """``[{"label", "score"}, …]``, best first, scores summing to 1; many texts, a list of such lists.

    ``labels``: names, or name → description. ``examples``: a JSONL file of ``text, label``, pairs, or
    mappings; a head is trained on them (and kept for the next call). ``model``: a language model
    decides instead, shown the examples. ``embedder``: None takes the project's. Raises InputError
    for fewer than two labels, one that is given twice, an empty text; Unavailable where labels
    alone are given and there is no embedder.
    """
    names = _labels(labels) if labels is not None else None
    rows = read_examples(examples) if examples is not None else None
    if names is None and rows is None:
        raise InputError("classify was given neither labels nor examples.", hint="Give labels=['a', 'b'].")
    if rows is not None:
        known = list(dict.fromkeys(label for _, label in rows))
        names = _agreeing(names, known)
    assert names is not None
    chosen = opened(model)
    if chosen is not None:
        from headrace.tasks.prompted import choose

        shown, asked = rows or [], names
        return each(given, lambda texts: side_by_side(lambda text: choose(text, asked, shown, chosen), texts))
    found = embedder or project_embedder()
    if rows is not None:
        head = trained(rows, list(names), found)
        return each(given, lambda texts: head.judge(texts, found))
    if found is None:
        raise Unavailable(
            "Labels alone need the embedder, and its weights are not here.",
            hint="See headrace doctor for where they can come from; or give examples, or a model.",
        )
    ready, described = found, names
    return each(given, lambda texts: _zero_shot(texts, described, ready))


def _labels(labels: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Name → description; each once."""
    if isinstance(labels, str):
        raise InputError(
            f"labels={labels!r} is one text.", hint="Give a list of names, or name → description."
        )
    pairs = list(labels.items()) if isinstance(labels, Mapping) else [(label, "") for label in labels]
    found: dict[str, str] = {}
    for name, description in pairs:
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f"{name!r} cannot be a label.", hint="A label is a few words; check for a comma too many."
            )
        twice = next((other for other in found if other.lower() == name.strip().lower()), None)
        if twice is not None:
            raise InputError(f"The label {name!r} is given twice.", hint="Each label may stand there once.")
        found[name.strip()] = description or TEMPLATE.format(name.strip().lower())
    if len(found) < 2:
        raise InputError(
            f"There is only one label to choose from: {next(iter(found), '')!r}."
            if found
            else "There is no label to choose from.",
            hint="Give two labels or more; 'other' can be one.",
        )
    return found


def _agreeing(names: dict[str, str] | None, known: Sequence[str]) -> dict[str, str]:
    """The labels of the examples, in the order of ``labels`` where those are given too."""
    if names is None:
        return _labels(known)
    if unknown := sorted(set(known) - set(names)):
        raise InputError(
            f"The examples have labels that are not among those given: {', '.join(map(repr, unknown))}.",
            hint="Add them to the labels, or leave those examples out.",
        )
    if bare := [name for name in names if name not in known]:
        raise InputError(
            f"There is no example of the label {bare[0]!r}.", hint="Give at least one example of each label."
        )
    return names


def read_examples(examples: str | Path | Sequence[Given]) -> list[tuple[str, str]]:
    """(text, label) of each example; errors name the line. A text with two labels is refused."""
    rows: list[Any]
    if isinstance(examples, (str, Path)):
        rows, where = _read(Path(examples)), "line"
    else:
        rows, where = list(examples), "example"
    found: dict[str, str] = {}
    for at, row in enumerate(rows, start=1):
        if row is None:
            continue  # an empty line
        if isinstance(row, Mapping):
            if "text" not in row or "label" not in row:
                raise InputError(
                    f"{where} {at} has no {'text' if 'text' not in row else 'label'}: "
                    f"{shorten(str(dict(row)), 60)}",
                    hint='Write {"text": "…", "label": "…"}.',
                )
            text, label = row["text"], row["label"]
        elif isinstance(row, (tuple, list)) and len(row) == 2:
            text, label = row
        else:
            raise InputError(
                f"{where} {at} is not a text and a label: {row!r:.60}", hint="Give (text, label)."
            )
        check(text, f"text of {where} {at}")
        if not isinstance(label, str) or not label.strip():
            raise InputError(f"{where} {at} has the label {label!r}.", hint="A label is a few words.")
        label = label.strip()
        if found.setdefault(text, label) != label:
            raise InputError(
                f"{where} {at} gives a text the label {label!r} that has {found[text]!r} already: "
                f"{shorten(text, 50)!r}.",
                hint="Keep one of the two.",
            )
    if not found:
        raise InputError("There are no examples.", hint='A line is {"text": "…", "label": "…"}.')
    return list(found.items())


def _read(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise NotFound(
            f"There is no file {str(path)!r}.", hint="Give a JSONL file of text, label."
        ) from error
    except UnicodeDecodeError as error:
        raise ReadError(f"{str(path)!r} is not UTF-8 (byte {error.start}).", hint="Convert it.") from error
    found: list[Any] = []
    for at, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            found.append(None)
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"{path.name} line {at} is not JSON: {error}", hint="One object a line."
            ) from error
        found.append(row if isinstance(row, (dict, list)) else [row])
    return found


# --------------------------------------------------------------------------- zero-shot


def _zero_shot(texts: Sequence[str], labels: Mapping[str, str], embedder: Embedder) -> list[Judged]:
    from headrace.models.heads import softmax
    from headrace.tasks.windows import whole_vectors

    described = embedder.embed(list(labels.values())).astype(float)
    scores = softmax(SHARPNESS * (whole_vectors(texts, embedder) @ described.T))
    return ranked(list(labels), scores)


def ranked(labels: Sequence[str], scores: NDArray[np.float64]) -> list[Judged]:
    """Rows of scores as lists of label and score, best first; equal ones in the labels' order."""
    return [
        sorted(
            ({"label": label, "score": float(score)} for label, score in zip(labels, row, strict=True)),
            key=lambda item: -float(str(item["score"])),
        )
        for row in scores
    ]


# --------------------------------------------------------------------------- few-shot


@dataclass(frozen=True)
class Head:
    """A classifier trained from examples: ``seconds`` it took, embedding included.

    ``columns`` gives each known n-gram its row of ``by_words``; it lives in memory only.
    """

    labels: Sequence[str]
    columns: Mapping[str, int]
    by_vector: NDArray[np.float64]
    by_words: NDArray[np.float64]
    constants: NDArray[np.float64]
    seconds: float

    def judge(self, texts: Sequence[str], embedder: Embedder | None) -> list[Judged]:
        """Labels and scores of each text; ``embedder`` must be the one of the training."""
        from headrace.models.heads import softmax
        from headrace.tasks.windows import whole_vectors

        z = _features(texts, self.columns).dot(self.by_words) + self.constants
        if len(self.by_vector):
            assert embedder is not None, "trained with an embedder, asked without"
            z = z + VECTOR_SCALE * whole_vectors(texts, embedder) @ self.by_vector
        return ranked(self.labels, softmax(z))


def trained(rows: Sequence[tuple[str, str]], labels: Sequence[str], embedder: Embedder | None) -> Head:
    """The head for these examples: trained now, or the one trained before in this process."""
    key = digest([list(rows), list(labels), dict(embedder.identity) if embedder else None])
    if key not in _trained:
        while len(_trained) >= KEPT:
            del _trained[next(iter(_trained))]
        _trained[key] = train(rows, labels, embedder)
    return _trained[key]


def train(rows: Sequence[tuple[str, str]], labels: Sequence[str], embedder: Embedder | None) -> Head:
    """Fit a head on (text, label) rows: the text's vector, its words and pairs, and how it begins."""
    import numpy as np

    from headrace.models.heads import fit_softmax
    from headrace.tasks.windows import whole_vectors

    began = time.perf_counter()
    texts = [text for text, _ in rows]
    columns: dict[str, int] = {}
    for text in texts:
        for name in _grams(text):
            columns.setdefault(name, len(columns))
    truth = np.array([labels.index(label) for _, label in rows])
    dense = None if embedder is None else VECTOR_SCALE * whole_vectors(texts, embedder)
    by_vector, by_words, constants = fit_softmax(
        dense, _features(texts, columns), truth, len(labels), ridge=RIDGE
    )
    return Head(tuple(labels), columns, by_vector, by_words, constants, time.perf_counter() - began)


def _grams(text: str) -> dict[str, float]:
    """What a text shows of its form, with weights; a long text's are scaled down to a sentence's."""
    found: dict[str, float] = {}
    listed = words(text)
    for word in listed:
        found[word] = WORD
    for pair in pairwise(listed):
        found[" ".join(pair)] = PAIR
    scale = min(1.0, (40.0 / max(1, len(found))) ** 0.5)
    found = {name: weight * scale for name, weight in found.items()}
    if listed:
        found["^" + listed[0]] = BEGINS
        found["^" + " ".join(listed[:2])] = BEGINS
    return found


def _features(texts: Sequence[str], columns: Mapping[str, int]) -> Sparse:
    import numpy as np

    from headrace.models.heads import Sparse

    starts, places, values = [0], [], []
    for text in texts:
        for name, weight in _grams(text).items():
            if (column := columns.get(name)) is not None:
                places.append(column)
                values.append(weight)
        starts.append(len(places))
    return Sparse(
        np.array(starts, np.int64), np.array(places, np.int64), np.array(values, float), len(columns)
    )
