"""Curves: several series of points over one axis, and the distribution of latencies.

No statistics: quantiles drawn into a picture are given, or are values of the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from headrace.draw.svg import (
    BAD,
    GOOD,
    QUIET,
    A,
    B,
    circle,
    frame,
    line,
    number,
    path,
    rect,
    short,
    text,
    ticks,
)

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 680, 300, 60, 50, 44, 20
_COLOURS = (A, B, GOOD, BAD, QUIET)


def lines_svg(
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    *,
    title: str,
    described: str,
    x_label: str = "",
    y_label: str = "",
    band: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> str:
    """Lines through the points (x, y) of each (name, points); x is drawn on a logarithmic scale.

    Series of one name share a colour and one entry of the key. ``band`` is a shaded range of y.
    """
    points = [point for _, own in series for point in own]
    xs = sorted({x for x, _ in points}) or [1.0, 10.0]
    low, high = y_range or _padded([y for _, y in points])
    left, right = math.log(xs[0]), math.log(xs[-1])
    plot, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        across = 0.5 if right == left else 0.04 + 0.92 * (math.log(x) - left) / (right - left)
        share = (min(max(y, low), high) - low) / (high - low)
        return LEFT + plot * across, TOP + tall * (1 - share)

    parts = [text(0, 14, title, size=13)]
    if band is not None:
        top, bottom = at(xs[0], band[1])[1], at(xs[0], band[0])[1]
        parts.append(rect(LEFT, top, plot, bottom - top, fill=A, opacity=0.14))
    for tick in ticks(low, high):
        y = at(xs[0], tick)[1]
        parts.append(line(LEFT, y, LEFT + plot, y))
        parts.append(text(LEFT - 8, y + 4, f"{tick:g}", anchor="end", fill=QUIET, size=11))
    for x in xs if len(xs) <= 8 else (xs[0], xs[-1]):
        parts.append(
            text(at(x, low)[0], HEIGHT - BOTTOM + 18, f"{x:g}", anchor="middle", fill=QUIET, size=11)
        )
    names = list(dict.fromkeys(name for name, _ in series))
    for name, own in series:
        colour = _COLOURS[names.index(name) % len(_COLOURS)]
        places = [at(x, y) for x, y in own]
        if len(places) > 1:
            parts.append(path(places, colour=colour))
        parts += [circle(x, y, 2.5, fill=colour) for x, y in places]
    parts += _key(names)
    parts.append(text(LEFT + plot / 2, HEIGHT - 8, x_label, anchor="middle", size=11))
    parts.append(text(0, TOP - 10, y_label, size=11))
    return frame(WIDTH, HEIGHT, parts, title=title, described=described)


def latency_svg(
    seconds: Mapping[str, Sequence[float | None]],
    *,
    title: str = "Latency",
    marks: Sequence[float] = (0.5, 0.95),
) -> str:
    """How the seconds of each named group are distributed: the share of runs that took at most so long.

    One step line a group over a logarithmic axis; the ``marks`` are shares drawn as lines across.
    None is left out and counted in the description.
    """
    groups = {name: sorted(s for s in own if s is not None and s > 0) for name, own in seconds.items()}
    left_out = sum(len(own) for own in seconds.values()) - sum(len(own) for own in groups.values())
    every = [s for own in groups.values() for s in own]
    if not every:
        return frame(WIDTH, 60, [text(0, 14, title, size=13), text(LEFT, 44, "no times", fill=QUIET)],
                     title=title, described="no times")  # fmt: skip
    low, high = min(every) / 1.1, max(every) * 1.1
    plot, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(value: float) -> float:
        return LEFT + plot * (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))

    def y_of(share: float) -> float:
        return TOP + tall * (1 - share)

    parts = [text(0, 14, title, size=13)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(line(LEFT, y_of(share), LEFT + plot, y_of(share)))
        parts.append(
            text(LEFT - 8, y_of(share) + 4, f"{100 * share:.0f} %", anchor="end", fill=QUIET, size=11)
        )
    for share in marks:
        parts.append(
            f'<line x1="{LEFT}" y1="{number(y_of(share))}" x2="{LEFT + plot}" y2="{number(y_of(share))}" '
            f'stroke="{QUIET}" stroke-dasharray="3 3"/>'
        )
    for tick in _decades(low, high):
        parts.append(line(x_of(tick), HEIGHT - BOTTOM, x_of(tick), HEIGHT - BOTTOM + 5))
        parts.append(
            text(x_of(tick), HEIGHT - BOTTOM + 18, short(tick, "s"), anchor="middle", fill=QUIET, size=11)
        )
    said = []
    for i, (name, own) in enumerate(groups.items()):
        if not own:
            continue
        steps = [(x_of(low), y_of(0.0))]
        for rank, value in _thinned(own):
            steps += [(x_of(value), steps[-1][1]), (x_of(value), y_of((rank + 1) / len(own)))]
        steps.append((x_of(high), y_of(1.0)))
        parts.append(path(steps, colour=_COLOURS[i % len(_COLOURS)]))
        at_marks = ", ".join(
            f"{100 * m:g} % within {short(own[min(len(own) - 1, math.ceil(m * len(own)) - 1)], 's')}"
            for m in marks
        )
        said.append(f"{name}: {len(own)} runs, {at_marks}")
    if left_out:
        said.append(f"{left_out} runs without a time")
    parts += _key([name for name, own in groups.items() if own])
    return frame(WIDTH, HEIGHT, parts, title=title, described="; ".join(said))


def _thinned(ordered: Sequence[float], most: int = 400) -> list[tuple[int, float]]:
    """(rank, value) of at most ``most`` steps, first and last included: a screen shows no more."""
    if len(ordered) <= most:
        return list(enumerate(ordered))
    ranks = sorted({round(i * (len(ordered) - 1) / (most - 1)) for i in range(most)})
    return [(rank, ordered[rank]) for rank in ranks]


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between both; the powers alone where there are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found = [m * 10.0**p for p in range(first, last + 1) for m in (1, 2, 5) if low <= m * 10.0**p <= high]
    return (
        found if len(found) <= 8 else [v for v in found if round(v / 10.0 ** math.floor(math.log10(v))) == 1]
    )


def _padded(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    gap = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return low - gap, high + gap


def _key(names: Sequence[str]) -> list[str]:
    """Names with their colours, in one line above the plot, at its right."""
    parts: list[str] = []
    x = float(WIDTH - RIGHT)
    for i, name in reversed(list(enumerate(names))):
        x -= 6.4 * len(name) + 8
        parts.append(text(x, TOP - 14, name, size=11))
        parts.append(rect(x - 16, TOP - 20, 12, 3, fill=_COLOURS[i % len(_COLOURS)]))
        x -= 30
    return parts
