"""One writer per knowledge base: a lock that the operating system drops when its holder dies.

The lock is on a file whose content names the holder, for the error of the one who comes second.
The file itself means nothing: it stays, and it is never deleted (two processes could then lock
two different files). Readers take no lock. Untested on macOS and Windows.
"""

from __future__ import annotations

import datetime
import json
import os
import socket
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from headrace.errors import Locked, StateError

FILE = "lock"
_POLL = 0.05  # seconds between two tries

# File systems on which locks or shared memory between machines cannot be trusted. Not here: 9p,
# virtiofs, overlay and plain fuse, which containers and virtual machines use for local disks;
# where those cannot hold a write-ahead log, SQLite says so and schema.prepare refuses.
NETWORK = frozenset(
    """nfs nfs4 cifs smb smb2 smb3 smbfs ncpfs afs coda ceph lustre gpfs pvfs2 orangefs beegfs davfs davfs2
    fuse.sshfs fuse.glusterfs fuse.s3fs fuse.rclone fuse.davfs fuse.davfs2 fuse.gcsfuse fuse.goofys fuse.ceph
    fuse.cephfs fuse.curlftpfs fuse.juicefs fuse.mount-s3 fuse.blobfuse fuse.blobfuse2 fuse.smbnetfs
    fuse.moosefs fuse.mfs""".split()
)

if sys.platform == "win32":
    import msvcrt

    def _try_lock(fd: int) -> bool:
        os.lseek(fd, 1 << 30, os.SEEK_SET)  # far behind the text, which must stay readable
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(fd, 0, os.SEEK_SET)
        return True

    def _unlock(fd: int) -> None:
        os.lseek(fd, 1 << 30, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
        os.lseek(fd, 0, os.SEEK_SET)

else:
    import fcntl

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


class WriterLock:
    """The right to write into one knowledge base folder; a context manager.

    ``wait`` is how many seconds to wait for another writer to finish; then Locked names it.
    """

    def __init__(self, folder: Path, *, wait: float = 0.0, command: str = "") -> None:
        self.path = folder / FILE
        self.wait = wait
        self.command = command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
        self._fd: int | None = None

    def __enter__(self) -> WriterLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock or raise Locked."""
        assert self._fd is None, "this lock is held already"
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        except PermissionError as error:
            raise StateError(
                f"{str(self.path)!r} cannot be written: {error}.", hint="Check the permissions of its folder."
            ) from error
        until = time.monotonic() + self.wait
        try:
            while not _try_lock(fd):
                left = until - time.monotonic()
                if left <= 0:
                    raise Locked(
                        f"{str(self.path.parent)!r} is being written by {describe(holder(self.path))}."
                    )
                time.sleep(min(_POLL, left))
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
            os.write(fd, json.dumps(self._me()).encode())
        except BaseException:
            os.close(fd)  # drops the lock too
            raise
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            try:
                os.ftruncate(fd, 0)
                _unlock(fd)
            finally:
                os.close(fd)

    def _me(self) -> dict[str, Any]:
        now = datetime.datetime.now().astimezone()
        return {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": now.isoformat(timespec="seconds"),
            "command": self.command,
        }


def holder(path: Path) -> dict[str, Any] | None:
    """What the lock file says about who holds it; None when it says nothing (yet)."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def describe(found: dict[str, Any] | None) -> str:
    """A holder in words."""
    if found is None:
        return "another process"
    return (
        f"process {found.get('pid')} on {found.get('host')} since {found.get('since')}"
        f" ({found.get('command')!r})"
    )


def refuse_network(folder: Path, *, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Raise StateError when the folder (or where it will be) lies on a network file system.

    Linux reads the table of mounts; Windows looks for a share's name; elsewhere nothing is known.
    """
    if sys.platform == "win32":
        kind = "a network share" if str(folder.absolute()).startswith("\\\\") else ""
    else:
        kind = file_system(folder, mounts)
        kind = kind if kind in NETWORK else ""
    if kind:
        raise StateError(
            f"{str(folder)!r} lies on a network file system ({kind}), where locks and shared memory"
            " cannot be trusted.",
            hint="Put the knowledge base on a local disk; copy the folder to move it between machines.",
        )


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of the file system that holds a path, "" where it is not known."""
    try:
        table = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    target = os.path.realpath(folder)
    best, kind = -1, ""
    for line in table.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = _unescape(fields[1])
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # of two at one place, the later one is on top
            best, kind = len(point), fields[2]
    return kind


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
