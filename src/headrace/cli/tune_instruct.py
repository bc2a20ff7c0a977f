"""tune instruct: questions with answers + a base model → a model of your own. No logic: ``tuning/``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.console import counted, json_option, print_json, say, table, wrapped

if TYPE_CHECKING:
    from headrace.protocols import Progress
    from headrace.tuning.instruct import Plan, Task
    from headrace.tuning.training import Course


@click.command(
    "instruct",
    epilog="""\b
Examples:
  headrace tune instruct answers.jsonl --model ./base --dry-run
  headrace tune instruct answers.jsonl --model ./base --out ./mine
  headrace tune instruct films.jsonl --model ./base --label 0=bad --label 1=good
  headrace tune instruct train.jsonl --held-out test.jsonl --model ./base --json
  headrace decode ./mine "Where is the mill?"

\b
Lines of DATA: instruction, context (may be missing), response; or prompt,
completion; or messages that end with the assistant's. A run that was stopped
goes on when the same command is given again.""",
)
@click.argument("data", type=click.Path(path_type=Path), metavar="DATA.jsonl")
@click.option("--model", "base", required=True, metavar="FOLDER", help="The base: a folder, or a hub id.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the model goes.  [default: tuned/DATA]")
@click.option(
    "--held-out",
    default="0.1",
    show_default=True,
    metavar="SHARE|FILE",
    help="Rows to judge by, never trained on: a share of DATA, or a file.",
)
@click.option("--label", "labels", multiple=True, metavar="VALUE=WORD", help="What to write for a value.")
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="Times over the rows.")
@click.option("--steps", type=click.IntRange(1), help="So many steps instead of epochs.")
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Rows of one step.")
@click.option("--rate", type=float, help="Learning rate.  [default: by the size of the model]")
@click.option("--rank", type=click.IntRange(1), default=16, show_default=True, help="Rank of the adapter.")
@click.option("--full", is_flag=True, help="Train every weight instead of an adapter.")
@click.option("--seed", type=int, default=0, show_default=True, help="Fixes the split and the training.")
@click.option("--max-length", type=click.IntRange(2), help="Longest row in tokens.  [default: the window]")
@click.option("--checkpoint", type=click.IntRange(1), metavar="STEPS", help="Steps between checkpoints.")
@click.option(
    "--prompts", type=click.IntRange(1), default=100, show_default=True, help="Held-out rows to answer."
)
@click.option("--threads", type=click.IntRange(1), help="Threads of torch.")
@click.option("--licence", default="", metavar="ID", help="The licence of DATA, such as cc-by-4.0.")
@click.option(
    "--demand",
    default="any",
    show_default=True,
    metavar="USE",
    help="What licences must allow: any, commercial, permissive, or ids.",
)
@click.option(
    "--override", default="", metavar="REASON", help="Go on against a licence; kept in the manifest."
)
@click.option("--dry-run", is_flag=True, help="Say what it would take; three steps are made and thrown away.")
@json_option
def instruct(
    data: Path,
    base: str,
    out: Path | None,
    held_out: str,
    labels: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Tune a language model on questions and answers, and judge it on rows it never saw.

    The result is a folder that hr.model("local:FOLDER") opens, with the adapter alone beside the merged
    weights, and manifest.json: made from what, how, and how good. Nothing leaves this machine.
    """
    from headrace.models.folders import find_folder
    from headrace.settings import find_root, load
    from headrace.tuning import instruct as tuning
    from headrace.tuning.training import Adapter, Course

    here = Path(base).expanduser()
    folder = (
        here.absolute()
        if here.is_dir()
        else find_folder(base.removeprefix("local:"), revision="", policy=load().network, root=find_root())
    )
    task = tuning.Task(
        data=data,
        base=folder,
        name=base if not here.is_dir() else here.resolve().name,
        out=out or Path("tuned") / data.stem,
        held_out=_held_out(held_out),
        labels=_labels(labels),
        max_length=options["max_length"] or 0,
        **{key: options[key] for key in ("prompts", "licence", "demand", "override")},
    )
    course = Course(
        epochs=options["epochs"],
        steps=options["steps"] or 0,
        batch=options["batch"],
        rate=options["rate"] or 0.0,
        adapter=None if options["full"] else Adapter(rank=options["rank"], alpha=2 * options["rank"]),
        seed=options["seed"],
        checkpoint=options["checkpoint"] or 0,
        threads=options["threads"] or 0,
    )
    if dry_run:
        plan = tuning.plan(task, course, tell=say)
        if as_json:
            print_json(plan)
        else:
            _show_plan(plan)
        return
    _run(task, course, as_json)


