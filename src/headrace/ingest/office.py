"""PDF and Word files → a document: the text layer of a PDF, the paragraphs and tables of a docx.

No optical recognition: a PDF without a text layer is an error that says so. The stored text is the
extracted one; offsets count its code points.
"""

from __future__ import annotations

import io
import re
import threading
import zipfile
from collections.abc import Iterator
from typing import Any

from headrace.errors import ReadError
from headrace.ingest.encoding import clean
from headrace.ingest.readers import document
from headrace.types import Document, Section

PAGE = 7  # level of a page: it names a place and is no boundary (see split.HARD)
_LARGEST = 1 << 30  # bytes of a docx when unpacked; more is a bomb or no text

# PDFium is not safe to call from two threads at once, not even for two files.
_pdfium = threading.Lock()


def read_pdf(data: bytes, name: str) -> Iterator[Document]:
    """The text layer, page by page; outline entries and pages are the sections."""
    pdfium = _library()
    if not data.strip():
        return
    with _pdfium:
        try:
            pdf = pdfium.PdfDocument(data)
        except pdfium.PdfiumError as error:
            if "password" in str(error).lower():
                raise ReadError(
                    f"{name!r} is encrypted: it opens only with a password.",
                    hint="Save a copy without the password.",
                ) from error
            raise ReadError(f"{name!r} is not a PDF that can be read: {error}.") from error
        try:
            pages = [_page(pdf, number) for number in range(len(pdf))]
            outline = _outline(pdf)
            declared = {k.lower(): clean(v).strip() for k, v in pdf.get_metadata_dict().items()}
        except pdfium.PdfiumError as error:
            raise ReadError(f"{name!r} is a damaged PDF: {error}.") from error
        finally:
            pdf.close()
    if not any(page.strip() for page in pages):
        raise ReadError(
            f"{name!r} has no text layer: its {len(pages)} pages are pictures.",
            hint="Run it through optical character recognition first.",
        )
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    for page in pages:
        starts.append(length)
        if page:
            parts.append(page)
            length += len(page) + 2
    text = "\n\n".join(parts)
    metadata: dict[str, Any] = {k: declared[k] for k in ("title", "author", "subject") if declared.get(k)}
    metadata.setdefault("title", _title(text, name))
    metadata["pages"] = len(pages)
    yield document(text, name, "pdf", _sections(pages, starts, outline), metadata, media="application/pdf")


def _library() -> Any:
    """pypdfium2, whose functions carry no types."""
    import pypdfium2

    return pypdfium2


def _page(pdf: Any, number: int) -> str:
    page = pdf[number]
    try:
        text_page = page.get_textpage()
        try:
            text = text_page.get_text_bounded()
        finally:
            text_page.close()
    finally:
        page.close()
    text = clean(text.replace("\r\n", "\n").replace("\r", "\n"))
    # PDFium marks the hyphen of a word that was broken at the end of a line
    return re.sub(r"[\ufffe\x02\u00ad]\n?", "", text).strip()


def _outline(pdf: Any) -> list[tuple[int, int, str]]:
    """(page index, level from 1, title) of the bookmarks."""
    found = []
    for mark in pdf.get_toc(max_depth=6):
        target = mark.get_dest()
        page = target.get_index() if target is not None else None
        title = " ".join(clean(mark.get_title()).split())
        if page is not None and title:
            found.append((page, mark.level + 1, title))
    return found


def _sections(
    pages: list[str], starts: list[int], outline: list[tuple[int, int, str]]
) -> tuple[Section, ...]:
    """Bookmarks where their title stands on the page, else at its top; and the pages."""
    found = []
    for index, level, title in outline:
        if index >= len(pages) or not pages[index]:
            continue
        pattern = r"\s+".join(re.escape(word) for word in title.split())
        match = re.search(rf"^[\d.\s]*{pattern}\s*$", pages[index], re.MULTILINE | re.IGNORECASE)
        found.append(Section(start=starts[index] + (match.start() if match else 0), level=level, title=title))
    found.sort(key=lambda section: section.start)
    found += [
        Section(start=start, level=PAGE, title=f"page {number}")
        for number, (start, page) in enumerate(zip(starts, pages, strict=True), 1)
        if page
    ]
    return tuple(sorted(found, key=lambda section: (section.start, section.level)))


