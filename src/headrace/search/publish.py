"""Publishing: missing vectors filled in, the tail sealed, the word index brought up, a version made.

Also rolling back, which publishes a new version with old contents. Works on a Writer, under its
lock; each step is a commit of its own and may be repeated after a crash.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING

from headrace.errors import InputError, NotFound
from headrace.request import checkpoint
from headrace.search import records, segments
from headrace.search.changes import rearranged, transaction

if TYPE_CHECKING:
    from headrace.search.writer import Writer

SEAL = 4096  # rows of the tail at which they become a segment
SEAL_AT_PUBLISH = 1024  # fewer stay in the tail: reading them takes a millisecond or two
SLICE = 8192  # rows that are sealed at once: a very long document must not fill the memory
GROUP = 512  # chunks embedded at once

HELD = (
    "(c.died IS NULL OR EXISTS (SELECT 1 FROM versions v WHERE v.commit_n >= c.born AND v.commit_n < c.died))"
)


def publish(writer: Writer, name: str | None) -> int:
    """See Writer.publish."""
    fill(writer)
    seal(writer, SEAL_AT_PUBLISH)
    sync_words(writer)
    sql = writer.sql
    head = writer.head
    latest = sql.execute(
        "SELECT version, commit_n, name FROM versions ORDER BY version DESC LIMIT 1"
    ).fetchone()
    current = latest is not None and latest[1] == head
    if current and name in (None, latest[2]):
        return int(latest[0])
    if name is not None:
        taken = sql.execute("SELECT version FROM versions WHERE name = ?", (name,)).fetchone()
        if taken:
            raise InputError(
                f"Version {taken[0]} is called {name!r} already.", hint="Choose a name that is not taken."
            )
    with transaction(sql, writer.store.clock(), "publish") as change:
        if current and latest[2] is None:
            sql.execute("UPDATE versions SET name = ? WHERE version = ?", (name, latest[0]))
            return int(latest[0])
        version = sql.execute(
            "INSERT INTO versions (commit_n, name, created, documents, chunks, corpus)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (head, name, writer.store.clock(), change.documents, change.chunks, corpus(sql, head)),
        ).lastrowid
    assert version is not None
    return version


def corpus(connection: sqlite3.Connection, commit: int) -> str:
    """SHA-256 over the sorted (id, hash) of the documents that are live at a commit."""
    found = hashlib.sha256()
    for row in sorted(
        connection.execute(
            "SELECT id, hash FROM documents WHERE born <= :at AND (died IS NULL OR died > :at)",
            {"at": commit},
        )
    ):
        found.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return found.hexdigest()


def fill(writer: Writer) -> int:
    """Embed the chunks that have no vector and are live or held by a version; returns how many."""
    sql = writer.sql
    done = 0
    after = 0
    while True:
        rows = sql.execute(
            "SELECT c.seq, c.text FROM missing m JOIN chunks c USING (seq)"
            f" WHERE m.seq > ? AND {HELD} ORDER BY m.seq LIMIT ?",
            (after, GROUP),
        ).fetchall()
        if not rows or writer.embedder() is None:
            return done
        checkpoint()
        matrix = writer.embed([text for _, text in rows])
        with transaction(sql, writer.store.clock(), "fill"):
            writer.identify()
            sql.executemany(
                "INSERT INTO tail VALUES (?, ?)",
                [(row[0], vector.tobytes()) for row, vector in zip(rows, matrix, strict=True)],
            )
            sql.executemany("DELETE FROM missing WHERE seq = ?", [(row[0],) for row in rows])
            rearranged(sql)
        after = rows[-1][0]
        done += len(rows)
        seal(writer, SEAL)


def seal(writer: Writer, threshold: int) -> None:
    """Move the tail into segments when it has at least ``threshold`` rows."""
    sql = writer.sql
    while True:
        count = sql.execute("SELECT count(*) FROM tail").fetchone()[0]
        if count < threshold or count == 0:
            return
        dimension = records.read_meta(sql).dimension
        assert dimension is not None, "vectors without an embedder's record"
        rows = sql.execute("SELECT seq, vector FROM tail ORDER BY seq LIMIT ?", (SLICE,)).fetchall()
        block = segments.from_blobs(rows, dimension)
        last = int(block.seqs[-1])
        segment = segments.write(
            writer.store.maps.folder, next_file(sql), block.seqs, [block.matrix], dimension
        )
        with transaction(sql, writer.store.clock(), "seal"):
            register(sql, segment)
            sql.execute("DELETE FROM tail WHERE seq <= ?", (last,))
            rearranged(sql)


def next_file(connection: sqlite3.Connection) -> str:
    """A segment's name that no registered segment ever had."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'segments'").fetchone()
    return f"{(row[0] if row else 0) + 1:08d}.vec"


