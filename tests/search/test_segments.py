"""Segment files: whole or not there, never believed blindly."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.errors import Corrupt
from headrace.search import segments
from headrace.search.segments import Block, Maps, Segment

ROWS, DIMENSION = 50, 7


def _rows(rows: int = ROWS, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    seqs = np.cumsum(random.integers(1, 5, rows)).astype(np.int64)
    return seqs, random.standard_normal((rows, DIMENSION), dtype=np.float32)


@pytest.fixture
def sealed(tmp_path: Path) -> Segment:
    seqs, matrix = _rows()
    return segments.write(tmp_path, "00000001.vec", seqs, [matrix[:20], matrix[20:]], DIMENSION)


def test_what_is_written_is_read(tmp_path: Path, sealed: Segment) -> None:
    seqs, matrix = _rows()
    block = segments.open_map(tmp_path, sealed)
    np.testing.assert_array_equal(block.seqs, seqs)
    np.testing.assert_array_equal(block.matrix, matrix)
    assert (sealed.first, sealed.last, sealed.rows) == (seqs[0], seqs[-1], ROWS)
    assert segments.verify(tmp_path, sealed) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["00000001.vec"]
    assert block.matrix.ctypes.data % 64 == 0, "aligned for vector instructions"


def test_every_truncation_is_seen_when_opening(tmp_path: Path, sealed: Segment) -> None:
    path = tmp_path / sealed.file
    data = path.read_bytes()
    for length in (0, 1, 63, 64, 500, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(Corrupt, match="bytes instead of"):
            segments.open_map(tmp_path, sealed)
        assert segments.verify(tmp_path, sealed) != ""


def test_every_flipped_bit_is_seen_by_the_check(tmp_path: Path, sealed: Segment) -> None:
    path = tmp_path / sealed.file
    data = path.read_bytes()
    random = np.random.default_rng(11)
    for bit in random.choice(len(data) * 8, 200, replace=False).tolist():
        torn = bytearray(data)
        torn[bit // 8] ^= 1 << bit % 8
        path.write_bytes(torn)
        assert segments.verify(tmp_path, sealed) != "", f"bit {bit}"


def test_header_and_footer_are_looked_at_when_opening(tmp_path: Path, sealed: Segment) -> None:
    path = tmp_path / sealed.file
    data = path.read_bytes()
    for at in (0, 9, 13, 17, len(data) - 1, len(data) - 30):
        torn = bytearray(data)
        torn[at] ^= 0xFF
        path.write_bytes(torn)
        with pytest.raises(Corrupt, match="kb check"):
            segments.open_map(tmp_path, sealed)


def test_a_missing_file(tmp_path: Path, sealed: Segment) -> None:
    (tmp_path / sealed.file).unlink()
    with pytest.raises(FileNotFoundError):
        segments.open_map(tmp_path, sealed)
    assert segments.verify(tmp_path, sealed) == "the file is missing"


def test_an_unlinked_map_stays_readable(tmp_path: Path, sealed: Segment) -> None:
    maps = Maps(tmp_path)
    block = maps.get([sealed])[0]
    shutil.rmtree(tmp_path)
    maps.forget()
    np.testing.assert_array_equal(block.matrix, _rows()[1])


def _fault_at(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], number: int) -> list[str]:
    """Let the call with this number, of any of these functions of os, fail; returns the calls."""
    calls: list[str] = []

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == number:
                raise OSError(errno.EIO, f"injected into {name}, call {number}")
            return real(*args, **options)

        return called

    for name in names:
        monkeypatch.setattr(os, name, wrap(name, getattr(os, name)))
    return calls


def test_a_fault_at_every_call_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    seqs, matrix = _rows()
    newer = matrix + 1
    old = segments.write(tmp_path, "00000001.vec", seqs, [matrix], DIMENSION)
    faults = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            calls = _fault_at(patch, ("fsync", "replace", "write", "open"), faults + 1)
            try:
                new = segments.write(tmp_path, "00000001.vec", seqs, [newer], DIMENSION)
            except OSError as error:
                trouble = error
            else:
                break
        assert "injected" in str(trouble)
        faults += 1
        content = [matrix, newer][segments.verify(tmp_path, old) != ""]
        np.testing.assert_array_equal(
            np.fromfile(tmp_path / old.file, np.float32, ROWS * DIMENSION, offset=segments._matrix_at(ROWS)),
            content.ravel(),
        )
        assert not list(tmp_path.glob("*.tmp")), calls
        segments.write(tmp_path, "00000001.vec", seqs, [matrix], DIMENSION)
    assert faults >= 6
    assert segments.verify(tmp_path, new) == ""


def test_strays_are_removed_and_registered_files_kept(tmp_path: Path, sealed: Segment) -> None:
    (tmp_path / "00000002.vec").write_bytes(b"left by a crash")
    (tmp_path / "00000003.vec.tmp").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("not ours")
    assert segments.remove_strays(tmp_path, [sealed.file]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000001.vec", "notes.txt"]
    assert segments.remove_strays(tmp_path / "no such folder", []) == 0


@given(
    st.lists(st.integers(1, 60), unique=True, max_size=30), st.integers(0, 70), st.lists(st.integers(0, 70))
)
@settings(max_examples=60, deadline=None)
def test_cutting_and_finding(seqs: list[int], last: int, wanted: list[int]) -> None:
    ordered = np.asarray(sorted(seqs), np.int64)
    block = Block(ordered, np.zeros((len(ordered), 2), np.float32))
    assert block.upto(last).seqs.tolist() == [seq for seq in sorted(seqs) if seq <= last]
    at, there = block.find(np.asarray(wanted, np.int64))
    assert there.tolist() == [seq in seqs for seq in wanted]
    assert all(ordered[row] == seq for row, seq, known in zip(at, wanted, there, strict=True) if known)
