"""Step by step: asking for numbered steps before the answer, and telling the two apart afterwards.

Chain of thought (Wei et al., arXiv:2201.11903; "step by step", Kojima et al., arXiv:2205.11916). Off
unless asked for: for short labels it costs tokens and gains nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MARK = "Answer:"
CLAUSE = (
    "Work in numbered steps, one line each. Then write the answer alone on one last line that begins with "
    f"'{MARK}'."
)
_FINAL = re.compile(
    r"^[ \t>*_#-]*(?:final[ \t]+)?answer[ \t]*[*_]*:[ \t]*[*_]*[ \t]*", re.IGNORECASE | re.MULTILINE
)
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


@dataclass(frozen=True)
class Worked:
    """``steps`` that were written, and the ``answer`` after them; None: no answer is marked."""

    steps: str
    answer: str | None


def final_answer(text: str) -> Worked:
    r"""What stands after the last line that begins with ``Answer:``; else the last ``\boxed{…}``.

    >>> final_answer("1. Two mills.\n2. One burns.\nAnswer: one")
    Worked(steps='1. Two mills.\n2. One burns.', answer='one')
    """
    found = list(_FINAL.finditer(text))
    if found:
        answer = text[found[-1].end() :].strip().removesuffix("**").strip()
        return Worked(text[: found[-1].start()].strip(), answer or None)
    boxed = list(_BOXED.finditer(text))
    if boxed:
        return Worked(text[: boxed[-1].start()].strip(), boxed[-1][1].strip() or None)
    return Worked(text.strip(), None)
