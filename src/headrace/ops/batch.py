"""A table through an application: every row once, in order, resumable, with its costs under a limit.

What is finished is kept beside the output (``shards.py``), and the same command goes on with it;
another job is refused by name. The output appears whole, in a Delta table shard by shard, each once.
What a job is: ``batch_plan.py``; how rows run: ``batch_rows.py``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace import __version__
from headrace.errors import Conflict, HeadraceError, InputError
from headrace.flows import rows as running
from headrace.flows.app import App
from headrace.flows.fingerprint import fingerprint
from headrace.ops import shards as kept
from headrace.ops import tables, tables_out
from headrace.ops.batch_plan import Plan, plan, subject_of
from headrace.ops.batch_rows import Limit, Stopped, Work
from headrace.ops.shards import Shards
from headrace.ops.tables import plain
from headrace.protocols import Progress
from headrace.resources import bindings, build
from headrace.resources.handles import ModelHandle
from headrace.search.lock import WriterLock

SHARD = 200  # rows
TRACES = 1000  # of a job's rows, about as many leave a trace; all that fail do
LEAST_FAILURES, FAILURES = 20, 0.1  # a job stops when more than this many, and this share, have failed
DEAD = ".failed.jsonl"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one run of a job did. ``rows`` are those of the input; ``done`` have an output, ``failed``
    an error, of all that are kept by now; ``resumed`` were there before this run, ``recomputed`` were
    in flight when a run was killed and had to be begun anew. ``recomputed`` and ``cost`` (US dollars,
    None: unknown) are of the whole job, ``seconds`` of this run,
    ``rows_seconds`` those of them in which rows ran. ``stopped`` says why rows are missing;
    nothing was written to ``output`` then.
    """

    job: str
    app: str
    release: str | None
    input: str
    output: str
    version: int | None = None  # of a Delta table, after the last append
    workers: int = 0
    rows_seconds: float = 0.0
    traces: int = 0
    recomputed: int = 0
    dead_letters: str | None = None
    stopped: Stopped | None = None
    notes: tuple[str, ...] = ()
    rows: int = 0
    done: int = 0
    failed: int = 0
    resumed: int = 0
    cost: float | None = None
    seconds: float = 0.0


# --------------------------------------------------------------------------- running


def batch(
    source: str | Path,
    output: str | Path,
    app: App | str | Path | None = None,
    *,
    format: str = "",
    output_format: str = "",
    mapping: Mapping[str, str] | None = None,
    prefix: str = "",
    **options: Any,
) -> Batch:
    """:func:`plan` and :func:`run` in one call.

    >>> batch("questions.csv", "answers.parquet", "handbook@production", max_cost=5.0)  # doctest: +SKIP
    """
    asked = plan(
        source,
        output,
        app,
        format=format,
        output_format=output_format,
        mapping=mapping,
        prefix=prefix,
    )
    return run(asked, **options)


def run(
    asked: Plan,
    *,
    workers: int | None = None,
    max_cost: float | None = None,
    max_failures: int | None = None,
    retries: int = 2,
    retry_failed: bool = False,
    overwrite: bool = False,
    traces: int = TRACES,
    shard_rows: int = SHARD,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.time,
) -> Batch:
    """Run a job, or go on with it, until every row is there or a limit is reached.

    ``workers`` rows side by side (32 where a model is remote). ``max_cost`` in US dollars, for the whole
    job, calls in flight counted at the most that they can use. ``max_failures``: rows that may fail
    before the job stops; None: a tenth, at least 20. ``retries`` of one row after a failure that may
    pass. ``retry_failed`` computes rows anew that failed before. ``overwrite`` drops what another job
    left for this output, and the file that is there. ``traces``: about so many rows leave a trace, and
    all that fail. ``shard_rows`` counts for a new job.

    Raises InputError and Conflict (another job, an output that is there), Locked (another process),
    DiskFull and what ends the whole run; what was computed is kept then too.
    """
    began = time.perf_counter()
    _check(asked, workers, max_cost, shard_rows, traces)
    tables_out.check_schema(asked.output, asked.format, asked.columns, asked.source)
    with tables_out.explained(asked.folder):
        asked.folder.mkdir(exist_ok=True)
    with WriterLock(asked.folder):
        job = _claimed(asked, overwrite=overwrite, shard_rows=shard_rows, clock=clock)
        if job["state"] == "finished" and not (retry_failed and job["failed"]):
            return _finished(asked, job, time.perf_counter() - began)
        shards = Shards(asked.folder, rows=asked.source.count, size=job["shard_rows"])
        try:
            if retry_failed:
                wrong = [record["row"] for record in shards.all() if record["error"] is not None]
                job = {**job, "state": "running", "retried": sorted({*job["retried"], *wrong})}
                kept.write_job(asked.folder, job)
                shards.reopen()
            for number in shards.whole():
                shards.seal(number)
            failures = max(LEAST_FAILURES, int(FAILURES * asked.source.count))
            work = Work(
                asked.app,
                asked.made,
                shards,
                ((n, cells) for n, cells in enumerate(asked.source.rows()) if not shards.known(n)),
                arguments=asked.arguments(),
                shown=asked.shape.cells,
                traced=_sampling(asked.source.count, traces),
                limit=Limit(
                    cost=max_cost,
                    failures=failures if max_failures is None else max_failures,
                    retries=retries,
                ),
                session=f"batch:{asked.job}",
                remote=running.is_remote(asked.made),
            )
            chosen = workers or running.workers_for(asked.made)
            left = asked.source.count - shards.kept
            if left:
                work.run(min(chosen, left), progress)
            build.ledger(asked.app.root).flush(5.0)
            dead = _dead_letters(asked, shards)
            version = _assemble(asked, shards, job) if shards.complete else None
            totals = shards.totals
            found = Batch(
                job=asked.job,
                app=asked.app.name,
                release=asked.release,
                input=asked.source.name,
                output=str(asked.output),
                version=version,
                workers=min(chosen, left),
                rows_seconds=work.seconds,
                traces=work.traces,
                recomputed=shards.again,
                dead_letters=dead,
                stopped=None if shards.complete else work.stopped,
                notes=(*asked.notes, *_changed_meanwhile(asked)),
                rows=asked.source.count,
                done=totals.rows - totals.failed,
                failed=totals.failed,
                resumed=shards.kept,
                cost=totals.cost if totals.priced == totals.rows else None,
                seconds=time.perf_counter() - began,
            )
            if shards.complete:
                ended = {"done": found.done, "failed": found.failed, "cost": found.cost, "finished": clock()}
                kept.write_job(asked.folder, {**job, "state": "finished", **ended, "version": version})
                if not totals.failed:
                    shards.clear()
            return found
        finally:
            shards.close()


