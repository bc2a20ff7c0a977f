"""Compaction: what no retained version holds leaves SQLite, the word index and the segments.

Runs under the writer's lock and may be killed at any moment: new segment files are durable before
one transaction swaps the registry and deletes the rows; the word index follows from the `purged`
table. Readers keep the old files mapped until they let go of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InputError
from headrace.request import checkpoint
from headrace.search import publish, records, schema, segments
from headrace.search.changes import rearranged
from headrace.search.segments import Block, Segment
from headrace.search.writer import Writer

LARGEST = 65536  # rows of a rewritten segment
_SMALL = LARGEST // 2  # segments below this are merged when others are rewritten


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a compaction took away. ``bytes`` is by how much the folder shrank."""

    versions: int
    documents: int
    chunks: int
    segments: int
    bytes: int


def prune(
    writer: Writer, *, keep_versions: int = 3, keep: Collection[int] = (), vacuum: bool = True
) -> Pruned:
    """Keep the newest ``keep_versions`` published versions, the named ones, those in ``keep`` (pinned
    by releases) and the head; purge the rest. ``vacuum`` gives SQLite's free pages back to the disk.
    """
    if keep_versions < 0:
        raise InputError(f"keep_versions={keep_versions!r} is below 0.", hint="Give 0 or more.")
    sql, store = writer.sql, writer.store
    before = store.info().bytes
    with schema.translated(store.path):
        publish.sync_words(writer)
        versions = _versions_to_drop(sql, keep_versions, keep)
        retained = [r.commit for r in records.read_versions(sql) if r.version not in versions]
        gone = _unheld(sql, retained)
        old, new = rewritten(writer, gone)
        documents = _purge(sql, versions, gone, old, new)
        publish.sync_words(writer)
        kept = records.read_segments(sql)
        store.maps.forget(kept)
        segments.remove_strays(store.maps.folder, (s.file for s in kept))
        if vacuum and (len(gone) or versions):
            sql.execute("VACUUM")
        sql.execute("PRAGMA busy_timeout = 0")  # a reader that is busy keeps the log: no need to wait
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sql.execute(f"PRAGMA busy_timeout = {schema.BUSY_MS}")
    return Pruned(
        versions=len(versions),
        documents=documents,
        chunks=len(gone),
        segments=len(old) - len(new),
        bytes=before - store.info().bytes,
    )


def _versions_to_drop(sql: sqlite3.Connection, newest: int, keep: Collection[int]) -> list[int]:
    rows = sql.execute("SELECT version, name FROM versions ORDER BY version DESC").fetchall()
    return [v for i, (v, name) in enumerate(rows) if i >= newest and name is None and v not in keep]


def _unheld(sql: sqlite3.Connection, retained: Sequence[int]) -> NDArray[np.int64]:
    """Sorted seqs of dead chunks that were live at none of these commits."""
    commits = np.asarray(sorted(retained), np.int64)
    rows = sql.execute("SELECT seq, born, died FROM chunks WHERE died IS NOT NULL ORDER BY seq").fetchall()
    if not rows:
        return np.empty(0, np.int64)
    seqs, born, died = (np.asarray(column, np.int64) for column in zip(*rows, strict=True))
    held = np.searchsorted(commits, born) < np.searchsorted(commits, died)  # a commit in [born, died)
    return seqs[~held]


def rewritten(writer: Writer, gone: NDArray[np.int64]) -> tuple[list[Segment], list[Segment]]:
    """Segments that hold what goes (and small ones beside them), and the files that replace them."""
    sql, maps = writer.sql, writer.store.maps
    old: list[tuple[Segment, Block]] = []
    touched = False
    for segment in records.read_segments(sql):
        try:
            block = maps.get([segment])[0]
        except FileNotFoundError as error:
            raise segments.missing(maps.folder / segment.file) from error
        hit = bool(block.find(gone)[1].any())
        touched = touched or hit
        if hit or segment.rows < _SMALL:
            old.append((segment, block))
    if not old or (len(old) == 1 and not touched):
        return [], []
    seqs = np.concatenate([block.seqs for _, block in old])
    where = np.repeat(np.arange(len(old)), [len(block) for _, block in old])
    rows = np.concatenate([np.arange(len(block)) for _, block in old])
    order = np.argsort(seqs, kind="stable")
    order = order[~Block(gone, np.empty((len(gone), 0), np.float32)).find(seqs[order])[1]]
    new: list[Segment] = []
    first = int(publish.next_file(sql).split(".")[0])
    for at in range(0, len(order), LARGEST):
        checkpoint()
        part = order[at : at + LARGEST]
        new.append(
            segments.write(
                maps.folder,
                f"{first + len(new):08d}.vec",
                seqs[part],
                _gather([block.matrix for _, block in old], where[part], rows[part]),
                old[0][0].dimension,
            )
        )
    return [segment for segment, _ in old], new


def _gather(
    matrices: Sequence[NDArray[np.float32]], where: NDArray[np.intp], rows: NDArray[np.intp]
) -> Iterator[NDArray[np.float32]]:
    """The rows ``rows`` of the matrices ``where``, in slices that fit the memory."""
    for at in range(0, len(rows), 2048):
        which, row = where[at : at + 2048], rows[at : at + 2048]
        part = np.empty((len(row), matrices[0].shape[1]), np.float32)
        for one in set(which.tolist()):
            part[which == one] = matrices[one][row[which == one]]
        yield part


def _purge(
    sql: sqlite3.Connection,
    versions: Sequence[int],
    gone: NDArray[np.int64],
    old: Sequence[Segment],
    new: Sequence[Segment],
) -> int:
    """One transaction: versions and rows leave, segments are swapped. Returns how many documents left."""
    sql.execute("BEGIN IMMEDIATE")
    try:
        sql.executemany("DELETE FROM versions WHERE version = ?", [(v,) for v in versions])
        each = [(seq,) for seq in gone.tolist()]
        sql.executemany("INSERT OR IGNORE INTO purged VALUES (?)", each)
        for table in ("tail", "missing", "chunks"):
            sql.executemany(f"DELETE FROM {table} WHERE seq = ?", each)
        documents = sql.execute(
            "DELETE FROM documents WHERE died IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.doc_seq = documents.doc_seq)"
            " AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.commit_n >= born AND v.commit_n < died)"
        ).rowcount
        sql.execute("DELETE FROM bodies WHERE body NOT IN (SELECT body FROM documents)")
        sql.executemany("DELETE FROM segments WHERE file = ?", [(segment.file,) for segment in old])
        for segment in new:
            publish.register(sql, segment)
        rearranged(sql)
        sql.execute("COMMIT")
    except BaseException:
        schema.rollback(sql)
        raise
    return int(documents)
