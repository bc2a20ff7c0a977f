"""decode: from a prompt to a text, opened up; settings tried side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.console import counted, json_option, print_json, say, table, wrapped
from headrace.text import shorten

if TYPE_CHECKING:
    from headrace.models.decoding import Stages, Trial
    from headrace.protocols import Model
    from headrace.types import Decoding


@click.command(
    epilog="""\b
Examples:
  headrace decode ./my-model "Once upon a time"
  headrace decode ./my-model "Once upon a time" --stages
  headrace decode ./my-model "Once upon a time" \\
      --grid temperature=0,0.7 top_p=0.8,0.95 num_beams=1,4
  headrace decode ./my-model "Lily" --grid seed=1,2,3 temperature=1
  headrace decode local:./my-model "Lily" --grid num_beams=1,10 --json
  headrace decode ./my-model "Once upon a" --next 5
  headrace decode ./bert "The mill stands by the [MASK]." --fill 5

\b
Settings: temperature, top_k, top_p, num_beams, min_new_tokens,
max_new_tokens, seed."""
)
@click.argument("model")
@click.argument("prompt")
@click.argument("more", nargs=-1, metavar="[NAME=VALUES]...")
@click.option(
    "--grid", "first", multiple=True, metavar="NAME=VALUES", help="Settings to try, all combinations."
)
@click.option("--stages", "open_up", is_flag=True, help="Show prompt, token ids, what was written, text.")
@click.option(
    "--next", "top", type=int, metavar="N", help="Show the N likeliest next tokens instead of a text."
)
@click.option("--fill", type=int, metavar="N", help="The N likeliest tokens of each [MASK] (a masked model).")
@click.option("--max-new-tokens", type=int, default=40, show_default=True, help="Longest text, in tokens.")
@click.option("--max-length", type=int, help="Cut the prompt to so many tokens; says how many were dropped.")
@click.option("--seed", type=int, default=0, show_default=True, help="Fixes what is drawn.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End the text before this; may be repeated.")
@json_option
def decode(
    model: str,
    prompt: str,
    more: tuple[str, ...],
    first: tuple[str, ...],
    open_up: bool,
    top: int | None,
    fill: int | None,
    max_new_tokens: int,
    max_length: int | None,
    seed: int,
    stop: tuple[str, ...],
    as_json: bool,
) -> None:
    """Try settings of decoding on one prompt: seconds, log-probability, text.

    MODEL is a folder, or what a project calls a model: local:PATH, a server's model, a name of
    headrace.toml. Log-probability is the sum of natural logarithms over the tokens written, by the
    model itself and before temperature and top-p; servers do not tell it.
    """
    from headrace.errors import InputError
    from headrace.models import decoding as decodings
    from headrace.types import Decoding

    values = decodings.axes([*first, *more])
    if open_up and any(len(each) > 1 for each in values.values()):
        raise InputError(
            "--stages shows one generation, and the grid has several.",
            hint="Give one value for each setting, or leave --stages out.",
        )
    if fill is not None:
        if values or open_up or top is not None or max_length is not None:
            raise InputError(
                "--fill shows what could stand in a gap, and nothing is decoded.",
                hint="Leave --grid, --stages, --next and --max-length out.",
            )
        _show_gaps(model, prompt, fill, as_json)
        return
    base = Decoding(max_new_tokens=max_new_tokens, seed=seed, stop=stop)
    opened = open_model(model)
    if top is not None:
        if values or open_up or max_length is not None:
            raise InputError(
                "--next shows probabilities before anything is decoded, so no setting changes them.",
                hint="Leave --grid, --stages and --max-length out.",
            )
        _show_next(opened, prompt, top, as_json)
        return
    if open_up:
        settings = {name: each[0] for name, each in values.items()}
        one = Decoding(**{"max_new_tokens": max_new_tokens, "seed": seed, "stop": stop, **settings})
        _show_stages(opened, decodings.stages(opened, prompt, one, max_length=max_length), one, as_json)
        return
    trials = decodings.grid(opened, prompt, values, base=base, max_length=max_length)
    total = 1
    for each in values.values():
        total *= len(each)
    rows: list[Trial] = []
    try:
        rows.extend(_counted(trials, total, quiet=as_json))
    except KeyboardInterrupt:
        if rows and not as_json:
            _show_rows(rows, list(values))
        raise
    if as_json:
        print_json({"model": opened.name, "prompt": prompt, "rows": [_row(row) for row in rows]})
        return
    _show_rows(rows, list(values))


def open_model(name: str) -> Model:
    """A folder, or whatever ``hr.model`` knows by this name."""
    from headrace.resources.handles import ModelHandle
    from headrace.settings import find_root

    folder = Path(name).expanduser()
    here = folder.is_dir() or name.startswith((".", "/", "~"))
    return ModelHandle(f"local:{folder.absolute()}" if here else name, root=find_root()).open()


def _counted(trials: Iterator[Trial], total: int, *, quiet: bool) -> Iterator[Trial]:
    with counted("tried", quiet=quiet or total < 2) as progress:
        for done, trial in enumerate(trials, 1):
            if progress is not None:
                progress(done, total, "")
            yield trial


def _row(trial: Trial) -> dict[str, Any]:
    from headrace.types import to_json

    data = to_json(trial)
    return {"settings": data.pop("asked"), **data}


def _show_rows(rows: Sequence[Trial], names: Sequence[str]) -> None:
    shown: list[list[Any]] = []
    texts: list[str] = []
    seen: set[Decoding] = set()
    for row in rows:
        if row.decoding in seen:
            continue
        seen.add(row.decoding)
        settings = ["–" if name in row.ignored else row.asked[name] for name in names]
        figures = [f"{row.seconds:.2f}", row.tokens, _logprob(row.logprob), _logprob(row.logprob_per_token)]
        shown.append([len(shown) + 1, *settings, *figures])
        texts.append(row.text)
    headings = ["", *names, "seconds", "tokens", "logprob", "per token"]
    click.echo(table(headings, shown, right=range(len(headings))))
    click.echo("")
    for number, text in enumerate(texts, 1):
        click.echo(wrapped(f"{number}  {' '.join(text.split())}"))
    if len(shown) < len(rows):
        click.echo(
            f"\n{len(rows)} combinations, {len(shown)} different: what is shown as – says nothing there "
            "(temperature 0 draws nothing)."
        )
    if all(row.logprob is None for row in rows):
        say("This model tells no log-probabilities.")


def _show_next(model: Model, prompt: str, top: int, as_json: bool) -> None:
    from headrace.errors import InputError
    from headrace.types import Message, to_json

    look = getattr(model, "next_tokens", None)
    if look is None:
        raise InputError(
            f"{model.name!r} tells no probabilities of its next token.",
            hint="Name a model on this machine: a folder, local:PATH.",
        )
    found = look([Message("user", prompt)], top)
    if as_json:
        print_json({"model": model.name, "prompt": prompt, "next": to_json(found)})
        return
    rows = [[f"{each.probability:.4f}", each.id, each.token] for each in found]
    click.echo(table(["probability", "id", "token"], rows, right=(0, 1)))
    click.echo(
        f"\n{len(found)} tokens hold {sum(each.probability for each in found):.1%} of the probability."
    )


def _show_gaps(model: str, prompt: str, top: int, as_json: bool) -> None:
    from headrace.cli.models import places
    from headrace.models.masked import MaskedModel
    from headrace.models.places import named
    from headrace.types import to_json

    opened = MaskedModel(named(model, places=places()))
    gaps = opened.fill(prompt, top)
    if as_json:
        print_json({"model": opened.name, "prompt": prompt, "gaps": to_json(gaps)})
        return
    for gap in gaps:
        before = prompt[max(0, gap.start - 30) : gap.start].lstrip()
        click.echo(f"…{before}{prompt[gap.start : gap.end]}")
        rows = [[f"{each.probability:.4f}", each.id, each.token] for each in gap.candidates]
        click.echo(table(["probability", "id", "token"], rows, right=(0, 1)))
        held = sum(each.probability for each in gap.candidates)
        click.echo(f"{len(rows)} tokens hold {held:.1%} of the probability.\n")


def _logprob(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _show_stages(model: Model, shown: Stages, decoding: Decoding, as_json: bool) -> None:
    from headrace.types import to_json

    if as_json:
        print_json({"model": model.name, "decoding": to_json(decoding), **to_json(shown)})
        return
    read, written = shown.read, shown.written
    click.echo("1 prompt")
    click.echo(wrapped(shorten(shown.prompt, 600), "  "))
    cut = f", {read.dropped} tokens dropped" if read.dropped else ""
    click.echo(f"\n2 ids and mask: {len(read.ids)} tokens{cut}")
    click.echo(wrapped(" ".join(f"{t}·{i}" for t, i in zip(read.tokens, read.ids, strict=True)), "  "))
    click.echo(wrapped("mask " + " ".join(map(str, read.mask)), "  "))
    total = f", log-probability {sum(written.logprobs):.2f}" if written.logprobs else ""
    click.echo(
        f"\n3 model: {len(written.ids)} tokens in {written.seconds:.2f} s{total}, ended by {written.finish}"
    )
    tokens = zip(written.tokens, written.ids, written.logprobs, strict=True)
    click.echo(wrapped(" ".join(f"{t}·{i}({p:.2f})" for t, i, p in tokens), "  "))
    click.echo("\n4 text")
    click.echo(wrapped(shown.text, "  "))
