"""reports and examples: what was measured, and how a run becomes something that is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headrace.cli.console import json_option, print_json, say, table, wrapped
from headrace.cli.evaluate import as_value, figure, show_report, when
from headrace.text import shorten


def _store() -> Any:
    from headrace.resources.build import reports
    from headrace.settings import find_root

    return reports(find_root())


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  headrace reports
  headrace reports list --app handbook --json
  headrace reports show 01a1fdd7b1127a79
  headrace reports show 01a1fdd7b1127a79 --html report.html""",
)
@json_option
@click.pass_context
def reports(ctx: click.Context, as_json: bool) -> None:
    """List and show the reports of this project."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, limit=20, app=None, as_json=as_json)
    elif as_json:
        raise click.UsageError(f"Write --json behind the command: reports {ctx.invoked_subcommand} --json.")


@reports.command("list")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, newest first."
)
@click.option("--app", help="Only of this application.")
@json_option
def list_(limit: int, app: str | None, as_json: bool) -> None:
    """The newest reports."""
    store = _store()
    found = store.list(app=app, limit=limit)
    for name, what in store.damaged():
        say(f"The report {name} cannot be read: {what}")
    if as_json:
        print_json([as_value(report, str(store.rows_path(report.id))) for report in found])
        return
    if not found:
        click.echo("No reports yet. Make one with: headrace eval")
        return
    click.echo(
        table(
            ["report", "when", "app", "release", "figures"],
            [
                [
                    report.id[:16],
                    when(report),
                    report.settings.get("app", ""),
                    str(report.settings.get("release") or "–")[:8],
                    shorten(
                        " · ".join(
                            f"{m['name']} {figure(m['value'], m.get('unit', ''))}"
                            for m in report.measurements
                            if m["value"] is not None
                        ),
                        200,
                    ),
                ]
                for report in found
            ],
        )
    )


@reports.command()
@click.argument("report_id")
@click.option("--worst", type=click.IntRange(0), default=10, show_default=True, help="Rows that went wrong.")
@click.option(
    "--html", type=click.Path(dir_okay=False), metavar="FILE", help="Also write a page of every row."
)
@json_option
def show(report_id: str, worst: int, html: str | None, as_json: bool) -> None:
    """One report: figures, and the rows that went wrong. The beginning of its id is enough."""
    store = _store()
    found = store.load(report_id)
    if html is not None:
        from headrace.evaluation.page import page

        Path(html).write_text(page(found), encoding="utf-8")
        say(f"page: {html}")
    if as_json:
        print_json(as_value(found, str(store.rows_path(found.id))))
        return
    click.echo(f"report   {found.id}")
    click.echo(f"when     {when(found)}")
    click.echo(f"subject  {found.subject}")
    click.echo(wrapped(f"rows     {store.rows_path(found.id)}") + "\n")
    show_report(found, worst=worst)


# --------------------------------------------------------------------------- examples


@click.group(
    epilog="""\b
Examples:
  headrace examples add 0192f3c1a2b37c4d --answer "16 weeks"
  headrace examples add 0192f3c1a2b37c4d --unanswerable --to evals/hard.jsonl
  headrace examples check evals/questions.jsonl"""
)
def examples() -> None:
    """Make examples out of runs, and check files of them."""


@examples.command()
@click.argument("trace_id")
@click.option("--answer", help="What it should have said.  [default: the correction that came with a vote]")
@click.option("--unanswerable", is_flag=True, help="It should have abstained.")
@click.option("--document", "documents", multiple=True, help="A document that should be found; repeatable.")
@click.option("--to", "file", default="evals/questions.jsonl", show_default=True, metavar="FILE")
@json_option
def add(
    trace_id: str,
    answer: str | None,
    unanswerable: bool,
    documents: tuple[str, ...],
    file: str,
    as_json: bool,
) -> None:
    """Make a run an example of an evaluation, once; the beginning of its id is enough."""
    from headrace.errors import NotFound
    from headrace.evaluation import curate
    from headrace.resources.build import ledger as ledger_of
    from headrace.settings import find_root

    ledger = ledger_of(find_root())
    trace = ledger.trace(trace_id)
    if trace is None:
        raise NotFound(f"There is no trace {trace_id!r}.", hint="List them with: headrace traces list")
    example, source = curate.example_of(
        trace, ledger.feedback(trace.id), answer=answer, unanswerable=unanswerable, documents=documents
    )
    done = curate.add(Path(file), example, source)
    if as_json:
        print_json({"id": done.example.id, "added": done.added, "file": done.file, "example": done.example})
        return
    click.echo(f"{'added' if done.added else 'there already'}: {done.example.id} in {done.file}")
    expected = done.example.expectations
    told = "no answer" if expected.get("unanswerable") else repr(expected.get("answer"))
    click.echo(wrapped(f"expects {told}" + (" (from the vote)" if source == "correction" else ""), "  "))


@examples.command()
@click.argument("files", nargs=-1, required=True)
@json_option
def check(files: tuple[str, ...], as_json: bool) -> None:
    """Read files of examples and say what is wrong with them; nothing is run."""
    from headrace.evaluation import dataset

    found = dataset.read(files)
    counts = {
        "examples": len(found),
        "with_answer": sum(
            bool(e.expectations.get("answer") or e.expectations.get("answers")) for e in found
        ),
        "with_documents": sum(bool(e.expectations.get("documents")) for e in found),
        "unanswerable": sum(bool(e.expectations.get("unanswerable")) for e in found),
    }
    if as_json:
        print_json({**counts, "hash": found.hash})
        return
    for name, count in counts.items():
        click.echo(f"{count:6,}  {name.replace('_', ' ')}")
