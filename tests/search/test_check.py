"""What a check finds, and what its repair puts right."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.errors import Corrupt, EmbedderMismatch, Locked
from headrace.search import publish, schema
from headrace.search.check import Damage, check
from headrace.search.words import Words
from headrace.types import Document

from .store_kit import Base, DictWords, HashEmbedder


@pytest.fixture
def base(tmp_path: Path) -> Base:
    """Two segments, a tail, dead rows, two versions."""
    base = Base(tmp_path / "kb")
    with base.writer() as writer:
        for part in range(3):
            writer.put([Document(f"text {n}\nmore {n}\n", {"n": n}, f"d{n}") for n in range(part, part + 4)])
            if part < 2:
                publish.seal(writer, 1)
                writer.publish()
        writer.delete(["d1"])
        writer.put([Document("other\n", id="d2")])
        writer.publish()
    assert base.store.info().segments == 2
    assert base.store.info().tail > 0
    assert check(base.store, base.words) == []
    return base


def _edit(base: Base, *statements: str) -> None:
    """Change the database behind everybody's back."""
    base.store.close()
    connection = sqlite3.connect(base.folder / schema.FILE)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    base.reopen()


def _segment(base: Base, number: int = 0) -> Path:
    return sorted((base.folder / "segments").iterdir())[number]


def _truncate(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()  # another file: cutting the mapped one would kill this process
    path.write_bytes(data[:-100])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.unlink()
    path.write_bytes(data)


def _repaired(base: Base, name: str) -> list[Damage]:
    """The check finds it, a repair says it was done, the next check finds nothing and all is there."""
    found = check(base.store, base.words)
    assert {damage.name for damage in found} == {name}
    assert not any(damage.repaired for damage in found)
    assert all(damage.repair for damage in found)
    mended = check(base.store, base.words, embedder=lambda: base.embedder, repair=True)
    assert [(d.name, d.message, d.repaired) for d in mended] == [(d.name, d.message, True) for d in found]
    assert check(base.store, base.words) == []
    base.live()
    for version in base.store.versions():
        base.live(version.version)
    return found


@pytest.mark.parametrize("harm", [_truncate, _flip, Path.unlink])
def test_a_damaged_segment_is_embedded_again(base: Base, harm: Callable[[Path], None]) -> None:
    before = base.live()
    base.store.close()
    harm(_segment(base))
    base.reopen()
    found = _repaired(base, "segment")
    assert len(found) == 1
    assert "00000001.vec" in found[0].message
    assert base.live() == before


def test_all_segments_lost(base: Base) -> None:
    before = base.live()
    base.store.close()
    for path in (base.folder / "segments").iterdir():
        path.unlink()
    base.reopen()
    assert len(_repaired(base, "segment")) == 2
    assert base.live() == before


def test_a_reader_says_what_to_do(base: Base) -> None:
    base.store.close()
    _segment(base).unlink()
    base.reopen()
    with base.store.snapshot() as snapshot:
        assert len(list(snapshot.ids())) == 5, "texts are there without their vectors"
        with pytest.raises(Corrupt, match="the file is missing") as caught:
            snapshot.blocks()
    assert "--repair" in caught.value.hint


def test_without_an_embedder_vectors_stay_lost(base: Base) -> None:
    base.store.close()
    _segment(base).unlink()
    base.reopen()
    found = check(base.store, base.words, repair=True)
    assert [(d.name, d.repaired) for d in found] == [("segment", False)]
    with pytest.raises(EmbedderMismatch):
        check(base.store, base.words, embedder=lambda: HashEmbedder("two"), repair=True)
    assert [d.name for d in check(base.store, base.words)] == ["segment"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("DELETE FROM tail WHERE seq = (SELECT min(seq) FROM tail)", "have no vector"),
        ("INSERT INTO tail SELECT 1, vector FROM tail LIMIT 1", "have two vectors"),
        ("INSERT INTO tail SELECT 999, vector FROM tail LIMIT 1", "are no chunks"),
        ("UPDATE tail SET vector = x'0011'", "of another length"),
        ("INSERT INTO missing VALUES (1)", "have two vectors"),
    ],
)
def test_vectors_that_do_not_fit(base: Base, harm: str, message: str) -> None:
    _edit(base, harm)
    found = _repaired(base, "vectors")
    assert message in found[0].message


