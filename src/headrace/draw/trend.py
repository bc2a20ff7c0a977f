"""A quantity over time, one line per series, with whiskers for what is uncertain → SVG.

Colours are of a middle tone, readable on light and on dark paper; texts take the colour of their
surroundings. Not a plotting library: one kind of picture.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#1f8a9c", "#b4741a", "#8a6bc4", "#bf4f6c", "#5f8f3a")
_SHAPES = ("circle", "square", "diamond", "circle", "square")  # not by colour alone
WIDTH, HEIGHT = 460, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 30, 26


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A value at a time (seconds since the epoch); ``low`` and ``high`` are its interval, where known."""

    at: float
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Series:
    """What belongs together: a release."""

    name: str
    dots: Sequence[Dot]


def trend(
    title: str,
    series: Sequence[Series],
    *,
    since: float,
    until: float,
    top: float | None = None,
    shown: Callable[[float], str] = lambda value: f"{value:g}",
) -> str:
    """An SVG picture; ``top`` fixes the upper end of the scale (1 for rates), which begins at 0.

    ``shown`` writes a value of the scale. The title is also what a screen reader says.
    """
    dots = [dot for item in series for dot in item.dots]
    most = top if top is not None else _nice(max((_upper(dot) for dot in dots), default=1.0))
    width, height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def x(at: float) -> float:
        return round(_LEFT + width * min(1.0, max(0.0, (at - since) / (until - since))), 1)

    def y(value: float) -> float:
        return round(_TOP + height * (1 - min(value, most) / most), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(_said(title, series, shown), quote=True)}" class="picture" '
        'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
    ]
    for step in range(3):
        value = most * step / 2
        parts.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(value)}" y2="{y(value)}" '
            'stroke="currentColor" stroke-opacity="0.18"/>'
            f'<text x="{_LEFT - 8}" y="{y(value) + 4}" text-anchor="end" opacity="0.8">'
            f"{escape(shown(value))}</text>"
        )
    for at, anchor in ((since, "start"), ((since + until) / 2, "middle"), (until, "end")):
        parts.append(
            f'<text x="{x(at)}" y="{HEIGHT - 8}" text-anchor="{anchor}" opacity="0.8">'
            f"{_moment(at, until - since)}</text>"
        )
    left = float(_LEFT)
    for number, item in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        shape = _SHAPES[number % len(_SHAPES)]
        parts.append(f'<g stroke="{colour}" fill="{colour}"><title>{escape(item.name)}</title>')
        parts.append(_mark(shape, left + 5, 13))
        parts.append("</g>")
        name = item.name if len(item.name) <= 24 else item.name[:23] + "…"
        parts.append(f'<text x="{left + 14:.1f}" y="17">{escape(name)}</text>')
        left += 30 + 7.0 * len(name)
        parts.append(f'<g stroke="{colour}" fill="{colour}">')
        points = " ".join(f"{x(dot.at)},{y(dot.value)}" for dot in item.dots)
        if len(item.dots) > 1:
            parts.append(f'<polyline points="{points}" fill="none" stroke-width="2"/>')
        for dot in item.dots:
            if dot.low is not None and dot.high is not None:
                parts.append(
                    f'<line x1="{x(dot.at)}" x2="{x(dot.at)}" y1="{y(dot.low)}" y2="{y(dot.high)}" '
                    'stroke-width="1.5" stroke-opacity="0.55"/>'
                )
            parts.append(_mark(shape, x(dot.at), y(dot.value)))
        parts.append("</g>")
    parts.append("</svg>")
    return "".join(parts)


def _mark(shape: str, x: float, y: float) -> str:
    if shape == "square":
        return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6"/>'
    if shape == "diamond":
        return f'<path d="M{x:.1f} {y - 4.5:.1f}l4.5 4.5-4.5 4.5-4.5-4.5z"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>'


def _upper(dot: Dot) -> float:
    return dot.value if dot.high is None else max(dot.value, dot.high)


def _nice(value: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9))


def _moment(at: float, span: float) -> str:
    return time.strftime("%m-%d %H:%M" if span <= 3 * 86400 else "%Y-%m-%d", time.localtime(at))


def _said(title: str, series: Sequence[Series], shown: Callable[[float], str]) -> str:
    """The picture in words: the last value of each series."""
    last = [f"{item.name or 'series'} {shown(item.dots[-1].value)}" for item in series if item.dots]
    return f"{title}. Last: {', '.join(last)}." if last else f"{title}. Nothing to show."
