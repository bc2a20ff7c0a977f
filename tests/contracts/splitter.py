"""What every splitter owes (headrace.protocols.Splitter). Inherit; give ``splitter`` and ``count``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headrace import to_json
from headrace.protocols import Splitter
from headrace.types import Document, Section

PROSE = (
    "The headrace brings the water to the wheel. It follows the slope, so that it loses little height.\n\n"
    "A sluice at its upper end decides how much water comes in. Below the wheel the tailrace takes it away; "
    "nobody wants water to stand there.\n"
)


class SplitterContract:
    """``count`` gives the tokens of a text as the splitter's ``limit`` means them."""

    limit = 64

    @pytest.fixture
    def splitter(self) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def count(self) -> Any:
        raise NotImplementedError

    def check(self, splitter: Splitter, count: Callable[[str], int], document: Document) -> None:
        chunks = splitter.split(document)
        covered = 0
        before = -1
        for number, chunk in enumerate(chunks):
            assert chunk.ordinal == number
            assert chunk.document == document.key
            assert chunk.text == document.text[chunk.start : chunk.end]
            assert chunk.text.strip()
            assert count(chunk.text) <= self.limit
            assert chunk.start > before
            assert chunk.end > covered
            assert not document.text[covered : chunk.start].strip()
            before, covered = chunk.start, chunk.end
        assert not document.text[covered:].strip()

    def test_it_is_a_splitter(self, splitter: Splitter) -> None:
        assert isinstance(splitter, Splitter)
        assert to_json(splitter.identity)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " \n\n \t",
            "word",
            PROSE,
            PROSE * 40,
            "x" * 5000,
            "水を引く。" * 300,
            "na\u0308ive cafe\u0301 " * 200,
            "👩‍👩‍👧‍👦 " * 300,
            "a\r\n\r\nb\r\n" * 100,
            "| a | b |\n" * 300,
            "\u200b\u200b word \u200b",
        ],
        ids=lambda text: repr(text[:12]),
    )
    def test_slices_cover_the_text_within_the_limit(
        self, splitter: Splitter, count: Callable[[str], int], text: str
    ) -> None:
        self.check(splitter, count, Document(text, id="d"))

    def test_headings_are_paths(self, splitter: Splitter, count: Callable[[str], int]) -> None:
        text = f"# Mill\n\n{PROSE * 4}\n## Wheel\n\n{PROSE * 4}"
        second = text.index("## Wheel")
        document = Document(
            text,
            sections=(Section(start=0, level=1, title="Mill"), Section(start=second, level=2, title="Wheel")),
        )
        self.check(splitter, count, document)
        headings = [chunk.heading for chunk in splitter.split(document)]
        assert set(headings) == {"Mill", "Mill > Wheel"}
        assert all(
            (chunk.start >= second) == (chunk.heading == "Mill > Wheel") for chunk in splitter.split(document)
        )

    def test_splitting_is_repeatable(self, splitter: Splitter) -> None:
        document = Document(PROSE * 20)
        assert splitter.split(document) == splitter.split(document)
