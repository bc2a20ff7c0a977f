"""One file for another machine: whole and the same every time, or refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import Corrupt, DiskFull, InputError, NotFound
from headrace.releases import manifest as manifests
from headrace.releases.archive import export, read_in

KB = {"kb.sqlite": b"rows" * 100, "segments/00000001.vec": b"vectors" * 100}
FILES = {"app.py": b"code", "headrace.toml": b"", "prompts/a.md": b"Answer."}


def elsewhere(shop: Any, folder: Path) -> Any:
    return type(shop)(folder / "other")


def take(shop: Any, file: Path) -> Any:
    return read_in(shop.bundles, shop.registry, file, who="bert")


def test_there_and_back_again_byte_by_byte(shop: Any, tmp_path: Path) -> None:
    made = shop.release(FILES, KB)
    file, again = tmp_path / "one.hrelease", tmp_path / "two.hrelease"
    assert export(shop.bundles, made, file) == file.stat().st_size
    export(shop.bundles, made, again)
    assert file.read_bytes() == again.read_bytes()
    other = elsewhere(shop, tmp_path)
    found = take(other, file)
    assert (found.id, found.name, found.version) == (made.id, "finder", 1)
    assert found.manifest == made.manifest
    assert other.bundles.verify(made.id) == shop.bundles.verify(made.id)
    for name, _, _ in manifests.files(made.manifest):
        there, here = other.bundles.path(made.id) / name, shop.bundles.path(made.id) / name
        assert there.read_bytes() == here.read_bytes()
    (line,) = other.registry.log()
    assert (line.what, line.who, line.why) == ("import", "bert", "from one.hrelease")
    assert other.registry.live("finder").production is None
    assert take(other, file).id == made.id, "again: nothing happens"
    assert len(other.registry.log()) == 1
    back = tmp_path / "three.hrelease"
    export(other.bundles, found, back)
    assert back.read_bytes() == file.read_bytes()


def test_a_damaged_release_is_not_exported(shop: Any, tmp_path: Path) -> None:
    made = shop.release(FILES, KB)
    path = shop.bundles.path(made.id) / ".headrace/kb/kb/kb.sqlite"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(b"X" + data[1:])
    target = tmp_path / "x.hrelease"
    target.write_bytes(b"what was there")
    with pytest.raises(Corrupt, match="kb.sqlite"):
        export(shop.bundles, made, target)
    assert target.read_bytes() == b"what was there"
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []
    with pytest.raises(InputError, match="is a folder"):
        export(shop.bundles, made, tmp_path)
    with pytest.raises(NotFound, match="no folder"):
        export(shop.bundles, made, tmp_path / "no" / "x")


def rewritten(file: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], Any]) -> Path:
    """The archive with its list of (member, content) changed."""
    with tarfile.open(file) as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar.getmembers()]  # type: ignore[union-attr]
    change(members)
    target = file.with_name("changed.hrelease")
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return target


def member(name: str, data: bytes = b"", **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    found = tarfile.TarInfo(name)
    found.size = len(data)
    for key, value in more.items():
        setattr(found, key, value)
    return found, data


def link(name: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname="/etc/passwd")


def swap(members: list[tuple[tarfile.TarInfo, bytes]], name: str, new: tuple[tarfile.TarInfo, bytes]) -> None:
    at = next(i for i, (m, _) in enumerate(members) if m.name == name)
    members[at] = new


ATTACKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a byte": (lambda m: swap(m, "app.py", member("app.py", b"cod3")), "'app.py' is not what its manifest"),
    "more": (lambda m: swap(m, "app.py", member("app.py", b"code!")), "has 5 bytes instead of 4"),
    "traversal": (lambda m: m.append(member("../evil", b"x")), "'../evil', which its manifest does not"),
    "absolute": (lambda m: m.append(member("/tmp/evil", b"x")), "which its manifest does not list"),
    "unlisted": (lambda m: m.append(member("evil.py", b"x")), "'evil.py', which its manifest does not"),
    "twice": (lambda m: m.append(member("app.py", b"code")), "'app.py' twice"),
    "missing": (lambda m: m.pop(), "1 files are missing"),
    "symlink": (lambda m: swap(m, "app.py", link("app.py", tarfile.SYMTYPE)), "no plain file"),
    "hard link": (lambda m: swap(m, "app.py", link("app.py", tarfile.LNKTYPE)), "no plain file"),
    "device": (lambda m: swap(m, "app.py", link("app.py", tarfile.CHRTYPE)), "no plain file"),
    "no manifest": (lambda m: m.pop(0), "does not begin with manifest.json"),
    "manifest last": (lambda m: m.append(m.pop(0)), "does not begin with manifest.json"),
    "spaces": (
        lambda m: swap(m, "manifest.json", member("manifest.json", m[0][1].replace(b'":', b'": ', 1))),
        "canonical",
    ),
    "no json": (lambda m: swap(m, "manifest.json", member("manifest.json", b"{}")), "not a manifest"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_of_a_bad_archive_is_taken(shop: Any, tmp_path: Path, attack: str) -> None:
    export(shop.bundles, shop.release(FILES, KB), tmp_path / "x.hrelease")
    change, why = ATTACKS[attack]
    other = elsewhere(shop, tmp_path)
    with pytest.raises(Corrupt, match=why):
        take(other, rewritten(tmp_path / "x.hrelease", change))
    assert other.registry.releases() == []
    assert not other.bundles.bundles.exists()
    assert not (tmp_path.parent / "evil").exists()
    left = list((other.bundles.folder / "tmp").iterdir()) if (other.bundles.folder / "tmp").exists() else []
    assert left == []


def test_files_that_are_cut_off_or_something_else(shop: Any, tmp_path: Path) -> None:
    file = tmp_path / "x.hrelease"
    export(shop.bundles, shop.release(FILES, KB), file)
    whole = file.read_bytes()
    other = elsewhere(shop, tmp_path)
    for size in (0, 100, 600, 2000, whole.find(b"vectors") + 3):
        file.write_bytes(whole[:size])
        with pytest.raises(Corrupt, match="not a sound export"):
            take(other, file)
    file.write_bytes(b"PK\x03\x04 something else entirely" * 100)
    with pytest.raises(Corrupt, match="not a sound export"):
        take(other, file)
    with pytest.raises(NotFound, match="no file"):
        take(other, tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a folder"):
        take(other, tmp_path)


def test_a_manifest_that_announces_more_than_the_disk_holds(shop: Any, tmp_path: Path) -> None:
    manifest = shop.manifest(FILES)
    manifest["files"]["huge.bin"] = {"sha256": "a" * 64, "bytes": 1 << 60}
    text = manifests.canonical(manifest).encode()
    file = tmp_path / "huge.hrelease"
    with tarfile.open(file, "w") as tar:
        tar.addfile(member("manifest.json", text)[0], io.BytesIO(text))
    with pytest.raises(DiskFull, match="unfolds to"):
        take(elsewhere(shop, tmp_path), file)
