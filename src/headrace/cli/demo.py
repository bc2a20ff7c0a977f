"""demo: a folder in, five questions, their cited answers, and what each phase took."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import click

from headrace.cli.console import json_option, knowledge_base, print_json, progress, show_answer, wrapped


@click.command(
    epilog="""\b
Examples:
  headrace demo docs/
  headrace demo ~/Documents/contracts --question "When does the lease end?" """
)
@click.argument("folder", default="docs")
@click.option("--question", "questions", multiple=True, help="Ask this; may be given several times.")
@click.option("--questions", "file", type=click.Path(), help="A text file with one question a line.")
@click.option("--kb", "kb_name", default="demo", show_default=True, help="Knowledge base to fill.")
@json_option
def demo(folder: str, questions: tuple[str, ...], file: str | None, kb_name: str, as_json: bool) -> None:
    """Ingest a folder and ask it five questions, with timings.

    Without questions of yours, they are made from headings of the documents.
    """
    from headrace.flows.ask import question_app
    from headrace.flows.demo import questions_about, read_questions

    began = time.perf_counter()
    kb = knowledge_base(kb_name)
    phases: dict[str, float] = {"start": time.perf_counter() - began}
    began = time.perf_counter()
    with progress("Reading", quiet=as_json) as bar:
        report = kb.add_files([folder], prune=True, progress=bar)
    phases["ingest"] = time.perf_counter() - began
    asked = list(questions) or (read_questions(Path(file)) if file else []) or questions_about(kb)
    app = question_app(kb_name)
    answers = []
    if not as_json:
        click.echo(
            f"{folder}: {report.documents:,} documents read, {report.skipped:,} unchanged, "
            f"{report.chunks:,} chunks in {phases['ingest']:.1f} s\n"
        )
    for question in asked[:5]:
        began = time.perf_counter()
        answer = app(question)
        seconds = time.perf_counter() - began
        answers.append({"question": question, "answer": answer, "seconds": seconds})
        if not as_json:
            click.echo(wrapped(f"? {question}") + "\n")
            show_answer(answer, seconds)
            click.echo("─" * 60)
    phases["questions"] = sum(float(a["seconds"]) for a in answers)
    if as_json:
        print_json({"phases": phases, "report": report, "answers": answers})
        return
    click.echo("Seconds: " + ", ".join(f"{name} {took:.2f}" for name, took in phases.items()))
    name = _command()
    click.echo(f"\nOpen the page:       {name} serve --kb {kb_name}   then http://127.0.0.1:8000")
    click.echo(f'With your own files: {name} ingest YOUR-FOLDER && {name} ask "…"')


def _command() -> str:
    """How to call this program from here: it need not be on the PATH."""
    called = Path(sys.argv[0])
    if shutil.which("headrace"):
        return "headrace"
    if called.stem == "headrace":
        return str(called.relative_to(Path.cwd())) if called.is_relative_to(Path.cwd()) else str(called)
    return f"{sys.executable} -m headrace"
