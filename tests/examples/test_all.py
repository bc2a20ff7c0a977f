"""What holds for every example: short, readable at 80 columns, helpful, labelled, with a page of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from headrace.settings import child_environment

ROOT = Path(__file__).resolve().parents[2]
SHARED_BY_ALL = {"shown.py", "doubles.py"}
LONG = {"road.py"}  # a whole road, not one application
NAMES = ["jekyll_hyde", "llm_math", "oracle", "riddles", "dascie", "talk_finder", "news_desk"]
LABEL = "a scripted double plays prepared answers"


def test_each_example_is_short_and_has_a_page() -> None:
    found = {path.name for path in (ROOT / "examples").glob("*.py")} - SHARED_BY_ALL - LONG
    assert found >= {f"{name}.py" for name in NAMES}
    for name in sorted(found):
        lines = (ROOT / "examples" / name).read_text(encoding="utf-8").splitlines()
        assert len(lines) < 80, f"{name} has {len(lines)} lines"
    for name in NAMES:
        page = ROOT / "docs" / "examples" / f"{name.replace('_', '-')}.md"
        assert f"python examples/{name}.py" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_help_tells_what_it_is(
    name: str, example: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    module = example(name)
    with pytest.raises(SystemExit) as end:
        module.main(["--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0
    assert " ".join(module.__doc__.split("\n\n")[0].split()) in " ".join(said.split())
    assert ("--model" in said) == (name != "talk_finder"), "every example with a language model takes yours"
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("name", ["jekyll_hyde", "llm_math", "oracle", "riddles", "talk_finder", "news_desk"])
def test_it_runs_and_can_be_read(
    name: str, example: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str], embedder: object
) -> None:
    example(name).main([])
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert (LABEL in " ".join(said.split())) == (name not in ("talk_finder", "news_desk"))


def test_from_a_fresh_clone_without_a_network(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "llm_math.py"), "--number", "8"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=child_environment(HEADRACE_NETWORK="off"),
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"100\.0% of 8 exact", ran.stdout)
    wrong = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "llm_math.py"), "--model", "nobody:there"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=child_environment(HEADRACE_NETWORK="off"),
    )
    assert wrong.returncode != 0
    assert wrong.stderr.startswith("error: ")
    assert "nobody" in wrong.stderr
    assert "Traceback" not in wrong.stderr
