"""Measurements and differences with their intervals, one line each (a forest plot).

``intervals_svg`` takes a report's measurements, ``differences_svg`` comparisons. A share has the
fixed axis from 0 to 1; anything else has its own, since seconds and tokens share no scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.draw.svg import BAD, GOOD, QUIET, A, circle, frame, line, rect, short, text, ticks

LEFT, PLOT, RIGHT, ROW = 150, 330, 220, 34
WIDTH = LEFT + PLOT + RIGHT
_COLOURS = {"better": GOOD, "worse": BAD}


def intervals_svg(measurements: Sequence[Mapping[str, Any]], *, title: str = "Measurements") -> str:
    """Value and interval of each measurement (``name, value, low, high, n, unit``), in their order.

    Shares first share one axis, 0 to 1. A missing bound is an arrow: that side is open. Each line
    carries its numbers as text, so that nothing has to be read off.
    """
    shares = [m for m in measurements if m.get("unit") == "share"]
    others = [m for m in measurements if m.get("unit") != "share"]
    parts: list[str] = []
    y = 30.0
    if shares:
        bottom = y + ROW * len(shares)
        for tick in ticks(0, 1):
            x = LEFT + PLOT * tick
            parts.append(line(x, y - 8, x, bottom))
            parts.append(text(x, bottom + 16, f"{100 * tick:.0f} %", anchor="middle", fill=QUIET, size=11))
        for m in shares:
            parts += _row(m, y + ROW / 2, 0.0, 1.0)
            y += ROW
        y += 30
    for m in others:
        known = [float(m[key]) for key in ("low", "value", "high") if m.get(key) is not None]
        high = max([*known, 0.0]) * 1.15 or 1.0
        low = min([*known, 0.0]) * 1.15
        parts.append(line(LEFT, y + ROW / 2 + 10, LEFT + PLOT, y + ROW / 2 + 10))
        for tick in ticks(low, high, 5):
            x = LEFT + PLOT * (tick - low) / (high - low)
            parts.append(line(x, y + ROW / 2 + 7, x, y + ROW / 2 + 13))
            said = short(tick, "s" if m.get("unit") == "s" else "")
            parts.append(text(x, y + ROW / 2 + 25, said, anchor="middle", fill=QUIET, size=11))
        parts += _row(m, y + ROW / 2, low, high)
        y += ROW + 18
    if not measurements:
        parts.append(text(LEFT, y, "nothing was measured", fill=QUIET))
        y += ROW
    said = "; ".join(_said(m) for m in measurements) or "nothing was measured"
    parts.insert(0, text(0, 14, title, size=13))
    return frame(WIDTH, y + 6, parts, title=title, described=said)


def _said(m: Mapping[str, Any]) -> str:
    unit = str(m.get("unit") or "")
    value, low, high = (short(m.get(key), unit) for key in ("value", "low", "high"))
    return f"{m['name']} {value}, interval {low} to {high}, {m.get('n', 0)} rows"


def _row(m: Mapping[str, Any], y: float, least: float, most: float) -> list[str]:
    def at(value: float) -> float:
        return LEFT + PLOT * (min(max(value, least), most) - least) / (most - least)

    unit = str(m.get("unit") or "")
    parts = [text(LEFT - 12, y + 4, _cut(str(m["name"])), anchor="end")]
    value = m.get("value")
    if value is None:
        return [*parts, text(LEFT + PLOT + 14, y + 4, "not assessed", fill=QUIET)]
    parts += _whisker(m.get("low"), m.get("high"), at, y, LEFT, LEFT + PLOT, A)
    parts.append(circle(at(float(value)), y, 4.5, fill=A))
    bare = unit if unit in ("share", "s") else ""  # other units stand with the value, once
    low, high = short(m.get("low"), bare), short(m.get("high"), bare)
    parts.append(text(LEFT + PLOT + 14, y - 2, short(value, unit)))
    parts.append(
        text(LEFT + PLOT + 14, y + 11, f"{low} to {high}, n = {m.get('n', 0)}", fill=QUIET, size=10.5)
    )
    return parts


def _whisker(
    low: float | None, high: float | None, at: Any, y: float, left: float, right: float, colour: str
) -> list[str]:
    x1 = left if low is None else at(float(low))
    x2 = right if high is None else at(float(high))
    parts = [line(x1, y, x2, y, colour=colour, width=2.5)]
    for x, bound, turn in ((x1, low, 1), (x2, high, -1)):
        if bound is None:
            parts.append(line(x, y, x + 6 * turn, y - 4, colour=colour, width=2))
            parts.append(line(x, y, x + 6 * turn, y + 4, colour=colour, width=2))
        else:
            parts.append(line(x, y - 5, x, y + 5, colour=colour, width=2))
    return parts


# --------------------------------------------------------------------------- differences


def differences_svg(comparisons: Sequence[Any], *, title: str = "A − B") -> str:
    """Each comparison's difference with its interval, its margin as a band round 0, and the verdict.

    ``comparisons`` are mappings or objects with ``metric, verdict, difference, low, high, margin,
    direction, unit, n, needed``. Every line has its own scale, with 0 in the middle, and is turned
    so that better is to the right.
    """
    parts = [text(0, 14, title, size=13)]
    middle, y = LEFT + PLOT / 2, 40.0
    parts.append(text(LEFT, 28, "← worse", fill=QUIET, size=11))
    parts.append(text(LEFT + PLOT, 28, "better →", anchor="end", fill=QUIET, size=11))
    said = []
    for one in comparisons:
        c = _read(one)
        unit = str(c["unit"] or "")
        turn = -1.0 if c["direction"] == "lower" else 1.0
        margin = float(c["margin"] or 0.0)
        bounds = [abs(float(v)) for v in (c["low"], c["high"], c["difference"], margin) if v is not None]
        widest = max(bounds, default=0.0) * 1.1 or 1.0

        def at(value: float, turn: float = turn, widest: float = widest) -> float:
            return middle + turn * PLOT / 2 * min(max(value / widest, -1.0), 1.0)

        centre = y + ROW / 2
        if margin:
            left, right = sorted((at(-margin), at(margin)))
            parts.append(rect(left, centre - 11, right - left, 22, fill=A, opacity=0.14))
        parts.append(line(middle, centre - 13, middle, centre + 13, colour=QUIET))
        parts.append(text(LEFT - 12, centre + 4, _cut(str(c["metric"])), anchor="end"))
        verdict = str(c["verdict"])
        colour = _COLOURS.get(verdict, QUIET if verdict == "not enough data" else A)
        if c["difference"] is not None:
            if c["low"] is not None and c["high"] is not None:
                low, high = sorted((c["low"], c["high"]), key=at)
                parts += _whisker(low, high, at, centre, LEFT, LEFT + PLOT, colour)
            parts.append(circle(at(float(c["difference"])), centre, 4.5, fill=colour))
        parts.append(text(LEFT + PLOT + 14, centre - 2, verdict, fill=colour))
        bare = unit if unit in ("share", "s") else ""
        found, lower, upper = (
            _signed(c["difference"], unit),
            _signed(c["low"], bare),
            _signed(c["high"], bare),
        )
        numbers = "nothing to compare" if c["difference"] is None else f"{found} ({lower} to {upper})"
        if verdict == "not enough data" and c["needed"]:
            numbers = f"{found}; {c['n']} rows, needs {c['needed']:,}"
        parts.append(text(LEFT + PLOT + 14, centre + 11, numbers, fill=QUIET, size=10.5))
        said.append(f"{c['metric']}: {verdict}, {numbers}")
        y += ROW + 4
    if not comparisons:
        parts.append(text(LEFT, y + 10, "nothing was compared", fill=QUIET))
        y += ROW
    parts.append(text(LEFT, y + 14, "band: differences smaller than the margin", fill=QUIET, size=11))
    return frame(WIDTH, y + 24, parts, title=title, described="; ".join(said) or "nothing was compared")


_FIELDS = ("metric", "verdict", "difference", "low", "high", "margin", "direction", "unit", "n", "needed")


def _read(one: Any) -> dict[str, Any]:
    if isinstance(one, Mapping):
        return {key: one.get(key) for key in _FIELDS}
    return {key: getattr(one, key, None) for key in _FIELDS}


def _signed(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "share":
        return f"{100 * value:+.1f}".replace("-", "−")
    said = short(abs(value), unit)
    return said if value == 0 else f"{'+' if value > 0 else '−'}{said}"


def _cut(name: str, most: int = 22) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
