"""The lines of an audit as HTML: a table a layer, each line with its verdict, its limit and why.

Colour is never the only sign: the verdict stands there as a word. No styles of its own (``report.css``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

LAYERS = {
    "governance": "Governance: who answers for it, and what is on record",
    "model": "Model: what stands behind the answers",
    "application": "Application: what was tried on it",
}
_CLASS = {"pass": "good", "fail": "bad"}


def lines_html(lines: Sequence[Mapping[str, Any]]) -> str:
    """All lines, layer by layer; layers without lines are left out."""
    return "".join(
        _layer(title, mine)
        for layer, title in LAYERS.items()
        if (mine := [line for line in lines if line["layer"] == layer])
    )


def _layer(title: str, lines: Sequence[Mapping[str, Any]]) -> str:
    counted = [
        f"{count} {word}"
        for word in ("pass", "fail", "not assessed")
        if (count := sum(line["verdict"] == word for line in lines))
    ]
    return (
        f'<h2>{escape(title)}</h2><p class="quiet">{escape(" · ".join(counted))}</p>'
        '<div class="picture"><table class="figures verdicts"><thead><tr><th scope="col">verdict</th>'
        '<th scope="col">line</th><th scope="col" class="n">value</th><th scope="col" class="n">interval</th>'
        '<th scope="col" class="n">limit</th><th scope="col">evidence</th></tr></thead>'
        f"<tbody>{''.join(map(_line, lines))}</tbody></table></div>"
    )


def _line(line: Mapping[str, Any]) -> str:
    verdict = str(line["verdict"])
    between = f"{_number(line['low'])} … {_number(line['high'])}" if line["low"] is not None else ""
    detector = line.get("detector")
    told = str(line["evidence"])
    if isinstance(detector, Mapping):
        misses, false_alarms = detector.get("misses"), detector.get("false_alarms")
        told += f"; the detector misses {_number(misses)} and alarms falsely on {_number(false_alarms)}"
        told += f" ({detector['on']})" if detector.get("on") else ""
    return (
        f'<tr><td><span class="verdict {_CLASS.get(verdict, "open")}">{escape(verdict)}</span></td>'
        f'<th scope="row">{escape(str(line["id"]))}<br>'
        f'<span class="quiet">{escape(str(line["risk"]))}</span></th>'
        f'<td class="n">{_number(line["value"])}</td><td class="n">{between}</td>'
        f'<td class="n">{_number(line["threshold"])}</td><td>{escape(told)}</td></tr>'
    )


def _number(value: Any) -> str:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return ""
    return f"{value:.3f}".rstrip("0").rstrip(".")
