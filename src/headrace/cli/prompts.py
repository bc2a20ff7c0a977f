"""prompts: make, check and show them, and say what changed between two."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.console import json_option, print_json, say, table, wrapped
from headrace.cli.prompts_compare import compare

if TYPE_CHECKING:
    from headrace.prompts.lint import Remark
    from headrace.prompts.template import Template


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  headrace prompts
  headrace prompts new "Classify reviews as good or bad" --name review
  headrace prompts lint
  headrace prompts show review --set text="Fine flour."
  headrace prompts diff review --release handbook@production
  headrace prompts compare prompts/a.md prompts/b.md \\
      --examples evals/reviews.jsonl --metrics exact_match""",
)
@json_option
@click.pass_context
def prompts(ctx: click.Context, as_json: bool) -> None:
    """Prompts as files: list, make, check, show, diff, compare.

    A prompt is a file of the project's folder prompts/, named without its
    suffix, or any other file by its path.
    """
    if ctx.invoked_subcommand is None:
        _list(as_json)
    elif as_json:
        raise click.UsageError(f"Write --json behind the command: prompts {ctx.invoked_subcommand} --json.")


def _root() -> Path:
    from headrace.settings import find_root

    return find_root()


def _read(given: str) -> tuple[Path, Template]:
    from headrace.prompts.template import Template
    from headrace.resources.prompt import find

    path = find(given, _root())
    return path, Template.read(path)


def _shown(path: Path) -> str:
    try:
        return path.absolute().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)


def _list(as_json: bool) -> None:
    from headrace.prompts.fourpart import FourPart
    from headrace.prompts.lint import lint as lint_
    from headrace.prompts.template import Template
    from headrace.resources.prompt import find_all

    rows: list[dict[str, Any]] = []
    for path in find_all((), _root()):
        remarks = lint_(path)
        broken = any(remark.code == "broken" for remark in remarks)
        template = None if broken else Template.read(path)
        rows.append(
            {
                "file": _shown(path),
                "name": path.stem,
                "version": template.version if template else None,
                "parts": "four" if isinstance(template, FourPart) else "messages" if template else None,
                "variables": list(template.variables) if template else [],
                "remarks": len(remarks),
            }
        )
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo('No prompts here yet. Make one with: headrace prompts new "what it is to do"')
    else:
        cells = [[r["file"], r["version"] or "broken", r["remarks"], ", ".join(r["variables"])] for r in rows]
        click.echo(table(["file", "version", "remarks", "variables"], cells, right=(2,)))


# --------------------------------------------------------------------------- new


