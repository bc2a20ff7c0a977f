"""What a compaction takes away, and what it must not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from headrace.errors import InputError, NotFound
from headrace.search import compact, publish
from headrace.search.check import check
from headrace.types import Document

from .store_kit import Base


@pytest.fixture
def base(tmp_path: Path) -> Base:
    """Five versions, each of which replaced half of the documents."""
    base = Base(tmp_path / "kb")
    with base.writer() as writer:
        for round in range(5):
            texts = [f"round {round} of {n}\nline {n}\n" for n in range(40)]
            writer.put([Document(texts[n], id=f"d{n}") for n in range(0, 40, 1 + (round > 0))])
            publish.seal(writer, 1)
            writer.publish("kept by name" if round == 1 else None)
    return base


def test_only_what_a_retained_version_holds_stays(base: Base) -> None:
    contents = {row.version: base.live(row.version) for row in base.store.versions()}
    before = base.store.info()
    with base.writer() as writer:
        pruned = compact.prune(writer, keep_versions=1, keep={3})
    assert [row.version for row in base.store.versions()] == [2, 3, 5]
    for version in (2, 3, 5):
        assert base.live(version) == contents[version]
    with pytest.raises(NotFound, match="It has 2, 3, 5"):
        base.live(4)
    after = base.store.info()
    assert (pruned.versions, pruned.documents, pruned.chunks) == (2, 40, 80)
    assert pruned.bytes == before.bytes - after.bytes > 0
    assert (before.segments, after.segments) == (5, 1)
    assert set(base.words.rows) == {seq for block in _blocks(base) for seq in block}
    assert check(base.store, base.words) == []


def _blocks(base: Base) -> list[list[int]]:
    with base.store.snapshot() as snapshot:
        return [block.seqs.tolist() for block in snapshot.blocks()]


def test_nothing_to_prune(base: Base) -> None:
    with base.writer() as writer:
        compact.prune(writer, keep_versions=0)
        again = compact.prune(writer, keep_versions=0)
    assert (again.versions, again.documents, again.chunks, again.segments) == (0, 0, 0, 0)
    assert [row.name for row in base.store.versions()] == ["kept by name"]
    assert len(base.live()) == 40
    with base.store.snapshot() as snapshot:
        assert len(snapshot.dead()) == 40, "what only the named version holds"


def test_seqs_are_never_used_again(base: Base) -> None:
    with base.writer() as writer:
        newest = max(max(seqs) for seqs in _blocks(base))
        writer.delete([f"d{n}" for n in range(40)])
        writer.publish()
        compact.prune(writer, keep_versions=1)
        assert writer.sql.execute("SELECT count(*) FROM chunks").fetchone() == (80,), "the named version's"
        writer.put([Document("new\n", id="new")])
    with base.store.snapshot() as snapshot:
        assert snapshot.select("1").tolist() == [newest + 1]


def test_a_reader_keeps_what_it_has_open(base: Base) -> None:
    with base.store.snapshot(1) as snapshot:
        blocks = snapshot.blocks()
        before = [block.matrix.copy() for block in blocks]
        with base.writer() as writer:
            compact.prune(writer, keep_versions=1, vacuum=False)
        assert len(snapshot.rows(snapshot.select("1").tolist())) == 80
        for block, copy in zip(blocks, before, strict=True):
            np.testing.assert_array_equal(block.matrix, copy)


def test_a_store_opened_before_finds_the_new_files(base: Base) -> None:
    from headrace.search.store import Store

    with Store.open(base.folder) as other:
        with other.snapshot() as snapshot:
            wanted = list(snapshot.ids())
        other.maps.forget()
        with base.writer() as writer:
            compact.prune(writer, keep_versions=1)
        with other.snapshot() as snapshot:
            assert list(snapshot.ids()) == wanted
            live = set(snapshot.select("1").tolist())
            assert {seq for block in snapshot.blocks() for seq in block.seqs.tolist()} >= live


def test_a_reader_between_the_registry_and_the_files_reads_the_registry_again(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = base.store.maps.get
    compacted = False

    def slow(segments):  # type: ignore[no-untyped-def]
        nonlocal compacted
        if not compacted:
            compacted = True
            with base.writer() as writer:
                compact.prune(writer, keep_versions=1, vacuum=False)
        return real(segments)

    base.store.maps.forget()
    monkeypatch.setattr(base.store.maps, "get", slow)
    assert len(base.live()) == 40
    assert compacted


@pytest.mark.parametrize("name", ["fsync", "replace", "write", "unlink"])
def test_a_crash_in_the_middle_is_harmless(base: Base, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    wanted = base.live()

    def dying(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with base.writer() as writer, monkeypatch.context() as patch:
        patch.setattr(os, name, dying)
        with pytest.raises(KeyboardInterrupt):
            compact.prune(writer, keep_versions=1)
    base.reopen()
    assert base.live() == wanted
    assert check(base.store, base.words) == []
    with base.writer() as writer:
        compact.prune(writer, keep_versions=1)
    assert [row.version for row in base.store.versions()] == [2, 5]
    assert base.live() == wanted
    assert check(base.store, base.words) == []


def test_a_crash_before_the_words_follow(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = base.live()

    def dying(*_: object) -> None:
        raise KeyboardInterrupt

    with base.writer() as writer, monkeypatch.context() as patch:
        patch.setattr(base.words, "apply", dying)
        with pytest.raises(KeyboardInterrupt):
            compact.prune(writer, keep_versions=1)
    assert base.live() == wanted
    assert check(base.store, base.words) == []
    with base.store.snapshot() as snapshot:
        gone = set(base.words.rows) & set(snapshot.dead().tolist())
    assert gone, "still in the word index, and known to be dead"
    with base.writer() as writer:
        writer.publish()
    assert not gone & set(base.words.rows) - {seq for seqs in _blocks(base) for seq in seqs}


def test_a_negative_number_of_versions(base: Base) -> None:
    with base.writer() as writer, pytest.raises(InputError, match="-1"):
        compact.prune(writer, keep_versions=-1)


def test_large_segments_are_left_alone(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "_SMALL", 30)
    monkeypatch.setattr(compact, "LARGEST", 64)
    with base.writer() as writer:
        compact.prune(writer, keep_versions=5)
    assert base.store.info().segments == 5, "nothing is dead to all versions: no file is rewritten"
    with base.writer() as writer:
        compact.prune(writer, keep_versions=0)
    assert all(len(seqs) <= 64 for seqs in _blocks(base))
    assert len(base.live()) == 40
    assert check(base.store, base.words) == []
