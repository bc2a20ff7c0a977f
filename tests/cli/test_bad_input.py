"""Bad input on the command line, each with a clear error: what happened, the value, what to do."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = [sys.executable, "-m", "headrace"]


def headrace(*words: str, cwd: Path, **more: object) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **{k: str(v) for k, v in more.items() if k.isupper()}}
    return subprocess.run(
        [*RUN, *words], cwd=cwd, capture_output=True, text=True, timeout=120, env=env, check=False
    )


def refused(done: subprocess.CompletedProcess[str], code: int, *says: str) -> None:
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    for text in says:
        assert text in done.stderr, done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "docs").mkdir()
    (folder / "docs" / "tides.md").write_text(
        "# Tides\n\nThe tide turns every six hours.\n", encoding="utf-8"
    )
    assert headrace("ingest", "docs", "--kb", "./kb", cwd=folder).returncode == 0
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    refused(headrace("ingest", "nowhere", cwd=tmp_path), 2, "nowhere")
    (tmp_path / "empty").mkdir()
    refused(headrace("ingest", "empty", cwd=tmp_path), 2, "empty")
    assert not (tmp_path / ".headrace" / "kb").exists(), "nothing is made for nothing"


def test_a_binary_file_named_txt(tmp_path: Path) -> None:
    (tmp_path / "picture.txt").write_bytes(bytes(range(256)) * 40)
    refused(headrace("ingest", "picture.txt", cwd=tmp_path), 4, "picture.txt", "binary")


def test_a_pdf_without_text(tmp_path: Path) -> None:
    import pypdfium2

    document = pypdfium2.PdfDocument.new()
    document.new_page(200, 200)
    document.save(str(tmp_path / "scan.pdf"))
    refused(headrace("ingest", "scan.pdf", cwd=tmp_path), 4, "scan.pdf", "text")


def test_a_corrupt_database(copy: Path) -> None:
    database = copy / "kb" / "kb.sqlite"
    for extra in ("-wal", "-shm"):
        Path(f"{database}{extra}").unlink(missing_ok=True)
    data = bytearray(database.read_bytes())
    data[:64] = b"\0" * 64
    database.write_bytes(bytes(data))
    refused(headrace("ask", "When does the tide turn?", "--kb", "./kb", cwd=copy), 1, "kb.sqlite")
    refused(headrace("ingest", "docs", "--kb", "./kb", cwd=copy), 1, "kb.sqlite")


def test_a_knowledge_base_made_by_a_newer_version(copy: Path) -> None:
    with sqlite3.connect(copy / "kb" / "kb.sqlite") as sql:
        sql.execute("PRAGMA user_version = 999")
    refused(headrace("search", "tide", "--kb", "./kb", cwd=copy), 2, "999")
    refused(headrace("ingest", "docs", "--kb", "./kb", cwd=copy), 2, "999")


def test_another_embedder_is_refused_with_both_names(copy: Path) -> None:
    done = headrace("ask", "When does the tide turn?", "--kb", "./kb", cwd=copy, HEADRACE_PRECISION="f32")
    refused(done, 2, "int8", "float")


def test_a_full_disk_loses_nothing(copy: Path) -> None:
    (copy / "docs" / "tides.md").unlink()  # the knowledge base knows it by the place it was copied from
    text = "Every harbour has its own table of tides, and no two are alike in their numbers. "
    for i in range(40):
        (copy / "docs" / f"more{i}.md").write_text(f"# Harbour {i}\n\n" + text * 30, encoding="utf-8")
    size = (copy / "kb" / "kb.sqlite").stat().st_size

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 65536, size + 65536))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = subprocess.run(
        [*RUN, "ingest", "docs", "--kb", "./kb"],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=little_room,
        check=False,
    )
    refused(done, 1, "Free some space")
    assert headrace("kb", "check", "./kb", cwd=copy).returncode == 0
    assert "six hours" in headrace("ask", "How often does the tide turn?", "--kb", "./kb", cwd=copy).stdout
    again = headrace("ingest", "docs", "--kb", "./kb", cwd=copy)
    assert again.returncode == 0
    info = headrace("kb", "info", "./kb", "--json", cwd=copy)
    assert json.loads(info.stdout)["documents"] == 41


HOLD = """
import sys, time
from headrace.resources.handles import KnowledgeBase
with KnowledgeBase("./kb").engine().writer():
    print("holding", flush=True)
    time.sleep(float(sys.argv[1]))
"""


def test_two_ingests_at_once(copy: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, "60"], cwd=copy, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        refused(headrace("ingest", "docs", "--kb", "./kb", cwd=copy), 1, str(holder.pid))
        waiting = subprocess.Popen(
            [*RUN, "ingest", "docs", "--kb", "./kb", "--wait", "60"], cwd=copy, stdout=subprocess.DEVNULL
        )
        time.sleep(1.0)
        assert waiting.poll() is None, "the second one waits"
    finally:
        holder.kill()
        holder.wait()
    assert waiting.wait(60) == 0, "the lock died with its process"


def test_ctrl_c_keeps_what_was_acknowledged_and_the_next_run_resumes(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    text = "The keeper of the lighthouse writes down the weather every morning and every evening. "
    for i in range(300):
        (tmp_path / "docs" / f"log{i:03}.md").write_text(f"# Day {i}\n\n" + text * 40, encoding="utf-8")
    process = subprocess.Popen(
        [*RUN, "ingest", "docs", "--kb", "./kb"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    database = tmp_path / "kb" / "kb.sqlite"
    for _ in range(600):
        time.sleep(0.1)
        if database.exists() and _documents(database) > 0:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    kept = _documents(database)
    assert 0 < kept < 300
    assert headrace("kb", "check", "./kb", cwd=tmp_path).returncode == 0
    again = headrace("ingest", "docs", "--kb", "./kb", cwd=tmp_path)
    assert again.returncode == 0
    assert f"{300 - kept} documents" in again.stdout
    assert _documents(database) == 300


def _documents(database: Path) -> int:
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as sql:
            return int(sql.execute("SELECT count(*) FROM documents WHERE died IS NULL").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
