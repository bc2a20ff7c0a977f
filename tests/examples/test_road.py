"""The whole road, as a stranger would walk it: one command, no network, real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from headrace.settings import child_environment

ROOT = Path(__file__).resolve().parents[2]


def test_the_road(tmp_path: Path, embedder: object) -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "road.py"), str(tmp_path / "road")],
        capture_output=True,
        text=True,
        timeout=280,
        env=child_environment(HEADRACE_NETWORK="off"),
    )
    said = ran.stdout
    assert ran.returncode == 0, said[-3000:] + ran.stderr[-3000:]
    assert "25 examples" in said
    assert "Refused: handbook 2" in said
    assert "to show the log" in said
    assert "added: trace-" in said
    assert "each user keeps to one release: True" in said
    assert "rolled back and answering from the release before" in said
    assert "=== done" in said
    assert (tmp_path / "road" / "handbook" / ".headrace" / "releases").is_dir()
