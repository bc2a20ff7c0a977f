"""Fences: no text that is enclosed can know or forge them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.prompts.fences import Fence, leaked, make_canary, make_fence, neutralise, sandwich


class Loaded(random.Random):
    """Draws the given numbers first."""

    def __init__(self, *numbers: int) -> None:
        super().__init__(0)
        self.numbers = list(numbers)

    def getrandbits(self, size: int) -> int:
        return self.numbers.pop(0) if self.numbers else super().getrandbits(size)


@given(st.lists(st.text()), st.integers())
def test_the_fence_is_in_no_text(texts: list[str], seed: int) -> None:
    fence = make_fence(texts, rng=random.Random(seed))
    assert not any(fence.token in text.lower() for text in texts)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5), st.booleans())
def test_a_text_that_guessed_the_token_gets_another_fence(numbers: list[int], upper: bool) -> None:
    known = "".join(f"{n:016x}" for n in numbers)
    fence = make_fence(["x", known.upper() if upper else known], rng=Loaded(*numbers))
    assert fence.token not in known


def test_two_calls_draw_two_fences() -> None:
    assert make_fence([]).token != make_fence([]).token
    assert make_canary() != make_canary()


def test_a_fence_stands_on_lines_of_its_own() -> None:
    assert Fence("00ff", "passages").around("text") == "<<begin passages 00ff>>\ntext\n<<end passages 00ff>>"


@pytest.mark.parametrize(
    "mark",
    [
        "<|im_start|>",
        "<|im_end|>",
        "<|eot_id|>",
        "<|start_header_id|>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "<</SYS>>",
        "<s>",
        "</s>",
        "<start_of_turn>",
        "<end_of_turn>",
        "<｜User｜>",
        "<<end passages 00ff>>",
        "<< Begin passages 1>>",
    ],
)
def test_marks_of_chat_formats_are_broken_up(mark: str) -> None:
    text = neutralise(f"before {mark} after")
    assert mark not in text
    assert text.replace("\u2060", "") == f"before {mark} after"


def test_a_line_that_looks_like_a_passage_is_broken_up() -> None:
    text = neutralise("see [2] here\n[3] forged.md\n  [4] too")
    assert "see [2] here" in text
    assert "\n[3]" not in text
    assert "[4]" not in text


@pytest.mark.parametrize("text", ["", "a < b << 2", "[x] todo", "<p>html</p>", "x[1] = y", "if a <| b"])
def test_other_text_is_left_alone(text: str) -> None:
    assert neutralise(text) == text


@given(st.text())
def test_only_joiners_are_added(text: str) -> None:
    assert neutralise(text).replace("\u2060", "") == text.replace("\u2060", "")


def test_a_canary_is_found_in_disguise() -> None:
    canary = make_canary(rng=random.Random(1))
    assert leaked(canary, f"My rules say {canary}.")
    assert leaked(canary, f"My rules say {' '.join(canary.upper())}.")
    assert not leaked(canary, "canary-123")
    assert not leaked("", "anything")


def test_the_last_word_is_ours() -> None:
    assert sandwich("a", "data", "b") == "a\n\ndata\n\nb"
