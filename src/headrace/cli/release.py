"""release, promote, rollback: from the working copy to production, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.console import json_option, print_json, progress, wrapped

if TYPE_CHECKING:
    from headrace.ops.gates import GateResult
    from headrace.ops.rollout import Promotion

REFUSED = 3  # exit code


class Percent(click.ParamType):  # type: ignore[type-arg]
    """``5%`` or ``5``: above 0, below 100."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        try:
            found = float(str(value).strip().removesuffix("%"))
        except ValueError:
            self.fail(f"{value!r} is no percentage; write 5%.", param, ctx)
        if not 0 < found < 100:
            self.fail(f"{value!r} is not between 0% and 100%; without --canary all users get it.", param, ctx)
        return found


@click.command(
    epilog="""\b
Examples:
  headrace release
  headrace release app.py:handbook --json
  headrace release --why "27 days, not 25"

\b
The release holds code, prompts, settings, the exact distributions, the
identities of models, and a pinned copy of each knowledge base. No alias
moves. Gates are shown; they decide when you promote it to production."""
)
@click.argument("target", required=False, metavar="[APP]")
@click.option("--why", default="", help="A line for the log.")
@json_option
def release(target: str | None, why: str, as_json: bool) -> int:
    """Freeze an application with everything it uses, under the hash of all of it.

    APP is file.py:function or a project folder; without it, the project around the current folder.

    """
    from headrace.ops.release import release as make
    from headrace.ops.rollout import gates_of
    from headrace.resources import build

    app = _application(target)
    known = {r.id for r in build.registry(app.root).releases(app.name)}
    with progress("releasing", quiet=as_json) as bar:
        made = make(app, why=why, progress=bar)
    gates = gates_of(made, app.root)
    if as_json:
        print_json(
            {
                "release_id": made.id,
                "name": made.name,
                "version": made.version,
                "fingerprint": made.manifest["fingerprint"],
                "new": made.id not in known,
                "gates": gates,
            }
        )
        return 0
    click.echo(
        f"{made.name} {made.version} · {made.id[:12]}" + ("" if made.id not in known else " · as before")
    )
    for line in _contents(made.manifest):
        click.echo(wrapped(line, "  "))
    _show_gates(gates)
    live = build.registry(app.root).live(made.name)
    if live.production == made.id:
        click.echo("\nThis is what is in production.")
        return 0
    click.echo("\nNext:")
    if gates and any(gate.verdict != "pass" for gate in gates):
        click.echo("  headrace eval      # a report about this release, for its gates")
    click.echo(f"  headrace promote {made.name}@staging")
    if live.production is not None:
        click.echo(f"  headrace promote {made.name}@production --release {made.id[:12]} --canary 5%")
    click.echo(f"  headrace promote {made.name}@production --release {made.id[:12]}")
    return 0


@click.command(
    epilog="""\b
Examples:
  headrace promote handbook@staging
  headrace promote handbook@production
  headrace promote handbook@production --release 3f2a91 --canary 5%
  headrace promote handbook@production --override "typo fix, no eval yet"

\b
Exit codes: 0 done · 3 refused by a gate · 2 wrong use."""
)
@click.argument("target", metavar="NAME@ALIAS")
@click.option(
    "--release",
    "release_id",
    metavar="ID",
    help="Which one (the beginning of its id will do).  [default: canary, else staging, else newest]",
)
@click.option("--canary", type=Percent(), metavar="5%", help="Send this share of the users to it at first.")
@click.option("--override", metavar="WHY", help="Promote although a gate refuses; the reason is logged.")
@click.option("--why", default="", help="A line for the log.")
@json_option
def promote(
    target: str, release_id: str | None, canary: float | None, override: str | None, why: str, as_json: bool
) -> int:
    """Point NAME@staging or NAME@production to a release.

    It is read byte by byte and run once in a fresh process first; production also needs every gate
    of headrace.toml to pass. Without --canary, a running canary is finished: all users get it.

    """
    from headrace.ops.rollout import promote as move

    done = move(target, release_id, canary=canary, override=override, why=why)
    if as_json:
        print_json(done)
        return REFUSED if done.refused else 0
    _show_gates(done.gates)
    label = f"{done.name} {done.release.version} ({done.release.id[:12]})"
    if done.refused:
        stays = short(done.previous) if done.previous else "empty"
        click.echo(wrapped(f"\nRefused: {label} is not ready. {target} stays {stays}."))
        click.echo(
            wrapped(
                'Next: evaluate it (headrace eval), mend it, or promote it with --override "why".',
            )
        )
        return REFUSED
    if done.verdict == "overridden":
        click.echo(wrapped(f"\nGates overridden: {done.why}. It stands in the log."))
    if canary is not None:
        click.echo(wrapped(f"{label} gets {canary:g} % of the users, {short(done.previous)} the rest."))
        click.echo(f"Next: headrace promote {target}   or   headrace rollback {done.name}")
        return 0
    before = f" (before: {short(done.previous)})" if done.previous != done.release.id else " (as before)"
    click.echo(wrapped(f"{target} is {label}{before}."))
    if done.alias == "staging":
        click.echo(f"Next: headrace promote {done.name}@production")
    return 0


@click.command(
    epilog="""\b
Examples:
  headrace rollback handbook
  headrace rollback handbook --why "slow since noon" """
)
@click.argument("name", metavar="NAME")
@click.option("--why", default="", help="A line for the log.")
@json_option
def rollback(name: str, why: str, as_json: bool) -> int:
    """Bring production back to what it was before the last promotion.

    A running canary is ended first; repeated, it walks further back. A server follows at once.

    """
    from headrace.ops.rollout import rollback as back

    done: Promotion = back(name, why=why)
    if as_json:
        print_json(done)
        return 0
    label = f"{done.name} {done.release.version} ({done.release.id[:12]})"
    click.echo(wrapped(f"{done.name}@production is {label}; {short(done.previous)} is out."))
    return 0


# --------------------------------------------------------------------------- pieces


def _application(target: str | None) -> Any:
    from headrace.flows.load import load, project_app

    if target is not None:
        return load(target)
    found = project_app()
    if found is None:
        raise click.UsageError("There is no project here: name the application, app.py:function.")
    return found


def _contents(manifest: Mapping[str, Any]) -> Iterable[str]:
    yield f"{len(manifest['files'])} files · {len(manifest['distributions'])} distributions"
    for key, about in manifest["knowledge"].items():
        size = f"{about['documents']:,} documents, {about['chunks']:,} chunks"
        yield f"{key.partition(':')[2]}: version {about['version']}, {size}"
    for key, about in manifest["models"].items():
        what = {
            "none": "no model is configured: answers are quotes",
            "claimed": "claimed by its server, not hashed",
            "hashed": "hashed",
        }[about["assurance"]]
        yield f"{key}: {what}"
    yield from manifest["notes"]


def _show_gates(gates: Sequence[GateResult]) -> None:
    if not gates:
        return
    click.echo(f"\nGates ({100 * gates[0].confidence:.4g} % intervals, so that all hold together)")
    for gate in gates:
        bound = f" {gate.threshold:.4g}" if gate.threshold is not None else ""
        click.echo(f"  {gate.verdict:15} {gate.name} {gate.demand}{bound}")
        click.echo(wrapped(gate.why, "                  "))


def short(id: str | None) -> str:
    """The beginning of a release's id."""
    return id[:12] if id else "nothing"
