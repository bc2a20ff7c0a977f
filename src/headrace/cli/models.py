"""models: look for a model, read its card, know its licence."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.console import json_option, print_json, say, table, wrapped

if TYPE_CHECKING:
    from headrace.models.card import Card
    from headrace.models.find import Choice

_UNITS = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}


class Count(click.ParamType):  # type: ignore[type-arg]
    """125000000, 125M or 1.5B."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([\d.,_]+)\s*([kmb]?)", str(value).strip().lower())
        try:
            assert found is not None
            return int(float(re.sub("[,_]", "", found[1])) * _UNITS[found[2]])
        except (AssertionError, ValueError):
            self.fail(f"{value!r} is not a count: write 125000000, 125M or 1.5B.", param, ctx)


@click.group(
    epilog="""\b
Examples:
  headrace models find
  headrace models find --task generate --permissive --max-parameters 2B
  headrace models find ~/models --language de --why
  headrace models card ./my-model
  headrace models compare ./small ./large --examples own.jsonl
  headrace models licences"""
)
def models() -> None:
    """Look for models, read what one is, know what its licence allows."""


@models.command(
    epilog="""\b
Examples:
  headrace models find --task sentiment --licence apache-2.0,mit
  headrace models find ~/models --max-mb 500 --why
  headrace models find --task chat --permissive --hub --json

\b
Filters come first: a model that does not say whether it meets one is out.
The ranking adds popularity (3), recency (2), small size (2), documentation
(1) and being made for the task (1). The Hub is asked only under the network
policy 'open'."""
)
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path), metavar="[FOLDER]...")
@click.option("--task", default="", metavar="TASK", help="generate, classify, fill-mask, translation, …")
@click.option(
    "--licence",
    default=None,
    metavar="WHICH",
    help="permissive, commercial, any, or ids: apache-2.0,mit.  [default: any]",
)
@click.option("--permissive", is_flag=True, help="The same as --licence permissive.")
@click.option("--language", default="", metavar="LANG", help="A language that the model states, such as de.")
@click.option("--max-parameters", type=Count(), metavar="N", help="At most so many parameters, such as 500M.")
@click.option("--max-mb", type=float, metavar="MB", help="Weights of at most so many megabytes.")
@click.option("--max-age", type=float, metavar="DAYS", help="Changed within so many days.")
@click.option("--name", default="", metavar="TEXT", help="The name has this in it.")
@click.option("--hub/--no-hub", default=None, help="Ask the Hub too.  [default: under policy 'open']")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Models to show.")
@click.option("--why", is_flag=True, help="Show what was left out, and why.")
@json_option
def find(
    folders: tuple[Path, ...],
    task: str,
    licence: str | None,
    permissive: bool,
    language: str,
    max_parameters: int | None,
    max_mb: float | None,
    max_age: float | None,
    name: str,
    hub: bool | None,
    limit: int,
    why: bool,
    as_json: bool,
) -> None:
    """Models on this machine (and on the Hub) that meet every filter, best first.

    Looks below each FOLDER; without one, in the project and in Headrace's folder for models; always in
    the Hugging Face cache. Each row says why it stands where it stands.
    """
    from headrace.errors import InputError
    from headrace.models import find as finding

    if permissive and licence not in (None, "permissive"):
        raise InputError(
            f"--permissive and --licence {licence} ask for different things.", hint="Give one of them."
        )
    wanted = finding.Wanted(
        task=task,
        licence="permissive" if permissive else licence or "any",
        language=language,
        max_parameters=max_parameters,
        max_megabytes=max_mb,
        max_age_days=max_age,
        name=name,
    )
    found = _searched(folders, wanted, hub)
    if as_json:
        kept = {"rejected": found.rejected} if why else {}
        shown = found.ranked[:limit]
        print_json(
            {
                "wanted": wanted,
                "models": shown,
                **kept,
                "left_out": len(found.rejected),
                "looked": found.looked,
            }
        )
        return
    _show_found(found, limit, why)