@prompts.command(
    epilog="""\b
Examples:
  headrace prompts new "Classify reviews as good, bad or mixed"
  headrace prompts new "Extract the date and the amount from invoices"
  headrace prompts new "Answer questions about leave" --name leave"""
)
@click.argument("goal")
@click.option("--name", help="Name of the file, without suffix.  [default: from the goal]")
@json_option
def new(goal: str, name: str | None, as_json: bool) -> None:
    """Write a first prompt for a GOAL in one line into prompts/.

    Four parts, the clauses and a format; no model writes it. Placeholders in
    it are to be replaced, and what it is worth says `prompts compare`.
    """
    from headrace.errors import InputError, UserError
    from headrace.prompts.draft import draft, name_for
    from headrace.prompts.lint import lint as lint_
    from headrace.prompts.template import Template
    from headrace.resources.prompt import FOLDER, PromptHandle

    text = draft(goal)
    handle = PromptHandle(name if name is not None else name_for(goal), root=_root())
    path = Path(handle.root) / FOLDER / f"{handle.name}.md"
    if path.exists():
        raise UserError(
            f"{_shown(path)!r} exists already; it is left as it is.", hint="Give another name: --name NAME"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_text(text, encoding="utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"The goal is no text: {error}.", hint="Write it anew.") from error
    remarks = lint_(path)
    if as_json:
        print_json({"file": _shown(path), "version": Template.read(path).version, "remarks": remarks})
        return
    click.echo(_shown(path))
    _show_remarks(remarks)


# --------------------------------------------------------------------------- lint


@prompts.command(
    epilog="""\b
Examples:
  headrace prompts lint
  headrace prompts lint prompts/review.md --strict
  headrace prompts lint --json

\b
Exit codes: 0 no error · 3 an error, with --strict also a warning."""
)
@click.argument("files", nargs=-1)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@json_option
def lint(files: tuple[str, ...], strict: bool, as_json: bool) -> int:
    """Say what is missing in prompts: parts, verb, format, examples, clauses.

    FILES may be folders; without them all prompts of the project. Switch a
    remark off where you know better: allow = ["CODE"] in the front matter.
    """
    from headrace.prompts.lint import lint as lint_
    from headrace.resources.prompt import find_all

    paths = find_all(files, _root())
    found = [(path, lint_(path)) for path in paths]
    counts = {
        severity: sum(remark.severity == severity for _, remarks in found for remark in remarks)
        for severity in ("error", "warning", "note")
    }
    code = 3 if counts["error"] or (strict and counts["warning"]) else 0
    if as_json:
        print_json(
            {
                "files": [{"file": _shown(path), "remarks": remarks} for path, remarks in found],
                **{f"{severity}s": count for severity, count in counts.items()},
            }
        )
        return code
    if not found:
        click.echo('No prompts here yet. Make one with: headrace prompts new "what it is to do"')
    for path, remarks in found:
        click.echo(f"{_shown(path)}: {len(remarks)} remark{'' if len(remarks) == 1 else 's'}")
        _show_remarks(remarks)
    return code


def _show_remarks(remarks: Sequence[Remark]) -> None:
    for remark in remarks:
        click.echo(wrapped(f"{remark.severity} {remark.code}, line {remark.line}: {remark.message}", "  "))
        click.echo(wrapped(remark.hint, "    "))
    if remarks:
        click.echo('  (allow = ["CODE"] in the front matter switches a remark off)')


# --------------------------------------------------------------------------- show, diff


@prompts.command(
    epilog="""\b
Examples:
  headrace prompts show review
  headrace prompts show review --set text="Fine flour."
  headrace prompts show review --set text="Fine flour." --model local:t5-small
  headrace prompts show review --history --json"""
)
@click.argument("prompt")
@click.option("--set", "values", multiple=True, metavar="NAME=TEXT", help="A variable's value; repeat.")
@click.option("--model", default="", metavar="MODEL", help="As this model is sent it (its name is enough).")
@click.option("--family", type=click.Choice(["chat", "completion", "t5"]), help="As this family is sent it.")
@click.option("--history", "past", is_flag=True, help="Which versions releases and runs have used.")
@json_option
def show(prompt: str, values: tuple[str, ...], model: str, family: Any, past: bool, as_json: bool) -> None:
    """Show a prompt and its version; with values, exactly what would be sent."""
    from headrace.errors import InputError
    from headrace.prompts.fourpart import FourPart
    from headrace.types import to_json

    path, template = _read(prompt)
    given = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals:
            raise InputError(f"--set {value!r} has no value.", hint="Write --set NAME=TEXT.")
        given[name] = text
    sent: dict[str, Any] | None = None
    text = ""
    if given or ((model or family) and not template.variables):
        if isinstance(template, FourPart):
            made = template.rendered(given, model=model, family=family)
            if model and not template.written_for(model):
                say(wrapped(f"It was written for {', '.join(template.models)}, not for {model}."))
            text = made.text
            sent = {"family": made.family, "messages": to_json(made.messages), "stop": list(made.stop)}
        else:
            messages = template.render(**given)
            text = "\n\n".join(f"{m.role}: {m.content}" for m in messages)
            sent = {"family": "chat", "messages": to_json(messages), "stop": []}
    used = None
    if past:
        from headrace.ops.prompts import history

        used = history(path.stem, _root(), working=template.version)
    if as_json:
        print_json(
            {
                "name": template.name,
                "file": _shown(path),
                "version": template.version,
                "hash": template.hash,
                "variables": list(template.variables),
                "text": template.dump(),
                "sent": sent,
                **({"history": used} if past else {}),
            }
        )
        return
    click.echo(
        f"{_shown(path)} · version {template.version} · {', '.join(template.variables) or 'no variable'}"
    )
    click.echo()
    click.echo(text if sent else template.dump().rstrip())
    if sent and sent["stop"]:
        click.echo(f"\nstops at {sent['stop'][0]!r}")
    if used is not None:
        click.echo()
        click.echo(
            table(
                ["version", "runs", "last used", "releases"],
                [
                    [
                        u.version + (" *" if u.working else ""),
                        u.runs,
                        time.strftime("%Y-%m-%d %H:%M", time.localtime(u.last)) if u.last else "–",
                        ", ".join(u.releases) or "–",
                    ]
                    for u in used
                ],
                right=(1,),
            )
        )
        click.echo("* as the file stands")


@prompts.command(
    epilog="""\b
Examples:
  headrace prompts diff prompts/a.md prompts/b.md
  headrace prompts diff review --release handbook@production
  headrace prompts diff a b --json"""
)
@click.argument("a")
@click.argument("b", required=False)
@click.option("--release", metavar="NAME@ALIAS", help="Set A against what this release holds.")
@json_option
def diff(a: str, b: str | None, release: str | None, as_json: bool) -> None:
    """What changes from prompt A to prompt B, or from a release to A."""
    if (b is None) == (release is None):
        raise click.UsageError("Name two prompts, or one and --release NAME@ALIAS.")
    path, first = _read(a)
    if b is not None:
        second = _read(b)[1]
    else:
        from headrace.ops.prompts import of_target

        first, second = of_target(path.stem, str(release), _root()), first
    changed = first.diff(second)
    if as_json:
        sides = [{"name": t.name, "version": t.version} for t in (first, second)]
        print_json({"a": sides[0], "b": sides[1], "same": not changed, "diff": changed})
        return
    click.echo(changed or f"They say the same: version {first.version}.")


prompts.add_command(compare)
