"""audit grounding: each sentence of the answers in a file, judged by the passages beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headrace.cli.console import counted, json_line, json_option, say, table


@click.command(
    epilog="""\b
Examples:
  headrace audit grounding answers.jsonl
  headrace audit grounding answers.jsonl --words --json

\b
A line of the file: {"answer": "It opened in 1987.", "passages": ["…", "…"]}"""
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--words", is_flag=True, help="Compare by words alone, without the embedder.")
@json_option
def grounding(file: Path, words: bool, as_json: bool) -> None:
    """Judge each sentence of answers: supported, contradicted, not verifiable.

    FILE has JSON lines with answer and passages (texts, or mappings with text). Numbers, dates and
    names are compared exactly, the rest by words, and by meaning where the embedder is installed. A
    score is the share of an answer's sentences that are supported. With --json one JSON value a line
    comes out for each line that went in, with sentences and score.
    """
    from headrace.auditing import grounding as auditing
    from headrace.measure.statistics import rate

    rows = auditing.read(file)
    with counted("answers", quiet=as_json) as tell:
        found = auditing.judged(rows, auditing.similarity(by_words=words), progress=tell)
    if as_json:
        for row in found:
            click.echo(json_line(row))
        return
    lines: list[list[Any]] = []
    for number, row in enumerate(found, start=1):
        for sentence in row["sentences"]:
            if sentence["verdict"] != "supported":
                lines.append([number, sentence["verdict"], sentence["why"] or sentence["text"]])
    if lines:
        click.echo(table(("line", "verdict", "why"), lines, right=(0,)))
    every = [s for row in found for s in row["sentences"] if s["claims"]]
    held = sum(s["verdict"] == "supported" for s in every)
    share = rate(held, len(every))
    if share.value is None:
        say("No sentence claims anything.")
        return
    click.echo(
        f"{held} of {len(every)} sentences supported: {share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"
    )
