"""A release's manifest: what it must hold, its canonical text, and the id that is its hash.

A manifest is plain JSON. ``id`` = SHA-256 of its canonical text, so a release is what it says, and
a changed byte anywhere is another release. Strangers' manifests (an import) are validated here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from headrace.errors import Corrupt, NewerVersion
from headrace.types import to_json

FORMAT = 1
FILE = "manifest.json"

_WANTED: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "entry": str,
    "fingerprint": str,
    "python": str,
    "distributions": list,
    "code": dict,
    "files": dict,
    "resources": dict,
    "knowledge": dict,
    "models": dict,
    "reproducible": bool,
}


def canonical(manifest: Mapping[str, Any]) -> str:
    """The one text of a manifest: sorted keys, no spaces, UTF-8."""
    return json.dumps(to_json(manifest), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def id_of(text: str) -> str:
    """The release id of a canonical text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def parse(data: bytes, where: str) -> dict[str, Any]:
    """A manifest from its bytes, checked; Corrupt or NewerVersion naming ``where``."""
    try:
        found = json.loads(data)
    except ValueError as error:
        raise Corrupt(f"{where} is not a manifest: {error}.", hint="Take another copy.") from error
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise Corrupt(f"{where} is not a manifest of a release.", hint="Take another copy.")
    if found["format"] > FORMAT:
        raise NewerVersion(
            f"{where} has format {found['format']}; this Headrace reads formats up to {FORMAT}.",
            hint="Install the newer Headrace that wrote it.",
        )
    for key, kind in _WANTED.items():
        if not isinstance(found.get(key), kind):
            raise Corrupt(f"{where} has no proper {key!r}.", hint="Take another copy.")
    seen: set[str] = set()
    for name, digest, size in files(found, where):
        if not is_inside(name) or name in seen or name == FILE:
            raise Corrupt(f"{where} names a file {name!r} that no bundle may hold.", hint="Do not trust it.")
        if len(digest) != 64 or size < 0:
            raise Corrupt(f"{where} says nothing proper about {name!r}.", hint="Take another copy.")
        seen.add(name)
    if found["entry"].rpartition(":")[0] not in found["code"]:
        raise Corrupt(f"{where} has an entry {found['entry']!r} that is none of its code.", hint="")
    if any(found["files"].get(name, {}).get("sha256") != sha for name, sha in found["code"].items()):
        raise Corrupt(f"{where} contradicts itself about its code.", hint="Do not trust it.")
    return found


def files(manifest: Mapping[str, Any], where: str = "The manifest") -> Iterator[tuple[str, str, int]]:
    """(path within the bundle, SHA-256, bytes) of every file: code first, then knowledge bases."""
    try:
        for name, about in sorted(manifest["files"].items()):
            yield name, str(about["sha256"]), int(about["bytes"])
        for _, base in sorted(manifest["knowledge"].items()):
            for name, about in sorted(base["files"].items()):
                yield f"{base['folder']}/{name}", str(about["sha256"]), int(about["bytes"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Corrupt(f"{where} lists its files in a way that cannot be read: {error!r}.") from error


def is_inside(name: str) -> bool:
    """Whether a path can only mean a file below the bundle's folder, on any system."""
    path = PurePosixPath(name)
    return (
        bool(name)
        and not path.is_absolute()
        and str(path) == name
        and not any(part in ("..", ".") for part in path.parts)
        and not any(char in name for char in '\\:\0<>"|?*')
        and not any(ord(char) < 32 for char in name)
    )
