"""Jekyll comments on posts, now and then meanly; Hyde reads every comment and masks the mean ones.

    python examples/jekyll_hyde.py [--model PROVIDER:MODEL]        # no network, seconds

The verdict is a value: numbers, and a decision. What is not mean never reaches Hyde and stays as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import doubles
import headrace as hr
from headrace.guards import toxicity
from shown import command, run, say, title

llm = hr.model("auto")
UNKIND = "stupid idiot ugly rubbish pathetic loser moron disgusting".split()
censored = partial(toxicity.censor, also=UNKIND, mark="#")  # these and swear words, all else as it was
TOXIC, SURELY = 0.5, 0.95  # a comment is mean above one of these, toxic or negative, or by a listed word


@dataclass(frozen=True)
class Verdict:
    mean: bool
    negative: float
    toxic: float


@dataclass(frozen=True)
class Comment:
    written: str
    verdict: Verdict
    published: str


@hr.step
def jekyll(post: str, mood: str) -> str:
    return llm.complete(f"Write one {mood} sentence as a comment on this post:\n\n{post}").text.strip()


@hr.step
def judge(comment: str) -> Verdict:
    """Is it mean? By lists of words, and by the sentiment head that ships."""
    negative = {found["label"]: found["score"] for found in hr.tasks.sentiment(comment)}["negative"]
    toxic = toxicity.score(comment)
    return Verdict(censored(comment) != comment or toxic >= TOXIC or negative > SURELY, negative, toxic)


@hr.step
def hyde(comment: str) -> str:
    """The comment made harmless by the model; the listed words become signs whatever it does."""
    made = llm.complete(f"Put signs such as #@! in place of unkind words, change no other:\n\n{comment}")
    return censored(made.text.strip())


@hr.app
def comment(post: str, mood: str = "nice") -> Comment:
    """Comment on a post; what is mean is masked before anybody sees it."""
    written = jekyll(post, mood)
    verdict = judge(written)
    return Comment(written, verdict, hyde(written) if verdict.mean else written)


def main(words: Sequence[str] | None = None) -> None:
    app, rows = comment.using({llm: command(__doc__, doubles.commenter, words).model}), doubles.posts(100)
    done = app.batch(rows)
    for row, made in list(zip(rows, done, strict=True))[39::20]:
        title(row["post"])
        say(f"Jekyll:    {made.written}", 11)
        say("Verdict:   mean={mean} negative={negative:.2f} toxic={toxic:.2f}".format(**vars(made.verdict)))
        say(f"Published: {made.published}", 11)
    title("All hundred")
    meant, masked = sum(row["mood"] == "mean" for row in rows), sum(made.verdict.mean for made in done)
    say(f"{masked} comments masked, {meant} were meant to be mean.")


if __name__ == "__main__":
    run(main)
