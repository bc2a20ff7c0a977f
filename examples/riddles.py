"""Riddles from the news: article → summary → riddle, by four routes that are compared on one screen.

    python examples/riddles.py [--model MODEL] [--service MODEL] [--tuned MODEL]        # no network

A: an open model and examples. B: it and an instruction. C: a paid service, and your text leaves the machine.
D: a model tuned for it. No riddle may contain its answer; the embedder judges whether one can be solved.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import doubles
import headrace as hr
from headrace.protocols import Model
from headrace.text import content_words
from shown import command, run, say, title

llm = hr.model("auto")
DATA = Path(__file__).parent / "data"
NEWS = [json.loads(line) for line in (DATA / "news.jsonl").read_text("utf-8").splitlines()]
INSTRUCTION = "Write a riddle of one sentence about the thing below. Do not name it.\n\n"
EXAMPLES = (
    "News: The moon hid the sun on Monday.\nAnswer: moon\nRiddle: I shine with light I borrow.\n###\n"
    "News: A storm tore roofs from barns.\nAnswer: wind\nRiddle: I knock and have no hand.\n###\n"
)
PROMPTS = {"A few-shot": EXAMPLES, "B zero-shot": INSTRUCTION, "C service": INSTRUCTION, "D tuned": ""}
TRIES = 3


def named(answer: str, text: str) -> bool:
    """Whether a text gives the answer away, in any of its forms."""
    return answer in text.lower() or bool(set(content_words(answer)) & set(content_words(text)))


@hr.app
def riddle(article: str, answer: str, route: str = "B zero-shot") -> str:
    """A riddle about the subject of an article; empty where every try named the answer."""
    short = hr.tasks.summarize(article, sentences=1)[0]["summary_text"]
    prompt = f"{PROMPTS[route]}News: {short}\nAnswer: {answer}\nRiddle:"
    for _ in range(TRIES):
        text = llm.complete(prompt, hr.Decoding(max_new_tokens=60, stop=("\n###",))).text.strip()
        if not named(answer, text):
            return text
        prompt += f" {text}\nThat names the answer. Another riddle, without it:"
    return ""


def compare(route: str, model: Model) -> None:
    """A route over all articles: three of its riddles, and how it did."""
    app, subjects = riddle.using({llm: model}), [row["subject"] for row in NEWS]
    runs = [app.run({"article": row["text"], "answer": row["subject"], "route": route}) for row in NEWS]
    guesses = hr.tasks.classify([run.output or "nothing" for run in runs], subjects)
    solved = sum(guess[0]["label"] == subject for guess, subject in zip(guesses, subjects, strict=True))
    title(f"{route}: {model.name}")
    for one, subject in list(zip(runs, subjects, strict=True))[:3]:
        say(f"{one.output or '(each try named it)'}  ({subject})", 2)
    used = [run.trace.record["usage"][0] for run in runs]
    calls, tokens = (sum(one[key] for one in used) for key in ("calls", "input_tokens"))
    prompt = f"prompts of {tokens // calls} tokens on average, window {model.window or 'unknown'}"
    say(f"{solved} of {len(runs)} solved, {calls} calls, {prompt}.")
    if None not in (costs := [one["cost"] for one in used]):
        say(f"1,000 riddles cost {sum(costs) / len(runs) * 1000:.3f} US dollars.")


def main(words: Sequence[str] | None = None) -> None:
    options = command(__doc__, doubles.riddler, words, service="a paid model", tuned="a model you tuned")
    if options.service:
        say("Route C sends articles and riddles to a service: they leave this machine.")
    for route in PROMPTS:
        own = {"C service": options.service, "D tuned": options.tuned}.get(route)
        if own is None and route[0] in "CD" and not options.scripted:
            title(f"{route}: not assessed, no model was named for it")
        else:
            compare(route, hr.model(own).open() if own else options.model)


if __name__ == "__main__":
    run(main)
