"""What a batch is asked to do, looked at before anything is run: the plan, its id, what it may cost.

A job is this input (by digest), this application (by fingerprint, or by release, pinned when the job
begins), this mapping, this output. Not here: running it (``batch.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.errors import InputError, NotFound
from headrace.flows.app import App
from headrace.flows.fingerprint import Fingerprint, fingerprint
from headrace.flows.load import is_release, load, project_app
from headrace.models.cost import approximate_tokens
from headrace.ops import shards as kept
from headrace.ops import tables
from headrace.ops.columns import Arguments, Shape, mapping_of
from headrace.ops.tables import Column, Source
from headrace.resources import bindings, build
from headrace.resources.handles import ModelHandle
from headrace.types import Decoding, digest

_SAMPLE = 1000  # rows that an estimate of cost looks at


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job before it runs. ``mapping`` is parameter → column, ``columns`` all those of the output;
    ``job`` is the job's id: SHA-256, first 16 characters, of what was asked."""

    app: App
    made: Fingerprint = field(repr=False)
    target: str
    source: Source
    output: Path
    format: str
    mapping: Mapping[str, str]
    shape: Shape = field(repr=False)
    job: str
    notes: tuple[str, ...] = ()

    @property
    def release(self) -> str | None:
        return self.app.release.id if self.app.release is not None else None

    @property
    def columns(self) -> tuple[Column, ...]:
        return (*self.source.columns, *self.shape.columns)

    @property
    def folder(self) -> Path:
        """Where the job's state is until it is finished."""
        return kept.folder_of(self.output)

    def arguments(self) -> Arguments:
        return Arguments(self.app.signature, self.mapping, texts=self.source.format == "csv")


def plan(
    source: str | Path,
    output: str | Path,
    app: App | str | Path | None = None,
    *,
    format: str = "",
    output_format: str = "",
    mapping: Mapping[str, str] | None = None,
    prefix: str = "",
) -> Plan:
    """Look at everything and run nothing.

    ``app``: an App, ``NAME@ALIAS``, ``file.py:function`` or a folder; None: the project's. Where an
    unfinished job for this output began with ``NAME@ALIAS``, it goes on with the release that the alias
    meant then, and with the version that a Delta table had then. Raises NotFound, ReadError, InputError
    (columns that are missing, taken or other ones than those of an existing output).
    """
    place = Path(output)
    if not place.absolute().parent.is_dir():
        raise NotFound(f"There is no folder {str(place.parent)!r} for the output.", hint="Make it first.")
    target = "" if app is None or isinstance(app, App) else str(app)
    earlier = _earlier(place)
    notes: list[str] = []
    given = str(source)
    if earlier is not None and earlier["state"] == "running":
        given = _same_version(given, earlier, notes)
    found = tables.open_source(given, format)
    subject = _application(app, target, earlier, notes)
    kind = tables.format_of(place, output_format, option="--output-format")
    if place.absolute() == found.path.absolute():
        raise InputError(
            f"{str(place)!r} is the input as well as the output.", hint="Name another file for the output."
        )
    chosen = mapping_of(subject.signature, found, mapping or {})
    shape = Shape(subject.signature, prefix=prefix, placed=kind == "delta")
    shape.require_free(found)
    made = fingerprint(subject)
    job = digest(
        [found.digest, found.format, subject_of(made), release_of(subject), chosen, kind, shape.identity]
    )[:16]
    return Plan(
        app=subject,
        made=made,
        target=target,
        source=found,
        output=place,
        format=kind,
        mapping=chosen,
        shape=shape,
        job=job,
        notes=tuple(notes),
    )


def _earlier(output: Path) -> dict[str, Any] | None:
    folder = kept.folder_of(output)
    return kept.read_job(folder) if folder.is_dir() else None


def _same_version(given: str, earlier: Mapping[str, Any], notes: list[str]) -> str:
    """The version of a Delta table that an unfinished job began with."""
    before = earlier["input"]
    if before["version"] is None or before["given"] != given or given.endswith(f"@v{before['version']}"):
        return given
    notes.append(f"The job goes on with version {before['version']} of {given}, with which it began.")
    return f"{given}@v{before['version']}"


def _application(
    app: App | str | Path | None, target: str, earlier: Mapping[str, Any] | None, notes: list[str]
) -> App:
    if isinstance(app, App):
        return app
    if app is None:
        found = project_app()
        if found is None:
            raise NotFound(
                "There is no project here, so there is no application.",
                hint="Name one: --app NAME@production, or --app file.py:function.",
            )
        return found
    if not is_release(target):
        return load(app)
    now = load(target)
    if earlier is None or earlier["state"] != "running" or earlier["target"] != target:
        return now
    before = earlier["release"]
    if before is None or before == release_of(now):
        return now
    name = target.partition("@")[0]
    notes.append(
        f"{target} is {str(release_of(now))[:12]} by now; the job goes on with {before[:12]}, with which "
        "it began."
    )
    return load(f"{name}@{before}")


def release_of(app: App) -> str | None:
    return app.release.id if app.release is not None else None


def subject_of(made: Fingerprint) -> dict[str, str]:
    """What an application is, without where its resources are reached."""
    found = {"name": made.app, "code": made.code, "Python": made.python, "distributions": made.distributions}
    for key, identity in made.resources.items():
        what = (
            {k: v for k, v in identity.items() if k != "host"} if isinstance(identity, Mapping) else identity
        )
        found[key] = digest(what)
    return found


def estimate(asked: Plan) -> dict[str, Any]:
    """What the job may cost, from the texts of the first rows and the prices in the settings.

    ``input_tokens`` counts the mapped cells only. ``cost_low`` to ``cost_high`` is one call of each
    priced model a row: without any answer, and with all of ``max_new_tokens``; None where no price is
    known. The application's own prompt, passages and further calls come on top.
    """
    tokens = looked = 0
    for looked, cells in enumerate(asked.source.rows(), 1):
        tokens += sum(approximate_tokens(tables.as_text(cells.get(c))) for c in asked.mapping.values())
        if looked == _SAMPLE:
            break
    total = round(tokens * asked.source.count / looked) if looked else 0
    low = high = 0.0
    known = 0
    with bindings.use(asked.app.bindings()), bindings.within(asked.app.root):
        for handle in asked.app.handles:
            prices = build.prices(handle) if isinstance(handle, ModelHandle) else None
            least = None if prices is None else prices.cost(total, 0)
            most = (
                None if prices is None else prices.cost(total, Decoding().max_new_tokens * asked.source.count)
            )
            if least is not None and most is not None:
                low, high, known = low + least, high + most, known + 1
    return {
        "rows": asked.source.count,
        "input_tokens": total,
        "cost_low": low if known else None,
        "cost_high": high if known else None,
    }