def register(connection: sqlite3.Connection, segment: segments.Segment) -> None:
    """Enter a segment whose file is durable."""
    connection.execute(
        "INSERT INTO segments (file, first, last, rows, dimension, digest) VALUES (?, ?, ?, ?, ?, ?)",
        (segment.file, segment.first, segment.last, segment.rows, segment.dimension, segment.digest),
    )


def sync_words(writer: Writer, *, anew: bool = False) -> None:
    """Bring the word index up to the head, from its watermark on; a crash before the end repeats it."""
    sql = writer.sql
    head = writer.head
    mark = records.watermark(sql, "words")
    purge = [row[0] for row in sql.execute("SELECT seq FROM purged")]
    lost = mark > 0 and writer.words.count() == 0 and records.last_seq(sql, mark) > 0
    if anew or lost or mark > head:
        writer.words.rebuild(_rows(sql, "1"), head)
    elif head > mark or purge:
        after = records.last_seq(sql, mark)
        writer.words.apply(_rows(sql, f"c.seq > {after:d} AND {HELD}"), purge, head)
    else:
        return
    with transaction(sql, writer.store.clock(), "words"):
        sql.execute("UPDATE watermarks SET value = ? WHERE name = 'words'", (head,))
        sql.execute("DELETE FROM purged")


def _rows(connection: sqlite3.Connection, where: str) -> Iterator[tuple[int, str, str]]:
    yield from connection.execute(
        f"SELECT c.seq, c.text, c.heading FROM chunks c WHERE {where} ORDER BY c.seq"
    )


def roll_back(writer: Writer, version: int, name: str | None) -> int:
    """See Writer.rollback."""
    sql = writer.sql
    row = sql.execute("SELECT commit_n FROM versions WHERE version = ?", (version,)).fetchone()
    if row is None:
        raise NotFound(
            f"{str(writer.store.folder)!r} has no version {version!r}.",
            hint="`headrace kb info` lists the versions.",
        )
    columns = "id, hash, splitter, source, title, media, metadata, body"
    then = {
        found[1]: found
        for found in sql.execute(
            f"SELECT doc_seq, {columns} FROM documents WHERE born <= :at AND (died IS NULL OR died > :at)",
            {"at": row[0]},
        )
    }
    now = {
        found[1]: found
        for found in sql.execute(f"SELECT doc_seq, {columns} FROM documents WHERE died IS NULL")
    }
    same = {id for id in then.keys() & now.keys() if then[id][2:4] == now[id][2:4]}
    gone = [found for id, found in now.items() if id not in same]
    back = [found for id, found in then.items() if id not in same]
    with transaction(sql, writer.store.clock(), f"rollback to version {version}") as change:
        change.kill([found[0] for found in gone])
        change.forget(found[4] for found in (*gone, *back) if found[4] is not None)
        for found in back:
            chunks = sql.execute(
                "SELECT seq, ordinal, start, end, heading, tokens, hash, text FROM chunks"
                " WHERE doc_seq = ? ORDER BY ordinal",
                (found[0],),
            ).fetchall()
            vectors = writer.vectors_of([chunk[0] for chunk in chunks])
            change.rows(
                change.document(found[1:]),
                [chunk[1:] for chunk in chunks],
                [vectors.get(c[0]) for c in chunks],
            )
    return publish(writer, name)
