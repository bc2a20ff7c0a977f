"""data: data sets pinned by revision and hash."""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from headrace.cli.console import json_option, print_json, say, table


@click.group(
    epilog="""\b
Examples:
  headrace data pin reviews ./reviews.jsonl --revision 2026-03
  headrace data check
  headrace data show reviews --limit 3

\b
Pins stand in data.lock.json beside headrace.toml: keep it under version
control. A file that changed since is refused, with both hashes."""
)
def data() -> None:
    """Pin data sets by revision and hash; check that they are still the same."""


@data.command(
    epilog="""\b
Examples:
  headrace data pin reviews ./reviews.jsonl --revision 2026-03
  headrace data pin squad owner/name --revision 4f8a01"""
)
@click.argument("name")
@click.argument("source", metavar="PATH|OWNER/NAME")
@click.option("--revision", default="", help="Which version it is; of the Hub's, a commit.")
@json_option
def pin(name: str, source: str, revision: str, as_json: bool) -> None:
    """Record a data set as NAME: a file, a folder, or one of the Hugging Face cache.

    A path is looked for from the current folder and kept from the project's root.
    """
    from pathlib import Path

    from headrace.models import pinned
    from headrace.settings import load

    settings = load()
    here = Path(source).expanduser()
    given = str(here.absolute()) if here.exists() else source
    found = pinned.pin(name, given, root=settings.root, revision=revision, policy=settings.network)
    if as_json:
        print_json(found)
        return
    files = "1 file" if len(found.files) == 1 else f"{len(found.files)} files"
    click.echo(f"{name}: {files}, {found.hash[:16]}" + (f", revision {found.revision}" if revision else ""))
    say(f"Recorded in {settings.root / pinned.FILE}.")


@data.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
def check(names: tuple[str, ...], as_json: bool) -> int:
    """Read every file of the pinned data sets and compare it with its pin. Exit code 1: one changed."""
    from headrace.errors import HeadraceError
    from headrace.models import pinned
    from headrace.settings import load

    settings = load()
    rows: list[dict[str, Any]] = []
    for name in names or pinned.pinned(settings.root):
        try:
            found = pinned.load(name, root=settings.root, policy=settings.network)
        except HeadraceError as error:
            if names and not as_json:
                raise
            rows.append({"name": name, "ok": False, "said": error.message, "hint": error.hint})
        else:
            rows.append(
                {
                    "name": name,
                    "ok": True,
                    "hash": found.hash,
                    "revision": found.revision,
                    "said": "as pinned",
                }
            )
    if as_json:
        print_json({"data": rows})
    elif not rows:
        click.echo("No data set is pinned here.")
    else:
        shown = [[row["name"], row.get("revision") or "–", row["said"]] for row in rows]
        click.echo(table(["name", "revision", "state"], shown))
        for row in rows:
            if not row["ok"]:
                say(f"\n{row['said']}\n{row['hint']}")
    return 0 if all(row["ok"] for row in rows) else 1


@data.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(0), default=5, show_default=True, help="Rows to show.")
@json_option
def show(name: str, limit: int, as_json: bool) -> None:
    """A pinned data set, verified: its files and its first rows (jsonl, csv, tsv)."""
    from headrace.models import pinned
    from headrace.settings import load
    from headrace.text import shorten

    settings = load()
    found = pinned.load(name, root=settings.root, policy=settings.network)
    rows = list(islice(found.rows(), limit))
    if as_json:
        print_json({"data": found, "rows": rows})
        return
    click.echo(table(["sha256", "file"], [[h[:16], file] for file, h in found.files.items()]))
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        shown = [[shorten(str(row.get(column, "")), 40) for column in columns] for row in rows]
        click.echo("\n" + table(columns, shown))
