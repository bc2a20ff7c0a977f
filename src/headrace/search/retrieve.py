"""One search over one knowledge base: the stages, and the time limit round them.

Words and vectors each give candidates; their union gets both scores exactly, is fused, and the
best become passages. Without a time limit all of that happens in one snapshot, one stage after
the other. With one, each stage runs in a thread of its own with a snapshot of its own, and what is
not there in time is left out. No snapshot is open while the question is embedded.

Which arguments are valid, and what becomes of the result (threshold, trace), is ``engine.py``'s.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from headrace.search import fuse, vectors
from headrace.search import terms as words_of
from headrace.search.relevance import Calibration, relevance
from headrace.search.words import Words
from headrace.types import KnowledgeVersion, Outcome, Passage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headrace.search.filters import Condition
    from headrace.search.store import Row, Snapshot

    Seqs = NDArray[np.int64]

_NARROW = 2_000  # so few allowed chunks are named to the word index, more are masked afterwards


class Snapshots(Protocol):
    """What this needs of a store."""

    def snapshot(self, version: int | None = None) -> AbstractContextManager[Snapshot]: ...


@dataclass(frozen=True, kw_only=True)
class Request:
    """A valid search. ``mode``: hybrid, dense, lexical; ``metric``: cosine, l2, l1."""

    query: str
    top_k: int
    mode: str = "hybrid"
    metric: str = "cosine"
    condition: Condition | None = None
    version: int | None = None

    @property
    def depth(self) -> int:
        """Candidates per ranking: fixed, but never fewer than were asked for."""
        return max(fuse.DEPTH, self.top_k)


@dataclass
class Found:
    """What came of it. ``cut`` names the stages that the time limit cut off."""

    passages: list[Passage] = field(default_factory=list)
    outcome: Outcome = "ok"
    version: KnowledgeVersion | None = None
    terms: dict[str, float] = field(default_factory=dict)
    cut: tuple[str, ...] = ()
    live: int = 0
    matched: int | None = None
    candidates: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """One ranking, best first."""

    seqs: Seqs
    terms: tuple[words_of.Term, ...] = ()


class Retrieval:
    """The stages of one search. ``embed`` turns the question into a unit vector, None: words alone."""

    def __init__(
        self,
        store: Snapshots,
        words: Words,
        request: Request,
        *,
        embed: Callable[[str], NDArray[np.float32]] | None,
        check: Callable[[Snapshot], None],
        calibration: Calibration,
    ) -> None:
        self.store = store
        self.words = words
        self.request = request
        self.embed = embed
        self.check = check  # raises where the snapshot's vectors are another embedder's
        self.calibration = calibration
        self.found = Found()
        self._allowed: dict[int, Seqs] = {}
        self._over = False

    # ------------------------------------------------------------------ with and without a limit

    def run(self, limit: float | None) -> Found:
        """Search; ``limit`` in seconds."""
        return self._plainly() if limit is None else self._within(limit)

    def _plainly(self) -> Found:
        vector = self._vector() if self.embed is not None else None
        with self.store.snapshot(self.request.version) as snapshot:
            self.check(snapshot)
            lexical = self._lexical(snapshot) if self.request.mode != "dense" else None
            dense = self._dense(snapshot, vector) if vector is not None else None
            self._finish(snapshot, vector, dense, lexical)
        return self.found

    def _within(self, limit: float) -> Found:
        end = time.monotonic() + limit
        stages: dict[str, _Stage[Any]] = {}
        if self.request.mode != "lexical" and self.embed is not None:
            stages["dense"] = _Stage(self._dense_alone)
        if self.request.mode != "dense":
            stages["lexical"] = _Stage(self._lexical_alone)
        reserve = 0.2 * limit  # what is left for the texts when a half is late
        done = {name: stage.result(end - reserve) for name, stage in stages.items()}
        self.found.cut = tuple(name for name, result in done.items() if result is None)
        self._over = bool(self.found.cut)
        if all(result is None for result in done.values()):
            self.found.outcome = "timeout"
            return self.found
        vector, dense = done.get("dense") or (None, None)
        last = _Stage(lambda: self._join(vector, dense, done.get("lexical")))
        if last.result(end) is None:
            self._over = True
            return Found(outcome="timeout", cut=(*self.found.cut, "texts"))
        if self.found.cut and self.found.outcome == "ok":
            self.found.outcome = "partial"
        return self.found

    def _dense_alone(self) -> tuple[NDArray[np.float32], _Candidates]:
        vector = self._vector()
        with self.store.snapshot(self.request.version) as snapshot:
            self.check(snapshot)
            return vector, self._dense(snapshot, vector)

    def _lexical_alone(self) -> _Candidates:
        with self.store.snapshot(self.request.version) as snapshot:
            return self._lexical(snapshot)

    def _join(
        self, vector: NDArray[np.float32] | None, dense: _Candidates | None, lexical: _Candidates | None
    ) -> bool:
        with self.store.snapshot(self.request.version) as snapshot:
            self._finish(snapshot, vector, dense, lexical)
        return True

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            if not self._over:  # a stage that comes too late says nothing any more
                self.found.seconds[stage] = self.found.seconds.get(stage, 0.0) + time.perf_counter() - began

    # ------------------------------------------------------------------ the stages

    def _vector(self) -> NDArray[np.float32]:
        assert self.embed is not None, "the mode needs an embedder"
        with self._timed("embed"):
            return self.embed(self.request.query)

    def _only(self, snapshot: Snapshot) -> Seqs | None:
        """The allowed live seqs at this snapshot, None without a filter."""
        condition = self.request.condition
        if condition is None:
            return None
        if (known := self._allowed.get(snapshot.commit)) is None:
            with self._timed("filter"):
                known = snapshot.select(condition.where, condition.params)
            self._allowed[snapshot.commit] = known
        return known

    def _dense(self, snapshot: Snapshot, vector: NDArray[np.float32]) -> _Candidates:
        with self._timed("vectors"):
            only = self._only(snapshot)
            hits = vectors.search(
                snapshot.blocks(),
                vector,
                self.request.depth,
                metric=self.request.metric,
                dead=snapshot.dead() if only is None else None,
                only=only,
            )
            return _Candidates(seqs=hits.seqs)

    def _lexical(self, snapshot: Snapshot) -> _Candidates:
        with self._timed("words"):
            only, fresh = self._only(snapshot), list(snapshot.unindexed())
            dead = snapshot.dead()
            terms = self.words.terms(self.request.query, fresh)
            narrow = only is not None and len(only) <= _NARROW
            if only is not None and not len(only):
                return _Candidates(seqs=only, terms=terms)

            def keep(seqs: Seqs) -> NDArray[np.bool_]:
                return ~vectors.member(seqs, dead) if only is None else vectors.member(seqs, only)

            hits = self.words.search(
                terms, self.request.depth, keep=keep, only=only if narrow else None, fresh=fresh
            )
            return _Candidates(seqs=hits.seqs, terms=terms)

    def _finish(
        self,
        snapshot: Snapshot,
        vector: NDArray[np.float32] | None,
        dense: _Candidates | None,
        lexical: _Candidates | None,
    ) -> None:
        """Both scores for every candidate, fused; texts of the best, each text once."""
        request, found = self.request, self.found
        only, fresh = self._only(snapshot), list(snapshot.unindexed())
        terms = lexical.terms if lexical is not None else self.words.terms(request.query, fresh)
        found.version = snapshot.version
        found.live = snapshot.chunk_count
        found.matched = None if only is None else len(only)
        found.terms = self.words.content_terms(request.query, fresh)
        with self._timed("rank"):
            seqs = _distinct([c.seqs for c in (dense, lexical) if c is not None])
            if only is not None:
                seqs = seqs[vectors.member(seqs, only)]
            found.candidates = len(seqs)
            cosine, nearness = self._nearness(snapshot, vector, seqs)
            bm25 = self._bm25(terms, seqs, fresh)
            coverage = self.words.coverage(terms, seqs, fresh)
            ceiling = words_of.ceiling(terms)
            if request.mode == "dense":
                score = nearness
            elif request.mode == "lexical" or dense is None:
                score = bm25
            elif lexical is None:
                score = nearness
            else:
                similarity = cosine
                if request.metric != "cosine" and vector is not None:
                    similarity = _similarity(nearness, request.metric, len(vector))
                score = fuse.convex(similarity, bm25, coverage, ceiling)
            beyond = ~_within_depth(seqs, dense, lexical)
            if beyond.any() and not beyond.all():  # what only a larger top_k brings in comes after
                score = np.where(beyond, np.minimum(score, score[~beyond].min()), score)
            order = np.lexsort((seqs, -score, beyond))
        with self._timed("texts"):
            for row, at in self._distinct(snapshot, seqs, order):
                found.passages.append(
                    self._passage(row, score[at], cosine[at], nearness[at], bm25[at], coverage[at], ceiling)
                )
        if not found.passages:
            found.outcome = "empty"

    def _nearness(
        self, snapshot: Snapshot, vector: NDArray[np.float32] | None, seqs: Seqs
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Cosine, and the score of the metric that was asked for; NaN where there is no vector."""
        if vector is None:
            nothing = np.full(len(seqs), np.nan)
            return nothing, nothing
        blocks = snapshot.blocks()
        cosine = vectors.scores(blocks, vector, seqs)
        if self.request.metric == "cosine":
            return cosine, cosine
        return cosine, vectors.scores(blocks, vector, seqs, metric=self.request.metric)

    def _bm25(
        self, terms: tuple[words_of.Term, ...], seqs: Seqs, fresh: Sequence[tuple[int, str, str]]
    ) -> NDArray[np.float64]:
        result = np.zeros(len(seqs))
        if len(seqs) and terms:
            hits = self.words.search(terms, len(seqs), only=seqs, fresh=fresh)
            result[np.searchsorted(seqs, hits.seqs)] = hits.scores
        return result

    def _distinct(self, snapshot: Snapshot, seqs: Seqs, order: NDArray[np.intp]) -> Iterator[tuple[Row, int]]:
        """Live rows in order, the same text once, as many as were asked for."""
        seen: set[str] = set()
        step = self.request.top_k + 8
        for start in range(0, len(order), step):
            part = order[start : start + step]
            rows = snapshot.rows([int(seqs[at]) for at in part])
            for at in part:
                row = rows.get(int(seqs[at]))
                if row is None or row.text in seen:
                    continue
                seen.add(row.text)
                yield row, int(at)
                if len(seen) == self.request.top_k:
                    return

    def _passage(
        self,
        row: Row,
        score: float,
        cosine: float,
        nearness: float,
        bm25: float,
        coverage: float,
        ceiling: float,
    ) -> Passage:
        signals = {"bm25": float(bm25), "coverage": float(coverage)}
        if not np.isnan(cosine):
            signals["cosine"] = float(cosine)
            if self.request.metric != "cosine":
                signals[self.request.metric] = -float(nearness)
        return Passage(
            text=row.text,
            score=float(score),
            relevance=relevance(
                self.calibration,
                cosine=signals.get("cosine"),
                coverage=float(coverage),
                words=float(bm25) / ceiling if ceiling else 0.0,
            ),
            document=row.document,
            start=row.start,
            end=row.end,
            heading=row.heading,
            metadata=row.metadata,
            seq=row.seq,
            signals=signals,
        )


