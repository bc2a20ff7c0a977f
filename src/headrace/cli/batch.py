"""batch: a table through an application, resumable, its costs under a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headrace.cli.console import counted, json_option, print_json, say, table, wrapped
from headrace.types import to_json

if TYPE_CHECKING:
    from headrace.ops.batch import Batch
    from headrace.ops.batch_plan import Plan

STOPPED, FAILED = 3, 5  # exit codes: a limit that was set was reached; rows failed


@click.command(
    epilog="""\b
Examples:
  headrace batch questions.csv answers.csv
  headrace batch in.parquet out.parquet --app handbook@production --max-cost 5
  headrace batch tickets.jsonl labels.jsonl --map question=text --dry-run
  headrace batch tickets@v3 answers.delta --app handbook@production --json
  headrace batch questions.csv answers.csv --retry-failed

\b
Every night at two (crontab); the Delta table gets each day's rows once:
  0 2 * * *  cd /srv/handbook && headrace batch in.csv out.delta --json >>log

\b
Exit codes: 0 every row has an output · 3 stopped by --max-cost or
--max-failures · 5 done, but rows failed (OUT.failed.jsonl) · 130 stopped by
you. Stopped or killed: the same command goes on where it was."""
)
@click.argument("source", metavar="IN")
@click.argument("output", metavar="OUT")
@click.option(
    "--app", metavar="APP", help="NAME@ALIAS, file.py:function or a folder.  [default: this project]"
)
@click.option("--map", "mapping", multiple=True, metavar="P=COLUMN", help="Parameter P takes this column.")
@click.option("--format", "format_", metavar="F", default="", help="Of IN: jsonl, csv, parquet, delta.")
@click.option("--output-format", metavar="F", default="", help="Of OUT.  [default: by its name]")
@click.option("--prefix", default="", metavar="TEXT", help="Put before the names of the added columns.")
@click.option(
    "--workers", type=click.IntRange(1), help="Rows side by side.  [default: 32 for a remote model]"
)
@click.option("--max-cost", type=float, metavar="USD", help="Stop before the whole job costs more than this.")
@click.option(
    "--max-failures",
    type=click.IntRange(0),
    metavar="N",
    help="Stop when more rows fail.  [default: a tenth, at least 20]",
)
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Further tries of a row whose failure may pass.",
)
@click.option("--retry-failed", is_flag=True, help="Compute the rows anew that failed before.")
@click.option("--overwrite", is_flag=True, help="Replace OUT, and drop what another job left for it.")
@click.option(
    "--traces",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="About so many rows leave a trace, and all that fail.",
)
@click.option(
    "--shard", type=click.IntRange(1), default=200, show_default=True, help="Rows that are sealed together."
)
@click.option("--dry-run", is_flag=True, help="Show rows, columns, mapping and estimated cost; run nothing.")
@json_option
def batch(
    source: str,
    output: str,
    app: str | None,
    mapping: tuple[str, ...],
    format_: str,
    output_format: str,
    prefix: str,
    workers: int | None,
    max_cost: float | None,
    max_failures: int | None,
    retries: int,
    retry_failed: bool,
    overwrite: bool,
    traces: int,
    shard: int,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run an application over the rows of a table.

    IN and OUT are .jsonl, .csv, .parquet or a Delta table's folder (IN also table@v3). OUT gets all
    rows of IN in their order, with the columns answer, error, cost, seconds, trace_id and release. A
    Delta table is appended to, each row once, however often the command is run.
    """
    from headrace.ops.batch import run
    from headrace.ops.batch_plan import plan
    from headrace.ops.columns import parse_map

    asked = plan(
        source,
        output,
        app,
        format=format_,
        output_format=output_format,
        mapping=parse_map(mapping),
        prefix=prefix,
    )
    if dry_run:
        return _dry(asked, as_json)
    try:
        with counted("batch", quiet=as_json, told=True) as progress:
            found = run(
                asked,
                workers=workers,
                max_cost=max_cost,
                max_failures=max_failures,
                retries=retries,
                retry_failed=retry_failed,
                overwrite=overwrite,
                traces=traces,
                shard_rows=shard,
                progress=progress,
            )
    except KeyboardInterrupt:
        say("\nStopped by you. What was computed is kept: the same command goes on with it.")
        raise
    if as_json:
        print_json(found)
    else:
        _show(found)
    return STOPPED if found.stopped else FAILED if found.failed else 0


def _dry(asked: Plan, as_json: bool) -> int:
    from headrace.ops.batch_plan import estimate

    about = estimate(asked)
    value: dict[str, Any] = {
        "job": asked.job,
        "app": asked.app.name,
        "release": asked.release,
        "input": asked.source.name,
        "format": asked.source.format,
        "output": str(asked.output),
        "output_format": asked.format,
        "mapping": dict(asked.mapping),
        "columns": [to_json(column) for column in asked.columns],
        "notes": list(asked.notes),
        **about,
    }
    if as_json:
        print_json(value)
        return 0
    click.echo(wrapped(f"{about['rows']:,} rows of {asked.source.name} through {_name(value)}.") + "\n")
    taken = {column: parameter for parameter, column in asked.mapping.items()}
    added = {column.name for column in asked.shape.columns}
    click.echo(
        table(
            ["column", "type", "what it is for"],
            [
                [
                    c.name,
                    c.type,
                    "added" if c.name in added else f"→ {taken[c.name]}" if c.name in taken else "passed on",
                ]
                for c in asked.columns
            ],
        )
    )
    click.echo(f"\nabout {about['input_tokens']:,} tokens in the cells that the application reads")
    if about["cost_low"] is None:
        click.echo("cost: unknown; no price is set under [models] in headrace.toml")
    else:
        click.echo(
            wrapped(
                f"cost: ${about['cost_low']:.4f} to ${about['cost_high']:.4f} at one call a row; the "
                "application's own prompt and passages come on top"
            )
        )
    for note in asked.notes:
        click.echo(wrapped(note))
    return 0


def _name(found: Any) -> str:
    release = found["release"] if isinstance(found, dict) else found.release
    name = found["app"] if isinstance(found, dict) else found.app
    return f"{name} (release {release[:12]})" if release else str(name)


def _show(found: Batch) -> None:
    for note in found.notes:
        click.echo(wrapped(note))
    if found.stopped is not None:
        click.echo(wrapped(f"Stopped after {found.done + found.failed:,} of {found.rows:,} rows."))
        click.echo(wrapped(found.stopped.message))
        click.echo(wrapped(found.stopped.hint) + "\n")
    parts = [f"{found.rows:,} rows", f"{found.done:,} done", f"{found.failed:,} failed"]
    if found.resumed:
        parts.append(f"{found.resumed:,} there already")
    if found.recomputed:
        parts.append(f"{found.recomputed:,} computed again after a kill")
    parts.append("cost unknown" if found.cost is None else f"${found.cost:.4f}")
    parts.append(f"{found.seconds:.1f} s")
    click.echo(wrapped(" · ".join(parts)))
    if found.stopped is None:
        version = f", version {found.version}" if found.version is not None else ""
        click.echo(f"{_name(found)} → {found.output}{version}")
    if found.dead_letters:
        click.echo(wrapped(f"failed rows → {found.dead_letters}; once more with --retry-failed"))
