"""What the examples play where no model is named, and the made-up rows that some of them run on.

Each function here stands for a language model: it reads the prompt and gives the answer that was prepared
for it. It shows how the parts of an example work together and says nothing about what a model can do.
"""

import random
import re
from collections.abc import Sequence
from fractions import Fraction

from headrace import Example, Message
from headrace.text import content_words, sentences

# ------------------------------------------------------------------ llm_math

KINDS = (  # a problem, what a good reader writes for it, and the answer by other means
    ("A ferry makes {a} trips with {b} cars a day. How many cars in {c} days?", "{a}*{b}*{c}",
     lambda a, b, c: a * b * c),
    ("Of {a} apples, {b} percent are bad. How many are good?", "{a} - {b}% of {a}",
     lambda a, b, c: Fraction(a * (100 - b), 100)),
    ("A rope of {a} m is cut into {b} equal parts. How long are {c}?", "{a}/{b}*{c}",
     lambda a, b, c: Fraction(a * c, b)),
    ("A field of {a} by {b} m has a pond of {c} by {c}. How much is land?", "{a}*{b} - {c}^2",
     lambda a, b, c: a * b - c * c),
)  # fmt: skip
EXPRESSIONS: dict[str, str] = {}  # by problem


def problems(number: int, seed: int = 7) -> list[Example]:
    """Word problems and their exact answers, which neither a model nor the calculator has computed."""
    rng, made = random.Random(seed), []
    for text, expression, answer in (KINDS * number)[:number]:
        numbers = {"a": rng.randint(1000, 99_999), "b": rng.randint(11, 99), "c": rng.randint(2, 9)}
        problem = text.format(**numbers)
        EXPRESSIONS[problem] = expression.format(**numbers)
        made.append(Example(inputs={"problem": problem}, expectations={"answer": str(answer(**numbers))}))
    return made


def reader(messages: Sequence[Message]) -> str:
    """The expression for a problem; now and then, as models do, first a sentence that is none."""
    problem = messages[-1].content.partition("Problem: ")[2].splitlines()[0]
    chatty = len(EXPRESSIONS[problem]) % 7 == 0 and "refused" not in messages[-1].content
    return "Let me think." if chatty else EXPRESSIONS[problem]


# ------------------------------------------------------------------ jekyll_hyde


def posts(number: int, seed: int = 3) -> list[dict[str, str]]:
    """Posts, three in ten of which Jekyll is to comment on meanly."""
    rng, things = random.Random(seed), "garden photo drawing cake song kite boat scarf poem bench".split()
    return [
        {
            "post": f"Number {n}: after {rng.randint(2, 90)} days I finished this {rng.choice(things)}.",
            "mood": "mean" if rng.random() < 0.3 else "nice",
        }
        for n in range(number)
    ]


def commenter(messages: Sequence[Message]) -> str:
    """Jekyll in both moods, and a Hyde who forgets his work, so that the list of words has to do it."""
    asked, _, text = messages[-1].content.partition("\n\n")
    rng, thing = random.Random(text), text.split()[-1].strip(".")
    if asked.startswith("Put signs"):
        return text
    if " mean " in asked:
        words = rng.sample(["stupid", "ugly", "pathetic", "disgusting"], 2)
        return f"What a {words[0]} {thing}, only an idiot would show such {words[1]} work."
    return f"What a {rng.choice(['lovely', 'charming', 'wonderful'])} {thing}, thank you for sharing it."


# ------------------------------------------------------------------ oracle

_PASSAGE = re.compile(r"^\[(\d+)\][^\n]*\n(.*?)(?=^\[\d+\]|^<<|\Z)", re.MULTILINE | re.DOTALL)
_SO_FAR = re.compile(r"^Answer so far:\n(.*?)(?=\n\n\[\d+\]|^<<)", re.MULTILINE | re.DOTALL)


def scholar(messages: Sequence[Message]) -> str:
    """The sentence that shares most words with the question, cited; certain by how many it shares."""
    rules, text = messages[0].content, messages[-1].content
    asked = set(content_words(text.rpartition("Question: ")[2].splitlines()[0]))
    read = [
        (len(asked & set(content_words(passage[a:b]))), f"{' '.join(passage[a:b].split())} [{number}]")
        for number, passage in _PASSAGE.findall(text)
        for a, b in sentences(passage)
    ]
    if so_far := _SO_FAR.search(text):
        read.insert(0, (len(asked & set(content_words(so_far[1]))), so_far[1].strip()))
    shared, best = max(read, key=lambda found: (found[0], len(found[1])), default=(0, ""))
    if not shared:
        return "The passages do not contain the answer."
    if "Certainty: N" in rules:
        return f"{best}\nCertainty: {100 * shared // len(asked)}"
    return best


