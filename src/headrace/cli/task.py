"""task: one of the tasks on one text, or on one text a line. What each does is in headrace/tasks."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import click

from headrace.cli.console import json_line, json_option, print_json, say, table, wrapped
from headrace.errors import HeadraceError, ReadError
from headrace.tasks.catalogue import TASKS
from headrace.types import Decoding, Message

TOGETHER = 64  # lines that are judged together

Run = Callable[[Any], Any]  # one text → its result, a list of them → a list


@click.command(
    "task",
    epilog="""\b
Examples:
  headrace task sentiment "A warm, funny film." --json
  headrace task classify "The bank raised rates." --labels finance,sports
  headrace task classify --examples mails.jsonl --lines < new.txt
  headrace task summarize --sentences 2 < article.txt
  headrace task table "What is the average price?" --table shop.csv
  headrace task translate "Good morning" --to fr --model local:./t5

\b
Without a model: sentiment, classify, summarize (sentences of the text) and
table (questions of known forms). With --model, or [models] default in
headrace.toml: translate, generate, chat, and the others by prompt. tag takes
a token-classification model: --model FOLDER.""",
)
@click.argument("name", type=click.Choice(list(TASKS)), metavar="NAME")
@click.argument("text", required=False)
@click.option("--lines", is_flag=True, help="One text a line in, one JSON value a line out.")
@click.option("--labels", metavar="A,B,C", help="classify: the labels to choose from.")
@click.option(
    "--examples",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE.jsonl",
    help="classify: lines of text and label to learn from.",
)
@click.option("--to", metavar="LANG", help="translate: the language to translate to, such as fr.")
@click.option("--from", "source", metavar="LANG", help="translate: the language of the text.  [default: en]")
@click.option(
    "--table",
    "csv",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="table: the csv file that is asked.",
)
@click.option("--sentences", type=click.IntRange(1), metavar="N", help="summarize: at most N sentences.")
@click.option("--words", type=click.IntRange(1), metavar="N", help="summarize: at most N words.")
@click.option("--model", metavar="MODEL", help="provider:model, or a [models] table; tag: a folder.")
@click.option("--tokens", type=click.IntRange(1), metavar="N", help="At most N new tokens from the model.")
@json_option
def task(
    name: str,
    text: str | None,
    lines: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Do one task on a text: TEXT, or what comes on standard input.

    NAME is one of summarize, sentiment, classify, translate, tag, table, chat, generate.
    """
    run = _task(name, options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said below, in a line of its own
        if name == "sentiment":
            from headrace.tasks.sentiments import judged_by

            if (how := judged_by()) != "embedding and n-grams":
                say(f"Judged by {how}.")
        if lines:
            if text is not None:
                raise click.UsageError("--lines reads standard input: leave TEXT out.")
            code = _lines(run, one_by_one=name == "chat")
            if code:
                sys.exit(code)
            return
        whole = _standard_input() if text is None or text == "-" else text
        found = run(whole)
    if as_json:
        print_json(found)
        return
    _show(found)


def _standard_input() -> str:
    data: bytes = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReadError(
            f"Standard input is not UTF-8 (byte {error.start}).", hint="Convert it, with iconv for example."
        ) from error


def _lines(run: Run, *, one_by_one: bool) -> int:
    """One value a line; a line that cannot be judged gives ``{"error": …}``, and the exit code says so."""
    code = 0
    for part in _parts(1 if one_by_one else TOGETHER):
        try:
            for found in run(part):
                click.echo(json_line(found))
            continue
        except HeadraceError:
            pass  # which line it was is found below
        for text in part:
            try:
                click.echo(json_line(run(text)))
            except HeadraceError as error:
                code = error.exit_code
                hint = {"code": error.code, "message": error.message, "hint": error.hint}
                click.echo(json_line({"error": hint}))
    return code


def _parts(size: int) -> Iterator[list[str]]:
    together = 1 if sys.stdin.isatty() else size
    lines = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace", newline="\n")
    try:
        came = (line.rstrip("\r\n") for line in lines)
        while part := list(islice(came, together)):
            yield part
    finally:
        lines.detach()  # standard input is not ours to close


def _task(name: str, options: dict[str, Any]) -> Run:
    """The task with its options in place; refuses options that belong to another task."""
    belongs = {
        "labels": "classify",
        "examples": "classify",
        "to": "translate",
        "source": "translate",
        "csv": "table",
        "sentences": "summarize",
        "words": "summarize",
    }
    for option, owner in belongs.items():
        if options[option] is not None and owner != name:
            shown = {"csv": "table", "source": "from"}.get(option, option)
            raise click.UsageError(f"--{shown} belongs to `headrace task {owner}`, not to {name}.")
    made: Run = _MAKERS[name](options)
    return made


def _decoding(options: dict[str, Any]) -> Decoding | None:
    return Decoding(max_new_tokens=options["tokens"]) if options["tokens"] else None


def _sentiment(options: dict[str, Any]) -> Run:
    from headrace import tasks

    if options["model"]:
        raise click.UsageError("sentiment takes no --model; for a prompt: classify --labels … --model …")
    return tasks.sentiment


def _classify(options: dict[str, Any]) -> Run:
    from headrace import tasks

    labels = None
    if options["labels"] is not None:
        labels = [label.strip() for label in options["labels"].split(",")]
    if labels is None and options["examples"] is None:
        raise click.UsageError("classify needs --labels a,b,c or --examples FILE.jsonl (text, label).")
    return lambda given: tasks.classify(
        given, labels, examples=options["examples"], model=options["model"] or None
    )


def _summarize(options: dict[str, Any]) -> Run:
    from headrace import tasks

    return lambda given: tasks.summarize(
        given,
        sentences=options["sentences"],
        words=options["words"],
        model=options["model"] or None,
        decoding=_decoding(options),
    )


def _translate(options: dict[str, Any]) -> Run:
    from headrace import tasks

    if options["to"] is None:
        raise click.UsageError("translate needs --to LANG, such as --to fr.")
    return lambda given: tasks.translate(
        given,
        to=options["to"],
        source=options["source"] or "en",
        model=options["model"] or "auto",
        decoding=_decoding(options),
    )


def _table(options: dict[str, Any]) -> Run:
    from headrace import tasks

    if options["csv"] is None:
        raise click.UsageError("table needs --table FILE.csv.")
    return lambda given: tasks.table(given, options["csv"], model=options["model"] or None)


def _tag(options: dict[str, Any]) -> Run:
    from headrace import tasks

    return lambda given: tasks.tag(given, model=options["model"] or "")


def _generate(options: dict[str, Any]) -> Run:
    from headrace import tasks

    return lambda given: tasks.generate(given, model=options["model"] or "auto", decoding=_decoding(options))


def _chat(options: dict[str, Any]) -> Run:
    """Each message is the next turn of one conversation."""
    from headrace import tasks

    turns: list[Message] = []

    def run(given: str | Sequence[str]) -> Any:
        if not isinstance(given, str):
            return [run(message) for message in given]
        found = tasks.chat(
            given, history=turns, model=options["model"] or "auto", decoding=_decoding(options)
        )
        turns.extend([Message("user", given), Message("assistant", found[0]["generated_text"])])
        return found

    return run


_MAKERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "sentiment": _sentiment,
    "classify": _classify,
    "summarize": _summarize,
    "translate": _translate,
    "table": _table,
    "tag": _tag,
    "generate": _generate,
    "chat": _chat,
}


def _show(found: Any) -> None:
    """What a person sees: labels as a table, texts as text."""
    if isinstance(found, dict):  # a table's answer
        click.echo(wrapped(str(found["answer"])))
        click.echo(f"\nquery  {found['query']}")
        return
    if not found:
        click.echo("nothing found")
        return
    if "label" in found[0]:
        scores = [(item["label"], f"{item['score']:.3f}") for item in found]
        click.echo(table(["label", "score"], scores, right=[1]))
    elif "entity_group" in found[0]:
        rows = [
            (i["entity_group"], f"{i['score']:.3f}", f"{i['start']}–{i['end']}", i["word"]) for i in found
        ]
        click.echo(table(["kind", "score", "place", "text"], rows, right=[1]))
    else:
        key = next(k for k in ("summary_text", "translation_text", "generated_text") if k in found[0])
        click.echo(wrapped(found[0][key]))
