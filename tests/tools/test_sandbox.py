"""The sandbox: what it gives back, where it stops, and that nothing gets out of it."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace as hr
from headrace import request
from headrace.errors import Cancelled, InputError
from headrace.tools import sandbox, syscalls
from needs import skip

pytestmark = pytest.mark.bubblewrap
SECRET = "the-secret-of-the-lighthouse-4711"


@pytest.fixture(autouse=True)
def _isolation() -> None:
    if why := sandbox.isolation():
        skip("bubblewrap", why)


# --------------------------------------------------------------------------- what it gives


def test_what_a_program_prints_comes_back() -> None:
    ran = hr.tools.python("import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7")
    assert (ran.stdout, ran.stderr, ran.exit_code, ran.outcome) == ("out\n42\n", "err\n", 0, "ok")
    assert ran.files == ()
    assert ran.isolation == "bubblewrap"


def test_an_error_has_its_traceback() -> None:
    ran = hr.tools.python("def f():\n    return 1 / 0\nf()")
    assert (ran.outcome, ran.exit_code) == ("error", 1)
    assert "line 2, in f\n    return 1 / 0" in ran.stderr
    assert ran.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "bootstrap" not in ran.stderr


@pytest.mark.parametrize(
    ("code", "exit_code"), [("import sys; sys.exit(3)", 3), ("def", 1), ("raise SystemExit('no')", 1)]
)
def test_exit_codes(code: str, exit_code: int) -> None:
    ran = hr.tools.python(code)
    assert (ran.outcome, ran.exit_code) == ("error", exit_code)


@pytest.mark.parametrize("code", ["", "print('שלום 🌊')", "# " + "x" * 1_000_000 + "\nprint(1)"])
def test_odd_texts_are_code_too(code: str) -> None:
    ran = hr.tools.python(code)
    assert ran.outcome == "ok", ran.stderr
    assert code != "print('שלום 🌊')" or ran.stdout == "שלום 🌊\n"


def test_files_are_those_made_or_changed(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "old.txt").write_text("old")
    (work / "data.csv").write_text("a\n1\n")
    code = (
        "import os, pathlib\n"
        "print(open('data.csv').read())\n"
        "pathlib.Path('old.txt').write_text('changed')\n"
        "os.makedirs('sub')\n"
        "pathlib.Path('sub/new.txt').write_text('new')\n"
    )
    ran = hr.tools.python(code, workspace=work)
    assert ran.files == ("old.txt", os.path.join("sub", "new.txt"))
    assert (work / "sub" / "new.txt").read_text() == "new"
    assert "[files: old.txt, sub/new.txt]" in ran.observation()


def test_packages_only_when_they_are_asked_for() -> None:
    code = "import importlib.util; print(importlib.util.find_spec('pydantic') is not None)"
    if hr.tools.python(code).stdout.strip() == "True":
        pytest.skip("the interpreter itself has the packages")
    assert hr.tools.python(code, packages=True).stdout.strip() == "True"


# --------------------------------------------------------------------------- where it stops


@pytest.mark.parametrize(
    "code", ["while True: pass", "import time; time.sleep(60)", "input(); open('/dev/tty')"]
)
def test_time_is_limited(code: str) -> None:
    ran = hr.tools.python(code, timeout=1)
    assert ran.outcome == ("error" if "input" in code else "timeout")
    assert ran.exit_code == (1 if "input" in code else None)


@pytest.mark.parametrize(
    "code",
    [
        "x = bytearray(2 * 10**9)",
        "x = 'a' * 10**9\ny = x * 3",
        "x = []\nwhile True: x.append(bytearray(10**6))",
        "import mmap\nmmap.mmap(-1, 10**10)[0:10]",
    ],
)
def test_memory_is_limited(code: str) -> None:
    ran = hr.tools.python(code, memory_mb=256)
    assert ran.outcome == ("memory" if "mmap" not in code else "error")
    assert ran.exit_code == 1


def test_output_of_100_megabytes_is_cut_and_said_so() -> None:
    ran = hr.tools.python("for _ in range(100): print('x' * 10**6)\nprint('the end')", timeout=60)
    assert ran.outcome == "ok"
    assert len(ran.stdout) < sandbox.OUTPUT + 200
    assert "of 100,000,108 bytes left out]" in ran.stdout
    assert ran.stdout.endswith("the end\n")


def test_endless_output_ends_with_the_time() -> None:
    ran = hr.tools.python("while True: print('x' * 10**5)", timeout=1)
    assert ran.outcome == "timeout"
    assert len(ran.stdout) < sandbox.OUTPUT + 200


@pytest.mark.parametrize(
    "code",
    [
        "for i in range(400):\n    open(f'{i}.bin', 'wb').write(b'x' * 10**6)",
        "for i in range(20_000): open(f'{i}.txt', 'w').close()",
        "import os\nfor i in range(20_000): os.mkdir(str(i))",
    ],
)
def test_disk_is_limited(code: str, tmp_path: Path) -> None:
    ran = hr.tools.python(code, workspace=tmp_path / "w", timeout=30)
    assert ran.outcome == "error"
    assert "[stopped: more than 100 MB or 10,000 files" in ran.stderr


def test_cancelling_kills_it() -> None:
    token = request.CancelToken()
    token.cancel("the test")
    with request.use(request.RequestContext(cancel=token)), pytest.raises(Cancelled):
        hr.tools.python("import time; time.sleep(60)")
    assert not _left_behind()


@pytest.mark.parametrize("value", [0, -1, float("nan"), "5"])
def test_limits_are_numbers(value: object) -> None:
    with pytest.raises(InputError, match="timeout"):
        hr.tools.python("1", timeout=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["/", "~", "/usr", "project"])
def test_a_workspace_that_opens_too_much_is_refused(place: str, tmp_path: Path) -> None:
    if place == "project":
        (tmp_path / "headrace.toml").write_text("")
        place = str(tmp_path)
    if place == "/usr" and not Path(sys.base_prefix).is_relative_to("/usr"):
        pytest.skip("Python does not lie there")
    with pytest.raises(InputError, match="would open"):
        hr.tools.python("1", workspace=place)


def test_without_isolation_nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox, "isolation", lambda: "bubblewrap (bwrap) is not installed")
    ran = hr.tools.python("open('made', 'w')", workspace=tmp_path / "w")
    assert (ran.outcome, ran.exit_code, ran.files) == ("refused", None, ())
    assert "bwrap" in ran.stderr
    assert "unsafe=True" in ran.stderr
    assert not (tmp_path / "w").exists()
    ran = hr.tools.python("open('made', 'w').write('x')", workspace=tmp_path / "w", unsafe=True)
    assert (ran.outcome, ran.files, ran.isolation) == ("ok", ("made",), "none")
    assert hr.tools.python("x = bytearray(2 * 10**9)", unsafe=True).outcome == "memory"


def test_what_is_not_a_text_is_refused() -> None:
    with pytest.raises(InputError, match="not a text"):
        hr.tools.python(5)  # type: ignore[arg-type]


def test_the_filter_of_calls_knows_two_processors_and_no_other() -> None:
    assert syscalls.program("riscv64") is None
    for machine in ("x86_64", "aarch64"):
        made = syscalls.program(machine)
        assert made is not None
        assert len(made) % 8 == 0


def _left_behind() -> list[str]:
    """Processes of this one that are still there, and temporary folders."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    running = []
    for pid in children:
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"bwrap" in line:
            running.append(pid)
    return running