def _searched(folders: tuple[Path, ...], wanted: Any, hub: bool | None) -> Choice:
    from headrace.errors import NotFound
    from headrace.models import find as finding
    from headrace.models.places import cache
    from headrace.settings import load

    settings = load()
    for folder in folders:
        if not folder.expanduser().is_dir():
            raise NotFound(f"There is no folder {str(folder)!r}.", hint="Name one that holds models.")
    below = [folder.expanduser() for folder in folders] or places()
    looked = [*map(str, below), str(cache())]
    candidates = list(finding.local(below))
    if hub or (hub is None and settings.network == "open"):
        candidates += finding.hub(wanted, policy=settings.network)
        looked.append("the Hub")
    return replace(finding.choose(candidates, wanted), looked=tuple(looked))


def places() -> list[Path]:
    """Where models of this project lie: its folder, and the folder per user."""
    from headrace.settings import find_root, home

    return [find_root(), home() / "models"]


def _show_found(found: Choice, limit: int, why: bool) -> None:
    from headrace.models.find import short

    if not found.ranked:
        click.echo("No model meets these filters.")
        say(wrapped(f"Looked below {', '.join(found.looked)}."))
    rows = []
    for place, each in enumerate(found.ranked[:limit], 1):
        it = each.candidate
        size = short(it.parameters) if it.parameters else "–"
        rows.append([place, f"{each.score:.1f}", size, it.licence.id or "unknown", it.task or "–", it.name])
    if rows:
        click.echo(table(["", "score", "size", "licence", "task", "name"], rows, right=(0, 1, 2)))
        click.echo("")
        for place, each in enumerate(found.ranked[:limit], 1):
            where = each.candidate.folder or each.candidate.source
            click.echo(wrapped(f"{place}  {', '.join(each.why)}"))
            click.echo(f"   {where}")
    if why and found.rejected:
        click.echo(f"\nLeft out: {len(found.rejected)}")
        for out in found.rejected:
            click.echo(wrapped(f"{out.candidate.name}: {'; '.join(out.why)}", "  "))
    elif found.rejected:
        say(f"\n{len(found.rejected)} left out: --why says why.")


@models.command(
    epilog="""\b
Examples:
  headrace models card ./my-model
  headrace models card owner/name --json"""
)
@click.argument("model", metavar="NAME|FOLDER")
@click.option("--hashes/--no-hashes", default=True, help="Read every file for its SHA-256.")
@json_option
def card(model: str, hashes: bool, as_json: bool) -> None:
    """What a model is: parameters, memory, licence, training data, context, tokenizer, files.

    Read from the files themselves; nothing is loaded, no code of the model runs. A file that is missing
    is an error that names it.
    """
    from headrace.models import card as cards
    from headrace.models.places import named

    found = cards.whole(cards.card(named(model, places=places()), hashed=hashes))
    if as_json:
        print_json(found)
        return
    _show_card(found)


def _show_card(found: Card) -> None:
    from headrace.models.find import short

    click.echo(f"{found.name}\n{found.folder}\n")
    stated = found.stated
    lines: list[tuple[str, str]] = [
        ("kind", " · ".join(x for x in (found.family, found.task, found.release) if x) or "unknown"),
    ]
    if found.tensors and found.memory:
        kinds = ", ".join(f"{short(n)} {kind}" for kind, n in found.tensors.dtypes.items())
        lines.append(("parameters", f"{found.tensors.parameters:,} ({kinds})"))
        memory = found.memory
        per = (
            f", {_bytes(memory.per_1000_tokens)} per 1,000 tokens"
            if memory.per_1000_tokens is not None
            else ""
        )
        lines.append(
            (
                "memory",
                f"{_bytes(memory.weights)} of weights as they are (bfloat16 {_bytes(memory.bfloat16)}, "
                f"int8 {_bytes(memory.int8)}){per}",
            )
        )
    licence = stated.licence
    lines += [
        ("licence", f"{licence.id or 'unknown'}: {licence.said}. Commercial use: {licence.commercial}"),
        ("base model", ", ".join(stated.base_model) or "not stated"),
        ("trained on", ", ".join(stated.training_data) or "not stated"),
        ("languages", ", ".join(stated.languages) or "not stated"),
        ("context", f"{found.text.context:,} tokens" if found.text.context else "unknown"),
        (
            "tokenizer",
            (found.text.scheme or "unknown")
            + (f", {found.text.vocabulary:,} pieces" if found.text.vocabulary else "")
            + (", chat template" if found.text.chat_template else ", no chat template"),
        ),
        ("changed", f"{found.updated:%Y-%m-%d}" if found.updated else "unknown"),
    ]
    for label, said in lines:
        first, *rest = wrapped(said, " " * 12).splitlines()
        click.echo("\n".join([label.ljust(12) + first.strip(), *rest]))
    for note in found.notes:
        click.echo(wrapped(f"! {note}"))
    click.echo("")
    rows = [[_bytes(file.bytes), file.sha256[:16], file.name] for file in found.files]
    click.echo(table(["size", "sha256", "file"], rows, right=(0,)))


