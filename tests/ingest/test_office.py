"""PDF and Word files: text in order, pages, outlines, tables; clear errors for what has no text."""

from __future__ import annotations

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from contracts.reader import ReaderContract
from headrace.errors import ReadError
from headrace.ingest.office import read_docx, read_pdf
from headrace.types import Document

from .pdf_kit import encrypted, pdf

TWO_PAGES = [
    ["Sluices", "The headrace brings water (clear) to the wheel."],
    ["Tailrace", "It goes away – slowly."],
]


def word_file() -> bytes:
    import docx

    file = docx.Document()
    file.core_properties.title = "On mills"
    file.core_properties.author = "Ana"
    file.add_heading("The headrace", 1)
    file.add_paragraph("Water runs.")
    file.add_paragraph("")
    file.add_heading("Parts", 2)
    file.add_paragraph("sluice", style="List Bullet")
    file.add_paragraph("wheel pit", style="List Bullet")
    table = file.add_table(rows=2, cols=3)
    for row, values in zip(table.rows, (("part", "metres", "year"), ("race", "120", "1900")), strict=True):
        for cell, value in zip(row.cells, values, strict=True):
            cell.text = value
    table.rows[1].cells[1].merge(table.rows[1].cells[2])
    file.add_paragraph("After the table.")
    stream = io.BytesIO()
    file.save(stream)
    return stream.getvalue()


def only(documents: Any) -> Document:
    [document] = documents
    return document


class TestPdf(ReaderContract):
    name = "notes/sample.pdf"

    @pytest.fixture
    def reader(self) -> Any:
        return read_pdf

    @pytest.fixture
    def sample(self) -> bytes:
        return pdf(TWO_PAGES)


class TestDocx(ReaderContract):
    name = "notes/sample.docx"

    @pytest.fixture
    def reader(self) -> Any:
        return read_docx

    @pytest.fixture
    def sample(self) -> bytes:
        return word_file()


def test_pages_are_places() -> None:
    document = only(read_pdf(pdf(TWO_PAGES, title="On mills"), "a.pdf"))
    assert document.text == (
        "Sluices\nThe headrace brings water (clear) to the wheel.\n\nTailrace\nIt goes away – slowly."
    )
    assert [(s.level, s.title) for s in document.sections] == [(7, "page 1"), (7, "page 2")]
    assert document.sections[1].start == document.text.index("Tailrace")
    assert document.metadata == {"title": "On mills", "type": "pdf", "pages": 2}


def test_an_outline_gives_headings() -> None:
    pages = [*TWO_PAGES, [], ["Some words first", "2 Ice and Flood", "Boards out."]]
    outline = [("Sluices", 0), ("Tailrace", 1), ("Ice and flood", 3)]
    document = only(read_pdf(pdf(pages, outline=outline), "a.pdf"))
    found = [(s.level, s.title, s.start) for s in document.sections]
    assert [(level, title) for level, title, _ in found] == [
        (1, "Sluices"),
        (7, "page 1"),
        (1, "Tailrace"),
        (7, "page 2"),
        (7, "page 4"),
        (1, "Ice and flood"),
    ]
    assert found[-1][2] == document.text.index("2 Ice")
    assert document.metadata["pages"] == 4


def test_a_pdf_without_a_text_layer_says_so() -> None:
    with pytest.raises(ReadError, match="no text layer") as caught:
        list(read_pdf(pdf([[], []]), "scan.pdf"))
    assert "scan.pdf" in str(caught.value)
    assert "2 pages" in str(caught.value)


def test_an_encrypted_pdf_says_so() -> None:
    with pytest.raises(ReadError, match="encrypted"):
        list(read_pdf(encrypted(), "secret.pdf"))


@pytest.mark.parametrize("data", [b"%PDF-1.4\nnothing more", pdf(TWO_PAGES)[:120], b"hello"])
def test_a_damaged_pdf_is_an_error(data: bytes) -> None:
    with pytest.raises(ReadError, match=r"a\.pdf"):
        list(read_pdf(data, "a.pdf"))


def test_pdfs_in_many_threads() -> None:
    files = [pdf([[f"Page {page} of file {n}"] for page in range(4)]) for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        texts = list(pool.map(lambda data: only(read_pdf(data, "a.pdf")).text, files))
    assert all(f"Page 3 of file {n}" in text for n, text in enumerate(texts))


def test_word_paragraphs_lists_and_tables_in_order() -> None:
    document = only(read_docx(word_file(), "a.docx"))
    assert document.text == (
        "The headrace\n\nWater runs.\n\nParts\n\n- sluice\n- wheel pit\n\n"
        "part | metres | year\nrace | 120 1900\n\nAfter the table."
    )
    assert [(s.level, s.title, s.start) for s in document.sections] == [
        (1, "The headrace", 0),
        (2, "Parts", document.text.index("Parts")),
    ]
    assert document.metadata["title"] == "On mills"
    assert document.metadata["author"] == "Ana"
    assert document.metadata["type"] == "docx"


def test_word_files_that_cannot_be_read() -> None:
    with pytest.raises(ReadError, match="encrypted"):
        list(read_docx(b"\xd0\xcf\x11\xe0" + bytes(600), "a.docx"))
    with pytest.raises(ReadError, match="not a Word file"):
        list(read_docx(b"hello", "a.docx"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("hello.txt", "not a word file")
    with pytest.raises(ReadError, match="not a Word file"):
        list(read_docx(stream.getvalue(), "a.docx"))
    with pytest.raises(ReadError, match="not a Word file"):
        list(read_docx(word_file()[:3000], "a.docx"))
    import docx

    stream = io.BytesIO()
    docx.Document().save(stream)
    with pytest.raises(ReadError, match="holds no text"):
        list(read_docx(stream.getvalue(), "a.docx"))
