"""Published versions: exact, named, rolled back to."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import InputError, NotFound
from headrace.search import publish
from headrace.types import Document

from .store_kit import Base, DictWords, source


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return Base(tmp_path / "kb")


def test_pinned_versions_stay_as_they_were(base: Base) -> None:
    contents: dict[int, dict[str, str]] = {}
    with base.writer() as writer:
        for round in range(6):
            writer.put([Document(f"round {round}\nline\n", id=f"d{n}") for n in range(round, round + 3)])
            writer.delete([f"d{round - 1}"])
            if round % 2:
                publish.seal(writer, 1)
            number = writer.publish()
            contents[number] = base.live()
    assert sorted(contents) == [1, 2, 3, 4, 5, 6]
    base.reopen()
    for number, expected in contents.items():
        assert base.live(number) == expected
        with base.store.snapshot(number) as snapshot:
            assert snapshot.version.version == number
    assert len({row.corpus for row in base.store.versions()}) == 6


def test_nothing_changed_no_new_version(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\n", id="a")])
        assert writer.publish() == 1
        assert writer.publish() == 1
        writer.put([Document("one\n", id="a")])
        assert writer.publish() == 1
    with base.writer() as writer:
        assert writer.publish() == 1
        writer.put([Document("two\n", id="b")])
        assert writer.publish() == 2


def test_an_empty_knowledge_base_has_a_version_too(base: Base) -> None:
    with base.writer() as writer:
        assert writer.publish() == 1
    assert base.live(1) == {}


def test_names(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\n", id="a")])
        assert writer.publish("spring") == 1
        assert writer.publish("spring") == 1
        assert writer.publish("april") == 2, "the same contents under a second name"
        writer.put([Document("two\n", id="b")])
        with pytest.raises(InputError, match="'spring'"):
            writer.publish("spring")
        assert writer.publish() == 3
        assert writer.publish("summer") == 3, "a version without a name takes one"
    assert [row.name for row in base.store.versions()] == ["spring", "april", "summer"]


def test_an_unknown_version_names_those_there_are(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\n", id="a")])
        writer.publish()
        with pytest.raises(NotFound, match="no version 7"):
            writer.rollback(7)
    with pytest.raises(NotFound, match="It has 1"), base.store.snapshot(2):
        pass


def test_rolling_back_is_a_new_version_with_the_old_contents(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("same\n", id="same"), Document("old\n", {"n": 1}, "changed")], source("x"))
        writer.finish(source("x"), ["same", "changed"])
        writer.put([Document("gone\n", id="deleted")])
        first = writer.publish()
        before = base.live()
        writer.put([Document("new\n", id="changed")], source("x", "22"))
        writer.finish(source("x", "22"), ["same", "changed"])
        writer.put([Document("more\n", id="added")])
        writer.delete(["deleted"])
        second = writer.publish()
        embedded = len(base.embedder.texts)
        third = writer.rollback(first, "as before")
        assert writer.sources() == {}, "the folder's state comes back with the next ingest"
        assert writer.rollback(first) == third, "it is there already"
    assert len(base.embedder.texts) == embedded
    assert base.live() == base.live(third) == base.live(first) == before
    assert base.live(second) != before
    rows = {row.version: row for row in base.store.versions()}
    assert rows[third].corpus == rows[first].corpus != rows[second].corpus
    with base.store.snapshot() as snapshot:
        document = snapshot.get("changed")
        assert document is not None
        assert document.metadata == {"n": 1}


# ------------------------------------------------------------------ the word index


class DyingWords(DictWords):
    """Dies during the next call: before its work, in the middle, or after it."""

    when = ""

    def apply(self, add, purge, watermark):  # type: ignore[no-untyped-def]
        when, self.when = self.when, ""
        if when == "before":
            raise KeyboardInterrupt
        if when == "middle":
            rows = list(add)
            add = rows[: len(rows) // 2]
        super().apply(add, purge, watermark)
        if when in ("middle", "after"):
            raise KeyboardInterrupt


@pytest.mark.parametrize("when", ["before", "middle", "after"])
def test_a_crash_while_the_words_are_written_replays(base: Base, when: str) -> None:
    base.words = words = DyingWords()
    with base.writer() as writer:
        writer.put([Document("one\ntwo\n", id="a")])
        writer.publish()
        writer.put([Document("three\nfour\n", id="b")])
        words.when = when
        with pytest.raises(KeyboardInterrupt):
            writer.publish()
    base.live()  # what the index does not have, the snapshot hands out as unindexed
    with base.writer() as writer:
        assert writer.publish() == 2
    assert sorted(words.rows.values()) == ["four\n", "one\n", "three\n", "two\n"]
    with base.store.snapshot() as snapshot:
        assert list(snapshot.unindexed()) == []


def test_a_lost_word_index_is_built_anew(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\ntwo\n", id="a")])
        writer.publish()
    base.words = DictWords()
    with base.writer() as writer:
        writer.put([Document("three\n", id="b")])
        writer.publish()
    assert base.words.count() == 3
