"""What a person or a machine sees: one JSON value, or text for 80 columns and more.

Results go to standard output, progress and messages to standard error.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headrace.protocols import Progress
from headrace.types import Answer, to_json

if TYPE_CHECKING:
    from headrace.resources.handles import KnowledgeBase

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value on standard output.")


_F = TypeVar("_F", bound=Callable[..., Any])


def kb_option(default: str | None = None) -> Callable[[_F], _F]:
    """``--kb``: a name of this project, or a path such as ./kb."""
    return click.option(
        "--kb",
        "kb_name",
        metavar="KB",
        default=default,
        help="Knowledge base: a name of this project, or a path such as ./kb.  [default: kb]",
    )


def knowledge_base(name: str | None) -> KnowledgeBase:
    """The knowledge base that ``--kb`` names; without it, the one that the project's settings name."""
    from headrace.resources.handles import KnowledgeBase
    from headrace.settings import find_root, load

    return KnowledgeBase(name or load().kb.default, root=find_root())


def print_json(value: Any) -> None:
    """Exactly one JSON value on standard output, escaped where its encoding lacks a character."""
    indent = 2 if sys.stdout.isatty() else None
    data = to_json(value)
    text = json.dumps(data, ensure_ascii=False, indent=indent)
    try:  # the name of a file need not be text, and a pipe need not be UTF-8
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(data, indent=indent)
    click.echo(text)


def json_line(value: Any) -> str:
    """A JSON value as one line, for output of which each line is one value."""
    return json.dumps(to_json(value), ensure_ascii=False)


def say(text: str = "") -> None:
    """A message for people, on standard error."""
    click.echo(text, err=True)


def width() -> int:
    """Columns to write in: the terminal's, at most 100, 80 in a pipe."""
    return min(100, shutil.get_terminal_size((80, 24)).columns)


def wrapped(text: str, indent: str = "") -> str:
    """Paragraphs wrapped to the terminal, each line indented."""
    return "\n".join(
        textwrap.fill(line, width(), initial_indent=indent, subsequent_indent=indent) if line.strip() else ""
        for line in text.splitlines()
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[int] = ()) -> str:
    """Columns under headings; the last column gives way when the terminal is narrow."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(headings), *cells]) for i in range(len(headings))]
    room = width() - sum(widths[:-1]) - 2 * (len(widths) - 1)
    widths[-1] = max(8, min(widths[-1], room))
    lines = []
    for row in [list(headings), *cells]:
        parts = []
        for i, cell in enumerate(row):
            shown = cell if len(cell) <= widths[i] else cell[: widths[i] - 1] + "…"
            parts.append(shown.rjust(widths[i]) if i in right else shown.ljust(widths[i]))
        lines.append("  ".join(parts).rstrip())
    lines.insert(1, "  ".join("─" * w for w in widths))
    return "\n".join(lines)


def show_answer(answer: Answer, seconds: float, *, text: bool = True) -> None:
    """An answer as people read it: text, numbered sources, and what answered."""
    if text:
        click.echo(wrapped(answer.text))
    if answer.citations:
        click.echo("\nSources")
        for citation in answer.citations:
            place = citation.document + (f" › {citation.heading}" if citation.heading else "")
            click.echo(wrapped(f"[{citation.number}] {place}", "  "))
            click.echo(
                f"      characters {citation.start:,}–{citation.end:,} · relevance {citation.relevance:.2f}"
            )
    for finding in answer.findings:
        if finding.severity != "note":
            click.echo(wrapped(f"! {finding.message}", "  "))
    if answer.dropped:
        click.echo(wrapped(f"Did not fit into the model's window: {', '.join(answer.dropped)}", "  "))
    cost = f" · ${answer.usage.cost:.4f}" if answer.usage.cost else ""
    tokens = (
        f" · {answer.usage.input_tokens:,} + {answer.usage.output_tokens:,} tokens"
        if answer.usage.output_tokens
        else ""
    )
    trace = f" · trace {answer.trace_id[:16]}" if answer.trace_id else ""
    click.echo(f"\nanswered by {answer.answered_by}{tokens}{cost} · {seconds:.2f} s{trace}")


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Progress | None]:
    """A bar over bytes read, with rate and time left, on standard error; None where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import DownloadColumn, TransferSpeedColumn

    with _bar(title, DownloadColumn(), TransferSpeedColumn()) as tell:
        yield lambda done, total, what: tell(done, total, f"{title} {what[-24:]}")


@contextmanager
def counted(title: str, *, quiet: bool = False, told: bool = False) -> Iterator[Progress | None]:
    """A bar over things counted, with their rate and the time left, on standard error; None where
    nobody looks. ``told``: what the counting says is shown behind the title."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import MofNCompleteColumn, ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.1f}/s" if task.speed else "")

    with _bar(title, MofNCompleteColumn(), Rate()) as tell:
        yield lambda done, total, what: tell(done, total, f"{title} {what}" if told else title)


@contextmanager
def _bar(title: str, *columns: Any) -> Iterator[Progress]:
    """Title, bar, these columns and the time left; what is told last is the new title."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    with Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        *columns,
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(title, total=None)

        def update(done: int, total: int | None, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield update