def _distinct(parts: Sequence[Seqs]) -> Seqs:
    """All seqs once, ascending. (np.unique would import numpy.ma at its first call, 80 ms.)"""
    merged = np.sort(np.concatenate(parts))
    keep = np.ones(len(merged), bool)
    keep[1:] = merged[1:] != merged[:-1]
    return merged[keep]


def _within_depth(seqs: Seqs, *rankings: _Candidates | None) -> NDArray[np.bool_]:
    """Which candidates stand among the first ``fuse.DEPTH`` of a ranking."""
    first = [ranking.seqs[: fuse.DEPTH] for ranking in rankings if ranking is not None]
    return np.isin(seqs, np.concatenate(first))


def _similarity(nearness: NDArray[np.float64], metric: str, dimension: int) -> NDArray[np.float64]:
    """A distance between unit vectors as the cosine that belongs to it.

    Exact for L2: cos = 1 − d²/2. For L1 as if the difference's components were normal, where
    mean |x| = sigma · sqrt(2/π), so that L2 ≈ L1 · sqrt(π / (2 · dimension)).
    """
    squared = nearness**2
    if metric == "l1":
        squared = squared * np.pi / (2 * dimension)
    return 1 - squared / 2


_T = TypeVar("_T")


class _Stage(Generic[_T]):
    """A function running in a thread of its own, in a copy of the caller's context.

    A thread cannot be stopped: one that is late goes on to its end, and nobody listens.
    """

    def __init__(self, work: Callable[[], _T]) -> None:
        self._work = work
        self._value: _T | None = None
        self._error: BaseException | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._do,), daemon=True, name="headrace-search"
        )
        self._thread.start()

    def _do(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 handed to the thread that waits
            self._error = error

    def result(self, end: float) -> _T | None:
        """The value; None when it is not there at ``end`` (monotonic). Raises what the work raised."""
        self._thread.join(max(0.0, end - time.monotonic()))
        if self._thread.is_alive():
            return None
        if self._error is not None:
            raise self._error
        return self._value
