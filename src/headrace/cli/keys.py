"""keys: who may ask the server, and for what."""

from __future__ import annotations

import time

import click

from headrace.cli.console import json_option, print_json, say, table
from headrace.ops.keys import SCOPES, USUAL, Keys, keys_of


def _keys() -> Keys:
    from headrace.settings import find_root

    return keys_of(find_root())


@click.group(
    epilog="""\b
Examples:
  headrace keys create intranet
  headrace keys create grafana --scope read
  headrace keys list
  headrace keys revoke grafana

\b
Scopes: invoke (ask), feedback (vote), read (runs, sources, reports, metrics),
admin (everything). A key is shown once; its hash alone is kept. A server that
runs takes a new key, and refuses a revoked one, from the next request on."""
)
def keys() -> None:
    """Make, list and revoke the keys that the server asks for."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    help=f"What it is for; may be given several times.  [default: {', '.join(USUAL)}]",
)
@json_option
def create(name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Make a key for NAME (who or what will use it), and show it once."""
    token, key = _keys().create(name, scopes or USUAL)
    if as_json:
        print_json({"id": key.id, "name": key.name, "scopes": key.scopes, "key": token})
        return
    click.echo(token)
    say(f"\nThis is the key of {key.name!r} for {', '.join(key.scopes)}. It is not shown again.")
    say("Programs send it as 'Authorization: Bearer KEY', people enter it once on the page.")


@keys.command("list")
@json_option
def list_(as_json: bool) -> None:
    """All keys, without their secrets."""
    found = _keys().list()
    if as_json:
        print_json({"keys": found})
        return
    if not found:
        click.echo("No keys yet.")
        return
    rows = [
        [
            key.name,
            key.id,
            _when(key.created),
            "never" if key.used is None else _when(key.used),
            "good" if key.revoked is None else f"revoked {_when(key.revoked)}",
            ", ".join(key.scopes),
        ]
        for key in found
    ]
    click.echo(table(["name", "id", "made", "last use", "state", "scopes"], rows))


@keys.command()
@click.argument("key")
@json_option
def revoke(key: str, as_json: bool) -> None:
    """Refuse KEY (a name or an id) from now on."""
    found = _keys().revoke(key)
    if as_json:
        print_json(found)
        return
    click.echo(f"{found.name} ({found.id}) is revoked.")


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))
