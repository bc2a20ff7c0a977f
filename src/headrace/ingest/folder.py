"""Files and folders → a sink: what is new, what changed, what is gone, what cannot be read.

Decides what to read and in which groups it is handed over; knows neither embedder nor store. One
broken file never stops a run, and what the sink has acknowledged stays, whatever happens after.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from headrace import plugins, request
from headrace.errors import Cancelled, HeadraceError, UserError
from headrace.ingest.clean import Duplicates
from headrace.ingest.walk import Found, Walk, walk
from headrace.protocols import Progress, Reader
from headrace.request import CancelToken
from headrace.storage import IngestReport, Sink, Source
from headrace.types import Document

GROUP_CHARACTERS = 96 * 1024  # of text in one write: a second or two of embedding, so a stop costs little
GROUP_DOCUMENTS = 64
VERSION = 1  # of the readers: a higher one reads every file again
_FRESH = 2_000_000_000  # ns; a file changed so shortly before reading may change again unnoticed


def check_paths(paths: Sequence[Path | str], *, prune: bool = False) -> None:
    """Raise where ingesting these paths could do nothing: before anything is created.

    NotFound for a path that does not exist, UserError where there is no file to read. With
    ``prune`` an emptied folder is fine: its documents are to go.
    """
    if not paths:
        raise UserError("No path was given.", hint="Name a file or a folder of documents.")
    found = walk(paths)
    if not prune:
        _refuse_nothing(paths, found)


def _refuse_nothing(paths: Sequence[Path | str], found: Walk) -> None:
    if found.files:
        return
    shown = ", ".join(repr(os.fspath(path)) for path in paths)
    if found.unknown:
        kinds = ", ".join(sorted(found.unknown)[:8])
        raise UserError(
            f"There is no file in {shown} that can be read: its files end in {kinds}.",
            hint=f"Known: {', '.join(plugins.names('readers'))}. A file named by itself is tried as text.",
        )
    if found.failed:
        raise UserError(
            f"Nothing in {shown} can be read: {found.failed[0][1]}", hint="Check the permissions."
        )
    raise UserError(
        f"There is no file in {shown}.",
        hint="Name a folder that holds documents; hidden files and folders are left out.",
    )


def ingest_paths(
    paths: Sequence[Path | str],
    sink: Sink,
    *,
    prune: bool = False,
    drop_duplicates: bool = False,
    progress: Progress | None = None,
    reader_identity: str = "",
    cancel: CancelToken | None = None,
    group_characters: int = GROUP_CHARACTERS,
    group_documents: int = GROUP_DOCUMENTS,
) -> IngestReport:
    """Read files and folders into a sink and publish.

    A file whose size and time, or else whose content, and whose ``reader_identity`` are those of
    the last time is skipped. ``prune`` removes what came from files below the given folders that
    are gone, never anything else. ``progress(done, total, what)`` counts bytes of the files that
    are read. Ctrl-C, a cancelled request or ``cancel`` end the run between two documents: what was
    written stays and is published, the report says ``stopped``, the next run goes on from there.

    Raises NotFound for a missing path and UserError where there is nothing to read.
    """
    began = time.monotonic()
    found = walk(paths)
    known = sink.sources()
    gone = _gone(found, known) if prune else []
    if not gone:
        _refuse_nothing(paths, found)
    run = _Run(sink, known, reader_identity, drop_duplicates, progress, cancel)
    run.limits = (group_characters, group_documents)
    run.failed.extend(found.failed)
    try:
        run.files(found.files)
        for path in gone:
            run.check()
            run.removed += sink.remove(path)
    except (KeyboardInterrupt, Cancelled):
        run.stopped = True
    sink.publish()  # even where nothing was done: a killed run may have left commits unpublished
    return IngestReport(
        documents=run.added + run.replaced,
        chunks=run.chunks,
        skipped=run.skipped,
        replaced=run.replaced,
        removed=run.removed,
        failed=tuple(run.failed),
        duplicates=run.duplicates.groups(),
        dropped=run.dropped,
        seconds=time.monotonic() - began,
        stopped=run.stopped,
        notes=(*found.notes(), *run.notes()),
    )


def _gone(found: Walk, known: Mapping[str, Source]) -> list[str]:
    """Known files below the given folders that the walk did not meet, unreadable places excepted."""
    met = {file.path for file in found.files}
    below = tuple(folder.rstrip(os.sep) + os.sep for folder in found.folders)
    spared = tuple(folder.rstrip(os.sep) + os.sep for folder in found.unreadable)
    return [p for p in sorted(known) if p.startswith(below) and p not in met and not p.startswith(spared)]


@dataclass
class _Reading:
    """A file whose documents are on their way."""

    source: Source
    ids: list[str] = field(default_factory=list)
    open: int = 0  # documents that are waiting to be written
    read: bool = False  # its reader has come to its end
    dropped: bool = False


@dataclass
class _Run:
    sink: Sink
    known: Mapping[str, Source]
    identity: str
    drop: bool
    progress: Progress | None
    cancel: CancelToken | None
    limits: tuple[int, int] = (GROUP_CHARACTERS, GROUP_DOCUMENTS)
    added: int = 0
    replaced: int = 0
    removed: int = 0
    chunks: int = 0
    skipped: int = 0
    dropped: int = 0
    stopped: bool = False
    failed: list[tuple[str, str]] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    duplicates: Duplicates = field(default_factory=Duplicates)
    waiting: list[tuple[Document, _Reading]] = field(default_factory=list)
    characters: int = 0

    def __post_init__(self) -> None:
        self.identity += f"|readers {VERSION}"
        if self.drop:  # what is kept depends on it, so changing the wish reads everything again
            self.identity += "+unique"
        self.told = (0, 0)  # bytes of the files before the one at hand, and of all
        self.moved: dict[str, str] = {}  # new path of a file → the old one
        self.owners = {source.given: path for path, source in self.known.items()}

    def check(self) -> None:
        request.checkpoint()
        if self.cancel is not None and self.cancel.cancelled:
            raise Cancelled(f"The run was stopped: {self.cancel.reason}.")

    # ------------------------------------------------------------------ which files

    def files(self, files: Sequence[Found]) -> None:
        """Read what is new or changed; the rest is skipped."""
        todo = [file for file in files if not self._same_stat(file)]
        if self.drop and todo:
            todo = list(files)  # a duplicate is one of something: all have to be seen
        self.skipped += len(files) - len(todo)
        total, done = sum(file.size for file in todo), 0
        for file in todo:
            self.check()
            self.told = (done, total)
            self._tell(0, file)
            self._file(file)
            done += file.size
        self.flush()
        if self.progress is not None and todo:
            self.progress(total, total, "")

    def _tell(self, within: int, file: Found) -> None:
        if self.progress is not None:
            self.progress(self.told[0] + min(within, file.size), self.told[1], file.given)

    def _same_stat(self, file: Found) -> bool:
        old = self.known.get(file.path)
        return (
            old is not None
            and (old.size, old.mtime_ns, old.reader) == (file.size, file.mtime_ns, self.identity)
            and old.mtime_ns != 0
        )

    def _file(self, file: Found) -> None:
        old = self.known.get(file.path)
        given = old.given if old is not None else self._given(file)
        try:
            data, size, mtime = _read(file.path)
        except OSError as error:
            self.failed.append((given, _reason(error)))
            return
        source = Source(
            path=file.path,
            given=given,
            hash=hashlib.sha256(data).hexdigest(),
            size=size,
            mtime_ns=mtime,
            reader=self.identity,
        )
        same = old is not None and (old.hash, old.reader) == (source.hash, source.reader)
        if same:
            self.skipped += 1
            if not self.drop:
                return
        reading = _Reading(source)
        failed, characters = False, 0
        for document in self._documents(data, source, file.reader):
            if isinstance(document, str):
                self.failed.append((given, document))
                failed = True
                break
            if self._keep(document, reading):
                self._add(document, reading)
            characters += len(document.text)
            if not self.waiting:  # just written
                self._tell(characters, file)
        reading.read = not failed
        if reading.read:
            if not reading.ids and not reading.dropped:
                self.empty.append(given)
            self._finish([reading])

    def _given(self, file: Found) -> str:
        """The path as given, unless it already names another file that still exists."""
        owner = self.owners.get(file.given)
        if owner is None or owner == file.path:
            self.owners[file.given] = file.path
            return file.given
        if not os.path.exists(owner):  # the folder was moved: the documents are taken over
            self.owners[file.given] = file.path
            self.moved[file.path] = owner
            return file.given
        given = Path(file.path).as_posix()
        self.renamed.append(given)
        return given

    # ------------------------------------------------------------------ documents

    def _documents(self, data: bytes, source: Source, reader: Reader) -> Iterator[Document | str]:
        """The documents of a file under their ids; last the reason, as text, where it is broken."""
        number = 0
        documents = iter(())  # type: Iterator[Document]
        while True:
            try:
                if number == 0:
                    documents = iter(reader(data, source.given))
                document = next(documents)
            except StopIteration:
                return
            except Cancelled:
                raise
            except HeadraceError as error:
                yield " ".join(str(error).split("\n"))
                return
            except Exception as error:  # noqa: BLE001 - a reader meets strangers' files, and may be a stranger's
                yield f"The reader failed with {type(error).__name__}: {error}"
                return
            number += 1
            metadata = {**document.metadata, "source": source.given}
            yield replace(document, id=document.id or source.given, metadata=metadata)

    def _keep(self, document: Document, reading: _Reading) -> bool:
        first = self.duplicates.add(document.key, document.text)
        if first is None or not self.drop:
            return True
        self.dropped += 1
        reading.dropped = True
        return False

    def _add(self, document: Document, reading: _Reading) -> None:
        reading.ids.append(document.key)
        reading.open += 1
        self.waiting.append((document, reading))
        self.characters += len(document.text)
        if self.characters >= self.limits[0] or len(self.waiting) >= self.limits[1]:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting, then close every file whose documents are all written."""
        if not self.waiting:
            return
        self.check()
        group, self.waiting, self.characters = self.waiting, [], 0
        result = self.sink.put([document for document, _ in group], [r.source for _, r in group])
        self.added += result.added
        self.replaced += result.replaced
        self.chunks += result.chunks
        for _, reading in group:
            reading.open -= 1
        self._finish({id(reading): reading for _, reading in group}.values())

    def _finish(self, readings: Iterable[_Reading]) -> None:
        """Close the files that are read and written to the end, in one commit."""
        ready = [reading for reading in readings if reading.read and not reading.open]
        if not ready:
            return
        # what was dropped as a duplicate must be looked at again when its original changes
        sources = [replace(r.source, reader="", mtime_ns=0) if r.dropped else r.source for r in ready]
        self.removed += self.sink.finish_all(
            [(source, reading.ids) for source, reading in zip(sources, ready, strict=True)]
        )
        for source in sources:
            if (old := self.moved.pop(source.path, None)) is not None:
                self.removed += self.sink.remove(old)

    def notes(self) -> tuple[str, ...]:
        notes = []
        if self.empty:
            notes.append(f"{len(self.empty)} without text: {_some(self.empty)}")
        if self.renamed:
            notes.append(
                "known by their whole path, because another file has the same name as given: "
                + _some(self.renamed)
            )
        return tuple(notes)


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _reason(error: OSError) -> str:
    return f"It cannot be read: {error.strerror or error}."


def _read(path: str) -> tuple[bytes, int, int]:
    """Bytes, size and time of a file, as one consistent state; time 0 where it may still change.

    Time stamps can be as coarse as 2 s (FAT): of a file that was changed less than that ago, the
    time proves nothing the next time, and its content is compared instead.
    """
    for attempt in (1, 2, 3):
        with open(path, "rb") as file:
            before = os.fstat(file.fileno())
            data = file.read()
            after = os.fstat(file.fileno())
        settled = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        fresh = time.time_ns() - after.st_mtime_ns < _FRESH
        if settled or attempt == 3:
            break
    return data, len(data), after.st_mtime_ns if settled and not fresh else 0
