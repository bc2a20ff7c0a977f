"""why: what made one answer, and at which step it went wrong."""

from __future__ import annotations

from typing import Any

import click

from headrace.cli.console import json_option, print_json, wrapped
from headrace.text import shorten


@click.command(
    epilog="""\b
Examples:
  headrace why 01a1fdbdf48b71a7
  headrace why 01a1fdbdf48b71a7 --json"""
)
@click.argument("trace_id", metavar="TRACE")
@json_option
def why(trace_id: str, as_json: bool) -> None:
    """Say what made an answer, and at which step it went wrong.

    The beginning of a trace's id is enough. Only what the record shows is said; an answer can be
    wrong although nothing in its record is.
    """
    from headrace.errors import NotFound
    from headrace.ops.monitor import usual_seconds
    from headrace.ops.why import explain
    from headrace.resources.build import ledger as open_ledger
    from headrace.settings import find_root
    from headrace.types import to_json

    ledger = open_ledger(find_root())
    trace = ledger.trace(trace_id)
    if trace is None:
        raise NotFound(f"There is no trace {trace_id!r}.", hint="List them with: headrace traces list")
    found = explain(trace, ledger.feedback(trace.id), usual=usual_seconds(ledger, trace))
    if as_json:
        print_json({**to_json(found), "said": found.said})
        return
    click.echo(wrapped(found.said[0].upper() + found.said[1:]))
    click.echo("\nAsked")
    for key, value in found.asked.items():
        click.echo(wrapped(f"{key}: {shorten(_text(value), 400)}", "  "))
    if found.found:
        click.echo("\nFound")
        for item in found.found:
            place = f"{item['document']}" + (f" › {item['heading']}" if item["heading"] else "")
            click.echo(wrapped(f"{item['rank']}. relevance {_figure(item['relevance'])}  {place}", "  "))
            click.echo(wrapped(shorten(_text(item["text"]), 150), "     "))
    if found.sent:
        click.echo("\nSent")
        for prompt in found.sent:
            size = sum(len(_text(message.get("content"))) for message in prompt.get("messages") or ())
            click.echo(
                wrapped(
                    f"prompt {_text(prompt.get('hash'))[:12]}, {size:,} characters; all of it: "
                    f"headrace traces show {found.trace_id[:16]}",
                    "  ",
                )
            )
    click.echo("\nAnswered")
    answered = found.answered.get("text") if isinstance(found.answered, dict) else found.answered
    click.echo(wrapped(shorten(_text(answered), 600), "  "))
    click.echo("\nMade by")
    for key, value in found.made_by.items():
        if key in ("findings",) or value in (None, "", [], {}):
            continue
        for item in value if isinstance(value, list) else [value]:
            click.echo(wrapped(f"{key}: {shorten(_text(item), 200)}", "  "))
    click.echo("\nStep by step")
    signs = {"ok": "✓", "stopped": "■", "wrong": "✗", "not recorded": "·"}
    for step in found.steps:
        click.echo(wrapped(f"{signs[step.verdict]} {step.name}: {step.said}", "  "))
    if found.votes:
        click.echo("\nVotes")
        for vote in found.votes:
            more = "; should be: " + vote.correction if vote.correction else ""
            click.echo(wrapped(f"{vote.value} {vote.comment}{more}".rstrip(), "  "))


def _text(value: Any) -> str:
    import json

    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value.keys() == {"type", "length", "hash"}:
        return f"(a text of {value['length']} characters was not kept)"
    return json.dumps(value, ensure_ascii=False, default=str)


def _figure(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else "–"