def _check(asked: Plan, workers: int | None, max_cost: float | None, shard_rows: int, traces: int) -> None:
    for name, value in (("workers", workers), ("shard_rows", shard_rows)):
        if value is not None and value < 1:
            raise InputError(
                f"{name}={value!r} is not a number above 0.", hint="Leave it out for the default."
            )
    if traces < 0:
        raise InputError(f"traces={traces!r} is below 0.", hint="0 keeps the traces of failed rows only.")
    if max_cost is None:
        return
    if not max_cost > 0:
        raise InputError(f"max_cost={max_cost!r} is not an amount above 0.", hint="Give US dollars.")
    with bindings.use(asked.app.bindings()), bindings.within(asked.app.root):
        for handle in asked.app.handles:
            if not isinstance(handle, ModelHandle) or not build.model_is_configured(handle):
                continue
            prices = build.prices(handle)
            if prices is None or prices.cost(1, 1) is None:
                raise InputError(
                    f"A limit of {max_cost:g} US dollars needs prices; those of the model "
                    f"{handle.specification!r} are unknown.",
                    hint="Set input_price and output_price under its [models] table in headrace.toml.",
                )


def _claimed(asked: Plan, *, overwrite: bool, shard_rows: int, clock: Callable[[], float]) -> dict[str, Any]:
    """The job of the output's folder: this one, begun now or before. Conflict where it is another."""
    job = kept.read_job(asked.folder)
    there = asked.output.exists()
    if asked.format == "delta" and there and not overwrite and (job is None or job["state"] == "finished"):
        job = kept.recall(asked.folder, asked.job) or job
    if job is not None and job["job"] == asked.job and not overwrite:
        if job["state"] == "running" or there:
            return job
    elif job is not None and job["state"] == "running" and not overwrite:
        raise Conflict(
            f"{str(asked.folder)!r} holds an unfinished job: {_named(job)}. This is another one: "
            f"{_differences(job, asked)}.",
            hint="Finish that one by the command that began it, or drop it with --overwrite.",
        )
    elif there and asked.format != "delta" and not overwrite:
        raise Conflict(
            f"{str(asked.output)!r} is there already"
            + (f", written by another job: {_named(job)}." if job is not None else "."),
            hint="Name another output, or replace it with --overwrite.",
        )
    kept.empty(asked.folder)  # what is finished in a Delta table stays known: it is appended to
    made: dict[str, Any] = {
        "job": asked.job,
        "state": "running",
        "target": asked.target,
        "app": asked.app.name,
        "release": asked.release,
        "subject": subject_of(asked.made),
        "input": {
            "given": _unversioned(asked),
            "path": str(asked.source.path.absolute()),
            "version": asked.source.version,
            "digest": asked.source.digest,
            "rows": asked.source.count,
            "columns": [str(column) for column in asked.source.columns],
        },
        "mapping": dict(asked.mapping),
        "output": {"format": asked.format, "columns": asked.shape.identity},
        "shard_rows": shard_rows,
        "retried": [],
        "failed": 0,
        "begun": clock(),
        "headrace": __version__,
    }
    kept.write_job(asked.folder, made)
    return {"format": kept.FORMAT, **made}


def _unversioned(asked: Plan) -> str:
    return str(asked.source.path)