def test_counters(base: Base) -> None:
    _edit(base, "UPDATE commits SET documents = documents + 3")
    assert len(_repaired(base, "counters")) == 1


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda words: words.rows.pop(1), "not in it: 1"),
        (lambda words: words.rows.update({777: "stray"}), "are no chunks: 777"),
        (lambda words: words.rows.clear(), "not in it"),
    ],
)
def test_words_that_do_not_fit(base: Base, harm: Callable[[DictWords], object], message: str) -> None:
    harm(base.words)
    found = _repaired(base, "words")
    assert message in found[0].message


def test_words_ahead_of_a_database_from_a_copy(base: Base) -> None:
    _edit(base, "UPDATE watermarks SET value = 99 WHERE name = 'words'")
    assert "ahead" in _repaired(base, "words")[0].message


def test_the_real_word_index_deleted(tmp_path: Path) -> None:
    import shutil

    base = Base(tmp_path / "kb")
    words = Words(base.folder / "words")
    with base.writer(words=words) as writer:
        writer.put([Document("one\ntwo\n", id="a")])
        writer.publish()
    assert check(base.store, words) == []
    shutil.rmtree(base.folder / "words")
    words = Words(base.folder / "words")
    assert [d.name for d in check(base.store, words)] == ["words"]
    assert [d.repaired for d in check(base.store, words, repair=True)] == [True]
    assert check(base.store, Words(base.folder / "words")) == []


@pytest.mark.parametrize(
    ("harm", "names"),
    [
        ("UPDATE bodies SET text = text || '!' WHERE body = 1", {"text"}),
        ("UPDATE documents SET metadata = '{\"n\": 12}' WHERE doc_seq = 1", {"text"}),
        ("UPDATE documents SET metadata = '{' WHERE doc_seq = 1", {"text"}),
        ("DELETE FROM bodies WHERE body = 1", {"text"}),
        ("UPDATE chunks SET start = start + 1 WHERE seq = 1", {"offsets"}),
        ("UPDATE chunks SET text = 'x' WHERE seq = 1", {"offsets"}),
        ("UPDATE chunks SET ordinal = 5 WHERE seq = 1", {"chunks"}),
        ("UPDATE chunks SET doc_seq = 99 WHERE seq = 1", {"rows", "chunks"}),
        ("UPDATE versions SET corpus = 'x' WHERE version = 1", {"version"}),
        ("DELETE FROM commits WHERE n > 2", {"commits"}),
    ],
)
def test_damage_to_the_truth_is_reported_and_left_alone(base: Base, harm: str, names: set[str]) -> None:
    _edit(base, harm)
    found = check(base.store, base.words, embedder=lambda: base.embedder, repair=True)
    harmed = {damage.name for damage in found if not damage.repair}
    assert harmed >= names
    assert not any(damage.repaired for damage in found if damage.name in names)
    assert {d.name for d in check(base.store, base.words) if not d.repair} == harmed


def test_a_torn_page_of_the_database(base: Base) -> None:
    base.store.close()
    path = base.folder / schema.FILE
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    path.write_bytes(data)
    base.reopen()
    found = check(base.store, base.words)
    assert [damage.name for damage in found] == ["database"]
    assert found[0].repair == ""


def test_a_check_waits_for_the_writer_or_says_who_it_is(base: Base) -> None:
    with base.writer(), pytest.raises(Locked):
        check(base.store, base.words, wait=0)


def test_what_a_crash_leaves_is_no_damage(base: Base) -> None:
    (base.folder / "segments" / "00000099.vec").write_bytes(b"nobody registered this")
    (base.folder / "segments" / "00000100.vec.tmp").write_bytes(b"half")
    base.words.apply([(998, "newer than the watermark", "")], (), 0)
    base.words.rows.pop(998)
    assert check(base.store, base.words) == []
    assert len(list((base.folder / "segments").iterdir())) == 2


def test_a_text_only_base_is_embedded_by_a_repair(tmp_path: Path) -> None:
    base = Base(tmp_path)
    with base.writer(embedder=None) as writer:
        writer.put([Document("one\ntwo\n", id="a")])
        writer.publish()
    found = check(base.store, base.words, embedder=lambda: base.embedder, repair=True)
    assert [(d.name, d.repaired) for d in found] == [("not embedded", True)]
    assert base.store.info().missing == 0
    base.live()


def test_chunks_written_without_the_embedder_are_a_finding(base: Base) -> None:
    with base.writer(embedder=None) as writer:
        writer.put([Document("late\n", id="late")])
        writer.publish()
    assert len(_repaired(base, "not embedded")) == 1
