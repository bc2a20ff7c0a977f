"""What a test needs beyond Python: skipped with the reason, or failed where it is required."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def required(what: str) -> bool:
    """Whether HEADRACE_REQUIRE names this: then a skip is a failure."""
    return what in {item.strip() for item in os.environ.get("HEADRACE_REQUIRE", "").split(",")}


def skip(what: str, reason: str) -> NoReturn:
    """Skip with the reason, or fail where the thing is required."""
    if required(what):
        pytest.fail(f"{what} is required here (HEADRACE_REQUIRE), and: {reason}")
    pytest.skip(reason)
