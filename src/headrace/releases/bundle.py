"""Bundles: the files of releases, each stored once under its content's hash.

``objects/`` holds every file by SHA-256; ``bundles/<release id>/`` is a release unfolded, its files
linked to the objects (copied where the file system has no links), so that two releases over one
knowledge base share its bytes. Nothing is ever changed in place. Not here: what goes into a
manifest (``ops/release.py``) and names and aliases (``registry.py``).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import Corrupt, DiskFull, NotFound
from headrace.releases import manifest as manifests
from headrace.request import checkpoint

_SLICE = 4 << 20  # bytes hashed at once

Progress = Callable[[str, int], None]  # (file, bytes of it that are done)


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in ``objects/``."""

    sha256: str
    bytes: int

    def __json__(self) -> dict[str, Any]:
        return {"sha256": self.sha256, "bytes": self.bytes}


class Bundles:
    """The bundles of one project, below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.objects = self.folder / "objects"
        self.bundles = self.folder / "bundles"

    # ------------------------------------------------------------------ objects

    def object(self, sha256: str) -> Path:
        """Where the file with this hash lies, or would."""
        return self.objects / sha256[:2] / sha256

    def has(self, stored: Stored) -> bool:
        """Whether an object is there, with the size that it must have."""
        try:
            return self.object(stored.sha256).stat().st_size == stored.bytes
        except OSError:
            return False

    def put_bytes(self, data: bytes) -> Stored:
        """Store some bytes; durable when it returns."""
        stored = Stored(hashlib.sha256(data).hexdigest(), len(data))
        if not self.has(stored):
            temporary = self.temporary()
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self.settle(temporary, stored)
        return stored

    def put_file(self, path: Path) -> Stored:
        """Store a file that will never change, by a link where the file system can, else by a copy."""
        digest, size = hashed(path)
        stored = Stored(digest, size)
        if not self.has(stored):
            temporary = self.temporary()
            try:
                os.link(path, temporary)
            except OSError:
                copied(path, temporary)
            self.settle(temporary, stored)
        return stored

    def put_files(self, folder: Path, names: Sequence[str], known: Mapping[str, Stored]) -> dict[str, Stored]:
        """:meth:`put_file` for several, hashed side by side. ``known`` says what some of them were
        before: where the very same file is stored already, it is not read again."""

        def put(name: str) -> Stored:
            checkpoint()
            before = known.get(name)
            if before is None or not self.has(before):
                return self.put_file(folder / name)
            if os.path.samefile(folder / name, self.object(before.sha256)):
                return before
            return self.put_file(folder / name)

        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as threads:
            largest_first = sorted(names, key=lambda name: -(folder / name).stat().st_size)
            futures = {name: threads.submit(copy_context().run, put, name) for name in largest_first}
            return {name: futures[name].result() for name in names}

    def temporary(self) -> Path:
        """A name for a file or folder that is not finished, on the same file system."""
        folder = self.folder / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{os.getpid()}-{uuid.uuid4().hex[:12]}"

    def sweep(self, older: float = 86_400.0) -> int:
        """Remove what killed processes left unfinished, ``older`` seconds ago or more; how many."""
        removed = 0
        for path in (self.folder / "tmp").glob("*"):
            try:
                if time.time() - path.stat().st_mtime >= older:
                    self.clear(path)
                    removed += 1
            except FileNotFoundError:  # its process has just finished with it
                continue
        return removed

    def settle(self, temporary: Path, stored: Stored) -> None:
        """Move a finished, synced file under its hash (its caller has computed it)."""
        target = self.object(stored.sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)
        temporary.unlink(missing_ok=True)  # replacing a link by another of the same file does nothing
        sync_folder(target.parent)

    # ------------------------------------------------------------------ bundles

    def path(self, id: str) -> Path:
        """The folder of a release. NotFound where its files are not on this machine."""
        found = self.bundles / id
        if not found.is_dir():
            raise NotFound(
                f"The bundle of release {id[:12]} is not here (looked in {found}).",
                hint="Bring it from where it was made: headrace releases export, then import.",
            )
        return found

    def unfold(self, id: str, text: str) -> Path:
        """Make ``bundles/<id>/`` from stored objects, whole or not at all; returns it."""
        target = self.bundles / id
        if target.is_dir():
            return target
        assert manifests.id_of(text) == id, "a manifest under another id"
        manifest = manifests.parse(text.encode("utf-8", "surrogatepass"), f"The manifest of {id[:12]}")
        folder = self.temporary()
        folder.mkdir()
        try:
            self._fill(folder, manifest, text)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.bundles.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(folder, target)
        except OSError:
            if not target.is_dir():  # else another process was quicker, with the same content
                raise
            shutil.rmtree(folder)
        sync_folder(self.bundles)
        return target

    def _fill(self, folder: Path, manifest: Mapping[str, Any], text: str) -> None:
        made: set[Path] = {folder}
        for name, sha256, size in manifests.files(manifest):
            checkpoint()
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            made.update(parent for parent in path.parents if parent.is_relative_to(folder))
            source = self.object(sha256)
            if not self.has(Stored(sha256, size)):
                raise Corrupt(
                    f"The object {str(source)!r} ({name}) is missing or cut off.",
                    hint="Release again: it is stored anew.",
                )
            try:
                os.link(source, path)
            except OSError:  # no links here, or too many of one file
                copied(source, path)
        (folder / manifests.FILE).write_bytes(text.encode("utf-8", "surrogatepass"))
        for parent in made:
            sync_folder(parent)

    def manifest(self, id: str) -> dict[str, Any]:
        """The manifest of a release, its hash checked. Corrupt names the file."""
        path = self.path(id) / manifests.FILE
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise _damaged(path, "it is missing") from error
        if hashlib.sha256(data).hexdigest() != id:
            raise _damaged(path, "its hash is not the release's id")
        return manifests.parse(data, str(path))

    def check(self, id: str) -> dict[str, Any]:
        """What every loading checks: the manifest and the code by hash, large files by size."""
        manifest = self.manifest(id)
        folder = self.path(id)
        code = manifest["files"]
        for name, sha256, size in manifests.files(manifest):
            _examine(folder / name, sha256, size, whole=name in code)
        return manifest

    def verify(self, id: str, progress: Progress | None = None) -> int:
        """Read every byte of a release; how many there were. Corrupt names the file that differs."""
        manifest = self.manifest(id)
        folder = self.path(id)
        total = 0
        listed = list(manifests.files(manifest))

        def examine(one: tuple[str, str, int]) -> None:
            _examine(folder / one[0], one[1], one[2], whole=True)

        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as threads:
            for (name, _, size), _done in zip(listed, threads.map(examine, listed), strict=True):
                checkpoint()
                total += size
                if progress is not None:
                    progress(name, size)
        return total

    def clear(self, temporary: Path) -> None:
        """Remove something unfinished."""
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _examine(path: Path, sha256: str, size: int, *, whole: bool) -> None:
    try:
        found = path.stat().st_size
        if found != size:
            raise _damaged(path, f"it has {found} bytes instead of {size}")
        if whole and (other := hashed(path)[0]) != sha256:
            raise _damaged(path, f"its SHA-256 is {other[:12]}… instead of {sha256[:12]}…")
    except FileNotFoundError as error:
        raise _damaged(path, "it is missing") from error


def _damaged(path: Path, why: str) -> Corrupt:
    return Corrupt(
        f"The file {str(path)!r} of this release is not what was released: {why}.",
        hint="Do not run it. Import the release again from an export, or make a new one.",
    )


def hashed(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a file, read once."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        buffer = memoryview(bytearray(_SLICE))
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            size += count
    return digest.hexdigest(), size


def copied(source: Path, target: Path) -> None:
    """A durable copy."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        target.unlink(missing_ok=True)
        if shutil.disk_usage(target.parent).free < source.stat().st_size:
            raise DiskFull(f"No room for a copy of {str(source)!r}: {error}.") from error
        raise
    fd = os.open(target, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Make names in this folder durable (Windows does so by itself)."""
    if os.name != "nt":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def listing(stored: Mapping[str, Stored]) -> dict[str, Any]:
    """Files as a manifest lists them."""
    return {name: stored[name].__json__() for name in sorted(stored)}


def held(manifests_known: Iterable[Mapping[str, Any]], id: str) -> Iterator[Mapping[str, Any]]:
    """What releases hold of one knowledge base, as their manifests list it; the newest first."""
    for known in manifests_known:
        for base in known["knowledge"].values():
            if base["id"] == id:
                yield base


def stored_of(base: Mapping[str, Any]) -> dict[str, Stored]:
    """The files of a knowledge base in a manifest."""
    return {name: Stored(about["sha256"], about["bytes"]) for name, about in base["files"].items()}
