"""prompts compare: wordings of a prompt on the same examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headrace.cli.console import counted, json_option, print_json, say, table, wrapped

if TYPE_CHECKING:
    from headrace.evaluation.prompts import PromptsCompared


@click.command(
    epilog="""\b
Examples:
  headrace prompts compare prompts/a.md prompts/b.md \\
      --examples evals/reviews.jsonl --metrics exact_match
  headrace prompts compare a b c --model openai:my-model \\
      --examples evals/ --json
  headrace prompts compare a b --app app.py:handbook --prompt a \\
      --examples evals/questions.jsonl"""
)
@click.argument("variants", nargs=-1, required=True, metavar="PROMPT PROMPT...")
@click.option("--examples", metavar="FILE", help="JSON lines, or a folder of them.  [default: evals/]")
@click.option("--metrics", metavar="NAMES", help="Names or file.py:function; the first one decides.")
@click.option("--model", metavar="MODEL", help="Which model is asked.  [default: the project's]")
@click.option("--app", metavar="APP", help="Compare through this application instead.")
@click.option("--prompt", "place", default="", metavar="NAME", help="Which of its prompts is exchanged.")
@click.option("--margin", type=click.FloatRange(0), help="Differences below it do not matter.")
@click.option("--workers", type=click.IntRange(1), help="Rows at once.")
@click.option("--no-cache", is_flag=True, help="Compute every row anew.")
@json_option
def compare(
    variants: tuple[str, ...],
    examples: str | None,
    metrics: str | None,
    model: str | None,
    app: str | None,
    place: str,
    margin: float | None,
    workers: int | None,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Run wordings of a prompt on the same examples: which is better?

    Means with 95 % intervals, and a verdict on each wording against the first,
    example by example. A winner is named only if its interval excludes 0 and
    there are 20 examples or more.
    """
    from headrace.evaluation.prompts import compare_prompts
    from headrace.resources.prompt import find
    from headrace.settings import find_root

    root = find_root()
    with counted("comparing", quiet=as_json) as progress:
        found = compare_prompts(
            [find(given, root) for given in variants],
            examples or root / "evals",
            metrics,
            model=model,
            app=app,
            prompt=place,
            margin=margin,
            workers=workers,
            cache=not no_cache,
            progress=progress,
        )
    if as_json:
        print_json(_compared(found))
        return
    _show_compared(found)


def _compared(found: PromptsCompared) -> dict[str, Any]:
    keep = ("value", "low", "high", "n", "failed", "not_assessed", "unit")
    said = ("verdict", "difference", "low", "high", "n", "needed", "method")
    return {
        "variants": [
            {
                "name": v.name,
                "version": v.version,
                "report_id": v.report.id,
                "metrics": {name: {key: m[key] for key in keep} for name, m in v.means.items()},
                "against_first": {n: {key: getattr(c, key) for key in said} for n, c in v.against.items()},
            }
            for v in found.variants
        ],
        "metric": found.metric,
        "winner": found.winner,
        "model": found.model,
        "examples": found.examples,
        "confidence": found.confidence,
        "notes": found.notes,
    }


def _show_compared(found: PromptsCompared) -> None:
    from headrace.cli.evaluate import figure, interval

    click.echo(f"{found.examples} examples, answered by {found.model}\n")
    for metric, measured in found.variants[0].means.items():
        unit = str(measured["unit"])
        rows = []
        for variant in found.variants:
            mean, verdict = variant.means[metric], variant.against.get(metric)
            rows.append(
                [
                    variant.name,
                    figure(mean["value"], unit),
                    interval(mean["low"], mean["high"], unit),
                    "–" if verdict is None else figure(verdict.difference, unit, signed=True),
                    "–" if verdict is None else interval(verdict.low, verdict.high, unit, signed=True),
                    verdict.verdict if verdict else "first" if variant is found.variants[0] else "–",
                ]
            )
        heads = [metric, "mean", "interval", "against first", "interval", "verdict"]
        click.echo(table(heads, rows, right=(1, 2, 3, 4)) + "\n")
    for variant in found.variants:
        if failed := variant.means[found.metric]["failed"]:
            click.echo(wrapped(f"{variant.name}: {failed} rows failed; see headrace reports show "
                               f"{variant.report.id[:16]}"))  # fmt: skip
    for note in found.notes:
        say(wrapped(note))
    click.echo(
        f"Winner by {found.metric}: {found.winner}."
        if found.winner
        else f"No winner by {found.metric}: the evidence does not tell."
    )
