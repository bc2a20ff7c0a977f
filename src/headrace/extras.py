"""Optional parts: the module, or the sentence that says what to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from headrace.errors import ExtraMissing


def need(module: str, *, extra: str, for_what: str = "") -> ModuleType:
    """Import ``module`` or raise ExtraMissing naming the extra of headrace that brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name.split(".")[0]):
            raise  # the module is there; something that it needs is not: say that instead
        raise ExtraMissing(
            f"{for_what or module} needs the package {module.split('.')[0]!r}, which is not installed.",
            hint=f"Install it with: pip install 'headrace[{extra}]'",
        ) from error