def test_nothing_is_left_behind() -> None:
    before = set(os.listdir(tempfile.gettempdir()))
    for code in (
        "import os\nfor i in range(50): os.makedirs(f'd{i}/e'); os.chmod(f'd{i}', 0)",
        "import os\nfor i in range(3000): os.mkdir('d'); os.chdir('d')",
        "import os; os.symlink('/etc', 'link'); os.mkfifo('pipe')",
        "while True: pass",
    ):
        hr.tools.python(code, timeout=2)
    left = {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("headrace-run-")} - before
    assert not left
    assert not _left_behind()


# --------------------------------------------------------------------------- attempts to get out


class Outside:
    """What lies outside of the sandbox, for the attempts to reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret.txt"
        self.secret.write_text(SECRET)
        self.workspace = folder / "inside"
        self.workspace.mkdir()
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0headrace-{os.getpid()}")
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(folder / "socket"))
        for listening in (self.abstract, self.unix):
            listening.listen()
        self.process = subprocess.Popen(["sleep", "600"])

    def names(self) -> dict[str, str]:
        return {
            "SECRET": str(self.secret),
            "FOLDER": str(self.folder),
            "PORT": str(self.tcp.getsockname()[1]),
            "PID": str(self.process.pid),
            "PARENT": str(os.getpid()),
            "HOME": str(Path.home()),
            "PROJECT": str(Path(__file__).resolve().parents[2]),
            "TEMPORARY": tempfile.gettempdir(),
        }

    def close(self) -> None:
        for listening in (self.tcp, self.abstract, self.unix):
            listening.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    made = Outside(tmp_path_factory.mktemp("outside"))
    yield made
    made.close()


CALL = "import ctypes; libc = ctypes.CDLL(None); ok = lambda r: r != -1 and print('ESCAPED', r)\n"
OPEN_RAW = "import os; d = os.open('/', os.O_RDONLY | os.O_PATH)\n"
# Each prints ESCAPED, or the secret, when it gets what it wants.
ATTEMPTS: dict[str, str] = {
    # files
    "read a file outside": "print(open('SECRET').read())",
    "read it by going up": "print(open('/workspace/../../../..SECRET').read())",
    "read it through a link": "import os; os.symlink('SECRET', 'l'); print(open('l').read())",
    "read it through a hard link": "import os; os.link('SECRET', 'h'); print(open('h').read())",
    "read it through the root of process 1": "print(open('/proc/1/ro' 'otSECRET').read())",
    "read it through the parent's root": (
        "import os; print(open(f'/proc/{os.getppid()}/ro' 'otSECRET').read())"
    ),
    "read it through the folder of another process": "print(open('/proc/PARENT/cwd/secret.txt').read())",
    "read it through an open file": (
        "import os\nfor n in range(128):\n    try: d = os.readlink(f'/proc/self/fd/{n}')\n"
        "    except OSError: continue\n"
        "    if 'headrace' in d or 'FOLDER' in d: print('ESCAPED', d)"
    ),
    "read it by an open directory": OPEN_RAW + "print(os.open('SECRET', os.O_RDONLY, dir_fd=d), 'ESCAPED')",
    "list the home": "import os; os.listdir('HOME'); print('ESCAPED')",
    "list the project": "import os; os.listdir('PROJECT'); print('ESCAPED')",
    "list the temporary folder": "import os\nif os.listdir('TEMPORARY'): print('ESCAPED')",
    "read the users": "print('ESCAPED', open('/etc/passwd').read())",
    "read the shadow file": "print('ESCAPED', open('/etc/shadow').read())",
    "list /etc, /var, /root, /mnt": (
        "import os\nfor n in ('etc', 'var', 'mnt', 'srv', 'home'):\n"
        "    if os.path.exists('/' + n): print('ESCAPED', n)"
    ),
    "read the disk": "import glob\nfor n in glob.glob('/dev/[svn][dv]*'): print('ESCAPED', n)",
    "read kernel memory": "print('ESCAPED', open('/proc/kcore', 'rb').read(16))",
    "read physical memory": "print('ESCAPED', open('/dev/mem', 'rb').read(16))",
    "read the kernel's log": "print('ESCAPED', open('/dev/kmsg').read(16))",
    # writing
    "write outside": "open('FOLDER/made', 'w').write('x'); print('ESCAPED')",
    "write into the system": "open('/usr/lib/made', 'w'); print('ESCAPED')",
    "write into the interpreter": "import os; open(os.__file__ + '.made', 'w'); print('ESCAPED')",
    "write over the interpreter": "import sys; open(sys.executable, 'r+b'); print('ESCAPED')",
    "write into the root": "open('/made', 'w'); print('ESCAPED')",
    "write into /dev": "open('/dev/made', 'w'); print('ESCAPED')",
    # opened for writing is enough: a test that fails must leave the machine as it was
    "write a system setting": "open('/proc/sys/kernel/core_pattern', 'r+'); print('ESCAPED')",
    "write a setting of the network": "open('/proc/sys/net/ipv4/ip_forward', 'r+'); print('ESCAPED')",
    "pull the emergency brake": "open('/proc/sysrq-trigger', 'w'); print('ESCAPED')",
    "map its own users": "open('/proc/self/uid_map', 'w').write('0 0 1'); print('ESCAPED')",
    "choose who is killed for memory": "open('/proc/1/oom_score_adj', 'r+'); print('ESCAPED')",
    "make a device": "import os; os.mknod('disk', 0o60600, os.makedev(8, 0)); print('ESCAPED')",
    "fill memory through /tmp": (
        "for i in range(50):\n    open(f'/tmp/{i}', 'wb').write(b'x' * 10**7)\nprint('ESCAPED')"
    ),
    "fill memory through /dev/shm": (
        "for i in range(50):\n    open(f'/dev/shm/{i}', 'wb').write(b'x' * 10**7)\nprint('ESCAPED')"
    ),
    "fill memory through anonymous files": "import os; os.memfd_create('x'); print('ESCAPED')",
    "write one endless file": (
        "f = open('big', 'wb')\nfor i in range(30): f.write(b'x' * 10**7)\nprint('ESCAPED')"
    ),
    # network
    "connect to this machine": (
        "import socket as s; s.create_connection(('127.0.0.1', PORT), 2); print('ESCAPED')"
    ),
    "connect to a number": "import socket as s; s.create_connection(('192.0.2.1', 80), 2); print('ESCAPED')",
    "look up a name": "import socket; print('ESCAPED', socket.getaddrinfo('localhost.example', 80))",
    "fetch a page": "import urllib.request as u; u.urlopen('http://127.0.0.1:PORT'); print('ESCAPED')",
    "listen": "import socket; socket.create_server(('0.0.0.0', 0)); print('ESCAPED')",
    "open a raw socket": "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print('ESCAPED')",
    "open a netlink socket": "import socket; socket.socket(socket.AF_NETLINK, 3, 0); print('ESCAPED')",
    "connect to an abstract socket": (
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0headrace-PARENT'); print('ESCAPED')"
    ),
    "connect to a socket file": (
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('FOLDER/socket'); print('ESCAPED')"
    ),
    "bend a pair of sockets": (
        "import socket; a, b = socket.socketpair(); a.connect('\\0headrace-PARENT'); print('ESCAPED')"
    ),
    # processes
    "fork": "import os; os.fork(); print('ESCAPED')",
    "start a program": "import subprocess; subprocess.run(['/usr/bin/true']); print('ESCAPED')",
    "start a shell": "import os\nif os.system('true') == 0: print('ESCAPED')",
    "start a process by spawn": "import os; os.posix_spawn('/usr/bin/true', ['true'], {}); print('ESCAPED')",
    "start a pool": "import multiprocessing as m; p = m.Process(target=print); p.start(); print('ESCAPED')",
    "fork by the system call": CALL + "ok(libc.syscall(57))",
    "clone by the system call": CALL + "ok(libc.syscall(56, 17, 0, 0, 0, 0))",
    "clone3 by the system call": CALL
    + "b = (ctypes.c_uint64 * 11)(); b[4] = 17; ok(libc.syscall(435, b, 88))",
    "kill a process outside": "import os; os.kill(PID, 9); print('ESCAPED')",
    "see a process outside": "import os; os.stat('/proc/PARENT/fd'); print('ESCAPED')",
    "see other processes": "import glob\nif len(glob.glob('/proc/[0-9]*')) > 2: print('ESCAPED')",
    "trace process 1": CALL + "ok(libc.ptrace(16, 1, 0, 0))",
    "read the environment of process 1": "print(open('/proc/1/environ').read())",
    "read the environment": "import os; print(dict(os.environ))",
    "go on after the end": (
        "import signal, time\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\n"
        "time.sleep(600)\nprint('ESCAPED')"
    ),
    # rights
    "become root": "import os; os.setuid(0); print('ESCAPED')",
    "become another user": "import os; os.setresuid(1000, 1000, 1000); print('ESCAPED')",
    "change the root": "import os; os.chroot('/tmp'); print('ESCAPED')",
    "make a user namespace": CALL + "ok(libc.unshare(0x10000000))",
    "enter a namespace": "import os; print(os.open('/proc/1/ns/net', 0)); " + CALL + "ok(libc.setns(3, 0))",
    "mount": CALL + "ok(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))",
    "mount the system writable": CALL + "ok(libc.mount(None, b'/usr', None, 4128, None))",
    "unmount": CALL + "ok(libc.umount2(b'/usr', 2))",
    "raise a limit": (
        "import resource as r; r.setrlimit(r.RLIMIT_AS, (r.RLIM_INFINITY, r.RLIM_INFINITY)); print('ESCAPED')"
    ),
    "raise a soft limit": "import resource as r; r.setrlimit(r.RLIMIT_CPU, (10**6, 10**6)); print('ESCAPED')",
    "load code into the kernel": CALL + "ok(libc.syscall(321, 0, 0, 0))",
    "open the ring": CALL + "ok(libc.syscall(425, 8, (ctypes.c_char * 256)()))",
    "read the kernel's keys": CALL + "ok(libc.syscall(250, 0, -3, 0, 0, 0))",
    "use the other table of calls": CALL + "ok(libc.syscall(0x40000000 + 41, 2, 1, 0))",
    "set the clock": "import time; time.clock_settime(time.CLOCK_REALTIME, 0); print('ESCAPED')",
    "name the machine": "import socket; socket.sethostname('x'); print('ESCAPED')",
    "type into the terminal": "import fcntl; fcntl.ioctl(0, 0x5412, b'x'); print('ESCAPED')",
    "open the terminal": "open('/dev/tty', 'w').write('x'); print('ESCAPED')",
    "use a program with the owner's rights": (
        "import os; os.execv('/usr/bin/su', ['su', '-c', 'echo ESCAPED']); print('ESCAPED')"
    ),
    "see devices": "import os; os.listdir('/sys/class'); print('ESCAPED')",
}


def test_there_are_enough_attempts() -> None:
    assert len(ATTEMPTS) >= 40


@pytest.mark.parametrize("name", ATTEMPTS)
def test_no_attempt_gets_out(name: str, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTHOUSE", SECRET)
    code = ATTEMPTS[name]
    for word, value in outside.names().items():
        code = code.replace(word, value)
    before = sorted(os.listdir(outside.folder))
    ran = hr.tools.python(code, workspace=outside.workspace, timeout=5, memory_mb=256)
    said = ran.stdout + ran.stderr
    assert ran.outcome != "refused"
    assert "ESCAPED" not in ran.stdout, said
    assert SECRET not in said
    # it failed because it was stopped, not because it is written wrongly
    assert not re.search(r"(Name|Type|Syntax|Indentation|Attribute|Import|ModuleNotFound)Error", said), said
    assert sorted(os.listdir(outside.folder)) == before
    assert outside.secret.read_text() == SECRET
    assert outside.process.poll() is None
    assert not _left_behind()


def test_a_link_that_is_made_inside_is_not_listed_and_no_file_keeps_special_rights(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text(SECRET)
    code = (
        "import os, shutil\n"
        f"os.symlink({str(tmp_path / 'secret.txt')!r}, 'innocent.txt')\n"
        "shutil.copy('/usr/bin/true', 'tool'); os.chmod('tool', 0o6755)\n"
    )
    ran = hr.tools.python(code, workspace=tmp_path / "w")
    assert ran.files == ("tool",)
    assert not os.stat(tmp_path / "w" / "tool").st_mode & (stat.S_ISUID | stat.S_ISGID)


def test_a_program_dies_with_its_parent(tmp_path: Path) -> None:
    """Headrace killed in the middle of a run leaves no process."""
    code = (
        "import headrace as hr\n"
        "code = \"open('started', 'w').close(); import time; time.sleep(300)\"\n"
        f"hr.tools.python(code, workspace={str(tmp_path / 'w')!r}, timeout=300)"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "w" / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        found = _descendants(child.pid)
        assert found
        child.kill()
        child.wait()
        while any(Path(f"/proc/{pid}").exists() for pid in found) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{pid}").exists() for pid in found)
    finally:
        child.kill()
        child.wait()


def _descendants(pid: int) -> list[str]:
    """The processes below one, once there are three: bubblewrap, its first process, Python."""
    found, waiting = [], [str(pid)]
    while waiting:
        try:
            children = Path(f"/proc/{waiting[0]}/task/{waiting[0]}/children").read_text().split()
        except OSError:
            children = []
        waiting = [*waiting[1:], *children]
        found += children
    return found if len(found) >= 3 else []
