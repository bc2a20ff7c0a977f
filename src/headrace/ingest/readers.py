"""Text formats → documents: plain text, Markdown, reStructuredText, source code.

The document's text is the decoded file, untouched, so that offsets count code points of the file.
Formats whose text has to be extracted live in ``markup.py``, ``office.py`` and ``rows.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from headrace.ingest import headings
from headrace.ingest.encoding import decode, decode_with_name
from headrace.matter import front_matter, header_fields
from headrace.types import Document, Section

__all__ = ["decode", "read_code", "read_markdown", "read_rst", "read_text"]


def read_text(data: bytes, name: str) -> Iterator[Document]:
    """Plain text; chapters and scenes of books are its sections."""
    text, codec = decode_with_name(data, name)
    if text.strip():
        first, _, rest = text.lstrip().partition("\n")
        # a short first line that stands alone is the title: "CHAPTER I" would be a poor one
        alone = len(first) <= 100 and not rest.partition("\n")[0].strip() and first.rstrip()[-1] not in ".,;:"
        declared = {"title": first.strip()} if alone else {"title": PurePath(name).stem}
        yield document(text, name, "text", headings.plain(text), declared, codec)


def read_markdown(data: bytes, name: str) -> Iterator[Document]:
    """Markdown, with its front matter as metadata."""
    text, codec = decode_with_name(data, name)
    if text.strip():
        declared, body = front_matter(text)
        yield document(
            text, name, "markdown", headings.markdown(text, body), declared, codec, media="text/markdown"
        )


def read_rst(data: bytes, name: str) -> Iterator[Document]:
    """reStructuredText, with fields at its top as metadata."""
    text, codec = decode_with_name(data, name)
    if text.strip():
        yield document(text, name, "rst", headings.rst(text), header_fields(text), codec, media="text/x-rst")


def read_code(data: bytes, name: str) -> Iterator[Document]:
    """Source code and configuration: definitions are the sections, the file's name is the title."""
    text, codec = decode_with_name(data, name)
    if text.strip():
        path = PurePath(name)
        yield document(
            text,
            name,
            "code",
            headings.code(text, path.suffix),
            {"title": path.name},
            codec,
            media="text/x-code",
        )


def document(
    text: str,
    name: str,
    kind: str,
    sections: tuple[Section, ...] = (),
    declared: Mapping[str, Any] | None = None,
    encoding: str = "utf-8",
    media: str = "text/plain",
) -> Document:
    """A document with the metadata that every one has: ``title`` and ``type``.

    What the file declares about itself wins over what is derived. ``encoding`` is kept where it is
    not UTF-8.
    """
    top = min((s.level for s in sections), default=0)
    title = next((s.title for s in sections if s.level == top), "") or PurePath(name).stem
    metadata: dict[str, Any] = {"title": title, "type": kind}
    if encoding != "utf-8":
        metadata["encoding"] = encoding
    metadata.update(declared or {})
    return Document(text, metadata, media=media, sections=sections)
