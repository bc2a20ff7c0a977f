"""One file a layer, in markdown: what an audit found, to be put into a repository and signed by people.

Written from the lines of a report; nothing is asked and nothing filled in. Gaps stand there as gaps.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from headrace.types import Report

LAYERS = ("governance", "model", "application")


def write(report: Report, folder: str | Path) -> list[Path]:
    """``governance.md``, ``model.md`` and ``application.md`` in a folder, which is made; their paths."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    written = []
    for layer in LAYERS:
        path = place / f"{layer}.md"
        path.write_text(page(report, layer), encoding="utf-8")
        written.append(path)
    return written


def page(report: Report, layer: str) -> str:
    """One layer as markdown."""
    lines = [line for line in report.settings.get("lines", []) if line["layer"] == layer]
    gaps = [line for line in lines if line["verdict"] == "not assessed"]
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report.created))
    head = [
        f"# Audit of {report.settings.get('app', '')}: {layer}",
        "",
        f"Report `{report.id}` of {when}, about the fingerprint `{report.subject[:16]}`.",
    ]
    if report.settings.get("note") and layer == "application":
        head += ["", str(report.settings["note"])]
    rows = ["", "| verdict | line | risk | value | interval | limit | n | evidence |", "|---" * 8 + "|"]
    rows += ["| " + " | ".join(_cell(cell) for cell in _cells(line)) + " |" for line in lines]
    marked = ["", f"## Gaps: {len(gaps)}", ""]
    marked += [f"- **{line['id']}**: {_cell(line['evidence'])}" for line in gaps] or ["None."]
    return "\n".join([*head, *rows, *marked]) + "\n"


def _cells(line: Any) -> list[Any]:
    between = "" if line["low"] is None else f"{line['low']:.3f} to {line['high']:.3f}"
    value = "" if line["value"] is None else f"{line['value']:.3f}"
    limit = "" if line["threshold"] is None else line["threshold"]
    return [
        line["verdict"],
        line["id"],
        line["risk"],
        value,
        between,
        limit,
        line["n"] or "",
        line["evidence"],
    ]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
