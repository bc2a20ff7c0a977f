"""LLM math: a model turns a word problem into an expression, and a calculator computes it.

    python examples/llm_math.py [--model PROVIDER:MODEL]        # no network, a second

A language model reads well and calculates badly, so it is only asked to read. What it writes goes through
hr.tools.calculator, which is exact and is no eval; where that refuses it, the model may try once more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import doubles
import headrace as hr
from shown import command, run, say, title

llm = hr.model("auto")
ASK = "Write the arithmetic expression that solves this problem, and nothing else.\n\nProblem: {problem}"


@dataclass(frozen=True)
class Solved:
    expression: str
    value: str


@hr.step
def propose(problem: str) -> str:
    """The model's expression."""
    return llm.complete(ASK.format(problem=problem), hr.Decoding(max_new_tokens=100)).text.strip()


@hr.app
def solve(problem: str) -> Solved:
    """A word problem → an expression → its exact value."""
    expression = propose(problem)
    try:
        value = hr.tools.calculator(expression)
    except hr.errors.ToolError as error:
        expression = propose(f"{problem}\n({expression!r} was refused: {error.message})")
        value = hr.tools.calculator(expression)
    return Solved(expression, str(value))


@hr.metric
def exact(example: hr.Example, output: dict[str, str]) -> bool:
    """Equal as fractions, not nearly."""
    return Fraction(output["value"]) == Fraction(example.expectations["answer"])


def main(words: Sequence[str] | None = None) -> None:
    options = command(__doc__, doubles.reader, words, number="how many problems (100)")
    problems = doubles.problems(int(options.number or 100))
    report = hr.evaluate(solve.using({llm: options.model}), problems, [exact], save=False)
    for row in report.rows[:4]:
        title(row["inputs"]["problem"])
        say(row["error"] or "{expression}  =  {value}".format(**row["output"]))
    (found,) = report.measurements
    title("All of them")
    again = sum(sum(step["name"] == "propose" for step in row["steps"]) > 1 for row in report.rows)
    say(f"{found['value']:.1%} of {found['n']} exact ({found['low']:.2f} to {found['high']:.2f}).")
    say(f"{again} of them after an expression that the calculator refused.")


if __name__ == "__main__":
    run(main)
