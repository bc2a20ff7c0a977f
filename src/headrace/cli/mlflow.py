"""mlflow: showing releases to a tracking server."""

from __future__ import annotations

import click

from headrace.cli.console import json_option, print_json


@click.group(
    epilog="""\b
Examples:
  headrace mlflow push handbook --uri http://127.0.0.1:5000
  headrace mlflow push handbook@staging"""
)
def mlflow() -> None:
    """Show releases to MLflow: runs, registered models that answer, aliases."""


@mlflow.command(
    epilog="""\b
Examples:
  headrace mlflow push handbook --uri http://127.0.0.1:5000
  headrace mlflow push handbook@staging
  headrace mlflow push handbook@3f9a1c2b --json"""
)
@click.argument("target", metavar="NAME[@ALIAS|@ID]")
@click.option("--uri", help="The tracking server; without it, uri under [mlflow] in headrace.toml.")
@json_option
def push(target: str, uri: str | None, as_json: bool) -> None:
    """Log a release as a run and a registered model, and set its aliases.

    A run has the parameters of the release and the metrics of its reports; the model answers by
    itself. What was pushed already is not logged twice.
    """
    from headrace.ops.mlflow import push as push_release
    from headrace.settings import find_root

    done = push_release(find_root(), target, uri)
    if as_json:
        print_json(done)
        return
    click.echo(f"{done.name} {done.release[:12]} is version {done.version} at {done.uri}")
    click.echo(f"run {done.run}" + ("" if done.new else ", logged before"))
    click.echo(f"aliases: {', '.join(done.aliases) or 'none on this version'}")
    click.echo(f"\nLoad it with: mlflow.pyfunc.load_model('models:/{done.name}/{done.version}')")