def _run(task: Task, course: Course, as_json: bool) -> None:
    from headrace.tuning import instruct as tuning

    try:
        with _Bars(quiet=as_json) as bars:
            found = tuning.instruct(task, course, progress=bars, tell=say)
    except KeyboardInterrupt:
        step = tuning.reached(task.out)
        say(
            f"\nThe checkpoint of step {step} is kept: the same command goes on from there."
            if step
            else "\nThere was no checkpoint yet: the same command begins again."
        )
        raise
    if as_json:
        print_json(found)
    else:
        _show(found)


class _Bars:
    """A bar for each part of the run, one after the other."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._what = quiet, ""
        self._stack = ExitStack()
        self._bar: Progress | None = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, done: int, total: int | None, what: str) -> None:
        if what != self._what:
            self._stack.close()
            self._what, self._bar = what, self._stack.enter_context(counted(what, quiet=self._quiet))
        if self._bar is not None:
            self._bar(done, total, what)


def _held_out(text: str) -> float | Path:
    try:
        return float(text)
    except ValueError:
        return Path(text)


def _labels(given: tuple[str, ...]) -> Any:
    from headrace.tuning.data import Labels

    if not given:
        return None
    pairs = [text.partition("=") for text in given]
    for text, (value, equals, word) in zip(given, pairs, strict=True):
        if not (value and equals and word):
            raise click.UsageError(f"--label {text!r}: write VALUE=WORD, such as 1=positive.")
    return Labels(words={value.strip(): word.strip() for value, _, word in pairs})


def _show_plan(plan: Plan) -> None:
    rows = [
        ["parameters", f"{plan.parameters:,}, of which {plan.trained:,} are trained"],
        ["rows", f"{plan.rows:,} to learn from, {plan.held_out:,} to judge by"],
        ["tokens", f"{plan.tokens:,} an epoch"],
        ["steps", f"{plan.steps:,}, about {plan.seconds_a_step:.2f} s each"],
        ["training", f"about {plan.seconds:,.0f} s by three steps made here; judging comes on top"],
        ["memory", f"about {plan.memory / 1e6:,.0f} MB beside Python and torch (computed)"],
    ]
    click.echo(table(["", "what it would take"], rows))


def _show(found: Mapping[str, Any]) -> None:
    def interval(entry: Mapping[str, Any], digits: str) -> str:
        if entry["low"] is None or entry["high"] is None:
            return "no interval: too few rows"
        return f"{entry['low']:{digits}} to {entry['high']:{digits}}"

    rows = [
        [name, f"{found[key]['value']:.2f}", interval(found[key], ".2f")]
        for name, key in (("base", "baseline"), ("tuned", "tuned"))
    ]
    click.echo(table(["perplexity of held-out answers", "value", "95 %"], rows))
    ratio, stops = found["ratio"], found["stops"]
    click.echo(f"\nTuned / base {ratio['value']:.3f} ({interval(ratio, '.3f')}): {ratio['verdict']}")
    click.echo(
        f"Ends at the marker {stops['value']:.1%} ({interval(stops, '.1%')}) of {stops['n']} answers; "
        f"the base {found['stops_base']['value'] or 0:.0%}"
    )
    exact = found["exact"]
    click.echo(f"Word for word as in the data {exact['value']:.1%} ({interval(exact, '.1%')})")
    click.echo(
        f"Loss {found['loss']['first']:.3f} → {found['loss']['last']:.3f}, {found['loss']['steps']} steps · "
        f"parity {found['parity']:.6f} · {found['seconds']:.0f} s"
    )
    licences = found["licences"]
    click.echo(wrapped(f"Licences ({licences['verdict']}): {licences['why'] or 'nothing is stated'}"))
    click.echo(f'\n{found["artifact"]}\nTo use it:  hr.model("local:{found["artifact"]}")')
    click.echo(f"Curves:     tensorboard --logdir {found['artifact']}/logs")
