"""Text formats: the text is the file, headings are found, metadata is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.reader import ReaderContract
from headrace import plugins
from headrace.errors import ReadError
from headrace.ingest import headings, readers
from headrace.types import Document

MARKDOWN = """---
title: "The mill"
tags: [water, wheel]
year: 2021
draft: false
authors:
  - Ana
  - Ben
---
# Headrace `guide` #

Text.

Setext *one*
============

```python
# not a heading
```

~~~
## neither
~~~

    # nor this

<!-- # nor
# this -->

Two lines of a paragraph
and more
---

### A [link](http://example.org) {#id}

- item
---
| a |
---
#hashtag
"""

RST = """:author: Ana
:version: 3

========
Headrace
========

Wheel
=====

See :pep:`8` and ``code``.

The `tail`_ race
----------------

===== =====
a     b
===== =====

----

Sluice
======

::

    Not
    ===

水の道
======
"""


def only(documents: Iterator[Document]) -> Document:
    [document] = documents
    return document


def titles(document: Document) -> list[tuple[int, str]]:
    for section in document.sections:
        assert document.text[section.start :].strip()
    return [(section.level, section.title) for section in document.sections]


class TestText(ReaderContract):
    @pytest.fixture
    def reader(self) -> Any:
        return readers.read_text

    @pytest.fixture
    def sample(self) -> bytes:
        return b"The headrace\n\nCHAPTER I\n\nWater.\n\nCHAPTER II\n\nWheel.\n"


class TestMarkdown(ReaderContract):
    name = "notes/sample.md"
    expected = "Headrace"

    @pytest.fixture
    def reader(self) -> Any:
        return readers.read_markdown

    @pytest.fixture
    def sample(self) -> bytes:
        return MARKDOWN.encode()


class TestRst(TestMarkdown):
    name = "notes/sample.rst"

    @pytest.fixture
    def reader(self) -> Any:
        return readers.read_rst

    @pytest.fixture
    def sample(self) -> bytes:
        return RST.encode()


class TestCode(ReaderContract):
    name = "src/sample.py"

    @pytest.fixture
    def reader(self) -> Any:
        return readers.read_code

    @pytest.fixture
    def sample(self) -> bytes:
        return b"# the headrace\ndef open_sluice():\n    return 1\n\nclass Wheel:\n    def turn(self): ...\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_markdown_headings(newline: str) -> None:
    text = MARKDOWN.replace("\n", newline)
    document = only(readers.read_markdown(text.encode(), "a.md"))
    assert document.text == text
    assert titles(document) == [(1, "Headrace guide"), (1, "Setext one"), (3, "A link")]
    assert [text[s.start : s.start + 6] for s in document.sections] == ["# Head", "Setext", "### A "]


def test_front_matter_is_metadata() -> None:
    metadata = only(readers.read_markdown(MARKDOWN.encode(), "a.md")).metadata
    assert metadata == {
        "title": "The mill",
        "type": "markdown",
        "tags": ["water", "wheel"],
        "year": 2021,
        "draft": False,
        "authors": ["Ana", "Ben"],
    }
    toml = "+++\ntitle = 'T'\nyear = 2020\ndate = 2020-01-02\n+++\n# H\n"
    metadata = only(readers.read_markdown(toml.encode(), "a.md")).metadata
    assert (metadata["title"], metadata["year"], metadata["date"]) == ("T", 2020, "2020-01-02")
    rule = "---\nNot front matter, just a rule and prose.\n---\n"
    assert only(readers.read_markdown(rule.encode(), "dir/plain.md")).metadata["title"] != "T"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_rst_headings_and_fields(newline: str) -> None:
    text = RST.replace("\n", newline)
    document = only(readers.read_rst(text.encode(), "a.rst"))
    assert titles(document) == [
        (1, "Headrace"),
        (2, "Wheel"),
        (3, "The tail race"),
        (2, "Sluice"),
        (2, "水の道"),
    ]
    assert text[document.sections[0].start :].startswith("========" + newline + "Headrace")
    assert document.metadata["author"] == "Ana"
    assert document.metadata["version"] == 3
    assert document.metadata["title"] == "Headrace"


def test_header_fields_of_letters() -> None:
    text = "PEP: 7\nTitle: On mills\nAuthor: Ana <ana@example.org>,\n        Ben\n\nBody: no field\n"
    metadata = only(readers.read_rst(text.encode(), "a.rst")).metadata
    assert metadata["pep"] == 7
    assert metadata["title"] == "On mills"
    assert metadata["author"] == "Ana <ana@example.org>, Ben"
    assert "body" not in metadata
    prose = "Note: one colon makes no header\nand this goes on.\n"
    assert "note" not in only(readers.read_rst(prose.encode(), "a.rst")).metadata


def test_the_divisions_of_a_book() -> None:
    text = "A Tale of Water\n\nACT I\n\nSCENE I. A mill.\n\nSee CHAPTER 1.\n\nSCENE II. A wheel.\n\nEnd.\n"
    document = only(readers.read_text(text.encode(), "tale.txt"))
    assert titles(document) == [(2, "ACT I"), (4, "SCENE I. A mill."), (4, "SCENE II. A wheel.")]
    assert document.metadata["title"] == "A Tale of Water"
    assert only(readers.read_text(b"One line that goes on. And on.", "x/y.txt")).metadata["title"] == "y"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "a.py",
            "import x\n\n# why\n@cached\nasync def one(): ...\n\n"
            "class Two:\n    def three(self):\n        def no(): ...\n",
            [(1, "def one"), (1, "class Two"), (2, "def three")],
        ),
        ("a.js", "export default function go() {}\nconst f = (a) => a\n", [(1, "function go"), (1, "f")]),
        ("a.rs", "/// doc\npub fn go() {}\nimpl Foo for Bar {\n", [(1, "fn go"), (1, "impl Foo for Bar")]),
        ("a.go", "func (w *Wheel) Turn() {\n", [(1, "func (w *Wheel) Turn")]),
        ("a.c", "static int turn(int a,\n  int b)\n{\n  if (x) {\n", [(1, "turn")]),
        ("a.sql", "CREATE TABLE IF NOT EXISTS wheel (id int);\n", [(1, "table wheel")]),
        ("a.sh", "go() {\n}\nfunction stop {\n}\n", [(1, "go"), (1, "function stop")]),
        ("a.toml", "x = 1\n[tool.wheel]\ny = 2\n", [(1, "tool.wheel")]),
        ("a.yaml", "mill:\n  wheel: 1\nrace:\n", [(1, "mill"), (1, "race")]),
        ("a.css", "p { x: y }\n", []),
    ],
)
def test_definitions_are_headings(name: str, text: str, expected: list[tuple[int, str]]) -> None:
    document = only(readers.read_code(text.encode(), name))
    assert titles(document) == expected
    assert document.metadata["title"] == name


def test_a_definition_begins_at_its_comment() -> None:
    text = "x = 1\n\n# why it is so\n@cached\ndef f(): ...\n"
    assert headings.code(text, ".py")[0].start == text.index("# why")


@pytest.mark.parametrize("suffix", sorted(plugins.BUILT_IN["readers"]))
def test_every_reader_refuses_noise_and_takes_nothing(suffix: str) -> None:
    reader = plugins.get("readers", suffix)
    assert list(reader(b"", f"a{suffix}")) == []
    with pytest.raises(ReadError, match="a\\" + suffix):
        list(reader(bytes(range(256)) * 16, f"a{suffix}"))


def test_an_encoding_other_than_utf8_is_noted() -> None:
    document = only(readers.read_text("Müllerin am Bach\n".encode("latin-1"), "a.txt"))
    assert document.text == "Müllerin am Bach\n"
    assert document.metadata["encoding"] == "cp1252"


def test_real_text(shared: Path) -> None:
    folder = shared / "data" / "python_peps"
    paths = sorted(folder.glob("*.rst"))
    assert len(paths) == 631
    with_sections = 0
    for path in paths:
        data = path.read_bytes()
        document = only(readers.read_rst(data, path.name))
        assert document.text == data.decode()
        assert document.metadata["pep"] == int(path.stem[4:])
        with_sections += bool(document.sections)
        for section in document.sections:
            shown = document.text[section.start : section.start + 400].replace("`", "")
            first = section.title.split()[0]
            assert first in shown or f":{first}" in shown or "<" in shown
    assert with_sections > 600
    hamlet = only(readers.read_text((shared / "data/shakespeare/hamlet.txt").read_bytes(), "hamlet.txt"))
    assert sum(s.title.startswith("ACT ") for s in hamlet.sections) == 5
    assert sum(s.title.startswith("SCENE ") for s in hamlet.sections) == 20
