"""One writer at a time: within a process, between processes, and after a death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headrace.errors import Locked, StateError
from headrace.search import lock
from headrace.search.lock import WriterLock
from headrace.types import Document

from .store_kit import Base

_HOLD = """
import sys
from pathlib import Path
from headrace.search.lock import WriterLock
with WriterLock(Path(sys.argv[1]), command="ingest of a test"):
    print("held", flush=True)
    sys.stdin.read()
"""


def _holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_in_one_process(tmp_path: Path) -> None:
    with WriterLock(tmp_path), pytest.raises(Locked, match=f"process {os.getpid()} "):
        WriterLock(tmp_path).acquire()
    with WriterLock(tmp_path):
        pass
    assert lock.holder(tmp_path / lock.FILE) is None


def test_the_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    process = _holder(tmp_path)
    try:
        with pytest.raises(Locked) as caught:
            WriterLock(tmp_path).acquire()
        assert f"process {process.pid} on " in caught.value.message
        assert "'ingest of a test'" in caught.value.message
        assert caught.value.hint
    finally:
        process.communicate("")
    with WriterLock(tmp_path):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    process = _holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with WriterLock(tmp_path):
        found = lock.holder(tmp_path / lock.FILE)
        assert found is not None
        assert found["pid"] == os.getpid()


def test_waiting_for_the_first(tmp_path: Path) -> None:
    first = WriterLock(tmp_path)
    first.acquire()
    timer = threading.Timer(0.2, first.release)
    timer.start()
    with WriterLock(tmp_path, wait=30):
        pass
    timer.join()


def test_two_writers_of_a_knowledge_base(tmp_path: Path) -> None:
    base = Base(tmp_path)
    with base.writer() as writer:
        writer.put([Document("one\n", id="a")])
        with pytest.raises(Locked), base.writer():
            pass
        assert base.live() == {"a": "one\n"}, "readers need no lock"
    with base.writer() as writer:
        writer.put([Document("two\n", id="b")])
    assert len(base.live()) == 2


def test_a_lock_file_that_says_nonsense(tmp_path: Path) -> None:
    (tmp_path / lock.FILE).write_bytes(b"\xff\xfe nonsense")
    assert lock.describe(lock.holder(tmp_path / lock.FILE)) == "another process"
    with WriterLock(tmp_path):
        pass


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("ext4", False), ("overlay", False),
        ("9p", False), ("tmpfs", False), ("fuse.fuse-overlayfs", False), ("virtiofs", False),
    ],
)  # fmt: skip
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the mounts of Linux")
def test_network_file_systems_are_refused(tmp_path: Path, kind: str, refused: bool) -> None:
    place = tmp_path / "a mount"
    place.mkdir()
    mounts = tmp_path / "mounts"
    escaped = str(place.resolve()).replace(" ", "\\040")
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {escaped} {kind} rw 0 0\nproc /proc proc rw 0 0\n")
    assert lock.file_system(place / "kb" / "deeper", mounts) == kind
    assert lock.file_system(tmp_path / "a mountain", mounts) == "ext4"
    if refused:
        with pytest.raises(StateError, match=f"network file system \\({kind}\\)"):
            lock.refuse_network(place / "kb", mounts=mounts)
    else:
        lock.refuse_network(place / "kb", mounts=mounts)


def test_this_machine_is_not_refused(tmp_path: Path) -> None:
    lock.refuse_network(tmp_path / "kb")
    lock.refuse_network(tmp_path / "kb", mounts=tmp_path / "no such table")
