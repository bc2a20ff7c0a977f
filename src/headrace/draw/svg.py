"""What every picture shares: colours of both modes, escaping, scales with round ticks, the frame.

Text is drawn in ``currentColor`` and colours are CSS variables of the page with a fallback that can
be read on white and on dark: a picture fits the page it stands in, whose security policy may forbid
styles inside of it. ``standalone`` is for a picture that is a file of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape as _escape

# Hues that people with any usual colour vision can tell apart, and greys. The variables are the page's.
A, B = "var(--water,#2f80a8)", "var(--picture-b,#c56a2d)"
GOOD, BAD = "var(--picture-good,#2f8f5b)", "var(--fault,#c8473a)"
QUIET, RULE = "var(--quiet,#7d8792)", "var(--line,#a9b0b96e)"
_STANDALONE = (
    "<style>.hr-picture{color:#1c2024}@media (prefers-color-scheme:dark){.hr-picture{color:#e6e8eb}}</style>"
)


_FORBIDDEN = re.compile("[^\\t\\n\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")  # by XML 1.0


def escape(text: object) -> str:
    """Text for SVG; quotes are escaped, characters that XML forbids replaced."""
    return _escape(_FORBIDDEN.sub("\ufffd", str(text)), quote=True)


def frame(width: float, height: float, parts: Sequence[str], *, title: str, described: str) -> str:
    """The whole picture: named and described for those who do not see it, scaling with its page."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="hr-picture" role="img" '
        f'viewBox="0 0 {number(width)} {number(height)}" width="{number(width)}" height="{number(height)}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
        f"<title>{escape(title)}</title><desc>{escape(described)}</desc>" + "".join(parts) + "</svg>\n"
    )


def standalone(picture: str) -> str:
    """The same picture as a file of its own: its text follows the reader's light or dark mode."""
    return picture.replace("</desc>", f"</desc>{_STANDALONE}", 1)


def number(value: float) -> str:
    """A coordinate: at most two decimals, no exponent."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def text(
    x: float, y: float, said: object, *, anchor: str = "start", fill: str = "", size: float | None = None
) -> str:
    """One line of text; ``y`` is its baseline."""
    extra = (f' fill="{fill}"' if fill else "") + (f' font-size="{number(size)}"' if size else "")
    return f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}"{extra}>{escape(said)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, colour: str = RULE, width: float = 1) -> str:
    """A straight line."""
    return (
        f'<line x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}" '
        f'stroke="{colour}" stroke-width="{number(width)}"/>'
    )


def rect(x: float, y: float, width: float, height: float, *, fill: str, opacity: float = 1) -> str:
    """A filled box; nothing is drawn for a negative size."""
    faint = f' fill-opacity="{opacity:g}"' if opacity < 1 else ""
    return (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(max(width, 0))}" '
        f'height="{number(max(height, 0))}" fill="{fill}"{faint}/>'
    )


def circle(x: float, y: float, radius: float, *, fill: str) -> str:
    """A dot."""
    return f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(radius)}" fill="{fill}"/>'


def path(points: Sequence[tuple[float, float]], *, colour: str, width: float = 1.5) -> str:
    """A line through ``points``."""
    steps = " L".join(f"{number(x)} {number(y)}" for x, y in points)
    return f'<path d="M{steps}" fill="none" stroke="{colour}" stroke-width="{number(width)}"/>'


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values from ``low`` to ``high``: steps of 1, 2 or 5 times a power of ten, at most ``most``."""
    if not high > low:
        return [low]
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def short(value: float | None, unit: str = "") -> str:
    """A value for reading: shares as per cent, seconds as ms or s, large and small numbers short."""
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "share":
        return f"{100 * value:.1f} %"
    if unit == "s":
        return f"{value:.2f} s" if abs(value) >= 1 else f"{1000 * value:.3g} ms"
    said = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{said} {unit}".strip()
