"""Data sets pinned by revision and hash: what was used once is what is used again, or it is refused.

A pin is an entry of ``data.lock.json`` beside headrace.toml: where the files lie, which revision they are,
and the SHA-256 of each. It belongs under version control; the data itself stays where it is.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace import network
from headrace.errors import Corrupt, InputError, NewerVersion, NotFound, ReadError
from headrace.extras import need
from headrace.models import licence as licences
from headrace.models.card import stated_in
from headrace.models.places import in_cache
from headrace.settings import Policy, environment
from headrace.text import shorten
from headrace.types import digest

FILE = "data.lock.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A data set whose files are known byte by byte.

    ``source`` is how it was named (a path, or ``owner/name`` of the Hub's cache), ``files`` maps names
    below ``folder`` to SHA-256, ``hash`` is over all of them. ``licence`` is what its README states.
    """

    name: str
    source: str
    revision: str
    folder: Path
    files: Mapping[str, str]
    licence: str = ""

    @property
    def hash(self) -> str:
        """SHA-256 over names and digests of all files."""
        return digest(dict(sorted(self.files.items())))

    def __json__(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "source": self.source,
            "revision": self.revision,
            "folder": self.folder,
            "files": dict(self.files),
            "hash": self.hash,
            "licence": self.licence,
        }

    def rows(self, file: str = "") -> Iterator[dict[str, Any]]:
        """The rows of its jsonl and csv files, in the order of their names; of one where it is named."""
        names = [file] if file else sorted(self.files)
        for name in names:
            if name not in self.files:
                raise NotFound(
                    f"{self.name!r} has no file {name!r}.", hint=f"It has: {', '.join(sorted(self.files))}."
                )
            yield from _rows(self.folder / name)


def pin(name: str, source: str | Path, *, root: Path, revision: str = "", policy: Policy = "off") -> Pinned:
    """Record a data set under a name: a file, a folder, or ``owner/name`` in the Hub's cache.

    With the network policy ``open``, one that is not there is fetched. ``revision`` is recorded; of the
    Hub's, it is the commit. Pinning a name again replaces the pin.
    """
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise InputError(f"{name!r} cannot be the name of a data set.", hint="Use a short name: reviews-v1.")
    place, found = _place(str(source), revision, root, policy)
    files = {path.name: path for path in [place]} if place.is_file() else _files(place)
    if not files:
        raise InputError(f"{str(source)!r} holds no file.", hint="Name a file, or a folder that has some.")
    folder = place.parent if place.is_file() else place
    stated, _ = stated_in(folder / "README.md")
    made = Pinned(
        name=name,
        source=str(source) if not place.is_relative_to(root) else place.relative_to(root).as_posix(),
        revision=found,
        folder=folder,
        files={key: _sha256(path) for key, path in files.items()},
        licence=stated.licence.id,
    )
    entries = _read(root)
    entries[name] = {
        "source": made.source,
        "revision": made.revision,
        "licence": made.licence,
        "files": dict(sorted(made.files.items())),
        "hash": made.hash,
    }
    _write(root, entries)
    return made


def pinned(root: Path) -> list[str]:
    """The names that are pinned in a project."""
    return sorted(_read(root))


def load(name: str, *, root: Path, policy: Policy = "off") -> Pinned:
    """The data set behind a name, every file read through and compared with its pin.

    NotFound for an unknown name or files that are gone; Corrupt, with both hashes, for a changed one.
    """
    entries = _read(root)
    if name not in entries:
        raise NotFound(
            f"No data set is pinned as {name!r}.",
            hint=f"Pinned here: {', '.join(sorted(entries)) or 'none'}. Pin one: headrace data pin NAME PATH",
        )
    entry = entries[name]
    place, revision = _place(entry["source"], entry["revision"], root, policy)
    if revision != entry["revision"]:
        raise Corrupt(
            f"{name!r} is pinned to revision {entry['revision']!r}, and {revision!r} is here.",
            hint="Fetch the pinned revision again, or pin the new one: headrace data pin.",
        )
    folder = place.parent if place.is_file() else place
    here = {place.name: place} if place.is_file() else _files(folder)
    wanted: Mapping[str, str] = entry["files"]
    if gone := sorted(set(wanted) - set(here)):
        raise NotFound(
            f"{name!r} is not whole: {', '.join(gone)} {'is' if len(gone) == 1 else 'are'} missing.",
            hint=f"Put the files back into {str(folder)!r}, or pin what is there: headrace data pin.",
        )
    if new := sorted(set(here) - set(wanted)):
        raise Corrupt(
            f"{name!r} has a file that was not there when it was pinned: {', '.join(new)}.",
            hint="Take it away, or pin what is there now: headrace data pin.",
        )
    for key, sha256 in wanted.items():
        if (now := _sha256(here[key])) != sha256:
            raise Corrupt(
                f"{key!r} of {name!r} has changed since it was pinned: "
                f"its SHA-256 is {now!r}, not {sha256!r}.",
                hint="Put the pinned file back, or pin what is there now: headrace data pin.",
            )
    return Pinned(
        name=name,
        source=entry["source"],
        revision=revision,
        folder=folder,
        files=wanted,
        licence=entry.get("licence", ""),
    )


