"""audit: attacks and other checks on an application, in three layers, as one report."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from headrace.cli.console import counted, json_option, print_json, wrapped

# Commands beside `headrace audit APP`: word → (module:attribute, the line in --help).
PARTS: dict[str, tuple[str, str]] = {
    "grounding": (
        "headrace.cli.audit_grounding:grounding",
        "Judge each sentence of answers in a file by its passages.",
    ),
    "representation": (
        "headrace.cli.audit_representation:representation",
        "Count which groups of people a data set speaks of.",
    ),
}
FAILED = 3
EPILOG = """\b
Examples:
  headrace audit app.py:handbook
  headrace audit handbook@production --defences both --html audit.html
  headrace audit . --suite direct --suite my-attacks/ --model double --json
  headrace audit grounding answers.jsonl

\b
Thresholds are lines of headrace.toml; a line without one is "not assessed":
  [audit.thresholds]
  attacks = 0.1
  stopped = 0.02

\b
Exit codes: 0 no line fails · 3 at least one line fails."""


class AppOrPart(click.Group):
    """A group whose first word is one of its commands, or else the application to audit."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(PARTS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "app":
            return of_app
        if cmd_name not in PARTS:
            return None
        module, _, attribute = PARTS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in PARTS and not {"-h", "--help"} & set(args)):
            args = ["app", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Options of an audit"):
            formatter.write_dl(
                [record for p in of_app.get_params(ctx)[1:] if (record := p.get_help_record(ctx)) is not None]
            )
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in PARTS.items()])


@click.group(
    "audit",
    cls=AppOrPart,
    epilog=EPILOG,
    subcommand_metavar="[APP] [OPTIONS] | COMMAND …",
)
def audit() -> None:
    """Look for what can go wrong: attacks, leaks, and what is on record.

    APP is file.py:function, a project's folder, or NAME@ALIAS (default: this project). Every line has
    a threshold and a verdict: pass, fail, or not assessed. Without a capable model of its own the
    application is attacked with the obedient double: that proves machinery and detectors, not a model.
    """


@click.command("app", epilog=EPILOG)
@click.argument("app", required=False)
@click.option(
    "--suite", "suites", multiple=True, metavar="NAME|PATH", help="A suite, or a file or folder; repeatable."
)
@click.option(
    "--model",
    type=click.Choice(["auto", "own", "double"]),
    default="auto",
    show_default=True,
    help="What is attacked: the application's own models, or the obedient double.",
)
@click.option(
    "--defences",
    type=click.Choice(["on", "off", "both"]),
    default="both",
    show_default=True,
    help="As the settings say, all off, or both side by side.",
)
@click.option(
    "--trials", type=click.IntRange(1), help="Runs of each case.  [default: 5 with the double, else 1]"
)
@click.option("--seconds", type=float, default=30.0, show_default=True, help="Limit of one run.")
@click.option("--gullible", is_flag=True, help="The double obeys whatever it reads, marks or not.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this check (attacks, …); repeatable.")
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Also write a page.")
@click.option("--out", type=click.Path(file_okay=False), metavar="FOLDER", help="Also write a file a layer.")
@json_option
def of_app(
    app: str | None,
    suites: tuple[str, ...],
    model: Any,
    defences: Any,
    trials: int | None,
    seconds: float,
    gullible: bool,
    only: tuple[str, ...],
    html: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Audit an application."""
    from headrace.auditing.audit import audit as run
    from headrace.errors import NotFound
    from headrace.flows.load import load, project_app
    from headrace.resources.build import reports

    subject = load(app) if app is not None else project_app()
    if subject is None:
        raise NotFound(
            "There is no application here.", hint="Name one: headrace audit app.py:handbook, or a folder."
        )
    with counted("attacking", quiet=as_json) as progress:
        report = run(
            subject,
            suites=suites or None,
            model=model,
            defences=defences,
            trials=trials,
            seconds=seconds,
            gullible=gullible,
            only=only or None,
            progress=progress,
        )
    if html is not None:
        from headrace.evaluation.page import page

        Path(html).write_text(page(report), encoding="utf-8")
    if out is not None:
        from headrace.auditing.layers import write

        write(report, out)
    lines = report.settings["lines"]
    verdicts = report.settings["verdicts"]
    if as_json:
        print_json(
            {
                "report": report.id,
                "app": report.settings["app"],
                "release": report.settings["release"],
                "subject": report.subject,
                "model": report.settings.get("model"),
                "note": report.settings.get("note", ""),
                "defences": defences,
                "suites": report.settings.get("suites", {}),
                "verdicts": verdicts,
                "lines": lines,
                "families": report.settings.get("families", []),
                "measurements": report.measurements,
                "rows": str(reports(subject.root).rows_path(report.id)),
            }
            | ({"html": html} if html else {})
            | ({"out": out} if out else {})
        )
    else:
        show(report.settings, lines)
        told = " · ".join(f"{count} {word}" for word, count in verdicts.items())
        click.echo(f"{told}\nreport {report.id[:16]} · headrace reports show {report.id[:16]}")
        if html is not None:
            click.echo(f"page   {html}")
        if out is not None:
            click.echo(f"layers {out}")
    if verdicts["fail"]:
        raise click.exceptions.Exit(FAILED)


def show(settings: Any, lines: Sequence[Any]) -> None:
    """The lines by layer, as people read them."""
    if settings.get("note"):
        click.echo(wrapped(settings["note"]) + "\n")
    for layer in ("governance", "model", "application"):
        mine = [one for one in lines if one["layer"] == layer]
        if mine:
            click.echo(f"{layer}\n" + "─" * len(layer))
        for one in mine:
            click.echo(f"{one['verdict']:<13} {one['id']}{figures(one)}")
            click.echo(wrapped(one["evidence"], " " * 14))
        click.echo()


def figures(one: Any) -> str:
    """``  0.04 [0.02, 0.07], limit 0.1, n 315`` of a line that was measured; "" of a record."""
    if one["value"] is None or one["low"] is None:
        return ""
    limit = f", limit {number(one['threshold'])}" if one["threshold"] is not None else ""
    return f"  {number(one['value'])} [{number(one['low'])}, {number(one['high'])}]{limit}, n {one['n']}"


def number(value: float | None) -> str:
    """Three digits after the point, and none for whole numbers."""
    return "" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")
