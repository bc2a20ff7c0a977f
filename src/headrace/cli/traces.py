"""traces: what was answered, from what, by what; and what people said about it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from headrace.cli.console import json_option, print_json, say, table, wrapped
from headrace.text import shorten
from headrace.types import to_json


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
@click.pass_context
def traces(ctx: click.Context) -> None:
    """List, show and export what was answered, and from what."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, limit=20, app=None, status=None, as_json=False)


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
@click.option("--limit", default=1000, show_default=True, help="How many, newest first.")
@click.option("--content/--no-content", default=True, help="With the texts, or without.")
def export(form: str, out: str | None, limit: int, content: bool) -> None:
    """Write traces as JSON lines, or as OpenTelemetry (OTLP/JSON) for any collector."""
    import json

    from headrace.ledger.export import to_jsonl, to_otlp

    ledger = _ledger()
    found = (ledger.trace(row.id) for row in ledger.traces(limit=limit))
    listed = [trace for trace in found if trace is not None]
    if form == "jsonl":
        text = "\n".join(to_jsonl(listed, content=content))
    else:
        text = json.dumps(to_otlp(listed, content=content), ensure_ascii=False)
    if out is None:
        click.echo(text)
    else:
        Path(out).write_text(text + "\n", encoding="utf-8")
        say(f"{len(listed)} traces → {out}")


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
