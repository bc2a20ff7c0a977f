"""Pinned data: the same again, or refused with both hashes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from headrace.errors import Corrupt, InputError, NetworkRefused, NewerVersion, NotFound, ReadError
from headrace.models import pinned


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text('{"text": "one", "label": "a"}\n{"text": "two"}\n')
    (tmp_path / "data" / "test.csv").write_text("text,label\nthree,b\n")
    (tmp_path / "data" / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Data\n")
    return tmp_path


def test_the_same_hash_on_reload(project: Path) -> None:
    first = pinned.pin("notes", project / "data", root=project, revision="v1")
    again = pinned.load("notes", root=project)
    assert (again.hash, again.revision, again.files) == (first.hash, "v1", first.files)
    assert again.licence == "cc-by-4.0"
    assert pinned.used(again).licence.commercial == "yes"
    assert [row["text"] for row in again.rows()] == ["three", "one", "two"]
    assert len(list(again.rows("train.jsonl"))) == 2
    entry = json.loads((project / pinned.FILE).read_text())["data"]["notes"]
    assert (entry["source"], entry["revision"]) == ("data", "v1")  # a path that travels with the project


def test_a_changed_file_is_refused_with_both_hashes(project: Path) -> None:
    pinned.pin("train", project / "data" / "train.jsonl", root=project)
    before = hashlib.sha256((project / "data" / "train.jsonl").read_bytes()).hexdigest()
    (project / "data" / "train.jsonl").write_text('{"text": "other"}\n')
    after = hashlib.sha256((project / "data" / "train.jsonl").read_bytes()).hexdigest()
    with pytest.raises(Corrupt) as caught:
        pinned.load("train", root=project)
    assert before in caught.value.message
    assert after in caught.value.message
    assert pinned.pin("train", project / "data" / "train.jsonl", root=project).files == {"train.jsonl": after}
    assert pinned.load("train", root=project).files["train.jsonl"] == after


def test_files_that_came_or_went_are_named(project: Path) -> None:
    pinned.pin("notes", project / "data", root=project)
    (project / "data" / "new.jsonl").write_text("{}\n")
    with pytest.raises(Corrupt, match=r"not there when it was pinned: new\.jsonl"):
        pinned.load("notes", root=project)
    (project / "data" / "new.jsonl").rename(project / "data" / ".hidden")
    pinned.load("notes", root=project)
    (project / "data" / "test.csv").unlink()
    with pytest.raises(NotFound, match=r"test\.csv is missing"):
        pinned.load("notes", root=project)


def test_a_revision_of_the_cache(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for revision in ("1111", "2222"):
        folder = tmp_path / "hub" / "datasets--acme--letters" / "snapshots" / revision
        folder.mkdir(parents=True)
        (folder / "train.jsonl").write_text(json.dumps({"text": revision}) + "\n")
    found = pinned.pin("letters", "acme/letters", root=project, revision="2222")
    assert [row["text"] for row in found.rows()] == ["2222"]
    assert pinned.load("letters", root=project).revision == "2222"
    with pytest.raises(NotFound, match="In the cache are the revisions: 1111, 2222"):
        pinned.pin("letters", "acme/letters", root=project, revision="3333", policy="named")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    with pytest.raises(NetworkRefused):
        pinned._fetched("acme/notes", "", "named")


def test_what_cannot_be_pinned_or_read(project: Path) -> None:
    with pytest.raises(NotFound, match="No data set is pinned as 'none'"):
        pinned.load("none", root=project)
    with pytest.raises(NotFound, match="neither a file nor a folder"):
        pinned.pin("x", "./gone", root=project)
    (project / "empty").mkdir()
    with pytest.raises(InputError, match="holds no file"):
        pinned.pin("x", "empty", root=project)
    with pytest.raises(InputError, match="cannot be the name"):
        pinned.pin(" ", "data", root=project)
    (project / "bad.jsonl").write_text("[1]\n")
    with pytest.raises(ReadError, match="line 1 is no object"):
        list(pinned.pin("bad", "bad.jsonl", root=project).rows())
    lock = project / pinned.FILE
    lock.write_text(lock.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(NewerVersion, match="format 9"):
        pinned.pinned(project)
    lock.write_text("{")
    with pytest.raises(Corrupt, match="cannot be read"):
        pinned.pinned(project)
