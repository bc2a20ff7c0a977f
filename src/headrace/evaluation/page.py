"""A report as HTML: figures with their pictures, and every row down to its passages and steps.

``body`` is the part that the web page shows too; ``page`` is a file that needs nothing else, with its
styles inside and no script: rows open and close as ``details``, a checkbox hides those that are right.
Texts are escaped here, once. Not here: what is measured.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from html import escape as _escape
from pathlib import Path
from typing import Any

from headrace.draw.intervals import intervals_svg
from headrace.draw.lines import latency_svg
from headrace.draw.svg import short
from headrace.draw.verdicts import lines_html
from headrace.measure.metrics import documents_of, is_document
from headrace.text import shorten
from headrace.types import Example, Report

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
PASSAGE = 600  # code points of a passage that are shown

STYLE = Path(__file__).with_name("report.css")

_ALONE = Path(__file__).with_name("alone.css")


def page(report: Report) -> str:
    """A whole HTML page in one string; nothing is loaded from anywhere."""
    title = escape(f"{report.settings.get('app', 'Report')} · report {report.id[:16]}")
    wrong = sum(bool(row.get("diagnosis")) for row in report.rows)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{title}</title><style>{_ALONE.read_text('utf-8')}{STYLE.read_text('utf-8')}</style></head>"
        "<body><main>"
        f"<h1>{escape(heading(report))}</h1>{head(report)}<h2>Rows</h2>"
        f'<input type="checkbox" id="only-wrong"> <label for="only-wrong">Only the {wrong} of '
        f"{len(report.rows)} that went wrong</label>{rows(report.rows)}</main></body></html>\n"
    )


def heading(report: Report) -> str:
    """``handbook on 25 examples``."""
    if report.settings.get("lines"):
        return f"Audit of {report.settings.get('app', 'an application')}"
    return f"{report.settings.get('app', 'Report')} on {len(report.rows)} examples"


def head(report: Report) -> str:
    """What was measured and how it came out: facts, the table, the pictures; of an audit, its lines."""
    settings = report.settings
    if lines := settings.get("lines"):
        return _audited(report) + lines_html(lines)
    facts = [
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report.created)),
        str(settings.get("examples") or "examples given in Python"),
        f"release {str(settings['release'])[:12]}" if settings.get("release") else "working copy",
        f"{settings.get('computed', 0)} rows computed, {settings.get('cached', 0)} known already",
    ]
    if settings.get("recomputed"):
        facts.append(f"{settings['recomputed']} computed again after a kill")
    if settings.get("failed"):
        facts.append(f"{settings['failed']} failed")
    if settings.get("clusters"):
        facts.append(f"intervals for {settings['clusters']} clusters of rows that share a document")
    confidence = 100 * float(settings.get("confidence", 0.95))
    lines = "".join(
        f'<tr><th scope="row">{escape(m["name"])}</th><td class="n">{escape(_figure(m["value"], m))}</td>'
        f'<td class="n">{escape(_interval(m))}</td><td class="n">{m["n"]}</td>'
        f'<td class="quiet">{escape(_remarks(m))}</td></tr>'
        for m in report.measurements
    )
    seconds = {str(settings.get("app", "rows")): [row.get("seconds") for row in report.rows]}
    return (
        f'<p class="quiet">{escape(" · ".join(facts))}<br>'
        f"fingerprint <code>{escape(report.subject[:16])}</code> · "
        f"report <code>{escape(report.id[:16])}</code></p>"
        '<div class="picture"><table class="figures"><thead><tr>'
        '<th scope="col">metric</th><th scope="col" class="n">value</th>'
        f'<th scope="col" class="n">{confidence:g} % interval</th><th scope="col" class="n">n</th>'
        f'<th scope="col" class="quiet">remarks</th></tr></thead><tbody>{lines}</tbody></table></div>'
        f'<div class="picture">{intervals_svg(report.measurements)}</div>'
        f'<div class="picture">{latency_svg(seconds, title="Seconds a row")}</div>'
    )


def _audited(report: Report) -> str:
    """What was audited, how, and what the figures are worth."""
    settings = report.settings
    verdicts = settings.get("verdicts", {})
    facts = [
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report.created)),
        f"release {str(settings['release'])[:12]}" if settings.get("release") else "working copy",
        *(f"{name} {str(held)[:8]}" for name, held in settings.get("suites", {}).items()),
    ]
    told = " · ".join(f"{count} {word}" for word, count in verdicts.items())
    note = f"<p>{escape(settings['note'])}</p>" if settings.get("note") else ""
    return (
        f"<p><strong>{escape(told)}</strong></p>{note}"
        f'<p class="quiet">{escape(" · ".join(facts))}<br>'
        f"fingerprint <code>{escape(report.subject[:16])}</code> · "
        f"report <code>{escape(report.id[:16])}</code></p>"
    )


def rows(some: Sequence[Mapping[str, Any]], *, link: Callable[[str], str] | None = None) -> str:
    """Rows that open: expectation and answer, scores, passages by rank, steps. ``link`` gives the
    address of a trace."""
    return f'<div class="rows">{"".join(_row(row, link) for row in some)}</div>'


def _row(row: Mapping[str, Any], link: Callable[[str], str] | None) -> str:
    diagnosis = str(row.get("diagnosis") or "")
    example = Example(inputs=row["inputs"], expectations=row["expectations"], id=row["id"])
    parts = [f"<h3>Inputs</h3>{_inputs(row['inputs'])}", f"<h3>Expected</h3>{_expected(example)}"]
    if row["error"] is not None:
        parts.append(f'<h3>Error</h3><p class="text fault">{escape(row["error"])}</p>')
    else:
        parts.append(f'<h3>Answer</h3><p class="text">{escape(_said(row["output"]))}</p>')
    parts.append(f"<h3>Scores</h3><ul>{''.join(_score(name, row) for name in row['scores'])}</ul>")
    found = "".join(_passage(passage, example) for passage in row["passages"])
    outcome = f" (search: {escape(row['outcome'])})" if row.get("outcome") else ""
    parts.append(f"<h3>Found{outcome}</h3>" + (f"<ol>{found}</ol>" if found else "<p>Nothing.</p>"))
    parts.append(f'<h3>Steps</h3><ol class="steps">{"".join(map(_step, row["steps"]))}</ol>')
    if trace := row.get("trace_id"):
        shown = f"<code>{escape(trace[:16])}</code>"
        linked = f'<a href="{escape(link(trace))}">{shown}</a>' if link else shown
        parts.append(f'<p class="quiet">trace {linked}</p>')
    return (
        f'<details class="{"wrong" if diagnosis else "right"}" id="{escape(row["id"])}"><summary>'
        f'<span class="asked">{escape(shorten(_question(row["inputs"]), 200))}</span>'
        f'<span class="id">{escape(shorten(str(row["id"]), 24))}</span>'
        f'<span class="told">{escape(diagnosis or "as expected")}</span></summary>'
        f'<div class="inside">{"".join(parts)}</div></details>'
    )


def _question(inputs: Mapping[str, Any]) -> str:
    return next((value for value in inputs.values() if isinstance(value, str)), _json(inputs))


def _inputs(inputs: Mapping[str, Any]) -> str:
    return "".join(
        f'<p class="text">{escape(name)}: {escape(value if isinstance(value, str) else _json(value))}</p>'
        for name, value in inputs.items()
    )


def _expected(example: Example) -> str:
    expected = example.expectations
    if not expected:
        return "<p>Nothing is said about it.</p>"
    if expected.get("unanswerable"):
        return "<p>No answer: the documents have none.</p>"
    told = [
        f"{name}: {value if isinstance(value, str) else ', '.join(map(str, value))}"
        for name, value in expected.items()
        if isinstance(value, (str, list, tuple))
    ]
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in told)}</ul>"


def _score(name: str, row: Mapping[str, Any]) -> str:
    value = row["scores"][name]
    why = row["why"].get(name)
    shown = "not assessed" if value is None else f"{value:.3g}"
    return f"<li>{escape(name)}: {shown}{f' ({escape(why)})' if why else ''}</li>"


def _passage(passage: Mapping[str, Any], example: Example) -> str:
    document = str(passage.get("document", ""))
    expected = any(is_document(document, one) for one in documents_of(example))
    place = document + (f" › {passage['heading']}" if passage.get("heading") else "")
    relevance = passage.get("relevance")
    behind = f" · relevance {relevance:.2f}" if isinstance(relevance, float) else ""
    return (
        f"<li>{escape(place)}{behind}{' · <span class=expected>expected</span>' if expected else ''}"
        f"<blockquote>{escape(shorten(str(passage.get('text', '')), PASSAGE))}</blockquote></li>"
    )


def _step(step: Mapping[str, Any]) -> str:
    depth = min(int(step.get("depth", 0)), 6)
    told = [f"{key} {value}" for key, value in (step.get("attributes") or {}).items() if _is_plain(value)]
    fault = f'<br><span class="fault">{escape(step["error"])}</span>' if step.get("error") else ""
    return (
        f'<li class="depth-{depth}"><span>{escape(step["name"])} <span class="quiet">'
        f"{escape(shorten(' · '.join(told), 160))}</span>{fault}</span>"
        f"<span>{1000 * float(step['seconds']):,.1f} ms</span></li>"
    )


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool)) and value != ""


def _said(output: Any) -> str:
    if isinstance(output, Mapping) and isinstance(output.get("text"), str):
        return ("(abstained) " if output.get("abstained") else "") + str(output["text"])
    return output if isinstance(output, str) else _json(output)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _figure(value: float | None, measured: Mapping[str, Any]) -> str:
    unit = str(measured.get("unit") or "")
    return short(value, unit) if unit == "s" else ("–" if value is None else f"{value:.3f}")


def _interval(measured: Mapping[str, Any]) -> str:
    return f"{_figure(measured['low'], measured)} … {_figure(measured['high'], measured)}"


def _remarks(measured: Mapping[str, Any]) -> str:
    parts = []
    if measured.get("failed"):
        parts.append(f"{measured['failed']} failed")
    if measured.get("not_assessed"):
        parts.append(f"{measured['not_assessed']} not assessed")
    parts.append(str(measured.get("method", "")))
    if measured.get("direction") == "lower":
        parts.append("lower is better")
    return ", ".join(part for part in parts if part)


def escape(text: object) -> str:
    """Text for HTML, quotes included."""
    return _escape(str(text).encode("utf-8", "replace").decode(), quote=True)
