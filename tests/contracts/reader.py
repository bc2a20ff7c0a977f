"""What every reader owes (headrace.protocols.Reader). Inherit; give ``reader`` and ``sample``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace import to_json
from headrace.errors import ReadError
from headrace.protocols import Reader

PICTURE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 8


class ReaderContract:
    """``sample`` is a small good file of the format; its text contains ``expected``."""

    name = "notes/sample.txt"
    expected = "headrace"

    @pytest.fixture
    def reader(self) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def sample(self) -> bytes:
        raise NotImplementedError

    def test_it_is_a_reader(self, reader: Reader) -> None:
        assert isinstance(reader, Reader)

    def test_documents_have_text_title_and_type(self, reader: Reader, sample: bytes) -> None:
        documents = list(reader(sample, self.name))
        assert documents
        assert any(self.expected in document.text for document in documents)
        for document in documents:
            assert document.text.strip()
            assert document.metadata["title"]
            assert document.metadata["type"]
            assert json.loads(json.dumps(to_json(document.metadata))) == to_json(document.metadata)
            document.text.encode("utf-8")  # no lone surrogates: no store could hold them

    def test_ids_are_none_or_rows_of_the_file(self, reader: Reader, sample: bytes) -> None:
        ids = [document.id for document in reader(sample, self.name)]
        if ids != [None]:
            assert all(id is not None and id.startswith(f"{self.name}#") for id in ids)
            assert len(set(ids)) == len(ids)

    def test_sections_stand_where_they_say(self, reader: Reader, sample: bytes) -> None:
        for document in reader(sample, self.name):
            starts = [section.start for section in document.sections]
            assert starts == sorted(starts)
            assert all(0 <= start < len(document.text) and s.level >= 1 and s.title for start, s in
                       zip(starts, document.sections, strict=True))  # fmt: skip
            for section in document.sections:
                if section.level <= 6:
                    first = section.title.split()[-1]
                    assert first in document.text[section.start : section.start + 200]

    def test_reading_is_repeatable(self, reader: Reader, sample: bytes) -> None:
        assert list(reader(sample, self.name)) == list(reader(sample, self.name))

    def test_no_bytes_no_documents(self, reader: Reader) -> None:
        assert list(reader(b"", self.name)) == []

    def test_a_picture_is_an_error_with_the_name(self, reader: Reader) -> None:
        with pytest.raises(ReadError, match="sample"):
            list(reader(PICTURE, self.name))