def used(found: Pinned) -> licences.Used:
    """The data set as a part of what is made of it, for :func:`headrace.models.licence.check`."""
    return licences.Used(name=f"data set {found.name}", licence=licences.read(found.licence))


# --------------------------------------------------------------------------- files


def _place(source: str, revision: str, root: Path, policy: Policy) -> tuple[Path, str]:
    """(file or folder, revision)."""
    path = Path(source).expanduser()
    path = path if path.is_absolute() else root / path
    if path.exists():
        return path.resolve(), revision
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise NotFound(f"There is neither a file nor a folder {source!r}.", hint=f"Looked for {str(path)!r}.")
    here = [(found, folder) for name, found, folder in in_cache("datasets") if name == source]
    for found, folder in here:
        if revision in ("", found):
            return folder, found
    if policy == "open":
        return _fetched(source, revision, policy)
    known = ", ".join(found for found, _ in here)
    raise NotFound(
        f"The data set {source!r}{f' at {revision!r}' if revision else ''} is not on this machine.",
        hint=(f"In the cache are the revisions: {known}. " if known else "")
        + "Name a path, or let Headrace fetch it: policy = 'open' under [network].",
    )


def _fetched(source: str, revision: str, policy: Policy) -> tuple[Path, str]:
    network.require(environment("HF_ENDPOINT", "https://huggingface.co"), policy, named=False)
    hub = need("huggingface_hub", extra="local", for_what="Fetching a data set from the Hub")
    try:
        folder = Path(
            hub.snapshot_download(
                source, repo_type="dataset", revision=revision or None, library_name="headrace"
            )
        )
    except (OSError, ValueError) as error:  # connection, HTTP and repository errors are all OSErrors
        raise NotFound(
            f"The data set {source!r} could not be fetched: {shorten(str(error), 200)}",
            hint="Check its name and revision, and whether the Hub can be reached.",
        ) from error
    return folder, folder.name


def _files(folder: Path) -> dict[str, Path]:
    """Files below a folder, but for hidden ones, by name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = name.name == FILE or any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden:
            found[name.as_posix()] = path
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix not in (".jsonl", ".csv", ".tsv"):
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".jsonl":
                for number, line in enumerate(file, 1):
                    if line.strip():
                        row = json.loads(line)
                        if not isinstance(row, dict):
                            raise ValueError(f"line {number} is no object")
                        yield row
            else:
                yield from csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
    except (ValueError, csv.Error) as error:
        raise ReadError(
            f"{str(path)!r} cannot be read as rows: {error}",
            hint="A line is one JSON object, or one csv row.",
        ) from error


def _read(root: Path) -> dict[str, Any]:
    path = root / FILE
    if not path.is_file():
        return {}
    again = f"Take {FILE} from version control again, or remove it and pin anew."
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        format, found = data["format"], data["data"]
        for entry in found.values():
            if not (isinstance(entry["source"], str) and isinstance(entry["revision"], str)):
                raise TypeError("source or revision is no text")
            if not all(isinstance(value, str) for value in entry["files"].values()):
                raise TypeError("a digest is no text")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corrupt(f"{str(path)!r} cannot be read: {error!r}.", hint=again) from error
    if format != FORMAT:
        raise NewerVersion(
            f"{str(path)!r} has format {format!r}; this Headrace reads {FORMAT}.",
            hint="Install the newer Headrace that wrote it.",
        )
    return dict(found)


def _write(root: Path, entries: Mapping[str, Any]) -> None:
    """Whole or not at all; readable in a diff."""
    path = root / FILE
    temporary = path.with_name(f".{FILE}.{os.getpid()}")
    text = json.dumps({"format": FORMAT, "data": dict(entries)}, indent=1, sort_keys=True, ensure_ascii=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)