def _named(job: Mapping[str, Any]) -> str:
    release = f" of release {job['release'][:12]}" if job["release"] else ""
    return (
        f"{job['app']}{release} on {job['input']['given']} ({job['input']['rows']:,} rows, job {job['job']})"
    )


def _differences(job: Mapping[str, Any], asked: Plan) -> str:
    """Between an unfinished job and this one, in words."""
    parts: list[str] = []
    before = job["input"]
    if before["digest"] != asked.source.digest:
        here = [str(column) for column in asked.source.columns]
        gone = [name for name in before["columns"] if name not in here]
        new = [name for name in here if name not in before["columns"]]
        what = f"the input has changed ({before['rows']:,} rows then, {asked.source.count:,} now"
        what += f"; columns gone: {', '.join(gone)}" if gone else ""
        what += f"; columns new: {', '.join(new)}" if new else ""
        parts.append(what + ")")
    if job["release"] != asked.release:
        parts.append(f"the release is {str(asked.release)[:12]}, not {str(job['release'])[:12]}")
    subject = subject_of(asked.made)
    differ = [key for key in {**job["subject"], **subject} if job["subject"].get(key) != subject.get(key)]
    if differ:
        parts.append(f"the application has changed ({', '.join(sorted(differ))})")
    if job["mapping"] != dict(asked.mapping):
        parts.append("its columns are mapped otherwise")
    if job["output"] != {"format": asked.format, "columns": asked.shape.identity}:
        parts.append("its output has other columns or another format")
    return "; ".join(parts) or "it was asked for otherwise"


def _finished(asked: Plan, job: Mapping[str, Any], seconds: float) -> Batch:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job["finished"]))
    dead = asked.output.with_name(asked.output.name + DEAD)
    return Batch(
        job=asked.job,
        app=asked.app.name,
        release=asked.release,
        input=asked.source.name,
        output=str(asked.output),
        version=job.get("version"),
        dead_letters=str(dead) if job["failed"] and dead.is_file() else None,
        notes=(*asked.notes, f"This job was finished on {when}; nothing was computed or written."),
        rows=asked.source.count,
        done=job["done"],
        failed=job["failed"],
        resumed=asked.source.count,
        cost=job["cost"],
        seconds=seconds,
    )


def _sampling(rows: int, traces: int) -> Callable[[int, bool], bool]:
    stride = 0 if traces == 0 else max(1, -(-rows // traces))
    return lambda row, failed: failed or (stride > 0 and row % stride == 0)


def _changed_meanwhile(asked: Plan) -> tuple[str, ...]:
    try:
        now = fingerprint(asked.app)
    except (HeadraceError, OSError):
        return ("The application could not be looked at again when the rows were done.",)
    if subject_of(now) == subject_of(asked.made):
        return ()
    return (f"The application {asked.app.name!r} was changed while the job ran.",)


# --------------------------------------------------------------------------- what comes out


def _whole_rows(asked: Plan, shards: Shards) -> Iterator[dict[str, Any]]:
    """Input columns and output columns of every row, in order."""
    for cells, record in zip(asked.source.rows(), shards.all(), strict=True):
        yield {**cells, **asked.shape.row(record, release=asked.release, job=asked.job)}


def _assemble(asked: Plan, shards: Shards, job: Mapping[str, Any]) -> int | None:
    """Write the output; the version of a Delta table."""
    every = _whole_rows(asked, shards)
    if asked.format != "delta":
        temporary = asked.folder / "output.tmp"
        tables_out.write_file(
            asked.output, asked.format, asked.columns, every, temporary=temporary, source=asked.source
        )
        return None
    table = tables_out.DeltaOutput(asked.output, asked.job, asked.columns, asked.source)
    there, prefix = table.last(), asked.shape.prefix
    again = set(job["retried"])
    anew: list[dict[str, Any]] = []
    for number in range(max(1, shards.count)):  # no row at all makes a table without rows
        some = list(itertools.islice(every, shards.size))
        if number > there:
            table.append(number, some)
        else:  # it is in; what was computed again takes the place of what was
            anew += [row for row in some if row[f"{prefix}row"] in again]
    table.update(anew, (f"{prefix}job", f"{prefix}row"))
    return int(tables.open_delta(asked.output).version())


def _dead_letters(asked: Plan, shards: Shards) -> str | None:
    """Write the failed rows with their input and error to a file of their own; its path, None: no row."""
    path = asked.output.with_name(asked.output.name + DEAD)
    if not shards.totals.failed:
        path.unlink(missing_ok=True)
        return None
    wrong = {record["row"]: record for record in shards.all() if record["error"] is not None}
    temporary = asked.folder / "failed.tmp"
    with tables_out.explained(path):
        with temporary.open("wb") as file:
            for number, cells in enumerate(asked.source.rows()):
                if (record := wrong.get(number)) is not None:
                    told = {key: record[key] for key in ("row", "error", "attempts", "trace_id")}
                    file.write(tables_out.json_line({**told, "input": plain(cells)}))
        tables_out.replace_with(path, temporary)
    return str(path)
