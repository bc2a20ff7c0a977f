"""Families of models by how they are asked: by messages, by a text to go on with, by a prefix."""

from __future__ import annotations

import re
from typing import Literal

Family = Literal["chat", "completion", "t5"]
FAMILIES: tuple[Family, ...] = ("chat", "completion", "t5")
_TAUGHT = {"instruct", "chat", "it", "sft", "dpo", "assistant", "zephyr"}  # in names of tuned models


def family_of(model: str) -> Family:
    """How a model of this name (``provider:model``) is asked. A guess by the usual names; name the family
    where it is wrong: T5 and its kin by prefix, local models without ``instruct`` or ``chat`` in their
    name by a text to go on with, all others by messages."""
    provider, _, name = model.lower().partition(":")
    words = set(re.split(r"[^a-z0-9]+", name))
    if provider == "local" and words & {"t5", "mt5", "byt5"}:
        return "t5"
    return "completion" if provider == "local" and not words & _TAUGHT else "chat"
