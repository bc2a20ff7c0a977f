"""Tasks: one function each for what people ask of a language model, with transformers' result shapes.

``hr.tasks.sentiment``, ``classify``, ``summarize``, ``table``, ``tag``, ``generate``, ``translate`` and
``chat``; loaded when they are touched. :data:`headrace.tasks.catalogue.TASKS` says what each takes and
gives. No logic here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "sentiment": "headrace.tasks.sentiments",
    "classify": "headrace.tasks.classes",
    "summarize": "headrace.tasks.summaries",
    "table": "headrace.tasks.tables",
    "tag": "headrace.tasks.tags",
    "generate": "headrace.tasks.writing",
    "translate": "headrace.tasks.writing",
    "chat": "headrace.tasks.writing",
}

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from headrace.tasks.classes import classify as classify
    from headrace.tasks.sentiments import sentiment as sentiment
    from headrace.tasks.summaries import summarize as summarize
    from headrace.tasks.tables import table as table
    from headrace.tasks.tags import tag as tag
    from headrace.tasks.writing import chat as chat
    from headrace.tasks.writing import generate as generate
    from headrace.tasks.writing import translate as translate


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'headrace.tasks' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
