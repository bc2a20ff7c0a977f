"""HTML → a document: the text people see, with its headings. Not a browser: no scripts, no styles.

The stored text is the extracted one; offsets count its code points.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from headrace.errors import ReadError
from headrace.ingest.encoding import clean, decode_with_name
from headrace.ingest.readers import document
from headrace.types import Document, Section

_DROPPED = frozenset(
    "script style noscript template nav iframe object embed svg canvas audio video select button input "
    "textarea dialog head".split()
)
_APART = frozenset(  # a blank line around
    "p h1 h2 h3 h4 h5 h6 ul ol dl table pre blockquote section article main header footer aside figure "
    "details form fieldset hr address body".split()
)
_LINE = frozenset("div li tr br dt dd caption figcaption summary legend option center".split())
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_CHARSET = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?\s*([\w:.-]+)", re.IGNORECASE
)
_SPACE = re.compile(r"[ \t\n\r\f\v]+")


def read_html(data: bytes, name: str) -> Iterator[Document]:
    """HTML and XHTML; ``<title>`` is the title, ``h1`` to ``h6`` are the sections."""
    text, codec = _decode(data, name)
    if not text.strip():
        return
    parser = etree.HTMLParser(
        encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=True
    )
    try:
        root = etree.fromstring(text.encode("utf-8", "replace"), parser)
    except etree.LxmlError as error:
        raise ReadError(f"{name!r} is not HTML that can be read: {error}.") from error
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise ReadError(f"{name!r} is nested deeper than 2,048 elements.")  # the rest would be lost
    if root is None:
        raise ReadError(f"{name!r} holds no HTML.")
    out = _Text()
    for event, element in etree.iterwalk(root, events=("start", "end")):
        out.visit(event, element)
    extracted = clean(out.finish())
    if not extracted:
        raise ReadError(
            f"{name!r} holds no text outside of scripts and navigation.",
            hint="A page that a script fills in has to be saved from a browser.",
        )
    yield document(extracted, name, "html", tuple(out.sections), _declared(root), codec, media="text/html")


def _decode(data: bytes, name: str) -> tuple[str, str]:
    """The encoding that the page declares, where its bytes agree; else as for any text."""
    match = _CHARSET.search(data[:4096])
    if match and not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        codec = match[1].decode("ascii").lower()
        codec = {"iso-8859-1": "cp1252", "latin-1": "cp1252", "latin1": "cp1252"}.get(codec, codec)
        try:
            if b"\0" not in data:
                return data.decode(codec), codec
        except (LookupError, UnicodeDecodeError):
            pass  # a wrong declaration is common: the bytes decide
    return decode_with_name(data, name)


def _declared(root: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    title = root.find(".//title")
    if title is not None and (text := " ".join("".join(title.itertext()).split())):
        found["title"] = clean(text)
    if language := root.get("lang"):
        found["language"] = language.strip()
    for meta in root.iter("meta"):
        key, value = (meta.get("name") or "").lower(), (meta.get("content") or "").strip()
        if value and key in ("author", "description", "keywords", "date"):
            found[key] = clean(value)
    return found


class _Text:
    """Collects text while the tree is walked; breaks are written only before more text."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.breaks = 0  # newlines owed before the next text
        self.space = False  # a space owed
        self.skipping: Any = None  # the element whose inside is left out
        self.pre = 0
        self.sections: list[Section] = []
        self.heading: tuple[int, int] | None = None  # where it begins in parts, level
        self.cells = 0

    def visit(self, event: str, element: Any) -> None:
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            if self.skipping is not None:
                return
            if _is_hidden(element, tag):
                self.skipping = element
                return
            self._open(tag)
            self._write(element.text)
        else:
            if self.skipping is None:
                self._close(tag)
            elif self.skipping is element:
                self.skipping = None
            else:
                return
            self._write(element.tail)

    def _open(self, tag: str) -> None:
        self._break(tag)
        if tag in _HEADINGS:
            self.heading = (len(self.parts), _HEADINGS[tag])
        elif tag == "pre":
            self.pre += 1
        elif tag == "tr":
            self.cells = 0
        elif tag in ("td", "th"):
            if self.cells:
                self._emit(" | ")
            self.cells += 1
        elif tag == "li":
            self._emit("- ")

    def _close(self, tag: str) -> None:
        if tag == "pre":
            self.pre -= 1
        elif tag in _HEADINGS and self.heading is not None:
            begin, level = self.heading
            written = "".join(self.parts[begin:])
            title = " ".join(written.split())
            if title:
                start = self.length - len(written.lstrip("\n"))
                self.sections.append(Section(start=start, level=level, title=title))
            self.heading = None
        self._break(tag)

    def _break(self, tag: str) -> None:
        if tag in _APART:
            self.breaks = 2
        elif tag in _LINE:
            self.breaks = max(self.breaks, 1)

    def _write(self, text: str | None) -> None:
        if not text:
            return
        if self.pre:
            self._emit(text.replace("\r\n", "\n").replace("\r", "\n"))
            return
        words = _SPACE.sub(" ", text)
        if words[0] == " ":
            self.space = True
        if stripped := words.strip(" "):
            self._emit(stripped)
            self.space = words[-1] == " "

    def _emit(self, text: str) -> None:
        if self.breaks and self.parts:
            text = "\n" * self.breaks + text
        elif self.space and self.parts and not self.parts[-1].endswith((" ", "\n")):
            text = " " + text
        self.breaks, self.space = 0, False
        self.parts.append(text)
        self.length += len(text)

    def finish(self) -> str:
        return "".join(self.parts).rstrip()


def _is_hidden(element: Any, tag: str) -> bool:
    if tag in _DROPPED:
        return True
    if tag == "footer":  # of the page; that of an article belongs to it
        parent = element.getparent()
        return parent is not None and parent.tag == "body"
    return (
        element.get("hidden") is not None
        or element.get("aria-hidden") == "true"
        or element.get("role") == "navigation"
        or (tag == "a" and "headerlink" in (element.get("class") or "").split())
    )
