"""A Python process that can reach nothing but its own folder: bubblewrap, seccomp, limits.

No network, no view of the home, the project or other processes; the system is read-only, ``/tmp``
private and in memory; one process; limits on memory, processor time, wall time, file sizes and output.
Everything is killed at the end. Where that cannot be had, nothing runs (``outcome="refused"``), unless
the caller says ``unsafe=True``. It is no defence against a hole in the kernel itself. What code may do
with the result is not its business: names of ``files`` are those of regular files, never of links.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import selectors
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from headrace import request
from headrace.errors import Cancelled, InputError
from headrace.tools import syscalls
from headrace.tools.bootstrap import BOOTSTRAP

Outcome = Literal["ok", "error", "timeout", "memory", "refused"]

OUTPUT = 100_000  # bytes of each stream that are kept
MOST_FILES = 10_000  # entries of a workspace
_HOME, _PYTHON, _PACKAGES = "/workspace", "/opt/python", "/opt/packages"
_OUT_OF_MEMORY = re.compile(r"^(?:[\w.]*\.)?_?\w*MemoryError\b", re.MULTILINE)
_TICK = 0.02


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Wall seconds; megabytes of memory (address space) and of files in the workspace and in /tmp."""

    seconds: float = 10.0
    memory_mb: int = 512
    disk_mb: int = 100

    def __post_init__(self) -> None:
        for name, value in (("timeout", self.seconds), ("memory_mb", self.memory_mb)):
            if not isinstance(value, (int, float)) or not 0 < value < 1e6:
                raise InputError(f"{name}={value!r} is not a number above 0.", hint="Give for example 10.")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a program did. ``files``: those that it made or changed, relative to its workspace.

    ``outcome``: ``ok``; ``error`` (it ended with another exit code than 0, or used too much disk);
    ``timeout``; ``memory``; ``refused`` (it was not run: no isolation here). ``exit_code`` is None
    where it was killed or not run. ``isolation``: ``bubblewrap`` or ``none``.
    """

    stdout: str
    stderr: str
    exit_code: int | None
    files: tuple[str, ...]
    outcome: Outcome
    seconds: float
    isolation: str

    def observation(self) -> str:
        """As an agent's model reads it."""
        parts = [self.stdout.rstrip(), self.stderr.rstrip()]
        if self.outcome != "ok":
            parts.append(f"[{self.outcome}]")
        if self.files:
            parts.append(f"[files: {', '.join(self.files[:20])}]")
        return "\n".join(part for part in parts if part) or "[no output]"


@functools.cache
def isolation() -> str:
    """Empty where programs can be isolated here; else the reason why not. Tried once a process."""
    if sys.platform != "linux":
        return f"isolation needs Linux, and this is {sys.platform}"
    if syscalls.program() is None:
        return f"there is no filter of system calls for the processor {platform.machine()!r}"
    if shutil.which("bwrap") is None:
        return "bubblewrap (bwrap) is not installed"
    with scratch() as folder:
        try:
            done = _isolated(folder, b"print(6 * 7)", Limits(), packages=False)
        except OSError as error:
            return f"bubblewrap cannot be started: {error}"
    if done.stdout.strip() != "42":
        return f"bubblewrap does not work here: {(done.stderr.strip() or done.outcome)[:300]}"
    return ""


def execute(
    code: str,
    *,
    workspace: str | os.PathLike[str] | None,
    limits: Limits,
    packages: bool = False,
    unsafe: bool = False,
) -> Ran:
    """Run Python code, isolated; see :func:`headrace.tools.python`."""
    if not isinstance(code, str):
        raise InputError(f"The code is {code!r:.60}, which is not a text.", hint="Pass Python source text.")
    why = isolation()
    if why and not unsafe:
        return Ran(
            stdout="",
            stderr=f"Nothing was run: {why}. Install bubblewrap, or pass unsafe=True to run the code "
            "without isolation, with all that you may do yourself.\n",
            exit_code=None,
            files=(),
            outcome="refused",
            seconds=0.0,
            isolation="none",
        )
    with ExitStack() as stack:
        folder = stack.enter_context(scratch()) if workspace is None else _checked(Path(workspace))
        run = _bare if why else _isolated
        return run(folder, code.encode("utf-8", "replace"), limits, packages=packages)


