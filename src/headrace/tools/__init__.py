"""Tools: what an agent, or a person, can have done: ``hr.tools.calculator`` and its sisters.

Loaded when they are touched. A tool is a plain typed function; :func:`headrace.tool` makes one of any
function. No logic here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "calculator": "headrace.tools.arithmetic",
    "dataframe": "headrace.tools.frame",
    "knowledge": "headrace.tools.lookup",
    "python": "headrace.tools.interpreter",
}

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from headrace.tools.arithmetic import calculator as calculator
    from headrace.tools.frame import dataframe as dataframe
    from headrace.tools.interpreter import python as python
    from headrace.tools.lookup import knowledge as knowledge


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'headrace.tools' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
