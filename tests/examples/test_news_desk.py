"""Summary → sentiment with two models, sections without training, and one model swapped by a setting."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from headrace.models.scripted import ScriptedModel


@pytest.fixture
def desk(example: Callable[[str], ModuleType], embedder: object) -> ModuleType:
    return example("news_desk")


def test_articles_are_filed_and_their_summaries_are_theirs(desk: ModuleType) -> None:
    for row in desk.rows("news.jsonl"):
        made = desk.desk(row["text"])
        assert made.section == row["category"], row["title"]
        assert made.summary in row["text"]
        assert made.written == "extractive"


def test_another_model_writes_the_summary_and_its_sentiment_is_judged(desk: ModuleType) -> None:
    article = desk.rows("news.jsonl")[0]["text"]
    good, bad = "A wonderful day and a triumph for everybody.", "A dull, painful and hopeless failure."
    for summary, mood in ((good, "positive"), (bad, "negative")):
        model = ScriptedModel(summary)
        run = desk.desk.using({desk.llm: model}).run({"article": article})
        assert (run.output.summary, run.output.written, run.output.sentiment) == (
            summary,
            "abstractive",
            mood,
        )
        assert article in model.calls[0].messages[0].content
        assert {"summary", "section"} <= {span.name for span in run.trace.spans}


def test_messages_about_shares_and_from_customers(desk: ModuleType) -> None:
    messages = desk.rows("messages.jsonl")
    found = [judged[0]["label"] for judged in desk.hr.tasks.sentiment([row["text"] for row in messages])]
    right = sum(label == row["sentiment"] for label, row in zip(found, messages, strict=True))
    assert right >= len(messages) - 1
    assert {row["kind"] for row in messages} == {"market", "review"}
