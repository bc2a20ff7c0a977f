"""Sealed vectors: immutable files of (seq, vector) rows, and their memory maps.

A file is written whole under a temporary name, synced, renamed, and its folder synced; it is never
grown, truncated or reused, because truncating a mapped file kills its readers. Opening looks at
size, header and footer; :func:`verify` hashes. Vectors are derived from text: a file that is lost
or damaged is embedded again (check.py), never guessed at.

Layout, little-endian: header (64 bytes: magic, format, dimension, rows) · seqs int64 (rows,) ·
zeros up to a multiple of 64 · matrix float32 (rows, dimension) · SHA-256 of all before it · magic.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Corrupt

FOLDER = "segments"
_MAGIC, _END = b"HRVECTOR", b"HRVECEND"
_HEADER = struct.Struct("<8sIIQ40x")
_FORMAT = 1
_SLICE = 4 << 20  # bytes hashed or written at once


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of vectors: ``seqs`` int64 (n,), ascending; ``matrix`` float32 (n, dimension), unit length."""

    seqs: NDArray[np.int64]
    matrix: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.seqs)

    def upto(self, last: int) -> Block:
        """The rows with a seq of at most ``last`` (a view)."""
        if not len(self.seqs) or self.seqs[-1] <= last:
            return self
        n = int(np.searchsorted(self.seqs, last, side="right"))
        return Block(self.seqs[:n], self.matrix[:n])

    def find(self, seqs: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Where each seq stands in this block, and whether it does."""
        if not len(self.seqs):
            return np.zeros(len(seqs), np.intp), np.zeros(len(seqs), np.bool_)
        at = np.minimum(np.searchsorted(self.seqs, seqs), len(self.seqs) - 1)
        return at, self.seqs[at] == seqs


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed file as the registry knows it; ``digest`` is the SHA-256 in its footer."""

    file: str
    first: int
    last: int
    rows: int
    dimension: int
    digest: str


def empty_block(dimension: int = 0) -> Block:
    """No rows."""
    return Block(np.empty(0, np.int64), np.empty((0, dimension), np.float32))


def from_blobs(rows: Sequence[tuple[int, bytes]], dimension: int) -> Block:
    """A block from rows of the tail table: (seq, float32 bytes), ascending."""
    seqs = np.fromiter((row[0] for row in rows), np.int64, len(rows))
    matrix = np.frombuffer(b"".join(row[1] for row in rows), np.float32).reshape(len(rows), dimension)
    return Block(seqs, matrix)


def joined(first: Block, second: Block) -> Block:
    """Two blocks as one; all seqs of the second are above those of the first."""
    if not len(first):
        return second
    return Block(np.concatenate([first.seqs, second.seqs]), np.concatenate([first.matrix, second.matrix]))


def _matrix_at(rows: int) -> int:
    return -(-(_HEADER.size + 8 * rows) // 64) * 64


def file_size(rows: int, dimension: int) -> int:
    """How many bytes a segment of this shape has."""
    return _matrix_at(rows) + 4 * rows * dimension + 32 + len(_END)


def write(
    folder: Path, file: str, seqs: NDArray[np.int64], matrices: Iterable[NDArray[np.float32]], dimension: int
) -> Segment:
    """Write a segment durably: when this returns, the file is whole and under its name."""
    rows = len(seqs)
    assert rows > 0, "an empty segment"
    assert bool(np.all(np.diff(seqs) > 0)), "seqs must ascend"
    folder.mkdir(parents=True, exist_ok=True)
    target, temporary = folder / file, folder / f"{file}.tmp"
    digest = hashlib.sha256()
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o644)
    try:
        try:
            head = _HEADER.pack(_MAGIC, _FORMAT, dimension, rows) + seqs.astype("<i8").tobytes()
            _write(fd, head.ljust(_matrix_at(rows), b"\0"), digest)
            written = 0
            for matrix in matrices:
                assert matrix.shape[1] == dimension, (matrix.shape, dimension)
                for at in range(0, len(matrix), step := max(1, _SLICE // (4 * dimension))):
                    _write(fd, np.ascontiguousarray(matrix[at : at + step], "<f4").tobytes(), digest)
                written += len(matrix)
            assert written == rows, (written, rows)
            _write(fd, digest.digest() + _END, None)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    return Segment(file, int(seqs[0]), int(seqs[-1]), rows, dimension, digest.hexdigest())


def _write(fd: int, data: bytes, digest: hashlib._Hash | None) -> None:
    if digest is not None:
        digest.update(data)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in this folder durable (Windows does so by itself)."""
    if sys.platform != "win32":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def open_map(folder: Path, segment: Segment) -> Block:
    """Map a segment read-only after looking at size, header and footer. FileNotFoundError: it is gone."""
    path = folder / segment.file
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_HEADER.size)
        wanted = file_size(segment.rows, segment.dimension)
        if size != wanted:
            raise _damaged(path, f"it has {size} bytes instead of {wanted}")
        if head != _HEADER.pack(_MAGIC, _FORMAT, segment.dimension, segment.rows):
            raise _damaged(path, "its header is not what was registered")
        file.seek(size - 32 - len(_END))
        if file.read() != bytes.fromhex(segment.digest) + _END:
            raise _damaged(path, "its footer is not what was registered")
        seqs = np.memmap(file, np.dtype("<i8"), "r", _HEADER.size, (segment.rows,))
        shape = (segment.rows, segment.dimension)
        matrix = np.memmap(file, np.dtype("<f4"), "r", _matrix_at(segment.rows), shape)
    return Block(np.asarray(seqs), np.asarray(matrix))


def read_seqs(folder: Path, segment: Segment) -> NDArray[np.int64]:
    """The seqs of a segment, in memory (8 bytes a row)."""
    return open_map(folder, segment).seqs.copy()


def read_rows(folder: Path, segment: Segment, rows: Sequence[int]) -> list[NDArray[np.float32]]:
    """Single vectors, read and not mapped: the writer's memory stays flat."""
    found = []
    with (folder / segment.file).open("rb", buffering=0) as file:
        for row in rows:
            file.seek(_matrix_at(segment.rows) + 4 * segment.dimension * row)
            found.append(np.frombuffer(file.read(4 * segment.dimension), "<f4"))
    return found


def verify(folder: Path, segment: Segment) -> str:
    """Read the whole file and hash it: "" when it is sound, else what is wrong."""
    try:
        open_map(folder, segment)
    except FileNotFoundError:
        return "the file is missing"
    except Corrupt as error:
        return error.message
    digest = hashlib.sha256()
    left = file_size(segment.rows, segment.dimension) - 32 - len(_END)
    with (folder / segment.file).open("rb") as file:
        while left > 0 and (piece := file.read(min(left, _SLICE))):
            digest.update(piece)
            left -= len(piece)
    if digest.hexdigest() != segment.digest:
        return f"its content has the digest {digest.hexdigest()[:12]}… instead of {segment.digest[:12]}…"
    return ""


def _damaged(path: Path, why: str) -> Corrupt:
    return Corrupt(
        f"The vector segment {str(path)!r} is damaged: {why}.",
        hint="Run `headrace kb check KB --repair`: it embeds those chunks again from their text.",
    )


def missing(path: Path) -> Corrupt:
    """The error for a segment that is registered and not there."""
    return _damaged(path, "the file is missing")


class Maps:
    """The open maps of a store, shared by its snapshots. An unlinked file stays readable while mapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[Segment, Block] = {}
        self._lock = threading.Lock()

    def get(self, segments: Sequence[Segment]) -> list[Block]:
        """A block per segment, in order; FileNotFoundError or Corrupt when one cannot be opened."""
        with self._lock:
            blocks = []
            for segment in segments:
                block = self._open.get(segment)
                if block is None:
                    block = self._open[segment] = open_map(self.folder, segment)
                blocks.append(block)
            return blocks

    def forget(self, keep: Iterable[Segment] = ()) -> None:
        """Drop the maps of all segments but these; blocks in use stay valid."""
        with self._lock:
            kept = set(keep)
            self._open = {s: b for s, b in self._open.items() if s in kept}


def remove_strays(folder: Path, registered: Iterable[str]) -> int:
    """Delete files that nobody registered (left by a crash, or replaced). Only under the writer's lock."""
    if not folder.is_dir():
        return 0
    known = set(registered)
    removed = 0
    for path in sorted(folder.iterdir()):
        if path.name not in known and path.name.endswith((".vec", ".tmp")):
            try:
                path.unlink()
                removed += 1
            except PermissionError:  # Windows: still mapped by a reader; the next writer tries again
                continue
    return removed
