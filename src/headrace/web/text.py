"""Texts for pages: paragraphs with citation links, moments, durations. Everything is escaped."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from markupsafe import Markup, escape

from headrace.text import shorten
from headrace.types import to_json

_MARK = re.compile(r"\[(\d{1,4})\]")
_INLINE = re.compile(
    r"`(?P<code>[^`\n]+)`"
    r"|\*\*(?P<strong>[^*\n]+)\*\*"
    r"|(?<![*\w])\*(?P<em>[^*\s](?:[^*\n]*[^*\s])?)\*(?![*\w])"
)
_BLANK = re.compile(r"\n\s*\n")


def paragraphs(text: str, numbers: Collection[int] = ()) -> list[Markup]:
    """Paragraphs of an answer; ``[n]`` links to its source where there is a source n.

    Of Markdown, code, strong and emphasised text are shown as such, since quoted documents are full of them;
    everything else stays as it was written.
    """

    def linked(part: str) -> Iterator[Markup]:
        position = 0
        for match in _MARK.finditer(part):
            if int(match.group(1)) not in numbers:
                continue
            yield inline(part[position : match.start()].rstrip(" "))
            yield Markup('<a class="cite" href="#source-{0}" aria-label="Source {0}">{0}</a>').format(
                int(match.group(1))
            )
            position = match.end()
        yield inline(part[position:])

    return [Markup("").join(linked(part.strip())) for part in _BLANK.split(text) if part.strip()]


def inline(text: str) -> Markup:
    """Code, strong and emphasised text as such; the rest escaped."""
    made, position = Markup(""), 0
    for match in _INLINE.finditer(text):
        made += escape(text[position : match.start()])
        tag = match.lastgroup
        made += Markup(f"<{tag}>%s</{tag}>") % match.group(tag or 0)
        position = match.end()
    return made + escape(text[position:])


def moment(seconds: float) -> str:
    """A time on the server's clock, for people."""
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """``38 ms``, ``2.4 s``, ``3 min 20 s``."""
    if seconds < 0.0005:
        return "< 1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def pretty(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(to_json(value), indent=2, ensure_ascii=False)


def one_line(value: Any, width: int = 90) -> str:
    """A value on one line of at most ``width`` characters."""
    return shorten(value if isinstance(value, str) else json.dumps(to_json(value), ensure_ascii=False), width)
