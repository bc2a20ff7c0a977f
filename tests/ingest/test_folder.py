"""Walking folders into a sink: new, changed, gone, broken, stopped and resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import plugins, request
from headrace.errors import InputError, NotFound, UserError
from headrace.ingest import folder as folder_module
from headrace.ingest.folder import check_paths, ingest_paths
from headrace.ingest.walk import walk
from headrace.request import CancelToken, RequestContext
from headrace.storage import IngestReport
from headrace.types import Document

from .dict_sink import DictSink
from .pdf_kit import pdf

OLD = time.time() - 3600


def write(path: Path, content: str | bytes, *, age: float = 0.0) -> None:
    """A file whose time lies an hour back, so that its time stamp counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, (OLD - age, OLD - age))


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "docs/mill.md", "# Mill\n\nWater runs to the wheel.\n")
    write(tmp_path / "docs/deep/race.txt", "The race is long.\n")
    write(tmp_path / "docs/parts.csv", "part,metres\nrace,120\npit,4\n")
    write(tmp_path / "docs/.hidden.md", "hidden")
    write(tmp_path / "docs/.git/config.txt", "hidden")
    write(tmp_path / "docs/node_modules/x.js", "junk")
    write(tmp_path / "docs/photo.jpg", b"\xff\xd8\xff")
    return tmp_path / "docs"


@pytest.fixture
def sink() -> DictSink:
    return DictSink()


def counts(report: IngestReport) -> tuple[int, int, int, int]:
    return report.documents, report.skipped, report.replaced, report.removed


def test_a_folder_becomes_documents(docs: Path, sink: DictSink) -> None:
    report = ingest_paths(["docs"], sink)
    assert counts(report) == (4, 0, 0, 0)
    assert set(sink.documents) == {
        "docs/mill.md",
        "docs/deep/race.txt",
        "docs/parts.csv#1",
        "docs/parts.csv#2",
    }
    mill = sink.documents["docs/mill.md"]
    assert mill.metadata == {"title": "Mill", "type": "markdown", "source": "docs/mill.md"}
    assert sink.documents["docs/parts.csv#2"].metadata["source"] == "docs/parts.csv"
    assert report.failed == ()
    assert ".jpg" in report.notes[0]
    assert sink.published == 1
    assert len(sink.puts) == 1  # small files share one write
    assert sink.puts == [["docs/deep/race.txt", "docs/mill.md", "docs/parts.csv#1", "docs/parts.csv#2"]]


@pytest.mark.parametrize("given", ["docs/", "./docs", Path("docs"), "docs/../docs/."])
def test_ids_are_the_path_as_given(docs: Path, sink: DictSink, given: str | Path) -> None:
    ingest_paths([given], sink)
    assert any(id.endswith("docs/mill.md") for id in sink.documents)
    other = DictSink()
    ingest_paths([docs], other)
    assert docs.as_posix() + "/mill.md" in other.documents
    os.chdir(docs)
    here = DictSink()
    ingest_paths(["."], here)
    assert "mill.md" in here.documents


