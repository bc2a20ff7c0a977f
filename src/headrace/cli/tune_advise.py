"""tune advise: what to try before anything is trained. The rules are in ``tuning/advise.py``."""

from __future__ import annotations

import click

from headrace.cli.console import json_option, print_json, wrapped


@click.command(
    "advise",
    epilog="""\b
Examples:
  headrace tune advise --missing form --rows 40
  headrace tune advise --missing facts
  headrace tune advise --missing labels --rows 5000 --tried prompt \\
      --tried few-shot --tried instruct --measured --json""",
)
@click.option(
    "--missing",
    type=click.Choice(["form", "facts", "labels", "search"]),
    default="form",
    show_default=True,
    help="What falls short: form or tone, facts of documents, labels, search.",
)
@click.option("--rows", type=click.IntRange(0), default=0, show_default=True, help="Good examples you have.")
@click.option("--tried", multiple=True, metavar="ROUTE", help="Measured, and fell short; may be repeated.")
@click.option("--measured", is_flag=True, help="A held-out set says how good the present state is.")
@click.option("--may-leave", is_flag=True, help="Data may leave this machine.")
@click.option("--commercial", is_flag=True, help="What is made will earn money.")
@json_option
def advise(
    missing: str,
    rows: int,
    tried: tuple[str, ...],
    measured: bool,
    may_leave: bool,
    commercial: bool,
    as_json: bool,
) -> None:
    """Say which route to try next, which later, which not, and why.

    Routes in their order: prompt, few-shot, documents, instruct (a model that somebody tuned), service,
    embedder, tune. The rules are fixed and in words; nothing is measured here.
    """
    from headrace.tuning.advise import Case
    from headrace.tuning.advise import advise as ask

    case = Case(
        missing=missing,  # type: ignore[arg-type]  # click has checked it
        rows=rows,
        tried=frozenset(tried),
        private=not may_leave,
        commercial=commercial,
        measured=measured,
    )
    routes = ask(case)
    found = next((route for route in routes if route.verdict == "next"), None)
    if as_json:
        print_json({"next": found.route if found else None, "routes": routes})
        return
    for route in routes:
        mark = "→" if route.verdict == "next" else " "
        click.echo(f"{mark} {route.route:13} {route.verdict}")
        click.echo(
            wrapped(route.why + (f" ({route.how})" if route.how and route.verdict != "no" else ""), "    ")
        )
    if found is None:
        click.echo(
            "\nNothing is left that fits: get more good rows, or a held-out set that says what is wrong."
        )
