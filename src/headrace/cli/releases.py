"""releases: the shelf of what was released: list, log, verify, export, import."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.console import json_option, print_json, table, wrapped
from headrace.cli.release import short

if TYPE_CHECKING:
    from headrace.releases.registry import Registry
    from headrace.types import Release


class Shelf(click.Group):
    """``headrace releases [NAME]`` shows; the other words are commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without a command, ``show`` is meant."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=Shelf,
    epilog="""\b
Examples:
  headrace releases
  headrace releases handbook --json
  headrace releases verify 3f2a91
  headrace releases export 3f2a91 handbook.hrelease
  headrace releases import handbook.hrelease""",
)
def releases() -> None:
    """Releases of this project: list, log, verify, export, import.

    `headrace releases NAME` lists those of a name, its aliases, and the log.
    """


@releases.command()
@click.argument("name", required=False)
@click.option("--log", "lines", default=10, show_default=True, help="How many lines of the log to show.")
@click.option("--verify", "verifying", is_flag=True, help="Read every byte of each release.")
@json_option
def show(name: str | None, lines: int, verifying: bool, as_json: bool) -> int:
    """List releases, newest first, with aliases and the log (what happens without a command)."""
    from headrace.errors import NotFound

    root, registry = _registry()
    if name is not None and name not in registry.names():
        known = ", ".join(registry.names())
        raise NotFound(
            f"Nothing was released under the name {name!r}.",
            hint=f"Released so far: {known}." if known else "Make one first: headrace release",
        )
    found = registry.releases(name)
    sizes = _verified(root, found) if verifying else {}
    names = [name] if name is not None else registry.names()
    live = {each: registry.live(each) for each in names}
    log = registry.log(name)
    if as_json:
        print_json(
            {
                "name": name,
                "releases": [{**_row(r, live[r.name]), **_size(sizes, r)} for r in found],
                "live": [live[each] for each in names],
                "log": log,
            }
        )
        return 0
    if not found:
        click.echo("Nothing was released yet. Make a release: headrace release")
        return 0
    click.echo(
        table(
            ("name", "version", "id", "made", "aliases"),
            [
                (r.name, r.version, r.id[:12], _when(r.created), ", ".join(_aliases(r.id, live[r.name])))
                for r in found
            ],
            right=(1,),
        )
    )
    if sizes:
        click.echo(f"\n{len(sizes)} releases verified, {sum(sizes.values()):,} bytes: as they were released.")
    if log and lines > 0:
        click.echo("\nLog")
        for entry in log[-lines:]:
            what = entry.what + (f" {entry.alias}" if entry.alias else "")
            percent = f" {entry.percent:g} %" if entry.percent else ""
            verdict = f" · {entry.verdict}" if entry.verdict not in ("", "passed", "rolled back") else ""
            click.echo(f"  {_when(entry.at)}  {entry.name} {what}{percent} {short(entry.release)}{verdict}")
            before = f" · before: {short(entry.previous)}" if entry.previous else ""
            click.echo(wrapped(f"{entry.who}{before}" + (f" · {entry.why}" if entry.why else ""), "      "))
    return 0


@releases.command()
@click.argument("release_id", metavar="[ID]", required=False)
@json_option
def verify(release_id: str | None, as_json: bool) -> int:
    """Read every byte of a release (of all) and compare it with what was released."""
    root, registry = _registry()
    found = [_one(registry, release_id)] if release_id else registry.releases()
    sizes = _verified(root, found)
    if as_json:
        print_json({"verified": [{"release_id": r.id, "bytes": sizes[r.id]} for r in found]})
        return 0
    for each in found:
        click.echo(f"{each.name} {each.version} ({each.id[:12]})  {sizes[each.id]:>13,} bytes  as released")
    if not found:
        click.echo("Nothing was released yet.")
    return 0


@releases.command("export")
@click.argument("release_id", metavar="ID")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def export_(release_id: str, file: Path, as_json: bool) -> int:
    """Write a release, knowledge base included, into one FILE. ID may be NAME@ALIAS too."""
    from headrace.releases.archive import export
    from headrace.resources import build

    root, registry = _registry()
    found = _one(registry, release_id)
    size = export(build.bundles(root), found, file)
    if as_json:
        print_json({"release_id": found.id, "file": str(file), "bytes": size})
        return 0
    click.echo(f"{found.name} {found.version} ({found.id[:12]}) is in {file}, {size:,} bytes.")
    click.echo(f"On the other machine, in a project's folder: headrace releases import {file.name}")
    return 0


@releases.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--why", default="", help="A line for the log.")
@json_option
def import_(file: Path, why: str, as_json: bool) -> int:
    """Take a release from FILE into this project, every byte verified. No alias moves."""
    from headrace.releases.archive import read_in
    from headrace.releases.entries import whoami
    from headrace.resources import build

    root, registry = _registry()
    found = read_in(build.bundles(root), registry, file, who=whoami(), why=why)
    if as_json:
        print_json({"release_id": found.id, "name": found.name, "version": found.version})
        return 0
    click.echo(f"{found.name} {found.version} ({found.id[:12]}) is here, verified.")
    click.echo(f"Next: headrace promote {found.name}@staging --release {found.id[:12]}")
    return 0


# --------------------------------------------------------------------------- pieces


def _registry() -> tuple[Path, Registry]:
    from headrace.resources import build
    from headrace.settings import find_root

    root = find_root()
    return root, build.registry(root)


def _one(registry: Registry, given: str) -> Release:
    return registry.resolve(given) if "@" in given else registry.release(given)


def _verified(root: Path, found: Iterable[Release]) -> dict[str, int]:
    from headrace.resources import build

    bundles = build.bundles(root)
    return {each.id: bundles.verify(each.id) for each in found}


def _row(found: Release, live: Any) -> dict[str, Any]:
    return {
        "release_id": found.id,
        "name": found.name,
        "version": found.version,
        "created": found.created,
        "fingerprint": found.manifest["fingerprint"],
        "reproducible": found.manifest["reproducible"],
        "aliases": _aliases(found.id, live),
    }


def _size(sizes: Mapping[str, int], found: Release) -> dict[str, int]:
    return {"verified_bytes": sizes[found.id]} if found.id in sizes else {}


def _aliases(id: str, live: Any) -> list[str]:
    held = [alias for alias in ("production", "staging") if live.at(alias) == id]
    return held + ([f"canary {live.percent:g}%"] if live.canary == id else [])


def _when(at: float) -> str:
    return datetime.datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")
