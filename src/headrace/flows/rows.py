"""Rows through an application: side by side, each once, kept on disk, resumable after a kill.

What evaluation and batches stand on. A row's result is plain data (output, passages, steps, usage,
error): the same whether it was computed now or by an earlier run of the same fingerprint on the same
inputs. Rows of the same inputs are computed once. Not here: examples, scores and reports.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from headrace import request, tracing
from headrace.errors import Cancelled, HeadraceError, InputError
from headrace.flows import waiting
from headrace.flows.app import App
from headrace.flows.fingerprint import Fingerprint
from headrace.flows.journal import Journal
from headrace.protocols import Progress
from headrace.resources import bindings, build
from headrace.resources.handles import KnowledgeBase
from headrace.types import Answer, Citation, Finding, Span, Trace, Usage, digest, to_json

if TYPE_CHECKING:
    from headrace.ledger.database import Ledger

REMOTE_WORKERS = 32
# What a result holds; one that an older Headrace kept with less of it is computed again.
KEPT = frozenset("kind output error seconds usage passages outcome steps trace_id workers".split())
TICK_SECONDS = 0.1
GRACE_SECONDS = 5.0  # for rows in flight to stop after Ctrl-C


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one row gave. ``result`` is plain data, see :func:`observe`; ``cached``: it was there already."""

    key: str
    result: Mapping[str, Any]
    cached: bool = False


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Results in the order of the items (rows with the same inputs share one), and how they came about.

    ``computed`` counts applications of the function, ``cached`` distinct inputs whose result was
    there already, ``recomputed`` those that were in flight when an earlier run was killed.
    """

    rows: tuple[Row, ...] = field(repr=False)
    computed: int
    cached: int
    recomputed: int
    workers: int
    seconds: float


def workers_for(made: Fingerprint) -> int:
    """32 where a model of the application is remote, since its rows wait for the server; else one a core.

    More than the cores would make every row slower and the whole no faster.
    """
    return REMOTE_WORKERS if is_remote(made) else min(16, os.cpu_count() or 1)


def is_remote(made: Fingerprint) -> bool:
    """Whether a model of the application is behind an address."""
    return any(isinstance(r, Mapping) and r.get("host") for r in made.resources.values())


def warm(app: App) -> None:
    """One search in each knowledge base of the application: what the first row would wait for is open."""
    with bindings.use(app.bindings()):
        for handle in app.handles:
            if isinstance(handle, KnowledgeBase):
                try:
                    handle.search("warm up", top_k=1)
                except HeadraceError:
                    continue  # each row meets it again, and says so


def run_rows(
    app: App,
    items: Sequence[Mapping[str, Any]],
    *,
    made: Fingerprint,
    journal: Journal | None,
    workers: int | None = None,
    cache: bool = True,
    progress: Progress | None = None,
    session: str = "",
) -> Rows:
    """Run ``items`` (arguments by name, validated) through the application.

    ``made`` is the application's fingerprint: results are kept under it. ``cache`` False computes
    every row anew. A row that raises is a failed row; the run goes on. Interrupted (Ctrl-C, a
    deadline, a cancelled request), the run stops at the next step of each row and what was finished
    is kept. Raises InputError for ``workers`` below 1, StateError where the journal cannot be used.
    """
    if workers is not None and workers < 1:
        raise InputError(
            f"workers={workers!r} is not a number above 0.", hint="Leave it out for the default."
        )
    began = time.perf_counter()
    keys = [digest(item) for item in items]
    todo: dict[str, Mapping[str, Any]] = dict(zip(keys, items, strict=True))
    known: dict[str, dict[str, Any]] = {}
    if journal is not None and cache:
        found = journal.read(made.id, list(todo))
        known = {key: result for key, result in found.items() if result.keys() >= KEPT}
    left = {key: item for key, item in todo.items() if key not in known}
    again = journal.begun(made.id) & set(left) if journal is not None else set()
    chosen = workers or workers_for(made)
    if left:
        warm(app)
    work = _Work(app, made, journal, left, session)
    work.run(min(chosen, len(left)), progress, done=len(known))
    rows = tuple(
        Row(key=key, result=known[key] if key in known else work.results[key], cached=key in known)
        for key in keys
    )
    return Rows(
        rows=rows,
        computed=len(left),
        cached=len(known),
        recomputed=len(again),
        workers=chosen,
        seconds=time.perf_counter() - began,
    )


class _Work:
    """The threads of one run: each takes the next row until none is left."""

    def __init__(
        self,
        app: App,
        made: Fingerprint,
        journal: Journal | None,
        left: Mapping[str, Mapping[str, Any]],
        session: str,
    ) -> None:
        self.results: dict[str, dict[str, Any]] = {}
        self._app, self._made, self._journal = app, made, journal
        self._left = left
        self._next: Iterator[str] = iter(left)
        self._lock = threading.Lock()
        self._token = request.CancelToken()
        self._problem: BaseException | None = None
        self._living = 0
        self._finished = threading.Event()
        self._session = session
        self._workers = 0
        self._ledger = build.ledger(app.root)

    def run(self, workers: int, progress: Progress | None, *, done: int) -> None:
        total = done + len(self._left)

        def tell() -> None:
            if progress is not None:
                progress(done + len(self.results), total, "rows")

        tell()
        if not self._left:
            return
        outer = request.current()
        inner = replace(
            outer,
            cancel=waiting.either(outer.cancel, self._token),
            listener=None,
            in_batch=True,
            session=self._session or outer.session,
        )
        with request.use(inner), bindings.use(self._app.bindings()):
            threads = [
                threading.Thread(
                    target=contextvars.copy_context().run, args=(self._drain,), name=f"row {i}", daemon=True
                )
                for i in range(workers)
            ]
        self._living = self._workers = len(threads)
        for thread in threads:
            thread.start()
        try:
            while not self._finished.wait(TICK_SECONDS):
                tell()
        except BaseException:
            self._token.cancel("the run was interrupted")
            self._finished.wait(GRACE_SECONDS)
            raise
        tell()
        if self._problem is not None:
            raise self._problem

    def _take(self) -> str | None:
        with self._lock:
            return None if self._token.cancelled else next(self._next, None)

    def _drain(self) -> None:
        key: str | None = None
        try:
            key = self._take()
            if key is not None:
                self._write(begin=key)
            while key is not None:
                request.checkpoint()
                result = observe(self._app, self._left[key], self._made, self._ledger)
                result["workers"] = self._workers
                done, key = key, self._take()
                self.results[done] = result
                # An error is no result to keep: the next run tries that row again.
                self._write(done=done, body=None if result["error"] is not None else result, begin=key)
        except BaseException as error:  # noqa: BLE001 - it ends the run, which raises it
            self._stop(key, error)
        finally:
            with self._lock:
                self._living -= 1
                if self._living == 0:
                    self._finished.set()

    def _stop(self, key: str | None, error: BaseException) -> None:
        with self._lock:
            if self._problem is None and not (self._token.cancelled and isinstance(error, Cancelled)):
                self._problem = error
        self._token.cancel("another row ended the run")
        if key is not None and isinstance(error, Cancelled):  # it was stopped in order: not "in flight"
            self._write(done=key)

    def _write(
        self, *, done: str | None = None, body: Mapping[str, Any] | None = None, begin: str | None = None
    ) -> None:
        if self._journal is not None:
            self._journal.write(self._made.id, done=done, body=body, begin=begin)


# --------------------------------------------------------------------------- one row


@dataclass(frozen=True, kw_only=True)
class Applied:
    """One application of the function. ``raised`` is what it raised, ``error`` the same as
    ``code: message``; ``found`` holds the spans, ``started`` is in seconds since the epoch."""

    output: Any
    raised: BaseException | None
    started: float
    seconds: float
    found: tracing.Collector

    @property
    def error(self) -> str | None:
        error = self.raised
        if error is None:
            return None
        return f"{error.code if isinstance(error, HeadraceError) else type(error).__name__}: {error}"


def apply(app: App, arguments: Mapping[str, Any]) -> Applied:
    """Run the application once; what it raises is a result.

    Raises only what ends the whole run: Cancelled, where the request that it belongs to was cancelled
    or is out of time.
    """
    started, clock = time.time(), time.perf_counter()
    output: Any = None
    raised: BaseException | None = None
    found: tracing.Collector | None = None
    try:
        with tracing.collect(app.name) as found:
            output = app._call(arguments)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a row that raises is a failed row
        if isinstance(error, Cancelled):
            request.checkpoint()  # raises again where it was the run that was stopped, not this row
        raised = error
    assert found is not None
    seconds = time.perf_counter() - clock
    return Applied(output=output, raised=raised, started=started, seconds=seconds, found=found)


def keep_trace(
    app: App, arguments: Mapping[str, Any], made: Fingerprint, ledger: Ledger, done: Applied
) -> None:
    """Hand the trace of one application to the ledger."""
    here = request.current()
    subject, record = app._made_by(done.found, made)
    ledger.record(
        Trace(
            id=done.found.id,
            start=done.started,
            seconds=done.seconds,
            subject=subject,
            context={"user": here.user, "session": here.session},
            inputs=dict(arguments),
            output=done.output,
            error=done.error,
            record=record,
            spans=tuple(done.found.spans),
        )
    )


def observe(app: App, arguments: Mapping[str, Any], made: Fingerprint, ledger: Ledger) -> dict[str, Any]:
    """Run the application once and keep what tells a failure of retrieval from one of answering.

    Plain data: ``output`` and ``kind`` (``answer``, ``data``), ``error`` (None or ``code: message``),
    ``seconds``, ``usage`` (None where no model was asked), ``passages``, ``outcome`` of the search
    ("" where none was made), ``steps`` (name, kind, seconds, at, depth, error, attributes) and
    ``trace_id`` (None where the ledger is off). Raises as :func:`apply` does.
    """
    done = apply(app, arguments)
    found, output = done.found, done.output
    if ledger.enabled:
        if isinstance(output, Answer):
            done = replace(done, output=replace(output, trace_id=found.id))
            output = done.output
        keep_trace(app, arguments, made, ledger, done)
    searches = [s.attributes for s in found.spans if s.kind == "retrieve"]
    return {
        "kind": "answer" if isinstance(output, Answer) else "data",
        "output": to_json(output),
        "error": done.error,
        "seconds": done.seconds,
        "usage": used(found),
        "passages": to_json(found.record.get("passages", [])),
        "outcome": str(searches[-1].get("outcome", "")) if searches else "",
        "steps": _steps(found, done.started),
        "trace_id": found.id if ledger.enabled else None,
    }


def used(found: tracing.Collector) -> dict[str, Any] | None:
    """Tokens and US dollars (None: unknown) of one application; None where no model was asked."""
    calls = [span.attributes for span in found.spans if "output_tokens" in span.attributes]
    if not calls:
        return None
    used = Usage()
    known = []
    for call in calls:
        used = used + Usage(input_tokens=call["input_tokens"], output_tokens=call["output_tokens"])
        known.append(call["cost"])
    cost = sum(known) if all(item is not None for item in known) else None
    return {"input_tokens": used.input_tokens, "output_tokens": used.output_tokens, "cost": cost}


def _steps(found: tracing.Collector, started: float) -> list[dict[str, Any]]:
    parents = {span.id: span.parent for span in found.spans}

    def depth(span: Span) -> int:
        count, above = 0, span.parent
        while above is not None:
            count, above = count + 1, parents.get(above)
        return count

    return [
        {
            "name": span.name,
            "kind": span.kind,
            "at": round(max(0.0, span.start - started), 6),
            "seconds": round(span.seconds, 6),
            "depth": level,
            "error": span.error,
            "attributes": to_json(span.attributes),
        }
        for level, span in sorted(((depth(s), s) for s in found.spans), key=lambda p: (p[1].start, p[0]))
    ]


def revived(result: Mapping[str, Any]) -> Any:
    """The output of a row: an Answer again where it was one, else plain data."""
    data = result["output"]
    if result["kind"] != "answer":
        return data
    return Answer(
        **{
            **data,
            "citations": tuple(Citation(**item) for item in data["citations"]),
            "findings": tuple(Finding(**item) for item in data["findings"]),
            "dropped": tuple(data["dropped"]),
            "usage": Usage(**data["usage"]),
        }
    )
