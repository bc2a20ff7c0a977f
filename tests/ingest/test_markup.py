"""HTML: the text people see, headings, breaks, declared encodings."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.reader import ReaderContract
from headrace.errors import ReadError
from headrace.ingest.markup import read_html
from headrace.types import Document

PAGE = """<!DOCTYPE html>
<html lang="en"><head><title> The
 mill </title><meta name="author" content="Ana"><style>p { color: red }</style></head>
<body>
<nav><a href="/">Home</a> <a href="/x">Elsewhere</a></nav>
<h1>The <em>headrace</em></h1>
<p>Water runs&nbsp;to the
   <b>wheel</b>, slowly.</p><p>Second<br>line.</p>
<script>var secret = 1;</script>
<h2>Parts<a class="headerlink" href="#p">¶</a></h2>
<ul><li>sluice</li><li>wheel <b>pit</b></li></ul>
<table><tr><th>part</th><th>metres</th></tr><tr><td>race</td><td>120</td></tr></table>
<pre>a
  b</pre>
<p hidden>not seen</p><!-- nor this -->
<div><p>caf&eacute; &amp; 水</p></div>
<footer>imprint</footer>
</body></html>
"""

TEXT = """The headrace

Water runs\u00a0to the wheel, slowly.

Second
line.

Parts

- sluice
- wheel pit

part | metres
race | 120

a
  b

café & 水"""


def only(data: bytes) -> Document:
    [document] = read_html(data, "dir/page.html")
    return document


class TestHtml(ReaderContract):
    name = "notes/sample.html"

    @pytest.fixture
    def reader(self) -> Any:
        return read_html

    @pytest.fixture
    def sample(self) -> bytes:
        return PAGE.encode()


def test_the_text_people_see() -> None:
    document = only(PAGE.encode())
    assert document.text == TEXT
    assert [(s.level, s.title) for s in document.sections] == [(1, "The headrace"), (2, "Parts")]
    assert [s.start for s in document.sections] == [0, TEXT.index("Parts")]
    assert document.metadata == {"title": "The mill", "type": "html", "language": "en", "author": "Ana"}
    assert document.media == "text/html"


@pytest.mark.parametrize(
    ("declaration", "codec"),
    [
        ('<meta charset="shift_jis">', "shift_jis"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1">', "latin-1"),
        ('<?xml version="1.0" encoding="koi8-r"?>', "koi8-r"),
        ('<meta charset="utf-16">', "utf-8"),
        ('<meta charset="no-such-thing">', "utf-8"),
        ("", "utf-16"),
    ],
)
def test_the_declared_encoding_where_the_bytes_agree(declaration: str, codec: str) -> None:
    word = {"shift_jis": "水車", "koi8-r": "мельница"}.get(codec, "Mühle")
    page = f"{declaration}<html><head></head><body><p>{word}</p></body></html>"
    assert only(page.encode(codec)).text == word


def test_fragments_and_broken_markup() -> None:
    assert only(b"just words").text == "just words"
    assert only(b"<p>one<p>two</div> <b>three").text == "one\n\ntwo three"
    assert only(b"<div>" * 1500 + b"deep").text == "deep"
    assert only(b"a<b>b</b>c <i> d</i>").text == "abc d"


def test_what_the_parser_would_drop_is_an_error() -> None:
    with pytest.raises(ReadError, match="nested deeper"):
        only(b"<div>" * 3000 + b"deep")


def test_a_page_without_text_says_so() -> None:
    with pytest.raises(ReadError, match="no text outside of scripts") as caught:
        only(b"<html><body><script>render()</script></body></html>")
    assert "page.html" in str(caught.value)
