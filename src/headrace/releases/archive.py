"""A release as one file, for another machine: a plain tar, the same bytes every time it is written.

The manifest comes first, then the files that it lists, sorted, each once. Writing reads and compares
every byte; reading trusts nothing: no member that the manifest does not list, no links, no paths
out of the folder, no byte more than was announced, every hash compared before anything is kept.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from headrace.errors import Corrupt, DiskFull, InputError, NotFound
from headrace.releases import manifest as manifests
from headrace.releases.bundle import Bundles, Stored
from headrace.releases.registry import Registry
from headrace.request import checkpoint
from headrace.types import Release

LARGEST_MANIFEST = 64 << 20  # bytes
_SLICE = 4 << 20


def export(bundles: Bundles, release: Release, target: Path) -> int:
    """Write a release into one file; its size in bytes. Corrupt names a file that is not as released.

    What stood under that name before is replaced only by a whole archive.
    """
    if target.is_dir():
        raise InputError(f"{str(target)!r} is a folder.", hint="Name a file: handbook.hrelease")
    if not target.absolute().parent.is_dir():
        raise NotFound(f"There is no folder {str(target.absolute().parent)!r}.", hint="Make it first.")
    manifest = bundles.check(release.id)
    folder = bundles.path(release.id)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                text = (folder / manifests.FILE).read_bytes()
                tar.addfile(_member(manifests.FILE, len(text)), io.BytesIO(text))
                for name, sha256, size in manifests.files(manifest):
                    checkpoint()
                    with (folder / name).open("rb") as source:
                        reading = _Hashing(source)
                        tar.addfile(_member(name, size), reading)
                    if reading.digest.hexdigest() != sha256:
                        raise Corrupt(
                            f"The file {str(folder / name)!r} of this release is not what was released.",
                            hint="Nothing was exported. Import the release again, or make a new one.",
                        )
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if shutil.disk_usage(target.absolute().parent).free < 1 << 20:
            raise DiskFull(f"No room left for {str(target)!r}: {error}.") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return target.stat().st_size


class _Hashing:
    """A file that hashes what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        data = self.file.read(size)
        self.digest.update(data)
        return data


def _member(name: str, size: int) -> tarfile.TarInfo:
    """Nothing of this machine: no owner, no time."""
    found = tarfile.TarInfo(name)
    found.size, found.mode, found.mtime = size, 0o644, 0
    return found


def read_in(bundles: Bundles, registry: Registry, source: Path, *, who: str, why: str = "") -> Release:
    """Take a release from an archive into this project: verified whole, then entered; no alias moves.

    Raises NotFound, Corrupt (whatever is not as the manifest says), NewerVersion, DiskFull. A release
    that is here already is verified and stays as it is.
    """
    try:
        file = source.open("rb")
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {str(source)!r}.", hint="Give the exported file.") from error
    except IsADirectoryError as error:
        raise InputError(f"{str(source)!r} is a folder.", hint="Give the exported file.") from error
    made: list[Path] = []
    try:
        with file, tarfile.open(fileobj=file, mode="r:") as tar:
            text = _manifest(tar, source)
            manifest = manifests.parse(text, f"The manifest in {str(source)!r}")
            id = hashlib.sha256(text).hexdigest()
            if manifests.canonical(manifest).encode("utf-8", "surrogatepass") != text:
                raise _bad(source, "its manifest is not in canonical form")
            _files(tar, manifest, bundles, source, made)
    except tarfile.TarError as error:
        raise _bad(source, f"it is no archive, or cut off ({error})") from error
    finally:
        for path in made:
            bundles.clear(path)
    bundles.unfold(id, text.decode("utf-8", "surrogatepass"))
    bundles.verify(id)
    return registry.add(
        id=id,
        name=manifest["name"],
        manifest=manifest,
        text=text.decode("utf-8", "surrogatepass"),
        who=who,
        what="import",
        why=why or f"from {source.name}",
    )


def _manifest(tar: tarfile.TarFile, source: Path) -> bytes:
    first = tar.next()
    if first is None or first.name != manifests.FILE or not first.isreg():
        raise _bad(source, f"it does not begin with {manifests.FILE}")
    if first.size > LARGEST_MANIFEST:
        raise _bad(source, f"its manifest has {first.size} bytes")
    reading = tar.extractfile(first)
    assert reading is not None
    text = reading.read()
    if len(text) != first.size:
        raise _bad(source, "it is cut off")
    return text


def _files(
    tar: tarfile.TarFile, manifest: Mapping[str, Any], bundles: Bundles, source: Path, made: list[Path]
) -> None:
    """Store every member under its hash, once it is proved to be what the manifest lists."""
    wanted = {name: Stored(sha256, size) for name, sha256, size in manifests.files(manifest)}
    missing = sum(stored.bytes for stored in set(wanted.values()) if not bundles.has(stored))
    bundles.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(bundles.folder).free
    if missing > free:
        raise DiskFull(f"{str(source)!r} unfolds to {missing:,} bytes, and {free:,} are free.")
    seen: set[str] = set()
    while (member := tar.next()) is not None:
        checkpoint()
        stored = wanted.get(member.name)
        if stored is None:
            raise _bad(source, f"it holds {member.name!r}, which its manifest does not list")
        if not member.isreg():
            raise _bad(source, f"{member.name!r} is no plain file in it")
        if member.name in seen:
            raise _bad(source, f"it holds {member.name!r} twice")
        if member.size != stored.bytes:
            raise _bad(source, f"{member.name!r} has {member.size} bytes instead of {stored.bytes}")
        seen.add(member.name)
        temporary = bundles.temporary()
        made.append(temporary)
        digest = hashlib.sha256()
        reading = tar.extractfile(member)
        assert reading is not None
        with temporary.open("wb") as target:
            while piece := reading.read(_SLICE):
                digest.update(piece)
                target.write(piece)
            target.flush()
            os.fsync(target.fileno())
        if digest.hexdigest() != stored.sha256 or temporary.stat().st_size != stored.bytes:
            raise _bad(source, f"{member.name!r} is not what its manifest says")
        if bundles.has(stored):
            temporary.unlink()
        else:
            bundles.settle(temporary, stored)
    if lost := sorted(set(wanted) - seen):
        raise _bad(source, f"{len(lost)} files are missing in it, for example {lost[0]!r}")


def _bad(source: Path, why: str) -> Corrupt:
    return Corrupt(
        f"{str(source)!r} is not a sound export of a release: {why}.",
        hint="Nothing was taken over. Export it again, and compare the two files' checksums.",
    )
