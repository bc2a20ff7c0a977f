"""News desk: each article is summarised, its summary judged, and the article filed under a section.

    python examples/news_desk.py [--model PROVIDER:MODEL]        # no network, seconds

A chain is a function that calls functions. Here two models work in it: one that summarises (the embedder
chooses a sentence; with --model a language model writes one) and the sentiment head that ships. Articles,
market posts and customer reviews are made up, with the labels that a person gave them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import headrace as hr
from shown import command, run, say, title

DATA = Path(__file__).parent / "data"
SECTIONS = {
    "sport": "sport, races and football matches",
    "business": "companies, sales and profits",
    "science": "science, research and measurements",
    "culture": "towns, history, museums and monuments",
}
llm = hr.model("auto")


@dataclass(frozen=True)
class Filed:
    summary: str
    written: str
    sentiment: str
    section: str


@hr.step
def summary(text: str) -> dict[str, str]:
    """One sentence: written by the language model, where there is one, else chosen from the article."""
    return hr.tasks.summarize(text, sentences=1, model=llm if llm.available else None)[0]


@hr.step
def section(text: str) -> str:
    """The section whose description is nearest in meaning; no training."""
    return hr.tasks.classify(text, SECTIONS)[0]["label"]


@hr.app
def desk(article: str) -> Filed:
    """Article → summary → sentiment of the summary; beside that, the section."""
    short, where = hr.gather(lambda: summary(article), lambda: section(article))
    mood = hr.tasks.sentiment(short["summary_text"])[0]["label"]
    return Filed(short["summary_text"], short["mode"], mood, where)


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


def main(words: Sequence[str] | None = None) -> None:
    options = command(__doc__, None, words, model="a language model that writes the summaries")
    app = desk.using({llm: options.model}) if options.model else desk
    articles = rows("news.jsonl")
    filed = app.batch([{"article": row["text"]} for row in articles])
    for row, made in zip(articles, filed, strict=True):
        title(row["title"])
        say(f"{made.section}, {made.sentiment}, {made.written}: {made.summary}", 2)
    right = sum(made.section == row["category"] for row, made in zip(articles, filed, strict=True))
    title("As a person filed them")
    say(f"sections: {right} of {len(articles)}")
    messages = rows("messages.jsonl")
    moods = [found[0]["label"] for found in hr.tasks.sentiment([row["text"] for row in messages])]
    for kind in ("market", "review"):
        same = [m == row["sentiment"] for m, row in zip(moods, messages, strict=True) if row["kind"] == kind]
        say(f"{kind} messages, sentiment: {sum(same)} of {len(same)}")


if __name__ == "__main__":
    run(main)
