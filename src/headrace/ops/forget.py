"""Erasure: a user or a document out of everything that a project keeps, and what that costs.

A document leaves every version of its knowledge bases, the texts of traces that hold it, rows of
reports, the cache of evaluations, and the releases that froze it. A release cannot be changed (its
id is its content), so it is removed whole; one that an alias points to stays until another has
taken its place, and is named. Each erasure leaves a tombstone, a keyed hash, and says what can no
longer be replayed. Not here: files outside of ``.headrace/``, backups, exported releases.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headrace.errors import InputError, NotFound
from headrace.ledger.retention import renamed
from headrace.releases.entries import whoami
from headrace.releases.manifest import files as files_of
from headrace.resources import build
from headrace.resources.handles import KnowledgeBase
from headrace.search.forget import erase
from headrace.search.schema import FILE as KNOWLEDGE
from headrace.settings import STATE
from headrace.types import Report


@dataclass(frozen=True, kw_only=True)
class FromBase:
    """What left a knowledge base; ``versions`` are not what was published any more."""

    name: str
    documents: int
    chunks: int
    versions: tuple[int, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """What an erasure did. ``kind`` is user or document; ``tombstone`` is what is left of the name.

    ``traces``: removed (user), or without texts now (document). ``releases`` were removed; ``live``
    still hold it because an alias points to them. ``files`` on disk that a next ingest would read again.
    """

    kind: str
    tombstone: str
    traces: int
    feedback: int
    knowledge: tuple[FromBase, ...] = ()
    reports: tuple[str, ...] = ()
    caches: int = 0
    releases: tuple[str, ...] = ()
    live: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    gone: Mapping[str, Any] = field(default_factory=dict)  # what can no longer be replayed


def forget_user(root: Path, user: str) -> Erasure:
    """Erase what a user asked and voted. Nothing about them is an outcome, not an error."""
    done = build.ledger(root).forget_user(user)
    return Erasure(
        kind="user",
        tombstone=done.tombstone,
        traces=done.traces,
        feedback=done.feedback,
        gone={"traces": done.traces},
    )


def holding(root: Path, document: str, kb: str | None = None) -> list[KnowledgeBase]:
    """The project's knowledge bases that know the document, in any version; ``kb`` narrows to one."""
    names = [kb] if kb is not None else build.known_knowledge_bases(root)
    found = []
    for name in names:
        handle = KnowledgeBase(name, root=root)
        if kb is not None:
            handle.engine()  # NotFound lists those there are
        with closing(sqlite3.connect((handle.folder / KNOWLEDGE).as_uri() + "?mode=ro", uri=True)) as sql:
            if sql.execute("SELECT 1 FROM documents WHERE id = ?", (document,)).fetchone():
                found.append(handle)
    return found


def forget_document(root: Path, document: str, kb: str | None = None) -> Erasure:
    """Erase a document (its id, as citations show it) everywhere in a project.

    It need not be in a knowledge base any more: traces, reports and releases can still hold it.
    NotFound where ``kb`` names none, InputError for an empty id.
    """
    if not document.strip():
        raise InputError(f"The document {document!r} is empty.", hint="Name it as citations do.")
    bases = holding(root, document, kb)
    everywhere = [KnowledgeBase(name, root=root) for name in build.known_knowledge_bases(root)]
    done = build.ledger(root).forget_document(document)
    mark = done.tombstone
    cleared, seqs = [], dict[str, set[int]]()
    for handle in {h.name: h for h in (*everywhere, *bases)}.values():
        engine = handle.engine()
        known = engine.store.meta().id
        if kb is not None and handle.name not in {base.name for base in bases}:
            continue
        with engine.writer(wait=30.0) as writer:
            erased = erase(writer, document, mark)
        seqs.setdefault(known, set()).update(erased.seqs)
        if erased.documents:
            cleared.append(
                FromBase(
                    name=handle.name,
                    documents=erased.documents,
                    chunks=erased.chunks,
                    versions=erased.versions,
                    sources=erased.sources,
                )
            )
    reports = _reports(root, document, mark)
    removed, live = _releases(root, document, seqs, mark)
    return Erasure(
        kind="document",
        tombstone=mark,
        traces=done.traces,
        feedback=done.feedback,
        knowledge=tuple(cleared),
        reports=reports,
        caches=_caches(root),
        releases=removed,
        live=live,
        files=tuple(sorted({path for base in cleared for path in base.sources if Path(path).exists()})),
        gone={
            "traces": done.traces,
            "versions": {base.name: list(base.versions) for base in cleared if base.versions},
            "releases": list(removed),
            "reports": list(reports),
        },
    )


