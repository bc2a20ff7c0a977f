"""Erasing a document: nothing of it is left in any version, file or index; all else is sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.search import publish
from headrace.search.check import check
from headrace.search.forget import erase, tombstones
from headrace.types import Document

from .store_kit import Base

SECRET = "Quillfeather"


@pytest.fixture
def base(tmp_path: Path) -> Base:
    """Three versions; the document `secret` is in the first two, with two texts."""
    base = Base(tmp_path / "kb")
    with base.writer() as writer:
        writer.put([Document(f"text {n}\nline {n}\n", id=f"d{n}") for n in range(10)])
        writer.put([Document(f"about {SECRET}\nmore of it\n", id="secret")])
        publish.seal(writer, 1)
        writer.publish()
        writer.put([Document(f"{SECRET} again\n", id="secret")])
        writer.publish()
        writer.delete(["secret"])
        writer.publish()
    return base


def test_nothing_of_it_is_left(base: Base) -> None:
    others = {v: {k: t for k, t in base.live(v).items() if k != "secret"} for v in (1, 2, 3)}
    with base.writer() as writer:
        erased = erase(writer, "secret", "mark")
    assert (erased.documents, erased.chunks, erased.versions) == (2, 3, (1, 2))
    assert len(erased.seqs) == 3
    for version, contents in others.items():
        assert base.live(version) == contents
    assert check(base.store, base.words) == []
    for path in base.folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in " ".join(base.words.rows.values())
    with base.writer() as writer:
        (stone,) = tombstones(writer)
    assert (stone["hash"], stone["versions"], stone["seqs"]) == ("mark", [1, 2], list(erased.seqs))


def test_a_living_document_goes_and_a_version_without_it_comes(base: Base) -> None:
    with base.writer() as writer:
        erased = erase(writer, "d3", "mark")
    assert erased.versions == (1, 2, 3)
    assert "d3" not in base.live(4)
    assert len(base.live(4)) == 9
    assert check(base.store, base.words) == []


def test_once_more_changes_nothing_and_still_knows_the_chunks(base: Base) -> None:
    with base.writer() as writer:
        first = erase(writer, "secret", "mark")
        again = erase(writer, "secret", "mark")
        other = erase(writer, "never there", "other")
    assert (again.documents, again.seqs) == (0, first.seqs)
    assert (other.documents, other.seqs) == (0, ())
    assert check(base.store, base.words) == []


def test_it_may_come_back_as_something_new(base: Base) -> None:
    with base.writer() as writer:
        erase(writer, "secret", "mark")
        writer.put([Document("harmless now\n", id="secret")])
        writer.publish()
    assert "secret" in base.live(4)
    assert "secret" not in base.live(2)
    assert check(base.store, base.words) == []
