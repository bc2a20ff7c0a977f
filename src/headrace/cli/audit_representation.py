"""audit representation: which groups of people a column of a data set speaks of."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.console import json_option, print_json, say, table


@click.command(
    epilog="""\b
Examples:
  headrace audit representation people.csv --column biography
  headrace audit representation rows.jsonl --column text --kind pronoun --svg groups.svg"""
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--column", default="", metavar="NAME", help="Column of a csv file or key of JSON lines.")
@click.option(
    "--kind", "kinds", multiple=True, help="pronoun, gender, age, religion, continent.  [default: all]"
)
@click.option(
    "--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw the shares into this file."
)
@json_option
def representation(file: Path, column: str, kinds: tuple[str, ...], svg: Path | None, as_json: bool) -> None:
    """Count which groups a data set names, with intervals.

    A row counts once for each group. Shares are of the rows that name any group of the kind. The word
    "they" counts only where it stands for one person. The lists of words are short: see the docs.
    """
    from headrace.auditing import representation as auditing

    texts = auditing.column(file, column)
    found = auditing.measure(texts, kinds=kinds or auditing.KINDS)
    if svg is not None:
        from headrace.draw.intervals import intervals_svg

        shown = [
            {
                "name": f"{one.kind}: {one.group}",
                "value": one.share.value,
                "low": one.share.low,
                "high": one.share.high,
                "n": one.of,
                "unit": "share",
            }
            for one in found
            if one.of
        ]
        svg.write_text(intervals_svg(shown, title=f"Groups in {file.name}"), encoding="utf-8")
    if as_json:
        print_json(
            {
                "rows": len(texts),
                "groups": [
                    {
                        "kind": one.kind,
                        "group": one.group,
                        "rows": one.rows,
                        "mentions": one.mentions,
                        "of": one.of,
                        "value": one.share.value,
                        "low": one.share.low,
                        "high": one.share.high,
                    }
                    for one in found
                ],
            }
        )
        return
    lines = []
    for one in found:
        if one.share.value is not None:
            share = f"{one.share.value:.1%} [{one.share.low:.1%}, {one.share.high:.1%}]"
            lines.append([one.kind, one.group, one.rows, one.mentions, share])
    if lines:
        click.echo(table(("kind", "group", "rows", "mentions", "share of rows"), lines, right=(2, 3)))
    else:
        click.echo("No row names a group.")
    say(f"{len(texts)} rows read")