def _checked(folder: Path) -> Path:
    """The folder, made where it is missing; refused where it would open the home or the project."""
    folder = folder.expanduser().resolve()
    kept = [Path.home(), Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parent]
    project = any((folder / name).exists() for name in ("headrace.toml", ".headrace", ".git"))
    if project or any(folder == path or folder in path.parents for path in kept):
        raise InputError(
            f"workspace={str(folder)!r} would open the home, the project or the system to the code.",
            hint="Give a folder of its own, such as './scratch'.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards, whatever was made in it."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-run-"))
    try:
        yield folder
    finally:
        _tame(folder)
        try:
            shutil.rmtree(folder)
        except (RecursionError, OSError):  # deeper than Python can follow, or than a path can say
            subprocess.run(["rm", "-rf", "--", str(folder)], check=False, capture_output=True)


def _isolated(folder: Path, code: bytes, limits: Limits, *, packages: bool) -> Ran:
    base = Path(sys.base_prefix).resolve()
    python = Path(sys.executable).resolve()
    size = str(limits.disk_mb * 1_000_000)
    flags = ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
    flags += ["--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    flags += ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(name):
            flags += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            flags += ["--ro-bind", name, name]
    if not base.is_relative_to("/usr"):
        flags += ["--ro-bind", str(base), _PYTHON]
        python = Path(_PYTHON) / python.relative_to(base)
    if packages:
        flags += ["--ro-bind", sysconfig.get_paths()["platlib"], _PACKAGES]
    flags += ["--proc", "/proc", "--dev", "/dev"]
    flags += ["--size", size, "--tmpfs", "/dev/shm", "--size", size, "--tmpfs", "/tmp"]
    flags += ["--bind", str(folder), _HOME, "--chdir", _HOME]
    # /proc too: started by root, the sandbox's user is the owner of the kernel's settings.
    for place in ("/", "/dev", "/proc"):
        flags += ["--remount-ro", place]
    flags += ["--clearenv"]
    for name, value in _environment(f"{_PYTHON}/lib").items():
        flags += ["--setenv", name, value]
    filtered = syscalls.program()
    assert filtered is not None
    with _file(filtered) as seccomp:
        flags += ["--seccomp", str(seccomp.fileno())]
        with _file("\0".join([*flags, ""]).encode()) as arguments:  # not on a command line that is shown
            command = [shutil.which("bwrap") or "bwrap", "--args", str(arguments.fileno()), "--", str(python)]
            fds = (seccomp.fileno(), arguments.fileno())
            extra = _PACKAGES if packages else ""
            return _run(folder, command, code, limits, extra, fds=fds, name="bubblewrap")


def _bare(folder: Path, code: bytes, limits: Limits, *, packages: bool) -> Ran:
    """Without isolation: the limits hold, and a folder of its own, nothing else."""
    extra = sysconfig.get_paths()["platlib"] if packages else ""
    return _run(folder, [sys.executable], code, limits, extra, fds=(), name="none")


def _environment(libraries: str = "") -> dict[str, str]:
    found = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}
    found |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return found | ({"LD_LIBRARY_PATH": libraries} if libraries else {})


def _file(data: bytes) -> IO[bytes]:
    made = tempfile.TemporaryFile(prefix="headrace-")  # noqa: SIM115 - the caller closes it
    made.write(data)
    made.seek(0)
    return made


def _run(
    folder: Path,
    command: Sequence[str],
    code: bytes,
    limits: Limits,
    packages: str,
    *,
    fds: Sequence[int],
    name: str,
) -> Ran:
    before = dict(_entries(folder))
    numbers = [limits.memory_mb * 2**20, int(limits.seconds) + 2, limits.disk_mb * 1_000_000]
    started = time.monotonic()
    with _file(code) as source:
        process = subprocess.Popen(
            [*command, "-I", "-B", "-X", "utf8", "-c", BOOTSTRAP, *map(str, numbers), packages],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_environment(),  # nothing of ours, in /proc of the sandbox's first process neither
            pass_fds=fds,
            start_new_session=True,
        )
    watched = _Watched(process, folder, limits)
    try:
        stopped = watched.follow()
    finally:
        watched.end()
    _tame(folder)
    out, err = watched.texts()
    exit_code = process.returncode if stopped is None else None
    if exit_code is not None and exit_code < 0:
        exit_code = 128 - exit_code
    outcome: Outcome = "ok" if exit_code == 0 else "error"
    if stopped == "timeout" or exit_code == 128 + signal.SIGXCPU:
        outcome = "timeout"
    elif outcome == "error" and (_OUT_OF_MEMORY.search(err[-2000:]) or exit_code == 128 + signal.SIGKILL):
        outcome = "memory"
    if stopped == "disk":
        err += f"[stopped: more than {limits.disk_mb} MB or {MOST_FILES:,} files in the workspace]\n"
    if stopped == "timeout":
        err += f"[stopped after {limits.seconds:g} s]\n"
    if isinstance(stopped, Cancelled):
        raise stopped
    after = dict(_entries(folder))
    changed = tuple(sorted(path for path, seen in after.items() if before.get(path) != seen))
    return Ran(
        stdout=out,
        stderr=err,
        exit_code=exit_code,
        files=changed,
        outcome=outcome,
        seconds=time.monotonic() - started,
        isolation=name,
    )


class _Watched:
    """A running program: its output is read and cut, its limits are watched, its end is certain."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, limits: Limits) -> None:
        self.process, self.folder, self.limits = process, folder, limits
        assert process.stdout is not None
        assert process.stderr is not None
        self.kept = {process.stdout: _Kept(), process.stderr: _Kept()}
        self.selector = selectors.DefaultSelector()
        for stream in self.kept:
            os.set_blocking(stream.fileno(), False)
            self.selector.register(stream, selectors.EVENT_READ)

    def follow(self) -> str | Cancelled | None:
        """Wait for its end; why it has to be stopped, None where it ended by itself."""
        ends = time.monotonic() + self.limits.seconds
        look = 0.0
        while self.process.poll() is None:
            self._read(_TICK)
            now = time.monotonic()
            if now >= ends:
                return "timeout"
            try:
                request.checkpoint()
            except Cancelled as cancelled:
                return cancelled
            if now >= look:
                look = now + 0.25
                if self._too_much():
                    return "disk"
        return "disk" if self._too_much() else None

    def _too_much(self) -> bool:
        size = 0
        for count, entry in enumerate(_walk(self.folder), start=1):
            with suppress(OSError):  # gone meanwhile
                size += entry.stat(follow_symlinks=False).st_blocks * 512
            if count > MOST_FILES or size > self.limits.disk_mb * 1_000_000:
                return True
        return False

    def _read(self, seconds: float) -> bool:
        """Take what has come; False once both streams have ended."""
        if not self.selector.get_map():
            time.sleep(seconds)
            return False
        for key, _ in self.selector.select(seconds):
            stream: Any = key.fileobj
            data = os.read(key.fd, 1 << 18)
            if data:
                self.kept[stream].add(data)
            else:
                self.selector.unregister(stream)
        return bool(self.selector.get_map())

    def end(self) -> None:
        """Kill what is left, and read the rest: both streams end when the last process has."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        until = time.monotonic() + 5.0
        while self._read(_TICK) and time.monotonic() < until:
            pass
        self.selector.close()
        for stream in self.kept:
            stream.close()

    def texts(self) -> tuple[str, str]:
        out, err = (kept.text() for kept in self.kept.values())
        return out, err


class _Kept:
    """The beginning and the end of a stream, at most OUTPUT bytes."""

    def __init__(self) -> None:
        self.head, self.tail, self.total = bytearray(), bytearray(), 0
        self.most = OUTPUT * 3 // 4

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self.most - len(self.head)
        self.head += data[:room]
        self.tail += data[room:]
        del self.tail[: max(0, len(self.tail) - (OUTPUT - self.most))]

    def text(self) -> str:
        head, tail = (bytes(part).decode("utf-8", "replace") for part in (self.head, self.tail))
        left_out = self.total - len(self.head) - len(self.tail)
        return (
            f"{head}\n[cut: {left_out:,} of {self.total:,} bytes left out]\n{tail}"
            if left_out
            else head + tail
        )


def _walk(folder: Path, *, opening: bool = False) -> Iterator[os.DirEntry[str]]:
    """Every entry below; links are not followed. Not by recursion: hostile folders can be deep.

    ``opening``: folders that their owner cannot open are made so that he can.
    """
    waiting = [str(folder)]
    while waiting:
        try:
            found = list(os.scandir(waiting.pop()))
        except OSError:  # gone meanwhile, not to be opened, or deeper than a path can say
            continue
        for entry in found:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    if opening and (mode := entry.stat(follow_symlinks=False).st_mode) & 0o700 != 0o700:
                        os.chmod(entry.path, stat.S_IMODE(mode) | 0o700)
                    waiting.append(entry.path)
            yield entry


def _entries(folder: Path) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """(relative path, (inode, size, time of change)) of regular files."""
    for count, entry in enumerate(_walk(folder)):
        if count > MOST_FILES:
            return
        with suppress(OSError):
            if entry.is_file(follow_symlinks=False):
                found = entry.stat(follow_symlinks=False)
                yield os.path.relpath(entry.path, folder), (found.st_ino, found.st_size, found.st_mtime_ns)


def _tame(folder: Path) -> None:
    """No file runs with its owner's rights, and every folder can be opened and removed by its owner."""
    for entry in _walk(folder, opening=True):
        with suppress(OSError):
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISREG(mode) and mode & 0o6000:
                os.chmod(entry.path, stat.S_IMODE(mode) & ~0o6000)
