"""Whether a knowledge base is sound: the truth is examined, what is derived is compared with it.

Repair touches derived data only: vectors are embedded again from their text, the word index is
rebuilt, counters are counted again. Damage to the truth itself is reported and left alone. Runs
under the writer's lock, so that nothing moves meanwhile. Leftovers of a killed writer (files that
nobody registered, words newer than their watermark) are normal and no findings: the next writer
deals with them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Corrupt, HeadraceError
from headrace.protocols import Embedder, Progress, Splitter
from headrace.search import publish, records, schema, segments
from headrace.search.changes import rearranged, transaction
from headrace.search.records import WordSync
from headrace.search.segments import Segment
from headrace.search.snapshot import rebuild
from headrace.search.store import Store
from headrace.search.writer import Writer, open_writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Something that is not as it must be. ``repair`` says what a repair does, "" when it cannot;
    ``repaired`` that it was done now."""

    name: str
    message: str
    repair: str = ""
    repaired: bool = False


def check(
    store: Store,
    words: WordSync,
    *,
    embedder: Callable[[], Embedder] | None = None,
    repair: bool = False,
    wait: float = 10.0,
    progress: Progress | None = None,
) -> list[Damage]:
    """What is wrong, [] when the knowledge base is sound. Reads everything. Locked while another writes.

    ``repair`` puts derived data right; lost vectors need ``embedder`` for it.
    """
    try:
        with (
            open_writer(
                store, embedder=embedder, splitter=_no_splitter, words=words, wait=wait, progress=progress
            ) as writer,
            schema.translated(store.path),
        ):
            found = [*_truth(writer.sql)]
            if any(damage.name == "database" for damage in found):
                return found
            return [*found, *_counters(writer, repair), *_vectors(writer, repair), *_words(writer, repair)]
    except Corrupt as error:
        return [Damage(name="database", message=error.message)]


def _no_splitter() -> Splitter:
    raise AssertionError("a check splits nothing")


# ------------------------------------------------------------------ the truth


def _truth(sql: sqlite3.Connection) -> Iterator[Damage]:
    lines = [row[0] for row in sql.execute("PRAGMA integrity_check(20)")]
    if lines != ["ok"]:
        yield Damage(name="database", message="SQLite: " + "; ".join(lines))
        return
    for table, row, parent, _ in sql.execute("PRAGMA foreign_key_check"):
        yield Damage(name="rows", message=f"Row {row} of {table} belongs to no row of {parent}.")
    documents = sql.execute(
        "SELECT d.doc_seq, d.id, d.hash, d.born, d.died, b.text, d.metadata, d.media, b.sections"
        " FROM documents d LEFT JOIN bodies b USING (body) ORDER BY d.doc_seq"
    )
    for doc_seq, id, hash, born, died, text, metadata, media, sections in documents:
        if text is None:
            yield Damage(name="text", message=f"The text of document {id!r} is gone.")
            continue
        try:
            same = rebuild(text, metadata, id, media, sections).hash == hash
        except (ValueError, TypeError):
            same = False
        if not same:
            yield Damage(name="text", message=f"Document {id!r} is not what was written: its hash differs.")
        yield from _chunks(sql, doc_seq, id, (born, died), text)


def _chunks(
    sql: sqlite3.Connection, doc_seq: int, id: str, life: tuple[int, int | None], text: str
) -> Iterator[Damage]:
    rows = sql.execute(
        "SELECT seq, ordinal, start, end, born, died, text FROM chunks WHERE doc_seq = ? ORDER BY ordinal",
        (doc_seq,),
    )
    for expected, (seq, ordinal, start, end, born, died, piece) in enumerate(rows):
        if ordinal != expected or (born, died) != life:
            yield Damage(name="chunks", message=f"Chunk {seq} of document {id!r} does not fit its document.")
        if text[start:end] != piece:
            yield Damage(
                name="offsets", message=f"Chunk {seq} of document {id!r} is not its text[{start}:{end}]."
            )


def _counters(writer: Writer, repair: bool) -> Iterator[Damage]:
    sql = writer.sql
    head = sql.execute(
        "SELECT n, last_seq, documents, chunks FROM commits ORDER BY n DESC LIMIT 1"
    ).fetchone()
    documents, chunks, newest = sql.execute(
        "SELECT (SELECT count(*) FROM documents WHERE died IS NULL),"
        " (SELECT count(*) FROM chunks WHERE died IS NULL), (SELECT coalesce(max(seq), 0) FROM chunks)"
    ).fetchone()
    if head is None:
        if documents or chunks:
            yield Damage(name="commits", message="There are rows, and no commit that made them.")
        return
    if (head[2], head[3]) != (documents, chunks):
        if repair:
            with transaction(sql, writer.store.clock(), "check"):
                sql.execute(
                    "UPDATE commits SET documents = ?, chunks = ? WHERE n = ?", (documents, chunks, head[0])
                )
        yield Damage(
            name="counters",
            message=f"Commit {head[0]} counts {head[2]} documents and {head[3]} chunks;"
            f" there are {documents} and {chunks}.",
            repair="counts again",
            repaired=repair,
        )
    if newest > head[1]:
        yield Damage(name="commits", message=f"Chunk {newest} is newer than the newest commit ({head[1]}).")
    for version in records.read_versions(sql):
        if publish.corpus(sql, version.commit) != version.corpus:
            yield Damage(
                name="version",
                message=f"Version {version.version} is not what was published: its hash differs.",
            )


# ------------------------------------------------------------------ what is derived


