"""Private by default: the main job with sockets forbidden, and in a namespace without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from needs import skip

DOCUMENT = "# Tides\n\nThe tide at the harbour turns every six hours.\n\nFishing boats leave at high water.\n"

MAIN_JOB = """
import sys

def forbid(event, args):
    if event == "socket.__new__" or event == "socket.connect" or event == "socket.getaddrinfo":
        raise RuntimeError(f"a socket during the main job: {event} {args}")

sys.addaudithook(forbid)
import headrace as hr

kb = hr.KnowledgeBase("kb")
report = kb.add_files("docs")
assert report.documents == 1, report
answer = hr.answer("How often does the tide turn?", kb.search("How often does the tide turn?"))
assert "six hours" in answer.text, answer
print(answer.answered_by)
"""


@pytest.fixture
def project(tmp_path: Path, embedder: object) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "tides.md").write_text(DOCUMENT, encoding="utf-8")
    return tmp_path


def test_ingest_and_ask_with_sockets_forbidden(project: Path) -> None:
    code = MAIN_JOB
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "quotes"


def test_the_guard_of_the_test_above_works(project: Path) -> None:
    """The hook really stops a socket: otherwise the test above could not fail."""
    code = MAIN_JOB.split("import headrace")[0] + "import socket; socket.socket()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "a socket during the main job" in done.stderr


@pytest.mark.bubblewrap
def test_the_main_job_in_a_namespace_without_interfaces(project: Path) -> None:
    if shutil.which("bwrap") is None:
        skip("bubblewrap", "bubblewrap (bwrap) is not installed")
    inside = [
        *("bwrap", "--unshare-net", "--dev-bind", "/", "/", "--die-with-parent"),
        *("--chdir", str(project), "bash", "-euc"),
    ]
    probe = subprocess.run([*inside, "cat /proc/net/route"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        skip("bubblewrap", f"this machine allows no namespaces: {probe.stderr.strip()}")
    assert len(probe.stdout.splitlines()) <= 1, "no route leads out"
    run = f"{sys.executable} -m headrace"
    script = (
        f"{run} new book >&2 && cd book && {run} ingest docs/ --json >&2 "
        f"&& {run} ask 'How many days of leave do I get?' --json"
    )
    done = subprocess.run(
        [*inside, script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert "27 days" in json.loads(done.stdout)["answer"]
