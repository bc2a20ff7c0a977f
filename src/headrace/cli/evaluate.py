"""eval and compare: an application measured on examples, and two variants set against each other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.console import counted, json_option, kb_option, print_json, table, width, wrapped
from headrace.text import shorten
from headrace.types import Report, to_json

if TYPE_CHECKING:
    from headrace.evaluation.compare import Compared

METRIC_KEYS = ("value", "low", "high", "n", "failed", "not_assessed", "direction", "margin", "unit", "method")
WORST = 5


@click.command(
    "eval",
    epilog="""\b
Examples:
  headrace eval
  headrace eval app.py:handbook evals/hard.jsonl --metrics answer_f1,hit@4
  headrace eval . --metrics contains,metrics.py:polite --html report.html
  headrace eval handbook@production evals/questions.jsonl --json
  headrace eval retrieval evals/questions.jsonl --kb kb --metrics hit@1,hit@4

\b
Metrics: exact_match answer_f1 contains hit@K citation_precision abstention
rouge_l bleu latency latency_p95 tokens cost; your own as file.py:function.""",
)
@click.argument("app", required=False)
@click.argument("examples", required=False)
@click.option(
    "--metrics", metavar="A,B", help="Names, or file.py:function.  [default: what the examples allow]"
)
@kb_option()
@click.option(
    "--workers", type=click.IntRange(1), help="Rows side by side.  [default: 32 for a remote model]"
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N examples.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Of the intervals.")
@click.option("--no-cache", is_flag=True, help="Compute every row anew, also those that are known.")
@click.option(
    "--html", type=click.Path(dir_okay=False), metavar="FILE", help="Also write a page of every row."
)
@json_option
def evaluate(
    app: str | None,
    examples: str | None,
    metrics: str | None,
    kb_name: str | None,
    workers: int | None,
    limit: int | None,
    confidence: float,
    no_cache: bool,
    html: str | None,
    as_json: bool,
) -> None:
    """Measure an application on examples: every figure with its interval.

    APP is file.py:function, a project's folder, or NAME@ALIAS (default: this project);
    `retrieval` measures the search of a knowledge base alone. EXAMPLES is a file of JSON lines
    (default: every evals/*.jsonl of the project). Rows run side by side and are kept: an
    interrupted evaluation goes on where it stopped, and rows that are known are not run again.
    """
    from headrace.evaluation import chosen, dataset, retrieval
    from headrace.evaluation.compare import default_examples
    from headrace.evaluation.evaluate import measure

    if app is not None and examples is None and app.endswith(".jsonl"):
        app, examples = None, app
    asking = app == retrieval.NAME
    if kb_name is not None and not asking:
        raise click.UsageError("--kb goes with `headrace eval retrieval`: an application names its own.")
    subject = retrieval.retrieval_app(_knowledge_base(kb_name)) if asking else _application(app)
    read = (dataset.read(examples) if examples is not None else default_examples(subject.root)).first(limit)
    scored = chosen.choose(metrics, read, retrieval=asking)
    if asking:
        read = retrieval.questions(read, retrieval.depth_of(scored))
    with counted("evaluating", quiet=as_json) as progress:
        report = measure(
            subject,
            read,
            scored,
            workers=workers,
            cache=not no_cache,
            confidence=confidence,
            progress=progress,
        )
    rows = _rows_path(report, subject.root)
    if html is not None:
        from headrace.evaluation.page import page

        Path(html).write_text(page(report), encoding="utf-8")
    if as_json:
        print_json(as_value(report, rows) | ({"html": html} if html else {}))
        return
    show_report(report)
    click.echo(f"\nreport {report.id[:16]} · headrace reports show {report.id[:16]}")
    if html is not None:
        click.echo(f"page   {html}")


def _knowledge_base(name: str | None) -> Any:
    from headrace.cli.console import knowledge_base

    return knowledge_base(name)


def _application(given: str | None) -> Any:
    from headrace.errors import NotFound
    from headrace.flows.load import load, project_app

    if given is not None:
        return load(given)
    found = project_app()
    if found is None:
        raise NotFound(
            "There is no project here, so there is nothing to evaluate.",
            hint="Name an application: headrace eval file.py:function examples.jsonl",
        )
    return found


def _rows_path(report: Report, root: Path) -> str:
    from headrace.resources.build import reports

    return str(reports(root).rows_path(report.id))


def as_value(report: Report, rows: str) -> dict[str, Any]:
    """What ``--json`` prints of a report."""
    return {
        "report_id": report.id,
        "subject": report.subject,
        "app": report.settings.get("app"),
        "release": report.settings.get("release"),
        "examples": report.settings.get("examples"),
        "examples_hash": report.examples,
        "metrics": {m["name"]: {key: m.get(key) for key in METRIC_KEYS} for m in report.measurements},
        "rows": rows,
        "count": report.settings.get("count", len(report.rows)),
        "failed": report.settings.get("failed", 0),
        "computed": report.settings.get("computed"),
        "cached": report.settings.get("cached"),
        "recomputed": report.settings.get("recomputed"),
        "workers": report.settings.get("workers"),
        "seconds": report.settings.get("seconds"),
    }


# --------------------------------------------------------------------------- what people read


def show_report(report: Report, *, worst: int = WORST) -> None:
    """A report: what was measured, the figures with their intervals, the rows that went wrong."""
    settings = report.settings
    parts = [str(settings.get("app", "?")), f"{len(report.rows)} examples"]
    if settings.get("examples"):
        parts.append(str(settings["examples"]))
    if settings.get("cached"):
        parts.append(f"{settings['cached']} known already")
    if settings.get("recomputed"):
        parts.append(f"{settings['recomputed']} computed again after a kill")
    if settings.get("failed"):
        parts.append(f"{settings['failed']} failed")
    click.echo(wrapped(" · ".join(parts)) + "\n")
    percent = f"{100 * float(settings.get('confidence', 0.95)):g} % interval"
    click.echo(
        table(
            ["metric", "value", percent, "n", "remarks"],
            [
                [
                    m["name"],
                    figure(m["value"], m.get("unit", "")),
                    interval(m["low"], m["high"], m.get("unit", "")),
                    m["n"],
                    _remarks(m),
                ]
                for m in report.measurements
            ],
            right=(1, 2, 3),
        )
    )
    if clusters := settings.get("clusters"):
        click.echo(wrapped(f"\nRows that share one of {clusters} documents count as connected."))
    wrong = [row for row in report.rows if row.get("diagnosis")]
    if not wrong:
        return
    shown = sorted(wrong, key=_badness)[:worst]
    click.echo(
        f"\n{len(wrong)} of {len(report.rows)} rows went wrong" + (":" if len(wrong) <= worst else ", first:")
    )
    for row in shown:
        click.echo(wrapped(f"{row['id']}  {shorten(question_of(row), width() - 20)}", "  "))
        click.echo(wrapped(str(row["diagnosis"]), "      "))


def _badness(row: Mapping[str, Any]) -> tuple[bool, float]:
    scores = [value for value in row["scores"].values() if value is not None and 0 <= value <= 1]
    return row["error"] is None, sum(scores) / len(scores) if scores else 0.0


def _remarks(measured: Mapping[str, Any]) -> str:
    parts = []
    if measured.get("failed"):
        parts.append(f"{measured['failed']} failed")
    if measured.get("not_assessed"):
        parts.append(f"{measured['not_assessed']} without")
    if measured.get("direction") == "lower":
        parts.append("lower is better")
    return ", ".join(parts)


def question_of(row: Mapping[str, Any]) -> str:
    """The first text among a row's inputs."""
    texts = [value for value in row["inputs"].values() if isinstance(value, str)]
    return texts[0] if texts else str(row["inputs"])


def figure(value: float | None, unit: str = "", *, signed: bool = False) -> str:
    """A number with as many digits as it deserves, and its unit."""
    if value is None:
        return "–"
    if unit == "s":
        text, behind = (
            (f"{value * 1000:{'+' if signed else ''}.0f}", " ms")
            if abs(value) < 1
            else (
                f"{value:{'+' if signed else ''}.2f}",
                " s",
            )
        )
    elif unit == "USD":
        text, behind = f"{value:{'+' if signed else ''}.5f}", " $"
    elif unit == "tokens":
        text, behind = f"{value:{'+' if signed else ''},.0f}", ""
    else:
        text, behind = f"{value:{'+' if signed else ''}.3f}", ""
    return text.replace("-", "−") + behind


def interval(low: float | None, high: float | None, unit: str = "", *, signed: bool = False) -> str:
    """``0.41 … 0.62``; a side without a bound is a dash."""
    if low is None and high is None:
        return "–"
    return f"{figure(low, unit, signed=signed)} … {figure(high, unit, signed=signed)}"


# --------------------------------------------------------------------------- compare


@click.command(
    epilog="""\b
Examples:
  headrace compare                        the working copy against production
  headrace compare 01a3f2c4d5e6f708 01a3f2c4d5e70911      two reports
  headrace compare app.py:handbook handbook@production --margin 0.02
  headrace compare variants/short.py:handbook app.py:handbook --json
  headrace compare --times 20             and their times, taken in turns"""
)
@click.argument("a", required=False)
@click.argument("b", required=False)
@click.option(
    "--margin", type=float, help="Differences smaller than this do not matter.  [default: the metric's]"
)
@click.option(
    "--examples", metavar="FILE", help="What to evaluate applications on.  [default: evals/*.jsonl]"
)
@click.option("--metrics", metavar="A,B", help="Only these.")
@click.option("--workers", type=click.IntRange(1), help="Rows side by side.")
@click.option("--no-cache", is_flag=True, help="Compute every row anew.")
@click.option(
    "--times",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    help="Run up to N examples by both in turns, to compare times.",
)
@json_option
def compare(
    a: str | None,
    b: str | None,
    margin: float | None,
    examples: str | None,
    metrics: str | None,
    workers: int | None,
    no_cache: bool,
    times: int,
    as_json: bool,
) -> None:
    """Say whether A is better than B, worse, equivalent, or not known yet.

    A and B are report ids, applications (file.py:function or a folder) or NAME@ALIAS; without
    them, the working copy is compared with production. Rows are paired by the id of their
    example; the difference is A − B, with its 95 % interval. Equivalent: the interval lies
    within the margin. Not enough data: it says how many examples would be.
    """
    from headrace.evaluation.compare import compare as compare_

    with counted("evaluating", quiet=as_json) as progress:
        found = compare_(
            a,
            b,
            margin=margin,
            examples=examples,
            metrics=metrics,
            workers=workers,
            cache=not no_cache,
            times=times,
            progress=progress,
        )
    if as_json:
        print_json(
            {
                "a": _side(found.a),
                "b": _side(found.b),
                "same_examples": found.same_examples,
                "notes": found.notes,
                "metrics": {c.metric: _without_name(to_json(c)) for c in found.comparisons},
            }
        )
        return
    show_comparison(found)


def _side(report: Report) -> dict[str, Any]:
    return {
        "report_id": report.id,
        "subject": report.subject,
        "app": report.settings.get("app"),
        "release": report.settings.get("release"),
    }


def _without_name(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "metric"}


def show_comparison(found: Compared) -> None:
    """Words first, then the table they rest on."""
    click.echo(wrapped(f"A = {found.names[0]}\nB = {found.names[1]}") + "\n")
    first = found.comparisons[0]
    if not found.same_examples:
        click.echo(
            wrapped(
                f"The reports are about different examples: rows were paired by id, {first.only_a} of A and "
                f"{first.only_b} of B have no partner."
            )
            + "\n"
        )
    for note in found.notes:
        click.echo(wrapped(note) + "\n")
    for verdict, line in _sentences(found.comparisons):
        click.echo(wrapped(f"{verdict}: {line}"))
    click.echo()
    click.echo(
        table(
            ["metric", "A", "B", "A − B", "95 % interval", "n"],
            [
                [
                    c.metric,
                    figure(c.a, c.unit),
                    figure(c.b, c.unit),
                    figure(c.difference, c.unit, signed=True),
                    interval(c.low, c.high, c.unit, signed=True),
                    c.n,
                ]
                for c in found.comparisons
            ],
            right=(1, 2, 3, 4, 5),
        )
    )


_WORDS = {
    "better": "A is better than B",
    "worse": "A is worse than B",
    "equivalent": "A and B are equivalent: they differ by less than what matters",
}


def _sentences(comparisons: Sequence[Any]) -> list[tuple[str, str]]:
    said = []
    for c in comparisons:
        if c.verdict in _WORDS:
            margin = f" ({figure(c.margin, c.unit)})" if c.verdict == "equivalent" else ""
            said.append((c.metric, _WORDS[c.verdict] + margin))
        elif c.method == "not comparable":
            said.append((c.metric, "no verdict: taken at different moments"))
        elif c.needed is None:
            said.append((c.metric, f"not enough data ({c.n} pairs); no number can be told that would do"))
        else:
            said.append(
                (c.metric, f"not enough data; about {max(1, c.needed - c.n):,} more examples would do")
            )
    return said


def when(report: Report) -> str:
    """The time of a report, local."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(report.created))