def _bytes(size: int) -> str:
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size} B"


@models.command(
    epilog="""\b
Examples:
  headrace models compare ./small ./large --examples own.jsonl
  headrace models compare local:./small openai:gpt-4o-mini \\
      --examples own.jsonl --metric answer_f1 --json"""
)
@click.argument("names", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--examples",
    required=True,
    type=click.Path(path_type=Path),
    help="Your own: JSON lines of inputs and expectations.",
)
@click.option("--metric", default="answer_f1", show_default=True, help="What quality means.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=128, show_default=True)
@json_option
def compare(names: tuple[str, ...], examples: Path, metric: str, max_new_tokens: int, as_json: bool) -> None:
    """Set models side by side on your own examples: quality, cost, speed, what can be changed.

    Quality and the median time of a call come with 95 % intervals; the verdict is against the first
    model. Of what can be changed, three things count: the weights are here, the licence allows it, and
    it fits into this machine's memory while all of it is trained.
    """
    from headrace.cli.console import counted
    from headrace.cli.decode import open_model
    from headrace.evaluation import axes
    from headrace.evaluation.dataset import read
    from headrace.types import Decoding

    rows = read(examples)
    with counted("asking", quiet=as_json) as progress:
        found = axes.measure(
            [open_model(name) for name in names],
            rows,
            metric,
            decoding=Decoding(max_new_tokens=max_new_tokens),
            progress=progress,
        )
    if as_json:
        print_json({"metric": metric, "examples": len(rows.items), "models": found})
        return
    shown = []
    for each in found:
        quality = "–" if each.quality.value is None else f"{each.quality.value:.3f}"
        between = "" if each.quality.low is None else f" [{each.quality.low:.2f}, {each.quality.high:.2f}]"
        shown.append(
            [
                quality + between,
                "–" if each.seconds.value is None else f"{each.seconds.value:.3f}",
                "–" if each.cost is None else f"{each.cost:.4f}",
                f"{each.cpu:.0f}",
                f"{each.changes.score} of 3",
                each.name,
            ]
        )
    headings = [metric, "seconds", "$/1000", "cpu s/1000", "changes", "model"]
    click.echo(table(headings, shown, right=(1, 2, 3)))
    for each in found:
        if each.against is not None:
            click.echo(wrapped(f"{each.name} against {found[0].name}: {each.against.verdict}"))
        if each.failed:
            click.echo(wrapped(f"{each.name}: {each.failed} calls failed"))


@models.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@json_option
def licences(ids: tuple[str, ...], as_json: bool) -> None:
    """What licences allow, in a few words; all of the table, or those that are named.

    Our own short reading, not legal advice: for anything that matters, read the licence.
    """
    from headrace.models import licence

    found = [licence.read(id) for id in ids] if ids else licence.known()
    if as_json:
        print_json({"licences": found})
        return
    groups: dict[tuple[str, str, str], list[str]] = {}
    for each in found:
        groups.setdefault((each.kind, each.commercial, each.said), []).append(each.id)
    for (kind, commercial, said), listed in groups.items():
        click.echo(wrapped(f"{kind} · commercial use: {commercial} · {said}"))
        click.echo(wrapped(", ".join(listed), "  "))
