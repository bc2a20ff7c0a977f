"""Erasing a document: out of the head, every published version, the segments and the word index.

Deleting only lets a document die, so that older versions stay what they were. Erasing breaks that
promise on purpose: rows, texts and vectors go whatever holds them, and each version that had the
document gets a new hash, because it is not what was published any more. What stays is a tombstone
(a keyed hash that the caller gives) with the numbers of the versions and chunks concerned.

Runs under the writer's lock. Killed half-way, run again: what is gone stays gone, the rest follows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.search import compact, publish, records, schema, segments
from headrace.search.changes import rearranged
from headrace.search.changes import transaction as change_of
from headrace.search.writer import Writer

_LIST = "forgotten"  # the entry of the record (meta) that lists the tombstones


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What an erasure took away: stored states of the document, their chunks; ``versions`` had it.

    ``seqs``: the numbers of its chunks, those of earlier erasures with the same tombstone included:
    copies (releases) may still hold something under them. ``sources``: files that it was read from.
    """

    documents: int
    chunks: int
    versions: tuple[int, ...]
    seqs: tuple[int, ...]
    sources: tuple[str, ...]


def erase(writer: Writer, id: str, mark: str) -> Erased:
    """Erase the document ``id``; ``mark`` is the tombstone that stays. Nothing to erase is no error."""
    sql, store = writer.sql, writer.store
    with schema.translated(store.path):
        publish.sync_words(writer)
        states = sql.execute(
            "SELECT doc_seq, born, died, source FROM documents WHERE id = ? ORDER BY doc_seq", (id,)
        ).fetchall()
        known = _known(writer, mark)
        if not states:
            return Erased(documents=0, chunks=0, versions=(), seqs=tuple(sorted(known)), sources=())
        living = [state for state in states if state[2] is None]
        if living:
            with change_of(sql, store.clock(), "forget") as change:
                change.kill([state[0] for state in living])
                change.forget([state[3] for state in living if state[3] is not None])
        rows = [(state[0],) for state in states]
        seqs: list[int] = []
        for row in rows:
            seqs += [s for (s,) in sql.execute("SELECT seq FROM chunks WHERE doc_seq = ?", row)]
        gone = np.asarray(sorted(seqs), np.int64)
        old, new = compact.rewritten(writer, gone)
        touched = _remove(writer, rows, states, gone.tolist(), mark, known, old, new)
        publish.sync_words(writer, anew=True)  # deleting from an index leaves the words in its files
        kept = records.read_segments(sql)
        store.maps.forget(kept)
        segments.remove_strays(store.maps.folder, (s.file for s in kept))
        writer.publish()
        sql.execute("VACUUM")
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return Erased(
        documents=len(states),
        chunks=len(gone),
        versions=touched,
        seqs=tuple(sorted(known | set(gone.tolist()))),
        sources=tuple(sorted({str(state[3]) for state in states if state[3] is not None})),
    )


def _known(writer: Writer, mark: str) -> set[int]:
    """Chunks that earlier erasures with this tombstone removed."""
    return {seq for item in tombstones(writer) if item["hash"] == mark for seq in item["seqs"]}


def tombstones(writer: Writer) -> list[dict[str, Any]]:
    """What was erased here: hash, time, versions concerned, numbers of the chunks."""
    row = writer.sql.execute("SELECT value FROM meta WHERE key = ?", (_LIST,)).fetchone()
    found: list[dict[str, Any]] = json.loads(row[0]) if row else []
    return found


def _remove(
    writer: Writer,
    rows: list[tuple[int]],
    states: list[tuple[int, int, int | None, str | None]],
    gone: list[int],
    mark: str,
    known: set[int],
    old: list[segments.Segment],
    new: list[segments.Segment],
) -> tuple[int, ...]:
    """One transaction: rows leave, segments are swapped, versions and commits are counted again."""
    sql = writer.sql
    listed = tombstones(writer)
    sql.execute("PRAGMA secure_delete = ON")
    sql.execute("BEGIN IMMEDIATE")
    try:
        each = [(seq,) for seq in gone]
        for table in ("tail", "missing", "chunks"):
            sql.executemany(f"DELETE FROM {table} WHERE seq = ?", each)
        sql.executemany("DELETE FROM documents WHERE doc_seq = ?", rows)
        sql.execute("DELETE FROM bodies WHERE body NOT IN (SELECT body FROM documents)")
        sql.executemany("DELETE FROM segments WHERE file = ?", [(segment.file,) for segment in old])
        for segment in new:
            publish.register(sql, segment)
        alive = "born <= commits.n AND (died IS NULL OR died > commits.n)"
        sql.execute(
            f"UPDATE commits SET documents = (SELECT count(*) FROM documents WHERE {alive}), "
            f"chunks = (SELECT count(*) FROM chunks WHERE {alive}) "
            "WHERE n IN (SELECT commit_n FROM versions) OR n = (SELECT max(n) FROM commits)"
        )
        touched = []
        for version in records.read_versions(sql):
            if any(
                born <= version.commit and (died is None or died > version.commit)
                for _, born, died, _ in states
            ):
                touched.append(version.version)
                sql.execute(
                    "UPDATE versions SET corpus = ?, documents = (SELECT documents FROM commits WHERE n = "
                    "commit_n), chunks = (SELECT chunks FROM commits WHERE n = commit_n) WHERE version = ?",
                    (publish.corpus(sql, version.commit), version.version),
                )
        listed.append(
            {"hash": mark, "at": writer.store.clock(), "versions": touched, "seqs": sorted(known | set(gone))}
        )
        records.write_meta(sql, **{_LIST: listed})
        rearranged(sql)
        sql.execute("COMMIT")
    except BaseException:
        schema.rollback(sql)
        raise
    return tuple(touched)
