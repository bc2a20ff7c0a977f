"""Prices, costs and estimated token counts."""

from __future__ import annotations

import pytest

from headrace.errors import SettingsError
from headrace.models.cost import MESSAGE_OVERHEAD, Prices, approximate_tokens, estimate, prompt_tokens
from headrace.settings import ModelSettings
from headrace.types import Decoding, Message, Usage


def test_prices_are_per_million_tokens() -> None:
    prices = Prices.of(ModelSettings(input_price=0.15, output_price=0.60))
    assert prices.cost(1_000_000, 0) == pytest.approx(0.15)
    assert prices.cost(1000, 500) == pytest.approx(0.00015 + 0.0003)
    assert prices.usage(10, 5) == Usage(input_tokens=10, output_tokens=5, cost=prices.cost(10, 5))


def test_an_unknown_price_is_an_unknown_cost_not_nothing() -> None:
    assert Prices().cost(10, 10) is None
    assert Prices().cost(0, 0) is None
    assert Prices(input=1.0).cost(10, 10) is None
    assert Prices(input=1.0).cost(10, 0) == pytest.approx(1e-5)
    assert Prices(input=0.0, output=0.0).cost(10, 10) == 0.0


@pytest.mark.parametrize("price", [-0.1, float("nan")])
def test_a_price_below_nothing_is_refused(price: float) -> None:
    with pytest.raises(SettingsError, match="input_price"):
        Prices(input=price)


def test_an_estimate_is_the_most_a_call_can_use() -> None:
    messages = [Message("system", "a b"), Message("user", "c")]

    def count(text: str) -> int:
        return len(text.split())

    assert prompt_tokens(messages, count) == 3 + 2 * MESSAGE_OVERHEAD
    most = estimate(messages, Decoding(max_new_tokens=100), count=count, prices=Prices(input=1e6, output=2e6))
    assert most == Usage(
        input_tokens=3 + 2 * MESSAGE_OVERHEAD, output_tokens=100, cost=3 + 2 * MESSAGE_OVERHEAD + 200
    )


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("   ", 0),
        ("leave", 1),
        ("the days of leave", 4),
        ("internationalisation", 4),
        ("2026", 2),
        ("a, b.", 4),
        ("one\ntwo", 3),
        ("水车", 2),
        ("🙂", 2),
    ],
)
def test_tokens_are_estimated_by_words_digits_and_signs(text: str, tokens: int) -> None:
    assert approximate_tokens(text) == tokens


def test_the_estimate_errs_on_the_high_side_for_documentation(request: pytest.FixtureRequest) -> None:
    """Against a real vocabulary of 30,522 pieces on the texts of this project."""
    embedder = request.getfixturevalue("embedder")
    root = request.config.rootpath
    texts = [path.read_text(encoding="utf-8") for path in sorted((root / "src" / "headrace").glob("*.py"))]
    texts += [path.read_text(encoding="utf-8") for path in sorted((root / "docs").rglob("*.md"))]
    pieces = [piece for text in texts for piece in text.split("\n\n") if len(piece) > 200]
    real = sum(len(embedder.offsets(piece)) for piece in pieces)
    guessed = sum(approximate_tokens(piece) for piece in pieces)
    assert 0.95 * real < guessed < 1.5 * real
