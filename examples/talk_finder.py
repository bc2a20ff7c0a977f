"""Talk finder: which sessions of a conference are about a topic, and how often the search is right.

    python examples/talk_finder.py [--topic TEXT] [--where FILTER]        # no network, no model

The conference is made up: 40 sessions, and a judge set of 20 topics with the sessions that a person would
expect. --where is a filter over room, day and level, such as "day == 2 and level != 'advanced'".
"""

import json
from collections.abc import Sequence
from pathlib import Path

import headrace as hr
from shown import command, run, say, title

DATA = Path(__file__).parent / "data"
TOPICS = ("keeping a web shop awake at night", "teaching machines with few examples", "medieval pottery")
FLOOR = 0.2  # of the cosine: below it a session has nothing to do with the topic

kb = hr.KnowledgeBase("talks")


@hr.app
def talks(topic: str, where: str = "") -> list[dict[str, object]]:
    """The sessions nearest to a topic, best first; none where nothing is about it."""
    found = [(p.signals.get("cosine", 1.0), p) for p in kb.search(topic, top_k=4, filters=where or None)]
    return [{"cosine": cosine, "session": p.document, **p.metadata} for cosine, p in found if cosine > FLOOR]


def shelve() -> int:
    """Every session is a document: title and abstract to be searched, the rest to be filtered by."""
    rows = [json.loads(line) for line in (DATA / "talks.jsonl").read_text("utf-8").splitlines()]
    kb.add(
        [
            hr.Document(
                f"{row['title']}\n\n{row['abstract']}",
                {key: row[key] for key in ("title", "room", "day", "level")},
                id=row["id"],
            )
            for row in rows
        ]
    )
    return kb.count()


def main(words: Sequence[str] | None = None) -> None:
    options = command(__doc__, None, words, topic="what to look for", where="a filter over the sessions")
    say(f"{shelve()} sessions.")
    for topic in [options.topic] if options.topic else TOPICS:
        title(topic)
        found = talks(topic, options.where or "")
        for row in found:
            say(f"{row['cosine']:.2f}  {row['title']} (day {row['day']}, {row['room']}, {row['level']})", 6)
        if not found:
            say("No session is about that.")
    if not options.topic:
        title("How often it is right")
        report = hr.evaluate(talks, DATA / "talks-judged.jsonl", ["hit@1", "hit@4"], save=False)
        for found in report.measurements:
            name, value, low, high, n = (found[key] for key in ("name", "value", "low", "high", "n"))
            say(f"{name}: {value:.2f} ({low:.2f} to {high:.2f}), {n} topics")


if __name__ == "__main__":
    run(main)
