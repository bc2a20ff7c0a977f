"""What the examples share: their command line, the model that plays where none is named, readable lines."""

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import headrace as hr
from headrace.models.cost import Prices
from headrace.models.scripted import Replies, ScriptedModel


def command(about: str, double: Replies | None, words: Sequence[str] | None = None, **more: str) -> Any:
    """The options of an example. ``model`` is what ``--model`` names, else a double that plays ``double``.

    ``double`` None: the example needs no model. ``more``: options that take a value, as ``name=help``.
    """
    paragraphs = (part for part in about.split("\n\n") if not part.startswith("    "))
    told = "\n\n".join(textwrap.fill(" ".join(part.split()), 80) for part in paragraphs)
    parser = argparse.ArgumentParser(
        description=told, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    if double is not None:
        named = "such as openai:gpt-4o-mini, local:./folder or a name from headrace.toml"
        parser.add_argument("--model", metavar="MODEL", help=f"a model of yours, {named}")
    for name, text in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=name.upper(), help=text)
    options = parser.parse_args(words)
    if double is not None:
        options.scripted = options.model is None
        options.model = played(double) if options.scripted else hr.model(options.model).open()
    return options


def played(double: Replies) -> ScriptedModel:
    """A double, and the sentence that has to stand above what it plays."""
    say(
        "Model: a scripted double plays prepared answers. That shows how the parts work together and "
        "says nothing about any model; name one with --model."
    )
    return ScriptedModel(double, name="scripted double", window=4096, prices=Prices(input=0.15, output=0.60))


def title(text: str) -> None:
    """A heading."""
    print(f"\n{text}\n{'─' * min(len(text), 80)}")


def say(text: str, indent: int = 0) -> None:
    """A paragraph, at most 80 columns wide; its further lines are indented."""
    print(textwrap.fill(re.sub(r"\s*\n\s*", " ", text), 80, subsequent_indent=" " * indent))


def run(main: Callable[[], None]) -> None:
    """Run an example; what went wrong with a model or an input is one message."""
    try:
        main()
    except hr.HeadraceError as error:
        sys.exit(f"error: {error.message}\n{error.hint}".rstrip())
