"""Which metrics: by name, by ``file.py:function``, as functions; and which ones examples call for.

The metrics themselves are in ``measure``. A file of metrics is loaded under a name of its own, beside
the application's code and not as a part of it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import InputError, NotFound, UserError
from headrace.evaluation import grounded
from headrace.evaluation.dataset import Examples
from headrace.measure import metrics as known
from headrace.measure.metrics import Metric, Observed, answers_of, documents_of


@dataclass(frozen=True, kw_only=True)
class FileMetric(Metric):
    """A user's metric out of a file; ``place`` (``file.py:function``) finds it again."""

    place: str


Given = str | Metric | Callable[..., Any]


def choose(
    given: Sequence[Given] | str | None, examples: Examples, *, retrieval: bool = False
) -> tuple[Metric, ...]:
    """Metric objects, each name once. None: those that these examples can be scored with.

    Raises NotFound or InputError for a name that is not known (with the nearest), UserError for a
    file that cannot be loaded.
    """
    if given is None:
        given = defaults(examples, retrieval=retrieval)
    elif isinstance(given, str):
        given = [name.strip() for name in given.split(",") if name.strip()]
    found: dict[str, Metric] = {}
    for item in given:
        metric = _metric(item)
        if metric.name in found and found[metric.name] != metric:
            raise InputError(
                f"Two metrics have the name {metric.name!r}.", hint="Give one of the functions another name."
            )
        found[metric.name] = metric
    if not found:
        raise InputError("No metric was named.", hint="For example: --metrics answer_f1,hit@4")
    return tuple(found.values())


def defaults(examples: Examples, *, retrieval: bool = False) -> list[str]:
    """The metrics for which these examples say enough."""
    answers = any(answers_of(e) for e in examples)
    documents = any(documents_of(e) for e in examples)
    unanswerable = any(e.expectations.get("unanswerable") for e in examples)
    if retrieval:
        return ["hit@1", "hit@4", "hit@10", "latency"]
    return [
        *(["contains", "answer_f1"] if answers else []),
        *(["hit@1", "hit@4", "citation_precision"] if documents else []),
        *(["abstention"] if unanswerable else []),
        "latency",
    ]


def require(metrics: Sequence[Metric], examples: Examples) -> None:
    """InputError where examples lack the expectations that built-in metrics score against."""
    needing = [metric for metric in metrics if _reads_expectations(metric)]
    if not needing:
        return
    names = ", ".join(metric.name for metric in needing)
    without = [examples.where(i) for i, example in enumerate(examples) if not example.expectations]
    if without:
        some = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
        raise InputError(
            f"{names} cannot be scored without expectations: {some}.",
            hint='Add "expectations" there, or measure what needs none: --metrics latency,tokens',
        )
    # Scored on an answer that says nothing, a metric still tells whether the example says enough.
    blank = Observed(output="-")
    for metric in needing:
        if all(metric.score(example, blank).value is None for example in examples):
            why = metric.score(examples[0], blank).why
            raise InputError(
                f"{metric.name} cannot be scored on any of the {len(examples)} examples: {why}.",
                hint='Add what it needs to "expectations", or leave the metric out.',
            )


def is_built_in(metric: Metric) -> bool:
    """Whether it is one of ours, and not a user's function."""
    try:
        return known.get(metric.name).source == metric.source
    except NotFound:
        return False


def _reads_expectations(metric: Metric) -> bool:
    """Ours that give a share score against what is expected; a user's metric may need nothing."""
    return is_built_in(metric) and metric.unit == "share"


def _metric(given: Given) -> Metric:
    if isinstance(given, Metric):
        return given
    if callable(given):
        return known.of(given)
    path, colon, name = given.rpartition(":")
    if colon and path.endswith(".py"):
        return FileMetric(**vars(known.of(_load(Path(path), name))), place=given)
    if given == grounded.NAME:
        return grounded.metric()
    try:
        return known.get(given)
    except NotFound as error:
        raise NotFound(error.message, hint=f"{error.hint.rstrip('.')}, {grounded.NAME}.") from error


def _load(path: Path, name: str) -> Callable[..., Any]:
    if not path.is_file():
        raise NotFound(f"There is no file {str(path)!r} with metrics.", hint="Give file.py:function.")
    module_name = f"headrace_metrics_{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.absolute().parent)
    sys.path.insert(0, folder)  # siblings can be imported
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise UserError(
            f"{path} could not be loaded: {type(error).__name__}: {error}.",
            hint="Correct the file; nothing was run.",
        ) from error
    finally:
        sys.path.remove(folder)
    found = getattr(module, name, None)
    if not callable(found):
        raise NotFound(f"{path} has no function {name!r}.", hint="Write def my_metric(example, output): …")
    return found  # type: ignore[no-any-return]
