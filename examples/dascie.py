"""DaScie: an agent that reads about a table, computes, draws three pictures and reports with numbers.

    python examples/dascie.py [--model PROVIDER:MODEL] [--task TEXT]        # no network, about ten seconds

Its tools: a knowledge base that says what the columns mean, the table as a DataFrame, and Python in a sandbox
without network and without your files. Afterwards every number of its report is looked for in the data set
that it left, because a model that has computed well can still misquote. Needs pandas, matplotlib, bubblewrap.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import doubles
import headrace as hr
from shown import command, run, say, title

DATA = Path(__file__).parent / "data"
TASK = (
    "Compare the lines in ferries.csv: passengers, delay, and how delay depends on wind. Leave a data set "
    "summary.csv and at least three pictures (png), and report with numbers from the data set."
)
kb = hr.KnowledgeBase("ferries")
llm = hr.model("auto")


@dataclass(frozen=True)
class Report:
    outcome: str
    text: str
    files: list[str]
    not_in_data: list[str]


@hr.step
def missing(text: str, tables: list[Path]) -> list[str]:
    """The numbers of a text that stand in none of the tables."""
    data = " ".join(path.read_text("utf-8") for path in tables if not path.is_symlink())
    known = {float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", data)}
    said = re.findall(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?", text)
    return [number for number in said if float(number.replace(",", "")) not in known]


@hr.app
def dascie(task: str, table: str, folder: str) -> Report:
    """Let the agent work on a copy of a table; what it makes stays in the folder."""
    Path(folder, Path(table).name).unlink(missing_ok=True)  # never through a link that an agent has left
    shutil.copy(table, folder)
    tools = [
        hr.tools.knowledge(kb, about="the columns of the table"),
        hr.tools.dataframe(table, timeout=120),
        partial(hr.tools.python, workspace=folder, packages=True, timeout=120, memory_mb=4096),
    ]
    result = hr.Agent(llm, tools, max_steps=8, max_seconds=300, tool_seconds=130).run(task)
    files = sorted({path.name for path in Path(folder).iterdir()} - {Path(table).name})
    text = result.answer or result.message
    return Report(result.outcome, text, files, missing(text, [*Path(folder).glob("summary.csv")]))


def main(words: Sequence[str] | None = None) -> None:
    options, folder = command(__doc__, doubles.analyst, words, task="what to find out"), Path("dascie")
    folder.mkdir(exist_ok=True)
    kb.add_files(DATA / "ferries.md")
    inputs = {"task": options.task or TASK, "table": str(DATA / "ferries.csv"), "folder": str(folder)}
    done = dascie.using({llm: options.model}).run(inputs)
    title("What it did")
    for tool in [span for span in done.trace.spans if span.kind == "tool"]:
        say(f"{tool.name:<10} {tool.seconds:5.2f} s  {str(tool.attributes['arguments'])[:90]}", 20)
    title(f"What it reports ({done.output.outcome})")
    say(done.output.text)
    say(f"In {folder}/: {', '.join(done.output.files)}")
    say(f"Numbers that are not in summary.csv: {', '.join(done.output.not_in_data) or 'none'}")


if __name__ == "__main__":
    run(main)