def test_unchanged_files_are_not_even_opened(
    docs: Path, sink: DictSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_paths(["docs"], sink)

    def refuse(path: str) -> None:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(folder_module, "_read", refuse)
    assert counts(ingest_paths(["docs"], sink)) == (0, 3, 0, 0)
    assert len(sink.puts) == 1


def test_a_touched_file_is_skipped_by_its_content(docs: Path, sink: DictSink) -> None:
    ingest_paths(["docs"], sink)
    os.utime(docs / "mill.md", (OLD + 5, OLD + 5))
    assert counts(ingest_paths(["docs"], sink)) == (0, 3, 0, 0)


def test_a_file_changed_just_after_reading_is_noticed(docs: Path, sink: DictSink) -> None:
    path = docs / "mill.md"
    path.write_text("# Mill\n\nOne.\n")  # now: its time stamp proves nothing
    before = path.stat()
    ingest_paths(["docs"], sink)
    path.write_text("# Mill\n\nTwo.\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # the same time and the same size
    assert counts(ingest_paths(["docs"], sink)) == (1, 2, 1, 0)
    assert "Two." in sink.documents["docs/mill.md"].text


def test_changed_rows_and_files_are_replaced(docs: Path, sink: DictSink) -> None:
    ingest_paths(["docs"], sink)
    write(docs / "mill.md", "# Mill\n\nIt burned down.\n")
    write(docs / "parts.csv", "part,metres\nrace,125\n")
    assert counts(ingest_paths(["docs"], sink)) == (2, 1, 2, 1)
    assert "docs/parts.csv#2" not in sink.documents
    assert "125" in sink.documents["docs/parts.csv#1"].text


def test_another_reader_identity_reads_again(docs: Path, sink: DictSink) -> None:
    ingest_paths(["docs"], sink, reader_identity="a")
    assert ingest_paths(["docs"], sink, reader_identity="a").skipped == 3
    assert ingest_paths(["docs"], sink, reader_identity="b").skipped == 0


def test_prune_removes_only_what_is_gone_below_the_given_folders(docs: Path, sink: DictSink) -> None:
    write(docs.parent / "other/a.md", "another folder")
    write(docs.parent / "docs2/b.md", "a folder whose name begins the same")
    ingest_paths(["docs", "other", "docs2"], sink)
    for path in (docs / "mill.md", docs.parent / "other/a.md", docs.parent / "docs2/b.md"):
        path.unlink()
    assert counts(ingest_paths(["docs"], sink)) == (0, 2, 0, 0)
    assert "docs/mill.md" in sink.documents
    report = ingest_paths(["docs"], sink, prune=True)
    assert counts(report) == (0, 2, 0, 1)
    assert set(sink.documents) >= {"other/a.md", "docs2/b.md", "docs/deep/race.txt"}
    assert "docs/mill.md" not in sink.documents
    assert ingest_paths(["docs2"], sink, prune=True).removed == 1  # emptied, and that is meant


def test_the_same_file_from_another_folder_keeps_its_id(docs: Path, sink: DictSink) -> None:
    ingest_paths(["docs"], sink)
    os.chdir(docs)
    assert ingest_paths(["."], sink).skipped == 3
    write(docs / "mill.md", "# Mill\n\nNew words.\n")
    assert counts(ingest_paths(["mill.md"], sink)) == (1, 0, 1, 0)
    assert "New words." in sink.documents["docs/mill.md"].text
    assert "mill.md" not in sink.documents


def test_two_folders_with_the_same_name_do_not_overwrite_each_other(docs: Path, sink: DictSink) -> None:
    ingest_paths(["docs"], sink)
    write(docs.parent / "b/docs/mill.md", "# Another mill\n")
    os.chdir(docs.parent / "b")
    report = ingest_paths(["docs"], sink)
    assert counts(report) == (1, 0, 0, 0)
    whole = (docs.parent / "b/docs/mill.md").as_posix()
    assert "Another" in sink.documents[whole].text
    assert "Water" in sink.documents["docs/mill.md"].text
    assert any(whole in note for note in report.notes)


def test_a_moved_folder_takes_its_documents_along(docs: Path, sink: DictSink) -> None:
    ingest_paths(["docs"], sink)
    moved = docs.parent / "elsewhere"
    moved.mkdir()
    docs.rename(moved / "docs")
    os.chdir(moved)
    report = ingest_paths(["docs"], sink)
    assert counts(report) == (0, 0, 0, 0)
    assert len(sink.documents) == 4
    assert all(path.startswith(str(moved)) for path in sink.state)
    assert ingest_paths(["docs"], sink).skipped == 3


# --------------------------------------------------------------------------- trouble


def test_broken_files_are_reported_and_stop_nothing(docs: Path, sink: DictSink) -> None:
    write(docs / "a_binary.txt", b"\x89PNG\r\n\x1a\n" + bytes(300))
    write(docs / "b_scan.pdf", pdf([[]]))
    write(docs / "c_word.docx", "no zip at all")
    write(docs / "d_lines.jsonl", '{"text": "good"}\n{bad\n')
    write(docs / "z_empty.txt", b"")
    report = ingest_paths(["docs"], sink)
    assert dict(report.failed).keys() == {f"docs/{n}" for n in
        ("a_binary.txt", "b_scan.pdf", "c_word.docx", "d_lines.jsonl")}  # fmt: skip
    reasons = dict(report.failed)
    assert "PNG" in reasons["docs/a_binary.txt"]
    assert "no text layer" in reasons["docs/b_scan.pdf"]
    assert "\n" not in "".join(reasons.values())
    assert report.documents == 5
    assert "docs/d_lines.jsonl#1" in sink.documents
    assert any("z_empty.txt" in note for note in report.notes)
    again = ingest_paths(["docs"], sink)  # broken ones are tried again, the empty one is done
    assert len(again.failed) == 4
    assert (again.documents, again.skipped) == (0, 4)


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_a_name_that_is_no_text_is_reported_and_stops_nothing(docs: Path, sink: DictSink) -> None:
    odd = os.fsencode(docs) + b"/caf\xe9.txt"
    try:
        with open(odd, "wb") as file:
            file.write(b"Coffee is free.")
    except OSError:
        pytest.skip("this file system takes no such names")
    report = ingest_paths(["docs"], sink)
    assert report.failed == (("docs/caf\\xe9.txt", report.failed[0][1]),)
    assert "not valid UTF-8" in report.failed[0][1]
    assert report.documents > 0
    with pytest.raises(InputError, match="caf.*cannot be used"):
        ingest_paths([os.fsdecode(odd)], sink)


def test_a_file_that_breaks_later_keeps_its_documents(docs: Path, sink: DictSink) -> None:
    ingest_paths(["docs"], sink)
    write(docs / "mill.md", b"\0\1\2" * 50)
    assert len(ingest_paths(["docs"], sink, prune=True).failed) == 1
    assert "Water" in sink.documents["docs/mill.md"].text


def test_an_emptied_file_loses_its_documents(docs: Path, sink: DictSink) -> None:
    ingest_paths(["docs"], sink)
    write(docs / "mill.md", "  \n")
    assert ingest_paths(["docs"], sink).removed == 1
    assert "docs/mill.md" not in sink.documents


def test_a_reader_of_a_stranger_may_raise_anything(
    docs: Path, sink: DictSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(data: bytes, name: str) -> Iterator[Document]:
        yield Document("first")
        raise ZeroDivisionError("by a stranger")

    known = plugins.get
    monkeypatch.setattr(plugins, "get", lambda g, n: explode if n == ".md" else known(g, n))
    report = ingest_paths(["docs"], sink)
    assert report.failed == (("docs/mill.md", "The reader failed with ZeroDivisionError: by a stranger"),)
    assert report.documents == 4


def test_an_error_of_the_sink_is_not_blamed_on_a_file(docs: Path, sink: DictSink) -> None:
    sink.fail_at, sink.error = 1, OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        ingest_paths(["docs"], sink)


def test_paths_that_lead_to_nothing(docs: Path, sink: DictSink, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "pictures/a.jpg", b"\xff\xd8\xff")
    for call in (check_paths, lambda paths: ingest_paths(paths, sink)):
        with pytest.raises(NotFound, match="'missing'"):
            call(["docs", "missing"])
        with pytest.raises(UserError, match="no file in 'empty'"):
            call(["empty"])
        with pytest.raises(UserError, match=r"end in \.jpg"):
            call(["pictures"])
    with pytest.raises(UserError, match="No path"):
        check_paths([])
    check_paths(["docs"])
    check_paths(["empty"], prune=True)
    assert sink.puts == []


def test_a_file_named_by_itself_is_tried_as_text(docs: Path, sink: DictSink) -> None:
    write(docs / "NOTES", "Water runs.\n")
    write(docs / "x.strange", b"\0\0")
    report = ingest_paths(["docs/NOTES", "docs/x.strange", "docs/.hidden.md"], sink)
    assert set(sink.documents) == {"docs/NOTES", "docs/.hidden.md"}
    assert [name for name, _ in report.failed] == ["docs/x.strange"]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links here")
def test_links_are_followed_once_and_loops_end(docs: Path, sink: DictSink) -> None:
    (docs / "loop").symlink_to(docs, target_is_directory=True)
    (docs / "deep/up").symlink_to("..", target_is_directory=True)
    (docs / "again.md").symlink_to(docs / "mill.md")
    (docs / "gone.md").symlink_to("nowhere.md")
    assert len(walk(["docs", docs, "docs/mill.md"]).files) == 3
    assert ingest_paths(["docs"], sink).documents == 4


# --------------------------------------------------------------------------- long runs


def many(folder: Path, count: int) -> None:
    for number in range(count):
        write(folder / f"{number:03}.txt", f"Document number {number} about the mill.\n")


def test_groups_are_bounded_and_progress_is_told(tmp_path: Path, sink: DictSink) -> None:
    many(tmp_path / "d", 20)
    write(tmp_path / "d/rows.jsonl", "".join(f'{{"text": "row {n}"}}\n' for n in range(30)))
    told: list[tuple[int, int | None, str]] = []
    report = ingest_paths([tmp_path / "d"], sink, progress=lambda *args: told.append(args), group_documents=8)
    assert report.documents == 50
    assert max(len(group) for group in sink.puts) == 8
    assert len(sink.puts) == 7
    done = [now for now, _, _ in told]
    assert done == sorted(done)
    assert done[-1] == told[-1][1] == sum(p.stat().st_size for p in (tmp_path / "d").iterdir())
    small = DictSink()
    ingest_paths([tmp_path / "d"], small, group_characters=1)
    assert all(len(group) == 1 for group in small.puts)


def test_control_c_keeps_what_was_written_and_the_next_run_goes_on(tmp_path: Path, sink: DictSink) -> None:
    many(tmp_path / "d", 40)
    sink.fail_at = 3
    report = ingest_paths([tmp_path / "d"], sink, group_documents=8)
    assert report.stopped
    assert report.documents == len(sink.documents) == len(sink.state) == 16
    assert sink.published == 1
    sink.puts.clear()
    sink.fail_at = 0
    rest = ingest_paths([tmp_path / "d"], sink, group_documents=8)
    assert not rest.stopped
    assert (rest.documents, rest.skipped) == (24, 16)


def test_a_file_of_many_rows_stopped_in_between_is_read_again(tmp_path: Path, sink: DictSink) -> None:
    write(tmp_path / "rows.jsonl", "".join(f'{{"text": "row {n}"}}\n' for n in range(30)))
    sink.fail_at = 3
    assert ingest_paths([tmp_path / "rows.jsonl"], sink, group_documents=8).stopped
    assert len(sink.documents) == 16
    assert sink.state == {}
    sink.puts.clear()
    sink.fail_at = 0
    assert ingest_paths([tmp_path / "rows.jsonl"], sink, group_documents=8).documents == 14
    assert len(sink.state) == 1


def test_a_cancelled_request_stops_between_documents(tmp_path: Path, sink: DictSink) -> None:
    many(tmp_path / "d", 40)
    token = CancelToken()

    def progress(done: int, total: int | None, what: str) -> None:
        if len(sink.documents) >= 16:
            token.cancel()

    with request.use(RequestContext(cancel=token)):
        report = ingest_paths([tmp_path / "d"], sink, progress=progress, group_documents=8)
    assert report.stopped
    assert report.documents == 16
    token = CancelToken()
    token.cancel("enough")
    assert ingest_paths([tmp_path / "d"], DictSink(), cancel=token).documents == 0


# --------------------------------------------------------------------------- duplicates


def test_duplicates_are_reported_and_kept(docs: Path, sink: DictSink) -> None:
    write(docs / "copy.md", (docs / "mill.md").read_text())
    report = ingest_paths(["docs"], sink)
    assert report.duplicates == (("docs/copy.md", "docs/mill.md"),)
    assert report.dropped == 0
    assert "docs/mill.md" in sink.documents


def test_dropped_duplicates_come_back_when_their_original_changes(docs: Path, sink: DictSink) -> None:
    write(docs / "copy.md", (docs / "mill.md").read_text())
    report = ingest_paths(["docs"], sink, drop_duplicates=True)
    assert report.dropped == 1
    assert "docs/mill.md" not in sink.documents
    write(docs / "copy.md", "# Something else\n\nNothing in common.\n")
    report = ingest_paths(["docs"], sink, drop_duplicates=True)
    assert report.dropped == 0
    assert "docs/mill.md" in sink.documents
    assert ingest_paths(["docs"], sink, drop_duplicates=True).skipped == 4


def test_the_wish_to_drop_applies_to_what_is_there(docs: Path, sink: DictSink) -> None:
    write(docs / "copy.md", (docs / "mill.md").read_text())
    ingest_paths(["docs"], sink)
    report = ingest_paths(["docs"], sink, drop_duplicates=True)
    assert (report.dropped, report.removed) == (1, 1)
    assert ingest_paths(["docs"], sink).documents == 1


# --------------------------------------------------------------------------- real data


def test_every_real_document_is_read(shared: Path, sink: DictSink) -> None:
    report = ingest_paths([shared / "data/python_peps", shared / "data/shakespeare"], sink)
    assert report.failed == ()
    assert not report.stopped
    assert sum(id.endswith(".rst") for id in sink.documents) == 631
    assert sum(id.endswith(".txt") for id in sink.documents) == 8
    again = ingest_paths([shared / "data/python_peps", shared / "data/shakespeare"], sink)
    assert (again.documents, again.skipped) == (0, len(sink.state))
