"""A text as its tokens: a coloured box each, with its id below; as wide as the page."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.draw.svg import BAD, GOOD, QUIET, A, B, frame, rect, text

WIDTH, ROW, GAP, PAD = 680, 46, 4, 5
LETTER = 8.4  # of the widest usual letter at this size, so that no label leaves its box
_COLOURS = (A, B, GOOD)


def tokens_svg(
    pieces: Sequence[tuple[str, int]], *, title: str, described: str, unknown: int | None = None
) -> str:
    """Boxes with (token, id) in reading order. Blanks are drawn as ·, line ends as ⏎; ``unknown`` is the id
    that stands for what the vocabulary does not know."""
    parts = [text(0, 14, title, size=13)]
    x, y = 0.0, 30.0
    for number, (token, id) in enumerate(pieces):
        shown = _shown(token)
        wide = max(len(shown) * LETTER, len(str(id)) * 6.0) + 2 * PAD
        if x and x + wide > WIDTH:
            x, y = 0.0, y + ROW
        colour = BAD if id == unknown else _COLOURS[number % len(_COLOURS)]
        parts.append(rect(x, y, wide, 24, fill=colour, opacity=0.22))
        parts.append(rect(x, y + 22, wide, 2, fill=colour))
        parts.append(text(x + wide / 2, y + 16, shown, anchor="middle", size=13))
        parts.append(text(x + wide / 2, y + 36, id, anchor="middle", fill=QUIET, size=10))
        x += wide + GAP
    return frame(WIDTH, y + ROW, parts, title=title, described=described)


def _shown(token: str) -> str:
    """As people can see it; a long one is cut to what fits into one row."""
    seen = token.replace("\r\n", "⏎").replace("\n", "⏎").replace("\t", "→").replace(" ", "·")
    most = int((WIDTH - 2 * PAD) / LETTER)
    return (seen if len(seen) <= most else seen[: most - 1] + "…") or "∅"