def _vectors(writer: Writer, repair: bool) -> Iterator[Damage]:
    """Every chunk has its vector exactly once, or stands in `missing`."""
    sql, folder = writer.sql, writer.store.maps.folder
    meta = records.read_meta(sql)
    able = repair and writer.embedder() is not None
    bad: list[tuple[Segment, str]] = []
    sealed: list[NDArray[np.int64]] = []
    for segment in records.read_segments(sql):
        trouble = segments.verify(folder, segment)
        if trouble:
            bad.append((segment, trouble))
        else:
            sealed.append(segments.open_map(folder, segment).seqs)
    chunks = _seqs(sql, "SELECT seq FROM chunks ORDER BY seq")
    have = np.sort(np.concatenate([*sealed, _seqs(sql, "SELECT seq FROM tail"), np.empty(0, np.int64)]))
    missing = _seqs(sql, "SELECT seq FROM missing ORDER BY seq")
    twice = sorted({int(seq) for seq in have[1:][have[1:] == have[:-1]]} | set(_common(have, missing)))
    strays = sorted(set(have.tolist()) - set(chunks.tolist()))
    lost = sorted(set(chunks.tolist()) - set(have.tolist()) - set(missing.tolist()))
    width = 4 * (meta.dimension or 0)
    torn = [r[0] for r in sql.execute("SELECT seq FROM tail WHERE length(vector) <> ?", (width,))]
    again = able and bool(bad or twice or strays or lost or torn)
    if again:
        _embed_later(writer, [segment for segment, _ in bad], {*twice, *strays}, [*lost, *torn])
    held = _seqs(sql, f"SELECT m.seq FROM missing m JOIN chunks c USING (seq) WHERE {publish.HELD}")
    needed = len(set(held.tolist()) - set(have.tolist()))
    if able and (again or needed):
        publish.fill(writer)
        publish.seal(writer, publish.SEAL_AT_PUBLISH)
    how = "embeds those chunks again from their text"
    for segment, trouble in bad:
        yield Damage(name="segment", message=f"{segment.file}: {trouble}", repair=how, repaired=again)
    for name, seqs, what in (
        ("vectors", twice, "have two vectors"),
        ("vectors", strays, "have vectors and are no chunks"),
        ("vectors", torn, "have vectors of another length"),
        ("vectors", [] if bad else lost, "have no vector"),
    ):
        if seqs:
            yield Damage(
                name=name, message=f"{len(seqs)} chunks {what}: {_some(seqs)}.", repair=how, repaired=again
            )
    if needed and not again and (able or meta.embedder is not None):
        yield Damage(
            name="not embedded",
            message=f"{needed} chunks were written without an embedder and are found by words only.",
            repair="embeds them",
            repaired=able,
        )


def _embed_later(writer: Writer, bad: list[Segment], drop: set[int], lost: list[int]) -> None:
    """One transaction: damaged segments and doubtful vectors leave, their chunks stand in `missing`."""
    sql = writer.sql
    hit = [
        segment
        for segment in records.read_segments(sql)
        if segment not in bad
        and drop.intersection(segments.open_map(writer.store.maps.folder, segment).seqs.tolist())
    ]
    with transaction(sql, writer.store.clock(), "repair"):
        for segment in (*bad, *hit):
            sql.execute("DELETE FROM segments WHERE file = ?", (segment.file,))
        sql.executemany("DELETE FROM tail WHERE seq = ?", [(seq,) for seq in (*drop, *lost)])
        left: set[int] = set(_seqs(sql, "SELECT seq FROM tail").tolist())
        for segment in records.read_segments(sql):
            left.update(segments.open_map(writer.store.maps.folder, segment).seqs.tolist())
        sql.execute("DELETE FROM missing")
        rows = [(int(seq),) for seq in _seqs(sql, "SELECT seq FROM chunks") if int(seq) not in left]
        sql.executemany("INSERT INTO missing VALUES (?)", rows)
        rearranged(sql)
    segments.remove_strays(writer.store.maps.folder, (s.file for s in records.read_segments(sql)))
    writer.store.maps.forget(records.read_segments(sql))


def _words(writer: Writer, repair: bool) -> Iterator[Damage]:
    """The index holds every needed chunk up to its watermark, and nothing that never was."""
    sql = writer.sql
    mark, head = records.watermark(sql, "words"), writer.head
    trouble = ""
    try:
        have = {int(seq) for seq in writer.words.seqs()}
    except HeadraceError as error:
        have, trouble = set(), error.message
    last = records.last_seq(sql, min(mark, head))
    needed = set(
        _seqs(sql, f"SELECT c.seq FROM chunks c WHERE c.seq <= {last:d} AND {publish.HELD}").tolist()
    )
    known = set(_seqs(sql, "SELECT seq FROM chunks UNION ALL SELECT seq FROM purged").tolist())
    if not trouble and mark > head:
        trouble = f"It is ahead of the database (commit {mark} of {head})."
    if not trouble and needed - have:
        trouble = f"{len(needed - have)} chunks are not in it: {_some(sorted(needed - have))}."
    if not trouble and have - known:
        trouble = f"{len(have - known)} entries are no chunks: {_some(sorted(have - known))}."
    if trouble:
        if repair:
            publish.sync_words(writer, anew=True)
        yield Damage(
            name="words", message=f"The word index: {trouble}", repair="builds it anew", repaired=repair
        )


def _seqs(sql: sqlite3.Connection, query: str) -> NDArray[np.int64]:
    return np.fromiter((row[0] for row in sql.execute(query)), np.int64)


def _common(first: NDArray[np.int64], second: NDArray[np.int64]) -> set[int]:
    return set(first.tolist()) & set(second.tolist())


def _some(seqs: list[int]) -> str:
    return ", ".join(map(str, seqs[:5])) + (" …" if len(seqs) > 5 else "")