# ------------------------------------------------------------------ riddles

RIDDLES = {  # one as an answer to examples, one as an answer to an instruction
    "lighthouse": (
        "I stand on a rock and wink at ships all night.",
        "My lamp turns so that sailors find the harbour, and I have never left the shore.",
    ),
    "bicycle": (
        "Two wheels and no engine: you push, I carry.",
        "I have pedals and a chain, and fall when I rest.",
    ),
    "umbrella": ("I open when it rains.", "A roof on a stick keeps your hair dry in a shower."),
    "glacier": (
        "A river you can walk on, of snow and cold.",
        "I am frozen, I creep down the mountain, and I melt.",
    ),
    "clock": (
        "I have hands and a face but cannot smile.",
        "My hands go round, and I tell you when it is noon.",
    ),
    "bread": ("I rise without legs.", "Flour, water and an oven made me, and you put butter on me."),
    "bee": ("I dance for flowers and pay with honey.", "A small worker with wings who lives in a hive."),
    "goalkeeper": (
        "The only one in the team who may use his hands.",
        "I stand before the net and stop every shot at football, but one.",
    ),
}
FORGETFUL = ("bicycle", "clock", "bee")  # here the first try names the answer


def riddler(messages: Sequence[Message]) -> str:
    """A riddle that was prepared for the answer in the prompt, and now and then first a bad one."""
    prompt = messages[-1].content
    subject = prompt.rpartition("Answer: ")[2].split()[0]
    if subject in FORGETFUL and "###" not in prompt and "names the answer" not in prompt:
        return f"Who would not like to have a {subject}?"
    return RIDDLES[subject]["###" not in prompt]


# ------------------------------------------------------------------ dascie

ANALYSIS = """\
import os
os.environ["MPLCONFIGDIR"] = "/tmp"
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

df = pd.read_csv("ferries.csv")
lines = df.groupby("line").agg(passengers=("passengers", "sum"), delay=("delay", "mean"))
for name, rows in df.groupby("line"):
    slope, start = np.polyfit(rows.wind, rows.delay, 1)
    left = rows.delay - (slope * rows.wind + start)
    lines.loc[name, "minutes_per_wind"] = slope
    lines.loc[name, "r2"] = 1 - (left**2).sum() / ((rows.delay - rows.delay.mean()) ** 2).sum()
lines = lines.round(2)
lines.to_csv("summary.csv")
lines.passengers.plot.barh(); plt.tight_layout(); plt.savefig("passengers.png"); plt.close()
for name, rows in df.groupby("line"):
    plt.plot(rows.month.str[2:], rows.passengers, label=name)
plt.legend(); plt.xticks(rotation=90, fontsize=6); plt.savefig("months.png"); plt.close()
for name, rows in df.groupby("line"):
    plt.scatter(rows.wind, rows.delay, label=name)
plt.legend(); plt.savefig("wind.png"); plt.close()
print(lines.to_csv())
"""


def analyst(messages: Sequence[Message]) -> str:
    """An agent's turns: look the columns up, look at the table, compute and draw, report what came out."""
    turn, seen = sum(message.role == "assistant" for message in messages), messages[-1].content
    if turn == 0:
        return (
            "Thought: What do the columns mean?\nAction: search\nAction Input: What is delay, what is wind?"
        )
    if turn == 1:
        return "Thought: What does it hold?\nAction: dataframe\nAction Input: df.groupby('line').size()"
    if turn == 2:
        return f"Thought: Compute and draw.\nAction: python\nAction Input: {ANALYSIS}"
    rows = [
        row.split(",") for row in seen.splitlines() if row.count(",") == 4 and not row.startswith("line,")
    ]
    if not rows:
        return f"Give Up: the analysis did not run: {seen[-300:]}"
    told = (
        f"{name}: {int(float(people)):,} passengers, {delay} minutes late on average, {slope} minutes more "
        f"with each metre per second of wind (R2 {r2})."
        for name, people, delay, slope, r2 in rows
    )
    return f"Thought: The numbers are there.\nFinal Answer: {' '.join(told)}"