# --------------------------------------------------------------------------- reports and caches


def _reports(root: Path, document: str, mark: str) -> tuple[str, ...]:
    """Rows that hold the document lose their texts; measurements and scores stay."""
    store = build.reports(root)
    needle = json.dumps(document, ensure_ascii=False)
    touched = []
    for head in store.list(limit=1_000_000):
        path = store.rows_path(head.id)
        if not path.is_file() or needle not in path.read_text(encoding="utf-8"):
            continue
        report = store.load(head.id)
        shutil.rmtree(path.parent)
        store.save(_emptied(report, document, needle, mark))
        touched.append(report.id)
    return tuple(touched)


def _emptied(report: Report, document: str, needle: str, mark: str) -> Report:
    rows = []
    for row in report.rows:
        if needle in json.dumps(row, ensure_ascii=False):
            kept = {key: row[key] for key in _KEPT if key in row}
            row = renamed({**kept, **_EMPTY, "forgotten": mark}, document, f"forgotten:{mark[:16]}")
        rows.append(row)
    return replace(report, rows=tuple(rows), settings={**report.settings, "forgotten": mark})


_KEPT = ("id", "scores", "error", "seconds", "usage", "steps", "cluster", "trace_id")
_EMPTY: Mapping[str, Any] = {"inputs": {}, "expectations": {}, "output": None, "why": {}, "passages": []}


def _caches(root: Path) -> int:
    """The cache of evaluations goes whole: it can be computed again."""
    folder = root / STATE / "evaluations"
    if not folder.is_dir():
        return 0
    count = sum(path.is_file() for path in folder.rglob("*"))
    shutil.rmtree(folder)
    return count


# --------------------------------------------------------------------------- releases


def _releases(
    root: Path, document: str, seqs: Mapping[str, Collection[int]], mark: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(removed, still live): releases whose frozen knowledge base holds the document."""
    registry, bundles = build.registry(root), build.bundles(root)
    here, holders = [], []
    for release in registry.releases():
        try:
            folder = bundles.path(release.id)
        except NotFound:
            continue
        here.append(release)
        for base in release.manifest.get("knowledge", {}).values():
            if _holds(folder / base["folder"] / KNOWLEDGE, document, seqs.get(base["id"], ())):
                holders.append(release)
                break
    pointed = {
        id
        for name in registry.names()
        for id in (lambda live: (live.production, live.staging, live.canary))(registry.live(name))
        if id is not None
    }
    live = [release for release in holders if release.id in pointed]
    removed = [release for release in holders if release.id not in pointed]
    kept = {sha for r in here if r not in removed for _, sha, _ in files_of(r.manifest)}
    for release in removed:
        shutil.rmtree(bundles.path(release.id))
        for _, sha, _ in files_of(release.manifest):
            if sha not in kept:
                bundles.object(sha).unlink(missing_ok=True)
        registry.note(
            release.name,
            "forget",
            release=release.id,
            who=whoami(),
            why=f"it held a document that was erased (tombstone {mark[:16]}); it cannot be loaded any more",
        )
    return tuple(r.id for r in removed), tuple(r.id for r in live)


def _holds(path: Path, document: str, seqs: Collection[int]) -> bool:
    """Whether a frozen knowledge base has the document, or masks chunks of it in files that it shares."""
    if not path.is_file():
        return False
    with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=ro&immutable=1", uri=True)) as sql:
        if sql.execute("SELECT 1 FROM documents WHERE id = ?", (document,)).fetchone():
            return True
        masked = {seq for (seq,) in sql.execute("SELECT seq FROM purged")}
        return not masked.isdisjoint(seqs)
