"""Bundles: each content once, every byte accounted for, manifests that cannot lie about paths."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import Corrupt, NewerVersion, NotFound
from headrace.releases import manifest as manifests

KB = {"kb.sqlite": b"rows" * 100, "segments/00000001.vec": b"vectors" * 100}


def flip(path: Path, at: int = -1) -> None:
    """Change one bit of a file, without touching what it was linked to."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.unlink()
    path.write_bytes(bytes(data))


def test_each_content_is_stored_once(shop: Any) -> None:
    one = shop.release({"app.py": b"code", "copy.py": b"code", "headrace.toml": b""}, KB)
    two = shop.release({"app.py": b"other", "headrace.toml": b""}, KB)
    objects = [path for path in shop.bundles.objects.rglob("*") if path.is_file()]
    assert len(objects) == len({b"code", b"", b"other", *KB.values()})
    first, second = shop.bundles.path(one.id), shop.bundles.path(two.id)
    name = ".headrace/kb/kb/segments/00000001.vec"
    assert os.path.samefile(first / name, second / name)
    assert os.path.samefile(first / "app.py", first / "copy.py")
    assert shop.bundles.verify(one.id) == 4 + 4 + 400 + 700
    assert shop.bundles.manifest(one.id) == one.manifest


@pytest.mark.parametrize("name", [*(f".headrace/kb/kb/{n}" for n in KB), "app.py", "headrace.toml"])
def test_one_changed_byte_is_found_and_named(shop: Any, name: str) -> None:
    made = shop.release({"app.py": b"code", "headrace.toml": b"x"}, KB)
    path = shop.bundles.path(made.id) / name
    flip(path)
    with pytest.raises(Corrupt, match=path.name):
        shop.bundles.verify(made.id)
    if not name.startswith(".headrace"):
        with pytest.raises(Corrupt, match=path.name):
            shop.bundles.check(made.id)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(Corrupt, match=f"{path.name}.*bytes instead of"):
        shop.bundles.check(made.id)
    path.unlink()
    with pytest.raises(Corrupt, match=f"{path.name}.*missing"):
        shop.bundles.check(made.id)


def test_a_manifest_is_known_by_its_hash(shop: Any) -> None:
    made = shop.release()
    path = shop.bundles.path(made.id) / "manifest.json"
    path.write_text(json.dumps({**made.manifest, "name": "other"}))
    with pytest.raises(Corrupt, match="manifest.json.*its hash is not"):
        shop.bundles.check(made.id)
    with pytest.raises(NotFound, match="is not here"):
        shop.bundles.check("0" * 64)


def test_unfolding_twice_and_beside_a_quicker_process(shop: Any) -> None:
    made = shop.release()
    text = manifests.canonical(made.manifest)
    assert shop.bundles.unfold(made.id, text) == shop.bundles.path(made.id)
    assert list((shop.bundles.folder / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../x", "a//x", "./x", "a\\x", "C:x", "", "a/", "x\n", "x\0", "manifest.json"]
)
def test_paths_that_lead_out_are_refused(shop: Any, name: str) -> None:
    manifest = shop.manifest({"app.py": b"code", "headrace.toml": b""})
    manifest["files"][name] = manifest["files"]["app.py"]
    with pytest.raises(Corrupt, match="no bundle may hold"):
        manifests.parse(manifests.canonical(manifest).encode(), "it")


def test_a_knowledge_base_s_folder_may_not_lead_out_either(shop: Any) -> None:
    manifest = shop.manifest({"app.py": b"code", "headrace.toml": b""}, KB)
    manifest["knowledge"]["knowledge:kb"]["folder"] = "../../elsewhere"
    with pytest.raises(Corrupt, match="no bundle may hold"):
        manifests.parse(manifests.canonical(manifest).encode(), "it")
    manifest["knowledge"]["knowledge:kb"]["folder"] = "."
    with pytest.raises(Corrupt, match="no bundle may hold"):
        manifests.parse(manifests.canonical(manifest).encode(), "it")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": "1"}, "not a manifest of a release"),
        ({"name": 3}, "no proper 'name'"),
        ({"files": []}, "no proper 'files'"),
        ({"files": {"app.py": {"sha256": "x", "bytes": 4}}}, "nothing proper about 'app.py'"),
        ({"files": {"app.py": {}}}, "cannot be read"),
        ({"knowledge": {"k": {"files": {"a": 1}, "folder": "x"}}}, "cannot be read"),
        ({"entry": "other.py:finder"}, "none of its code"),
        ({"code": {"app.py": "0" * 64}}, "contradicts itself"),
    ],
)
def test_manifests_that_make_no_sense(shop: Any, change: dict[str, Any], why: str) -> None:
    manifest = {**shop.manifest({"app.py": b"code", "headrace.toml": b""}), **change}
    with pytest.raises(Corrupt, match=why):
        manifests.parse(manifests.canonical(manifest).encode(), "it")


def test_no_manifest_at_all_and_one_of_a_newer_headrace() -> None:
    for text in (b"", b"[]", b"{", b"\xff\xfe", b"null"):
        with pytest.raises(Corrupt, match="it is not a manifest"):
            manifests.parse(text, "it")
    with pytest.raises(NewerVersion, match="format 99; this Headrace reads formats up to 1"):
        manifests.parse(b'{"format": 99}', "it")
