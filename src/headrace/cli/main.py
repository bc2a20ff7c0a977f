"""The command ``headrace``: its verbs, each loaded when it is used, and the boundary of errors.

click, not typer: typer imports pydantic and rich, 0.24 s of CPU before the first verb (see
docs/why/command-line.md).
"""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import sys
from typing import Any

import click

from headrace import __version__
from headrace.errors import DiskFull, HeadraceError, StateError

# verb → (module:attribute, the line in --help). Nothing is imported to print the list.
VERBS: dict[str, tuple[str, str]] = {
    "new": ("headrace.cli.project:new", "Make a project: application, settings, documents, examples."),
    "ingest": ("headrace.cli.knowledge:ingest", "Read files and folders into a knowledge base."),
    "ask": ("headrace.cli.ask:ask", "Ask a question; the answer cites its sources."),
    "search": ("headrace.cli.knowledge:search", "Show the passages nearest to a question."),
    "chat": ("headrace.cli.ask:chat", "Ask one question after another."),
    "task": ("headrace.cli.task:task", "Sentiment, labels, summaries, tables, translation and more."),
    "release": ("headrace.cli.release:release", "Freeze an application with everything it uses."),
    "promote": ("headrace.cli.release:promote", "Point NAME@staging or NAME@production to a release."),
    "rollback": ("headrace.cli.release:rollback", "Bring production back to what it was before."),
    "releases": ("headrace.cli.releases:releases", "List, verify, export and import releases; the log."),
    "serve": ("headrace.cli.serve:serve", "Serve the page and the HTTP interface."),
    "eval": ("headrace.cli.evaluate:evaluate", "Measure an application on examples, with intervals."),
    "compare": ("headrace.cli.evaluate:compare", "Set two variants against each other: a verdict."),
    "batch": ("headrace.cli.batch:batch", "Run an application over a table; resumable, with limits."),
    "audit": ("headrace.cli.audit:audit", "Attack an application; say what is on record about it."),
    "mask": ("headrace.cli.mask:mask", "Mask personal data and secrets in a text file."),
    "keys": ("headrace.cli.keys:keys", "Make, list and revoke the keys that the server asks for."),
    "monitor": (
        "headrace.cli.monitor:monitor",
        "Traffic, errors, speed, cost and thumbs, release by release.",
    ),
    "why": ("headrace.cli.why:why", "Say what made an answer, and at which step it went wrong."),
    "forget": ("headrace.cli.forget:forget", "Erase a user or a document everywhere it is kept."),
    "reports": ("headrace.cli.reports:reports", "List and show what was measured."),
    "examples": ("headrace.cli.reports:examples", "Make examples out of runs; check files of them."),
    "prompts": ("headrace.cli.prompts:prompts", "Make, check, show and compare prompts."),
    "mlflow": ("headrace.cli.mlflow:mlflow", "Show releases to MLflow: runs, models, aliases."),
    "traces": ("headrace.cli.traces:traces", "List, show and export what was answered, and from what."),
    "models": ("headrace.cli.models:models", "Choose a model: find, read its card, know its licence."),
    "data": ("headrace.cli.data:data", "Pin data sets by revision and hash; check them."),
    "tune": ("headrace.cli.tune:tune", "Train an embedder or a model of your own, and measure it."),
    "tokens": ("headrace.cli.tokens:tokens", "Cut a text into words, characters and sub-words."),
    "decode": ("headrace.cli.decode:decode", "Try settings of decoding on a prompt; show its stages."),
    "kb": ("headrace.cli.knowledge:kb", "Look after knowledge bases: info, check, prune, list."),
    "doctor": ("headrace.cli.project:doctor", "Say what is installed, where models lie, what is wrong."),
    "demo": ("headrace.cli.demo:demo", "Ingest a folder and ask it five questions, with timings."),
}

EPILOG = """\b
Examples:
  headrace new handbook && cd handbook
  headrace ingest docs/
  headrace ask "How many days of leave do I get?"
  headrace serve

\b
Exit codes: 0 done · 1 something on this machine is wrong · 2 wrong use or
input · 3 refused by a gate · 4 nothing could be read · 5 the model failed ·
130 stopped by you."""


class Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, _, attribute = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            raise click.UsageError(
                f"There is no command {args[0]!r}."
                + (f" Did you mean {near[0]!r}?" if near else "")
                + f"\nCommands: {', '.join(VERBS)}."
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


@click.command(
    cls=Verbs,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(__version__, prog_name="headrace")
def cli() -> None:
    """From the first prompt to production with open models.

    Answers from your own documents, on your own machine, each with its sources and a record of
    what made it. Nothing leaves the machine unless you name where to.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; its exit code. All errors end here, as one message each."""
    words = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a pipe need not be UTF-8, nor the name of a file text
            stream.reconfigure(errors="replace")
    try:
        code = cli.main(args=words, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.UsageError as error:
        usage = error.ctx.get_usage() + "\n" if error.ctx else ""
        _report(words, "usage", error.format_message(), f"{usage}Try --help.")
        return 2
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        _report(words, "stopped", "Stopped. What was acknowledged is kept.", "", kind="\n")
        return 130
    except click.ClickException as error:
        _report(words, "usage", error.format_message(), "")
        return 2
    except HeadraceError as error:
        _report(words, error.code, error.message, error.hint)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (`headrace … | head`): that is no error.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # A folder that may not be written, a full disk: the machine's fault, with the path in the message.
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = DiskFull.default_hint if full else "Check that the path exists and may be read and written."
        _report(words, "disk-full" if full else "state-error", f"{type(error).__name__}: {error}", hint)
        return StateError.exit_code


def _report(words: list[str], code: str, message: str, hint: str, *, kind: str = "error: ") -> None:
    """One error: on standard error for people, as the one JSON value for machines."""
    if "--json" in words:
        from headrace.cli.console import print_json

        value: dict[str, Any] = {"error": {"code": code, "message": message, "hint": hint}}
        print_json(value)
    click.echo(f"{kind}{message}", err=True)
    if hint:
        click.echo(hint, err=True)
