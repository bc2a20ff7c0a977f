"""traces: what was answered, from what, by what; and what people said about it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from headrace.cli.console import json_option, print_json, say, table, wrapped
from headrace.text import shorten
from headrace.types import Trace, to_json


def _ledger() -> Any:
    from headrace.resources.build import ledger
    from headrace.settings import find_root

    return ledger(find_root())


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  headrace traces
  headrace traces list --app handbook --status error --json
  headrace traces show 0192f3c1a2b37c4d
  headrace traces export --format otlp --out traces.json""",
)
@json_option
@click.pass_context
def traces(ctx: click.Context, as_json: bool) -> None:
    """List, show and export what was answered, and from what."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, limit=20, app=None, status=None, as_json=as_json)
    elif as_json:
        raise click.UsageError(f"Write --json behind the command: traces {ctx.invoked_subcommand} --json.")


@traces.command("list")
@click.option("--limit", default=20, show_default=True, help="How many, newest first.")
@click.option("--app", help="Only of this application.")
@click.option("--status", type=click.Choice(["ok", "error", "abstained"]), help="Only these.")
@json_option
def list_(limit: int, app: str | None, status: str | None, as_json: bool) -> None:
    """The newest traces."""
    rows = _ledger().traces(limit=limit, app=app, status=status)
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("No traces yet.")
        return
    click.echo(
        table(
            ["trace", "when", "app", "status", "seconds", "asked"],
            [
                [
                    row.id[:16],
                    time.strftime("%m-%d %H:%M:%S", time.localtime(row.start)),
                    row.app,
                    row.status,
                    f"{row.seconds:.2f}",
                    shorten(row.question, 60),
                ]
                for row in rows
            ],
            right=(4,),
        )
    )


@traces.command()
@click.argument("trace_id")
@json_option
def show(trace_id: str, as_json: bool) -> None:
    """One trace whole; the beginning of its id is enough."""
    from headrace.errors import NotFound

    ledger = _ledger()
    found = ledger.trace(trace_id)
    if found is None:
        raise NotFound(f"There is no trace {trace_id!r}.", hint="List them with: headrace traces list")
    votes = ledger.feedback(found.id)
    if as_json:
        print_json({**to_json(found), "feedback": to_json(votes)})
        return
    click.echo(f"trace    {found.id}")
    click.echo(f"when     {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(found.start))}")
    click.echo(f"took     {found.seconds:.3f} s")
    for key, value in found.subject.items():
        click.echo(f"{key:8} {value if value is not None else '–'}"[:80])
    if found.error:
        click.echo(wrapped(f"error    {found.error}"))
    click.echo("\nInputs")
    for key, value in found.inputs.items():
        click.echo(wrapped(f"{key}: {shorten(str(value), 400)}", "  "))
    click.echo("\nOutput")
    output = found.output.get("text") if isinstance(found.output, dict) else found.output
    click.echo(wrapped(shorten(str(output), 1200), "  "))
    click.echo("\nWhat made it")
    for key, values in found.record.items():
        for value in values if isinstance(values, list) else [values]:
            click.echo(wrapped(f"{key}: {shorten(str(value), 300)}", "  "))
    click.echo("\nSteps")
    children: dict[str | None, list[Any]] = {}
    for span in found.spans:
        children.setdefault(span.parent, []).append(span)
    _steps(children, None, 1)
    for vote in votes:
        click.echo(wrapped(f"\nfeedback: {vote.value} {vote.comment} {vote.correction}".rstrip()))


def _steps(children: dict[str | None, list[Any]], parent: str | None, depth: int) -> None:
    for span in sorted(children.get(parent, []), key=lambda s: s.start):
        mark = " !" if span.error else ""
        click.echo(f"{'  ' * depth}{span.name:<{max(1, 30 - 2 * depth)}} {span.seconds * 1000:9.1f} ms{mark}")
        _steps(children, span.id, depth + 1)


@traces.command()
@click.option("--format", "form", type=click.Choice(["jsonl", "otlp"]), default="jsonl", show_default=True)
@click.option("--out", type=click.Path(dir_okay=False), help="A file; standard output without it.")
@click.option("--limit", type=click.IntRange(1), help="How many, newest first; all without it.")
@click.option("--content/--no-content", default=True, help="With the texts, or without.")
@click.option("--json", "as_json", is_flag=True, help="One JSON value: a list, or with --out what was done.")
def export(form: str, out: str | None, limit: int | None, content: bool, as_json: bool) -> None:
    """Write traces as JSON lines, or as OpenTelemetry (OTLP/JSON) for any collector.

    JSON lines are written one by one, newest first, with the feedback on each.
    """
    import json

    from headrace.ledger.export import to_jsonl, to_otlp

    ledger = _ledger()
    found = _all(ledger, limit)
    if form == "otlp":
        lines = iter([json.dumps(to_otlp(list(found), content=content))])
    else:
        lines = to_jsonl(found, feedback=ledger.feedback, content=content)
    if out is None:
        if as_json and form == "jsonl":
            print_json([json.loads(line) for line in lines])
            return
        for line in lines:
            click.echo(line)
        return
    count = 0
    with open(out, "w", encoding="utf-8") as file:
        for count, line in enumerate(lines, 1):  # noqa: B007  the count is told below
            file.write(line + "\n")
    if as_json:
        print_json({"file": out, "format": form, "lines": count})
    else:
        say(f"{count} lines → {out}")


def _all(ledger: Any, limit: int | None, page: int = 200) -> Iterator[Trace]:
    """Traces, newest first, a page of rows at a time: a ledger can be larger than memory."""
    before: str | None = None
    while limit is None or limit > 0:
        rows = ledger.traces(limit=page if limit is None else min(page, limit), before=before)
        if not rows:
            return
        for row in rows:
            trace = ledger.trace(row.id)
            if trace is not None:  # removed meanwhile
                yield trace
        before = rows[-1].start if ledger.trace(rows[-1].id) is None else rows[-1].id
        limit = None if limit is None else limit - len(rows)


@traces.command()
@json_option
def prune(as_json: bool) -> None:
    """Apply the retention of headrace.toml now ([ledger] retention_days, retention_mb)."""
    removed = _ledger().prune(time.time())
    if as_json:
        print_json({"removed": removed})
    else:
        click.echo(f"{removed} traces removed")


@traces.command()
@click.argument("trace_id")
@click.argument("value", type=click.Choice(["up", "down"]))
@click.option("--comment", default="", help="Why.")
@click.option("--correction", default="", help="What the answer should have been.")
@json_option
def vote(trace_id: str, value: str, comment: str, correction: str, as_json: bool) -> None:
    """Say whether an answer was good; committed when this returns."""
    from headrace.errors import NotFound
    from headrace.types import Feedback

    ledger = _ledger()
    found = ledger.trace(trace_id)
    if found is None:
        raise NotFound(f"There is no trace {trace_id!r}.", hint="List them with: headrace traces list")
    stored = ledger.add_feedback(
        Feedback(trace_id=found.id, value=value, comment=comment, correction=correction)  # type: ignore[arg-type]
    )
    if as_json:
        print_json(stored)
    else:
        click.echo(f"noted: {value} on {found.id[:16]}")
