"""new and doctor: the beginning of a project, and the state of an installation."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.console import json_option, print_json, wrapped


@click.command(
    epilog="""\b
Examples:
  headrace new handbook && cd handbook
  headrace ingest docs/ && headrace ask "How many days of leave do I get?" """
)
@click.argument("name")
@json_option
def new(name: str, as_json: bool) -> None:
    """Make a folder NAME with an application called NAME that runs as it stands."""
    from headrace.flows.scaffold import create

    written = create(name, Path.cwd())
    if as_json:
        print_json({"folder": str(Path.cwd() / name), "files": [str(path) for path in written]})
        return
    for path in written:
        click.echo(f"  {path.relative_to(Path.cwd()).as_posix()}")
    click.echo(
        f'\nNext:\n  cd {name}\n  headrace ingest docs/\n  headrace ask "How many days of leave do I get?"'
    )


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Say what is installed, where models lie, and what is wrong.

    Import time and sockets are measured in a fresh process.

    """
    from headrace.ops.doctor import examine

    health = examine()
    if as_json:
        print_json(health)
        return 0
    embedder = health.embedder or {}
    rows = [
        ("headrace", f"{health.version} on Python {health.python}"),
        ("installed", f"{health.distributions} distributions in its closure"),
        ("import", f"{health.import_seconds:.2f} s of CPU, {health.sockets_at_import} sockets"),
        ("embedder", f"{embedder.get('name', 'none')} {embedder.get('precision', '')}".strip()),
        ("weights", health.embedder_source or "none"),
        ("model", health.model),
        ("network", health.network),
        ("extras", ", ".join(f"{k} {'yes' if v else 'no'}" for k, v in health.extras.items())),
        ("project", health.project),
        ("knowledge", ", ".join(health.knowledge_bases) or "none yet"),
        ("home", health.home),
    ]
    for key, value in rows:
        click.echo(f"{key:10} {value}")
    for problem in health.problems:
        click.echo(wrapped(f"! {problem}"))
    click.echo("no problems" if not health.problems else f"{len(health.problems)} problems")
    return 0
