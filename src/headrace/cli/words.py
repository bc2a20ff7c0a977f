"""What ``headrace tokens`` says of many texts: terms, words that are near each other, a map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from headrace.cli.console import print_json, say, table, wrapped
from headrace.errors import ExtraMissing, InputError
from headrace.models.texts import texts_in

_SHOWN = 20  # texts on the screen
_MOST = 2000  # texts of a map


def show_terms(path: Path, as_json: bool) -> None:
    """Top terms of each text, the words that all have, and how sparse the table is."""
    from headrace.models.terms import Bag

    bag = Bag({each.name: each.text for each in texts_in(path)})
    top = {name: bag.top(name) for name in bag.counts}
    common = [{"term": term, "documents": n} for term, n in bag.common()]
    if as_json:
        print_json(
            {
                "texts": len(bag.counts),
                "vocabulary": len(bag.vocabulary),
                "filled": bag.filled,
                "sparsity": bag.sparsity,
                "common": common,
                "top": top,
            }
        )
        return
    click.echo(
        wrapped(
            f"{len(bag.counts):,} texts × {len(bag.vocabulary):,} words: {bag.filled:,} cells are not 0, "
            f"{bag.sparsity:.2%} are."
        )
    )
    click.echo(wrapped("in most texts  " + ", ".join(f"{c['term']} ({c['documents']})" for c in common)))
    click.echo("")
    rows = [
        [name, ", ".join(f"{t.term} {t.weight:.2f}" for t in found[:6])]
        for name, found in list(top.items())[:_SHOWN]
    ]
    click.echo(table(["text", "top terms"], rows))
    if len(top) > _SHOWN:
        click.echo(f"… and {len(top) - _SHOWN:,} more: --json has them all.")


def show_near(words: Sequence[str], corpus: Path | None, as_json: bool) -> None:
    """The nearest words of each word, by vectors learned from the corpus."""
    from headrace.models.wordvectors import train

    if corpus is None:
        raise InputError(
            "--near needs texts to learn from.", hint="Name a file or a folder: --train notes.txt"
        )
    vectors = train(each.text for each in texts_in(corpus))
    found = {word: vectors.near(word) for word in words}
    if as_json:
        print_json({"vocabulary": len(vectors.words), "near": found})
        return
    click.echo(f"{len(vectors.words):,} words have a vector.")
    for word, near in found.items():
        click.echo(f"\n{word}")
        rows = [[f"{each.similarity:.2f}", each.count, each.word] for each in near]
        click.echo(table(["similarity", "count", "word"], rows, right=(0, 1)))


def show_map(path: Path, picture: Path | None, as_json: bool) -> None:
    """Texts in a plane: their embeddings' first two principal components, as a picture."""
    import numpy as np

    from headrace.draw.scatter import scatter_svg
    from headrace.draw.svg import standalone
    from headrace.models.projection import flat
    from headrace.tasks.given import project_embedder

    texts = [each for each in texts_in(path) if each.text.strip()]
    if len(texts) > _MOST:
        say(f"{len(texts):,} texts: the first {_MOST:,} are drawn.")
        texts = texts[:_MOST]
    embedder = project_embedder()
    if embedder is None:
        raise ExtraMissing(
            "A map of texts needs the embedder's weights, and they are not on this machine.",
            hint="`headrace doctor` says how to get them.",
        )
    found = flat(np.asarray(embedder.embed([each.text for each in texts])))
    points = [(float(x), float(y)) for x, y in found.points]
    shares = (f"across: {found.shares[0]:.0%}", f"up: {found.shares[1]:.0%} of what differs")
    title = f"{len(texts):,} texts of {path.name or path}"
    if picture is not None:
        drawn = scatter_svg(
            points,
            [each.name for each in texts],
            [each.group for each in texts],
            title=title,
            described="Texts with like meaning lie near each other.",
            axes=shares,
        )
        picture.write_text(standalone(drawn), encoding="utf-8")
    if as_json:
        rows: list[dict[str, Any]] = [
            {"name": each.name, "group": each.group, "x": x, "y": y}
            for each, (x, y) in zip(texts, points, strict=True)
        ]
        where = None if picture is None else str(picture)
        print_json({"texts": len(texts), "shares": found.shares, "points": rows, "picture": where})
        return
    click.echo(f"{title} · {' · '.join(shares)}")
    click.echo(f"Written to {picture}." if picture else "Give --picture FILE.svg to see it.")
