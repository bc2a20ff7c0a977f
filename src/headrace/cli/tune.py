"""tune: the group; each command is loaded when it is called, for training brings torch with it."""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    "embedder": ("headrace.cli.tune_embedder", "embedder", "Tune the embedder on question-passage pairs."),
    "rank-embedders": ("headrace.cli.tune_embedder", "rank_embedders", "Which embedder fits your documents."),
    "instruct": ("headrace.cli.tune_instruct", "instruct", "Tune a model that writes on instructions."),
    "advise": ("headrace.cli.tune_advise", "advise", "Which route to try before anything is trained."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    epilog="""\b
Examples:
  headrace tune embedder pairs.jsonl --kb kb --dry-run
  headrace tune embedder pairs.jsonl --corpus passages.jsonl --out ./tuned""",
)
def tune() -> None:
    """Train a model of your own from a base and examples: a folder with its figures.

    What is trained is measured against the base on examples that were kept apart, with an interval.
    """
