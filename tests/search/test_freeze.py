"""Freezing a version: what is in it, what is not, and that nothing is stored twice."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.errors import Corrupt, NotFound, UserError
from headrace.search import schema
from headrace.search.engine import Engine
from headrace.search.freeze import freeze, pin, readable
from headrace.types import Chunk, Document


class Drawn:
    """An embedder without weights."""

    identity: Mapping[str, Any] = {"name": "drawn"}
    dimension, window = 8, 64

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        seeds = [int.from_bytes(hashlib.sha256(t.encode()).digest()[:4], "big") for t in texts]
        rows = np.stack([np.random.default_rng(s).standard_normal(8) for s in seeds]).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return [(0, len(text))]


class Whole:
    """One chunk per document."""

    identity: Mapping[str, Any] = {"name": "whole"}

    def split(self, document: Document) -> list[Chunk]:
        text = document.text
        return [Chunk(document=document.key, ordinal=0, start=0, end=len(text), text=text, tokens=3)]


def opened(folder: Path, *, create: bool = False) -> Engine:
    return Engine.open(folder, name="kb", create=create, embedder=Drawn, splitter=Whole)


@pytest.fixture
def kb(tmp_path: Path) -> Engine:
    engine = opened(tmp_path / "kb", create=True)
    engine.add([Document(f"text number {n} about water", {}, f"d{n}") for n in range(20)])
    return engine


def frozen(engine: Engine, folder: Path, version: int | None = None) -> list[str]:
    with engine.writer() as writer:
        return freeze(writer, pin(writer, version), folder)


def found(engine: Engine, question: str, **more: Any) -> list[str]:
    return [p.document for p in engine.search(question, 50, **more)]


def test_the_copy_answers_as_the_original_and_is_sealed_whole(kb: Engine, tmp_path: Path) -> None:
    names = frozen(kb, tmp_path / "frozen")
    assert "kb.sqlite" in names
    assert "segments/00000001.vec" in names, "the tail was sealed, so that vectors lie in segments"
    assert any(name.startswith("words/") for name in names)
    sql = sqlite3.connect(tmp_path / "frozen" / "kb.sqlite")
    assert sql.execute("SELECT count(*) FROM tail").fetchone()[0] == 0
    assert sql.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    sql.close()
    copy = opened(tmp_path / "frozen")
    assert copy.version() == kb.version()
    for mode in ("lexical", "dense", "hybrid"):
        assert found(copy, "text number 7", mode=mode) == found(kb, "text number 7", mode=mode)
    assert copy.check() == []
    assert kb.check() == []


def test_immutable_files_are_the_same_files(kb: Engine, tmp_path: Path) -> None:
    names = frozen(kb, tmp_path / "frozen")
    for name in names:
        source, copy = tmp_path / "kb" / name, tmp_path / "frozen" / name
        same = source.stat().st_ino == copy.stat().st_ino
        assert same == (name.startswith("segments/") or (name.startswith("words/") and "json" not in name))


def test_an_older_version_as_it_was_and_nothing_deleted_in_it(kb: Engine, tmp_path: Path) -> None:
    kb.add([Document("a secret that was withdrawn: zanzibar", {}, "secret")])
    third = kb.version().version
    kb.delete(["secret", "d3"])
    kb.add([Document("text number 4 was changed", {}, "d4"), Document("later: quagga", {}, "late")])
    frozen(kb, tmp_path / "now")
    now = opened(tmp_path / "now")
    assert now.version() == kb.version()
    assert now.count() == kb.count() == 20
    assert "secret" not in found(now, "zanzibar secret")
    assert b"zanzibar" not in (tmp_path / "now" / "kb.sqlite").read_bytes()
    assert "late" in found(now, "quagga")
    frozen(kb, tmp_path / "then", third)
    then = opened(tmp_path / "then")
    assert then.version().version == third
    assert then.count() == 21
    assert found(then, "zanzibar", mode="lexical") == ["secret"]
    assert "late" not in found(then, "later quagga number", mode="hybrid")
    document = then.get("d4")
    assert document is not None
    assert document.text == "text number 4 about water"
    assert then.get("d3") is not None
    assert b"quagga" not in (tmp_path / "then" / "kb.sqlite").read_bytes()


def test_no_path_of_this_machine_travels(kb: Engine, tmp_path: Path) -> None:
    from headrace.storage import Source

    path = str(tmp_path / "private" / "place.md")
    with kb.writer() as writer:
        source = Source(path=path, given="place.md", hash="h", size=1, mtime_ns=1)
        writer.put([Document("from a file", {}, "place.md")], source)
        writer.finish(source, ["place.md"])
        writer.publish()
    frozen(kb, tmp_path / "frozen")
    assert (
        b"private"
        in (tmp_path / "kb" / "kb.sqlite").read_bytes() + (tmp_path / "kb" / "kb.sqlite-wal").read_bytes()
    )
    assert b"private" not in (tmp_path / "frozen" / "kb.sqlite").read_bytes()


def test_what_cannot_be_frozen_says_why(kb: Engine, tmp_path: Path) -> None:
    with kb.writer() as writer:
        with pytest.raises(NotFound, match="no version 9"):
            pin(writer, 9)
        writer.put([Document("not published", {}, "x")])
        with pytest.raises(UserError, match="no version holds"):
            pin(writer)
        writer.publish()
        assert pin(writer).version.version == 2
        freeze(writer, pin(writer), tmp_path / "one")
    (tmp_path / "kb" / "segments" / "00000001.vec").unlink()
    kb.store.maps.forget()
    with kb.writer() as writer, pytest.raises(Corrupt, match="00000001.vec"):
        freeze(writer, pin(writer), tmp_path / "two")


def test_what_an_older_headrace_froze_is_read_from_a_copy(
    kb: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = frozen(kb, tmp_path / "frozen")
    before = {name: (tmp_path / "frozen" / name).read_bytes() for name in names}
    assert readable(tmp_path / "frozen", tmp_path / "cache") == tmp_path / "frozen"
    steps = (*schema.MIGRATIONS, "CREATE TABLE later (a);")
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    monkeypatch.setattr(schema.check_version, "__defaults__", (len(steps),))
    monkeypatch.setattr(schema.prepare, "__kwdefaults__", {"migrations": steps})
    place = readable(tmp_path / "frozen", tmp_path / "cache")
    assert place == tmp_path / "cache" / "format-2"
    assert readable(tmp_path / "frozen", tmp_path / "cache") == place
    sql = sqlite3.connect(place / "kb.sqlite")
    assert sql.execute("PRAGMA user_version").fetchone()[0] == 2
    assert sql.execute("SELECT count(*) FROM later").fetchone()[0] == 0
    sql.close()
    assert found(opened(place), "text number 7")[0] == "d7"
    assert {name: (tmp_path / "frozen" / name).read_bytes() for name in names} == before
