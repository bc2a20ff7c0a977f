"""tokens: how a text is cut into characters, words and the sub-words of a tokenizer.

What is learned from many texts (terms, vectors of words, a map) is in ``words.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.console import json_option, print_json, wrapped

if TYPE_CHECKING:
    from headrace.models.subwords import Cut, Subwords

_SHOWN = 10  # merges on the screen


@click.command(
    epilog="""\b
Examples:
  headrace tokens "How many days of leave do I get?"
  headrace tokens "Unbelievable!" --model ./my-model --price 0.15
  headrace tokens "The quikc fox" --train notes.txt --vocabulary 500
  headrace tokens "Unbelievable!" --picture tokens.svg
  headrace tokens --terms docs/
  headrace tokens --near river --train notes.txt
  headrace tokens --map docs/ --picture map.svg

\b
A file of texts has one a line, or is jsonl with text and label; of a folder,
each file is one text, and its folder is the label."""
)
@click.argument("text", required=False)
@click.option(
    "--model", default="", metavar="MODEL", help="A folder or tokenizer.json.  [default: the embedder]"
)
@click.option("--train", type=click.Path(path_type=Path), help="Learn from this: sub-words, or --near.")
@click.option("--vocabulary", type=int, default=1000, show_default=True, help="Pieces to learn with --train.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the trained tokenizer.json here.")
@click.option("--terms", type=click.Path(path_type=Path), help="Top TF-IDF terms of these texts.")
@click.option("--near", multiple=True, metavar="WORD", help="Words near WORD, as learned from --train.")
@click.option("--map", "mapped", type=click.Path(path_type=Path), help="Texts in a plane, by embedding.")
@click.option("--picture", type=click.Path(path_type=Path), help="Write an SVG: of the tokens, or of --map.")
@click.option("--price", type=float, help="US dollars per million tokens: shows the cost of the text.")
@json_option
def tokens(
    text: str | None,
    model: str,
    train: Path | None,
    vocabulary: int,
    save: Path | None,
    terms: Path | None,
    near: tuple[str, ...],
    mapped: Path | None,
    picture: Path | None,
    price: float | None,
    as_json: bool,
) -> None:
    """Cut a text into characters, words and sub-words, with ids and counts.

    Says which scheme the model uses (BPE, WordPiece, Unigram). With --train, sub-words are learned
    from a file, and what of the text that file does not know is shown for each way of cutting.

    Without a text: the terms that tell texts apart, words that are near each other in a corpus, or a
    picture of texts in two dimensions.
    """
    from headrace.errors import InputError
    from headrace.models.cost import Prices
    from headrace.models.subwords import Subwords, out_of_vocabulary
    from headrace.types import to_json

    if terms or near or mapped:
        if text is not None or save or model or (terms is not None) + bool(near) + (mapped is not None) > 1:
            raise InputError(
                "--terms, --near and --map each look at many texts, and take no TEXT, --model or --save.",
                hint="Give one of the three.",
            )
        from headrace.cli import words

        if terms is not None:
            words.show_terms(terms, as_json)
        elif mapped is not None:
            words.show_map(mapped, picture, as_json)
        else:
            words.show_near(near, train, as_json)
        return
    if not text:
        raise InputError("There is no text.", hint="Give one, or --terms, --near or --map with many.")
    if (model and train) or (save and not train):
        raise InputError(
            "--model names a tokenizer that exists, --train and --save make one.", hint="Give one of them."
        )
    corpus: list[str] = []
    if train:
        corpus = _lines(train)
        cutter = Subwords.train(corpus, vocabulary=vocabulary)
        if save:
            cutter.save(save)
    else:
        cutter = _open(model)
    cut = cutter.cut(text)
    outside = out_of_vocabulary(corpus, text, cutter) if train else None
    found: dict[str, Any] = {
        "text": text,
        "model": cutter.name,
        "scheme": cutter.scheme,
        "manner": cutter.manner,
        "vocabulary": cutter.size,
        "counts": {"characters": cut.characters, "words": len(cut.words), "subwords": len(cut.pieces)},
        "words": list(cut.words),
        "subwords": to_json(list(cut.pieces)),
        "unknown": cut.unknown,
        "round_trip": cut.round_trip,
        "cost": Prices(input=price).cost(len(cut.pieces), 0),
        "merges": [list(pair) for pair in cutter.merges[:50]] if train else [],
        "outside": to_json(outside),
    }
    if picture:
        _draw(picture, cut, cutter)
    if as_json:
        print_json(found)
        return
    manner = f", {cutter.manner}" if cutter.manner else ""
    click.echo(wrapped(f"{cutter.name}: {cutter.scheme}, {cutter.size:,} pieces{manner}"))
    counts = found["counts"]
    click.echo(
        f"\n{counts['characters']} characters · {counts['words']} words · {counts['subwords']} sub-words"
    )
    click.echo(wrapped("words      " + " ".join(cut.words)))
    click.echo(wrapped("sub-words  " + " ".join(f"{piece.token}·{piece.id}" for piece in cut.pieces)))
    if cut.unknown:
        click.echo(f"{cut.unknown} sub-words are not in the vocabulary")
    if not cut.round_trip:
        click.echo("The ids do not give the text back exactly (case, accents or blanks are lost).")
    if found["cost"] is not None:
        click.echo(f"cost       ${found['cost']:.8f}")
    if outside:
        first = ", ".join(f"{a}+{b}" for a, b in cutter.merges[:_SHOWN])
        click.echo(wrapped(f"\nfirst joined  {first}"))
        click.echo(
            f"not in the file: {outside.words:.0%} of words, {outside.characters:.0%} of characters, "
            f"{outside.subwords:.0%} of sub-words"
        )


def _draw(path: Path, cut: Cut, cutter: Subwords) -> None:
    from headrace.draw.svg import standalone
    from headrace.draw.tokens import tokens_svg

    pieces = [(cut.text[piece.start : piece.end] or piece.token, piece.id) for piece in cut.pieces]
    title = f"{len(pieces)} sub-words of {cutter.name} ({cutter.scheme})"
    drawn = tokens_svg(pieces, title=title, described=f"The text cut into {len(pieces)} sub-words.")
    path.write_text(standalone(drawn), encoding="utf-8")


def _open(model: str) -> Subwords:
    """A tokenizer from a folder or file; without a name, the packaged embedder's."""
    from headrace.models.subwords import Subwords
    from headrace.models.weights import find_weights
    from headrace.settings import home

    if model:
        return Subwords.open(Path(model.removeprefix("local:")).expanduser())
    weights = find_weights("", home=home())
    return Subwords.open(weights.folder, weights.name)


def _lines(path: Path) -> list[str]:
    from headrace.errors import InputError, NotFound

    if not path.is_file():
        raise NotFound(f"There is no file {str(path)!r}.", hint="Name a text file to learn from.")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if not any(line.strip() for line in lines):
        raise InputError(f"{str(path)!r} holds no text.", hint="Name a text file to learn from.")
    return lines
