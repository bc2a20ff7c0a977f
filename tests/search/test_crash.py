"""Killed at any moment, out of disk, two at once: what was acknowledged is there, and it is sound."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import DiskFull, HeadraceError, NotFound
from headrace.search import check, publish
from headrace.search.store import Store
from headrace.search.words import Words
from headrace.types import Document

from . import store_child
from .store_kit import Base, HashEmbedder, LineSplitter

CHILD = Path(store_child.__file__)


def _start(folder: Path, seed: int, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(folder), str(seed), *more], stdout=subprocess.PIPE, text=True
    )


def _acknowledged(output: str) -> dict[str, int]:
    """The newest acknowledged round of each document; a torn last line acknowledged nothing."""
    found: dict[str, int] = {}
    for line in output.splitlines(keepends=True):
        words = line.split()
        if line.endswith("\n") and words and words[0].isdigit():
            found |= dict.fromkeys(words[1:], int(words[0]))
    return found


def _examine(folder: Path, seed: int, acknowledged: dict[str, int]) -> int:
    """Every acknowledged document is there, whole, in that round or a later one; all is sound."""
    with Store.open(folder) as store:
        assert check.check(store, Words(folder / "words")) == []
        rounds = [{d.key: d for d in store_child.documents(seed, n)} for n in range(store_child.ROUNDS)]
        with store.snapshot() as snapshot:
            for id in snapshot.ids():
                document = snapshot.get(id)
                assert document in [made[id] for made in rounds], f"{id} is torn"
            for id, number in acknowledged.items():
                document = snapshot.get(id)
                assert document is not None, f"{id} was acknowledged and is gone"
                assert document.metadata["round"] >= number, f"{id} went back"
            return snapshot.document_count


def _kill_loop(tmp_path: Path, kills: int, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    acknowledged: dict[str, int] = {}
    folder = tmp_path / "kb"
    done = 0
    for _ in range(kills):
        process = _start(folder, seed)
        assert process.stdout is not None
        first = process.stdout.readline()  # from here on it is at work
        time.sleep(chance.random() * 0.6)
        process.kill()
        acknowledged |= _acknowledged(first + process.stdout.read())
        process.wait()
        process.stdout.close()
        if first == "":
            continue
        done += 1
        _examine(folder, seed, acknowledged)
        if "complete" in first or len(acknowledged) == store_child.DOCUMENTS:
            shutil.rmtree(folder)  # the run was through: start another one
            acknowledged.clear()
    assert done >= kills * 3 // 4
    process = _start(folder, seed)
    output = process.communicate()[0]
    assert output.endswith("complete\n")
    assert _examine(folder, seed, acknowledged | _acknowledged(output)) == store_child.DOCUMENTS
    with Store.open(folder) as store, store.snapshot() as snapshot:
        assert all(snapshot.get(id) == d for id, d in ((d.key, d) for d in store_child.documents(seed, 1)))
        assert snapshot.version.version is not None
        assert list(snapshot.unindexed()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
def test_killed_at_random_moments(tmp_path: Path) -> None:
    _kill_loop(tmp_path, 12, random.SystemRandom().randrange(1 << 30))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
def test_killed_at_a_hundred_random_moments(tmp_path: Path) -> None:
    _kill_loop(tmp_path, 100, random.SystemRandom().randrange(1 << 30))


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are of POSIX")
@pytest.mark.parametrize("limit", [40_000, 400_000])
def test_no_room_left(tmp_path: Path, limit: int) -> None:
    seed = 5
    process = _start(tmp_path / "kb", seed, str(limit))
    output = process.communicate()[0]
    assert output.endswith("full disk-full\n"), output
    acknowledged = _acknowledged(output)
    assert bool(acknowledged) == (limit > 50_000)
    if acknowledged:
        _examine(tmp_path / "kb", seed, acknowledged)
    else:  # there was not even room for the tables
        with pytest.raises(NotFound, match="never finished"):
            Store.open(tmp_path / "kb")
    process = _start(tmp_path / "kb", seed)
    assert process.communicate()[0].endswith("complete\n")
    assert _examine(tmp_path / "kb", seed, {}) == store_child.DOCUMENTS


def test_a_full_disk_rolls_back_and_the_writer_goes_on(tmp_path: Path) -> None:
    base = Base(tmp_path)
    with base.writer() as writer:
        writer.put([Document("one\n", id="a")])
        pages = writer.sql.execute("PRAGMA page_count").fetchone()[0]
        writer.sql.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DiskFull) as caught:
            writer.put([Document("".join(f"line {n}\n" for n in range(400)), id="b")])
        assert "resumes" in caught.value.hint
        writer.sql.execute("PRAGMA max_page_count = 1000000")
        assert base.live() == {"a": "one\n"}
        writer.put([Document("three\n", id="c")])
    assert base.live() == {"a": "one\n", "c": "three\n"}
    assert check.check(base.store, base.words) == []


def _fail_at(patch: pytest.MonkeyPatch, number: int, code: int) -> None:
    """Let the call with this number to the system's writing functions fail."""
    calls = iter(range(1, 1_000_000))

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            if next(calls) == number:
                raise OSError(code, "injected")
            return real(*args, **options)

        return called

    for name in ("fsync", "replace", "write", "ftruncate"):
        patch.setattr(os, name, failing(getattr(os, name)))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_fault_at_every_system_call_of_a_seal(tmp_path: Path, code: int) -> None:
    """Also of the lock's: the N-th call fails, for N = 1, 2, … until none is left to fail."""
    base = Base(tmp_path)
    with base.writer() as writer:
        writer.put([Document("one\ntwo\n", id="a")])
    wanted = base.live()
    faults = 0
    while True:
        trouble: Exception | None = None
        with pytest.MonkeyPatch.context() as patch:
            _fail_at(patch, faults + 1, code)
            try:
                with base.writer() as writer:
                    publish.seal(writer, 1)
                    writer.publish()
            except (OSError, HeadraceError) as error:
                trouble = error
        if trouble is None:
            break
        faults += 1
        assert "injected" in str(trouble)
        assert base.live() == wanted
        assert check.check(base.store, base.words) == []
    assert faults >= 5
    assert base.store.info().segments == 1
    assert base.live(1) == wanted


def test_a_put_that_seals_on_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "SEAL", 3)
    base = Base(tmp_path)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with base.writer() as writer:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(DiskFull):
                writer.put([Document("one\ntwo\nthree\nfour\n", id="a")])
        assert writer.put([Document("one\ntwo\nthree\nfour\n", id="a")]).unchanged == 1
        writer.put([Document("five\n", id="b")])
    assert base.store.info().segments == 1
    base.live()
    assert check.check(base.store, base.words) == []


def test_an_embedder_that_dies_leaves_what_was_acknowledged(tmp_path: Path) -> None:
    class Dying(HashEmbedder):
        def embed(self, texts):  # type: ignore[no-untyped-def]
            if self.texts:
                raise RuntimeError("out of memory")
            return super().embed(texts)

    base = Base(tmp_path, Dying())
    with base.writer() as writer:
        writer.put([Document("one\n", id="a")])
        with pytest.raises(RuntimeError):
            writer.put([Document("two\n", id="b"), Document("one\n", id="a2")])
    base.embedder, base.splitter = HashEmbedder(), LineSplitter()
    assert base.live() == {"a": "one\n"}
    with base.writer() as writer:
        writer.put([Document("two\n", id="b")])
    assert len(base.live()) == 2
