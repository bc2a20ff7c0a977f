"""ask and chat: a question in, a cited answer out."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from headrace.cli.console import json_option, kb_option, print_json, say, show_answer
from headrace.flows.app import App
from headrace.types import Answer, Event, Message, to_json

CITATION_KEYS = ("number", "document", "heading", "start", "end", "text", "score", "relevance")


def _application(kb_name: str | None, model_name: str | None) -> App:
    """The project's own application where it takes a question; else question → search → answer."""
    from headrace.flows.ask import question_app
    from headrace.flows.load import project_app

    if kb_name is None:
        own = project_app()
        if own is not None and own.signature.question is not None:
            from headrace.resources.handles import ModelHandle

            if model_name:
                return own.using({h: model_name for h in own.handles if isinstance(h, ModelHandle)})
            return own
    return question_app(kb_name, model_name)


@click.command(
    epilog="""\b
Examples:
  headrace ask "How many days of leave do I get?"
  headrace ask "Who approves travel?" --kb ./kb --json
  headrace ask "Who approves travel?" --model openai:gpt-4o-mini
  echo "Who approves travel?" | headrace ask -"""
)
@click.argument("question")
@kb_option()
@click.option("--model", metavar="MODEL", help="provider:model, or the name of a [models.NAME] table.")
@json_option
def ask(question: str, kb_name: str | None, model: str | None, as_json: bool) -> None:
    """Ask a question; the answer cites its sources.

    Without a language model the answer is quoted: the sentences that answer, or nothing where
    nothing does. With one, it is written from the passages found, and its citations are checked.
    In a project, the project's own application answers; --kb asks a knowledge base directly.
    """
    if question == "-":
        question = sys.stdin.read().strip()
    app = _application(kb_name, model)
    name = app.signature.question
    assert name is not None
    began = time.perf_counter()
    answer, streamed = _run(app, {name: question}, live=not as_json and sys.stdout.isatty())
    seconds = time.perf_counter() - began
    if as_json:
        print_json(
            {
                "answer": answer.text,
                "abstained": answer.abstained,
                "answered_by": answer.answered_by,
                "citations": [{key: getattr(c, key) for key in CITATION_KEYS} for c in answer.citations],
                "confidence": answer.confidence,
                "findings": answer.findings,
                "dropped": answer.dropped,
                "usage": answer.usage,
                "trace_id": answer.trace_id,
                "seconds": round(seconds, 4),
            }
        )
    else:
        show_answer(answer, seconds, text=streamed != answer.text)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    import json

    return json.dumps(to_json(value), ensure_ascii=False)


def _run(app: App, inputs: dict[str, Any], *, live: bool) -> tuple[Answer, str]:
    """The answer, and the text that was already shown while it was written."""
    if not live:
        done = app.run(inputs)
        return _answer(app, done.output, done.trace_id), ""
    shown = ""
    value, trace_id = None, None
    for event in app.stream_inputs(inputs):
        shown += _show(event)
        if event.kind == "answer":
            value, trace_id = event.value, event.trace_id
    if shown:
        click.echo()
    return _answer(app, value, trace_id), shown


def _answer(app: App, value: Any, trace_id: str | None) -> Answer:
    """What an application gave, as an answer: it may return anything."""
    if isinstance(value, Answer):
        return value
    return Answer(text=_text(value), answered_by=app.name, trace_id=trace_id)


def _show(event: Event) -> str:
    if event.kind != "delta":
        return ""
    click.echo(event.text, nl=False)
    return event.text


@click.command(
    epilog="""\b
Examples:
  headrace chat
  headrace chat --kb ./kb --model openai:gpt-4o-mini
  printf 'First question?\\nSecond question?\\n' | headrace chat"""
)
@kb_option()
@click.option("--model", metavar="MODEL", help="provider:model, or the name of a [models.NAME] table.")
@json_option
def chat(kb_name: str | None, model: str | None, as_json: bool) -> None:
    """Ask one question after another; an empty line, /quit or Ctrl-D ends it.

    Earlier turns are passed on where the application takes them (a list[Message] parameter).
    With --json, one JSON value per turn.
    """
    app = _application(kb_name, model)
    name = app.signature.question
    assert name is not None
    history: list[Message] = []
    interactive = sys.stdin.isatty()
    if interactive:
        say("Ask away. An empty line ends the conversation.")
    while (question := _read(interactive)) is not None:
        inputs: dict[str, Any] = {name: question}
        if app.signature.history is not None:
            inputs[app.signature.history] = list(history)
        began = time.perf_counter()
        answer, streamed = _run(app, inputs, live=not as_json and sys.stdout.isatty())
        if as_json:
            print_json(
                {
                    "question": question,
                    "answer": answer.text,
                    "abstained": answer.abstained,
                    "answered_by": answer.answered_by,
                    "citations": answer.citations,
                    "trace_id": answer.trace_id,
                }
            )
        else:
            show_answer(answer, time.perf_counter() - began, text=streamed != answer.text)
            click.echo()
        history += [Message("user", question), Message("assistant", answer.text)]


def _read(interactive: bool, ends: Sequence[str] = ("", "/quit", "/exit")) -> str | None:
    try:
        line = (
            click.prompt(">", prompt_suffix=" ", default="", show_default=False) if interactive else input()
        )
    except (EOFError, click.Abort):
        return None
    return None if line.strip() in ends else line.strip()
