"""The oracle: ask your own documents, and see four ways of reading many passages side by side.

    python examples/oracle.py [--docs FOLDER] [--question TEXT] [--model PROVIDER:MODEL]

Without --docs it reads a short play and a review of ours; text, Markdown, PDF, Word and HTML of yours work as
well, such as the plays of Shakespeare. Few passages are answered from in one call, many need a strategy.
"""

from collections.abc import Sequence
from pathlib import Path

import doubles
import headrace as hr
from shown import command, run, say, title

HERE = Path(__file__).parent / "data" / "oracle"
QUESTIONS = ("Who sold water as oil?", "What did the Duke give for the chapel?", "What does the laptop cost?")
STRATEGIES = ("stuff", "map_reduce", "refine", "map_rerank")

kb = hr.KnowledgeBase("oracle")
llm = hr.model("auto")


@hr.app
def oracle(question: str, strategy: str = "stuff") -> hr.Answer:
    """Answer from the documents, with sources."""
    return hr.answer(question, kb.search(question, top_k=4), model=llm, strategy=strategy)


def side_by_side(app: hr.App, shelf: hr.KnowledgeBase, question: str) -> None:
    """The same question by each strategy: calls, tokens, how sure, and the answer with its sources."""
    title(question)
    say(f"{'quotes':<11} no model: {hr.answer(question, shelf.search(question)).text}", 12)
    for strategy in STRATEGIES:
        done = app.run({"question": question, "strategy": strategy})
        answer, calls = done.output, sum(span.kind == "model" for span in done.trace.spans)
        sure = "" if answer.confidence is None else f", certainty {answer.confidence:.0%}"
        spent = f"{calls} call{'s' * (calls != 1)}, {answer.usage.input_tokens:,} tokens{sure}"
        say(f"{strategy:<11} {spent}: {answer.text}", 12)
        for citation in answer.citations:
            say(f"{'':<11} [{citation.number}] {Path(citation.document).name}: “{citation.text}”", 16)


def main(words: Sequence[str] | None = None) -> None:
    options = command(
        __doc__, doubles.scholar, words, docs="a file or folder to read", question="what to ask"
    )
    docs = Path(options.docs or HERE).resolve()
    shelf = hr.KnowledgeBase(docs.stem) if options.docs else kb
    read = shelf.add_files(docs)  # what is there already, unchanged, is not read again
    say(f"{shelf.count()} documents, {read.chunks:,} chunks read now, {read.seconds:.1f} s.")
    app = oracle.using({llm: options.model, kb: shelf})
    for question in [options.question] if options.question else QUESTIONS:
        side_by_side(app, shelf, question)


if __name__ == "__main__":
    run(main)
