"""Points in a plane: what lies near what. Distances mean something, the axes' numbers do not."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.draw.svg import BAD, GOOD, QUIET, A, B, circle, escape, frame, line, number, text

WIDTH, HEIGHT, EDGE, TOP, KEY = 680, 460, 24, 48, 24
_COLOURS = (A, B, GOOD, BAD, QUIET)
_NAMED = 24  # points up to which each has its name beside it


def scatter_svg(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    groups: Sequence[str],
    *,
    title: str,
    described: str,
    axes: tuple[str, str] = ("", ""),
) -> str:
    """A dot for each point; those of one group share a colour (the sixth begins again with a ring).

    ``names`` show when the mouse rests on a dot, and beside it where there are few.
    """
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low_x, low_y = min(xs), min(ys)
    span = max(max(xs) - low_x, max(ys) - low_y) or 1.0  # one scale for both, or distances would lie
    tall, wide = HEIGHT - TOP - KEY - EDGE, WIDTH - 2 * EDGE
    scale = min(wide / ((max(xs) - low_x) or span), tall / ((max(ys) - low_y) or span))
    left = EDGE + (wide - (max(xs) - low_x) * scale) / 2
    known = list(dict.fromkeys(groups))
    parts = [text(0, 14, title, size=13)]
    if any(known):
        x = 0.0
        for at, group in enumerate(known[:8]):
            parts.append(_dot(x + 5, 32, at, ""))
            parts.append(text(x + 14, 36, group[:24], size=11))
            x += 26 + 6.4 * min(len(group), 24)
    for (px, py), name, group in zip(points, names, groups, strict=True):
        x, y = left + (px - low_x) * scale, TOP + tall - (py - low_y) * scale
        parts.append(_dot(x, y, known.index(group), name))
        if len(points) <= _NAMED:
            end = x > WIDTH - 150
            parts.append(
                text(x + (-8 if end else 8), y + 4, name[:28], anchor="end" if end else "start", size=10)
            )
    parts.append(line(EDGE, HEIGHT - KEY, WIDTH - EDGE, HEIGHT - KEY))
    parts.append(
        text(WIDTH / 2, HEIGHT - 6, " · ".join(a for a in axes if a), anchor="middle", fill=QUIET, size=11)
    )
    return frame(WIDTH, HEIGHT, parts, title=title, described=described)


def _dot(x: float, y: float, group: int, name: str) -> str:
    colour = _COLOURS[group % len(_COLOURS)]
    if group < len(_COLOURS):
        dot = circle(x, y, 4, fill=colour)
    else:
        ring = f'fill="none" stroke="{colour}" stroke-width="2"'
        dot = f'<circle cx="{number(x)}" cy="{number(y)}" r="3.5" {ring}/>'
    return dot.replace("/>", f"><title>{escape(name)}</title></circle>") if name else dot
