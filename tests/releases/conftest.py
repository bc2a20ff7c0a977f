"""Bundles made by hand: no application, no knowledge base of Headrace, only files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace.releases import manifest as manifests
from headrace.releases.bundle import Bundles, Stored, listing
from headrace.releases.registry import Registry
from headrace.types import Release


@dataclass
class Shop:
    """A registry and its bundles in one folder."""

    folder: Path

    def __post_init__(self) -> None:
        self.registry = Registry(self.folder)
        self.bundles = Bundles(self.folder)

    def manifest(self, files: dict[str, bytes], base: dict[str, bytes] | None = None) -> dict[str, Any]:
        stored = {name: self.bundles.put_bytes(data) for name, data in files.items()}
        held: dict[str, Stored] = {n: self.bundles.put_bytes(d) for n, d in (base or {}).items()}
        about = {
            "folder": ".headrace/kb/kb",
            "id": "i",
            "version": 1,
            "corpus": "c",
            "documents": 1,
            "chunks": 1,
            "files": listing(held),
        }
        return {
            "format": 1,
            "name": "finder",
            "entry": "app.py:finder",
            "fingerprint": "f" * 64,
            "python": "3",
            "distributions": [],
            "code": {name: stored[name].sha256 for name in files if name.endswith(".py")},
            "files": listing(stored),
            "resources": {},
            "knowledge": {"knowledge:kb": about} if base else {},
            "models": {},
            "reproducible": True,
            "notes": [],
        }

    def release(self, files: dict[str, bytes] | None = None, base: dict[str, bytes] | None = None) -> Release:
        manifest = self.manifest(files or {"app.py": b"code", "headrace.toml": b""}, base)
        text = manifests.canonical(manifest)
        id = manifests.id_of(text)
        self.bundles.unfold(id, text)
        return self.registry.add(id=id, name="finder", manifest=manifest, text=text, who="anna")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "releases")
