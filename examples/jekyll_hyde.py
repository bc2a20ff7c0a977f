"""Jekyll comments on posts, now and then meanly; Hyde reads every comment and masks the mean ones.

    python examples/jekyll_hyde.py [--model PROVIDER:MODEL]        # no network, seconds

The verdict is a value, not a text that somebody has to read: numbers, and a decision with a threshold.
A comment that is not mean never reaches Hyde, so it stays as it is to the byte.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import doubles
import headrace as hr
from shown import command, run, say, title

llm = hr.model("auto")
LISTED = re.compile(r"\b(stupid|idiot|ugly|rubbish|pathetic|loser|moron|disgusting)(s|ly)?\b", re.IGNORECASE)
SURELY = 0.95  # a comment that is negative above this is mean even without one of these words


@dataclass(frozen=True)
class Verdict:
    mean: bool
    negative: float
    unkind: tuple[str, ...]


@dataclass(frozen=True)
class Comment:
    written: str
    verdict: Verdict
    published: str


@hr.step
def jekyll(post: str, mood: str) -> str:
    """A comment on a post, in a mood."""
    return llm.complete(f"Write one {mood} sentence as a comment on this post:\n\n{post}").text.strip()


@hr.step
def judge(comment: str) -> Verdict:
    """Is it mean? By the list of words, and by the sentiment head that ships."""
    scores = {found["label"]: found["score"] for found in hr.tasks.sentiment(comment)}
    unkind = tuple(found.group().lower() for found in LISTED.finditer(comment))
    return Verdict(bool(unkind) or scores["negative"] > SURELY, scores["negative"], unkind)


@hr.step
def hyde(comment: str) -> str:
    """The comment made harmless by the model; the listed words become signs whatever it does."""
    made = llm.complete(f"Put signs such as #@! in place of unkind words, change no other:\n\n{comment}")
    return LISTED.sub(lambda found: ("#@!%&*" * 3)[: len(found.group())], made.text.strip())


@hr.app
def comment(post: str, mood: str = "nice") -> Comment:
    """Comment on a post; what is mean is masked before anybody sees it."""
    written = jekyll(post, mood)
    verdict = judge(written)
    return Comment(written, verdict, hyde(written) if verdict.mean else written)


def main(words: Sequence[str] | None = None) -> None:
    app, rows = comment.using({llm: command(__doc__, doubles.commenter, words).model}), doubles.posts(100)
    done = app.batch(rows)
    for row, result in list(zip(rows, done, strict=True))[39::20]:
        title(row["post"])
        say(f"Jekyll:    {result.written}", 11)
        say(f"Verdict:   mean={result.verdict.mean} negative={result.verdict.negative:.2f}", 11)
        say(f"Published: {result.published}", 11)
    masked = sum(result.published != result.written for result in done)
    title("All hundred")
    say(f"{masked} comments masked, {sum(row['mood'] == 'mean' for row in rows)} were meant to be mean.")


if __name__ == "__main__":
    run(main)
