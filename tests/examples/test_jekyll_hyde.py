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
        assert 0 <= result.verdict.toxic <= 1
        if result.verdict.mean:
            assert result.published != result.written
            assert not any(word in result.published.lower() for word in hyde.UNKIND)
            assert len(result.published) == len(result.written)
        else:
            assert result.published.encode() == result.written.encode()
    hydes = [call for call in model.calls if call.messages[0].content.startswith("Put signs")]
    assert len(hydes) == sum(row["mood"] == "mean" for row in rows), "nice comments never reach Hyde"


def test_only_listed_words_are_masked(hyde: ModuleType) -> None:
    written = "A stupid, UGLY cat; stupidity is no crime."
    for hydes, published in (("as is", "as is"), (written, "A ######, #### cat; stupidity is no crime.")):
        model = ScriptedModel({"Write one": written, "Put signs": hydes})
        assert hyde.comment.using({hyde.llm: model})("A cat").published == published
    assert hyde.censored("Scunthorpe, and a classic assessment") == "Scunthorpe, and a classic assessment"


@pytest.mark.parametrize(
    ("text", "by"),
    [
        ("A dull, lazy mess, and a complete waste of everybody's time.", "negative"),
        ("You should die, nobody likes you.", "toxic"),
    ],
)
def test_a_mean_comment_without_a_listed_word_is_found(hyde: ModuleType, text: str, by: str) -> None:
    assert hyde.censored(text) == text
    verdict = hyde.judge(text)
    assert verdict.mean
    assert getattr(verdict, by) > {"negative": hyde.SURELY, "toxic": hyde.TOXIC}[by]
