"""A hundred posts: every mean comment masked, every nice one as it was, and the verdict a value."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from headrace.models.scripted import ScriptedModel


@pytest.fixture
def hyde(example: Callable[[str], ModuleType], embedder: object) -> ModuleType:
    return example("jekyll_hyde")


def test_all_mean_comments_are_masked_and_nice_ones_are_byte_identical(hyde: ModuleType) -> None:
    rows = hyde.doubles.posts(100)
    model = ScriptedModel(hyde.doubles.commenter)
    done = hyde.comment.using({hyde.llm: model}).batch(rows)
    assert 20 <= sum(row["mood"] == "mean" for row in rows) <= 40
    for row, result in zip(rows, done, strict=True):
        assert result.verdict.mean is (row["mood"] == "mean")
        assert 0 <= result.verdict.negative <= 1
        if result.verdict.mean:
            assert result.published != result.written
            assert not hyde.LISTED.search(result.published)
            assert len(result.published) == len(result.written)
        else:
            assert result.published.encode() == result.written.encode()
    hydes = [call for call in model.calls if call.messages[0].content.startswith("Put signs")]
    assert len(hydes) == sum(row["mood"] == "mean" for row in rows), "nice comments never reach Hyde"


def test_only_listed_words_are_masked(hyde: ModuleType) -> None:
    model = ScriptedModel(
        {"^user: Write": "A stupid, UGLY cat; stupidity is no crime.", "Put signs": "as is"}
    )
    assert hyde.comment.using({hyde.llm: model})("A cat").published == "as is"
    echo = ScriptedModel(
        {"^user: Write": "A stupid, UGLY cat; stupidity is no crime.", "Put": "A stupid, UGLY cat"}
    )
    assert hyde.comment.using({hyde.llm: echo})("A cat").published == "A #@!%&*, #@!% cat"
    assert hyde.judge("stupidity is no crime, and I like it").unkind == ()


def test_a_mean_comment_without_a_listed_word_is_found_by_its_sentiment(hyde: ModuleType) -> None:
    verdict = hyde.judge("A dull, lazy mess, and a complete waste of everybody's time.")
    assert verdict.mean
    assert verdict.unkind == ()
