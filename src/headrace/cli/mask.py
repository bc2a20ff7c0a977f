"""mask: personal data and secrets of a text file, each copy under a mark that stays the same."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click

from headrace.cli.console import counted, json_option, print_json, say


@click.command(
    epilog="""\b
Examples:
  headrace mask letter.txt
  headrace mask letter.txt -o letter.masked.txt --kind email --kind phone
  headrace mask - --json < app.log

\b
Kinds: private_key, jwt, api_key, password, secret, email, iban, card, ssn,
ip, date_of_birth, passport, id_number, phone, address, name."""
)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write it here.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only this kind; repeatable.")
@json_option
def mask(file: Path, output: Path | None, kinds: tuple[str, ...], as_json: bool) -> None:
    """Mask personal data and secrets in a text file: [EMAIL_1], [CARD_1], …

    The same value keeps the same mark, every copy is masked. FILE may be - for standard input. With
    --json: the masked text, and kind and place of each finding, counted in characters of the original.
    What was found is told in numbers on standard error, never by its value.
    """
    from headrace.errors import Conflict, NotFound
    from headrace.guards import personal
    from headrace.ingest.encoding import decode

    wanted = personal.chosen(kinds or None)
    if str(file) == "-":
        data = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
    elif file.is_file():
        data = file.read_bytes()
    else:
        raise NotFound(f"There is no file {str(file)!r}.", hint="Name a text file, or - for standard input.")
    if output is not None and output.exists() and str(file) != "-" and output.samefile(file):
        raise Conflict(f"{str(output)!r} is the file that is read.", hint="Write to another file.")
    with counted("rules", quiet=as_json) as tell:
        text, found = personal.mask(decode(data, str(file)), wanted, tell)
    if output is not None:
        output.write_text(text, encoding="utf-8", newline="")
    if as_json:
        findings = [{"kind": one.kind, "start": one.start, "end": one.end} for one in found]
        print_json({"text": text, "findings": findings})
        return
    if output is None:
        click.echo(text, nl=False)
    counts = Counter(one.kind for one in found)
    told = ", ".join(f"{n} {kind}" for kind, n in counts.most_common()) or "nothing found"
    say(("\n" if output is None and not text.endswith("\n") else "") + told)