def _title(text: str, name: str) -> str:
    first = text.lstrip().partition("\n")[0].strip()
    return first if 0 < len(first) <= 120 else name.rpartition("/")[2]


def read_docx(data: bytes, name: str) -> Iterator[Document]:
    """Paragraphs, headings and tables of a Word file, in order."""
    if not data.strip():
        return
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise ReadError(
            f"{name!r} is encrypted, or an old .doc with the wrong ending.",
            hint="Save a copy as .docx without a password.",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(item.file_size for item in archive.infolist())
        if size > _LARGEST:
            raise ReadError(f"{name!r} unpacks to {size:,} bytes, which no text needs.")
        parts, sections, declared = _docx(data)
    except (zipfile.BadZipFile, KeyError, ValueError, SyntaxError) as error:
        # python-docx: ValueError where it is another kind of file, KeyError where a part is missing;
        # lxml's XMLSyntaxError is a SyntaxError
        raise ReadError(f"{name!r} is not a Word file that can be read: {error}.") from error
    text = "".join(parts).rstrip()
    if not text.strip():
        raise ReadError(f"{name!r} holds no text.")
    media = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    yield document(text, name, "docx", tuple(sections), declared, media=media)


def _docx(data: bytes) -> tuple[list[str], list[Section], dict[str, Any]]:
    import docx
    from docx.table import Table

    file = docx.Document(io.BytesIO(data))
    parts: list[str] = []
    sections: list[Section] = []
    length = 0
    item = False  # the paragraph before is an item of a list

    def add(text: str, gap: str) -> int:
        nonlocal length
        start = length + len(gap) if parts else 0
        parts.append(gap + text if parts else text)
        length += len(parts[-1])
        return start

    for block in file.iter_inner_content():
        if isinstance(block, Table):
            if rows := _table(block):
                add("\n".join(rows), "\n\n")
            item = False
            continue
        text = clean(block.text).strip()
        if not text:
            continue
        style = (block.style.name if block.style is not None else "") or ""
        if level := _level(style):
            start = add(text, "\n\n")
            sections.append(Section(start=start, level=level, title=" ".join(text.split())))
            item = False
        elif style.startswith("List"):
            add(f"- {text}", "\n" if item else "\n\n")
            item = True
        else:
            add(text, "\n\n")
            item = False
    properties = file.core_properties
    declared: dict[str, Any] = {}
    for key in ("title", "author", "subject", "keywords"):
        if value := clean(str(getattr(properties, key) or "")).strip():
            declared[key] = value
    if declared.get("author") == "python-docx":  # the library's template, not a person
        del declared["author"]
    for key in ("created", "modified"):
        if (moment := getattr(properties, key)) is not None:
            declared[key] = moment.isoformat()
    return parts, sections, declared


def _level(style: str) -> int:
    """1 to 6 for heading styles (``Title`` is 1, ``Heading 1`` too), 0 for others."""
    if style in ("Title", "Subtitle"):
        return 1 if style == "Title" else 0
    match = re.fullmatch(r"[Hh]eading (\d)", style)
    return min(int(match[1]), 6) if match else 0


def _table(table: Any) -> list[str]:
    """Rows as ``a | b | c``; a merged cell is written once."""
    rows = []
    for row in table.rows:
        cells: list[str] = []
        before = None
        for cell in row.cells:
            if cell._tc is before:
                continue
            before = cell._tc
            cells.append(" ".join(part for part in _cell(cell) if part))
        if any(cells):
            rows.append(" | ".join(cells))
    return rows


def _cell(cell: Any) -> Iterator[str]:
    from docx.table import Table

    for block in cell.iter_inner_content():
        if isinstance(block, Table):
            yield "; ".join(_table(block))
        else:
            yield " ".join(clean(block.text).split())
