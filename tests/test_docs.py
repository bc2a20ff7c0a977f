"""Documentation is executed: every block of docs/ and README runs, or says why it does not.

A page is run from top to bottom in an empty folder of its own: ``console`` blocks line by line
(``$ command``; lines below it are what it prints, not compared), ``python`` blocks in one
namespace, ``toml`` blocks as headrace.toml, ``json`` blocks are parsed. A block whose first line is
``# not run: why`` is counted and left alone; a command may end with ``# exit 2``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace import settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
NOT_RUN = re.compile(r"^\s*(?:#|<!--)\s*not run:\s*(\S.*)")
LANGUAGES = {
    "console",
    "python",
    "toml",
    "json",
    "text",
    "jsonl",
    "html",
    "yaml",
    "markdown",
    "mermaid",
    "make",
}
MOST_NOT_RUN = 12  # over all pages; a new one needs a good reason


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int

    @property
    def why_not(self) -> str | None:
        match = NOT_RUN.match(self.text)
        return match[1] if match else None


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    i = 0
    while i < len(lines):
        opening = re.match(r"^(\s*)(```+|~~~+)\s*([\w-]*)", lines[i])
        if not opening:
            i += 1
            continue
        indent, fence, language = opening.groups()
        body = []
        start = i + 1
        i += 1
        while i < len(lines) and not lines[i].strip().startswith(fence):
            body.append(lines[i].removeprefix(indent))
            i += 1
        i += 1
        found.append(Block(language, "\n".join(body), start))
    return found


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_page_runs(page: Path, tmp_path: Path) -> None:
    script: list[str] = []
    python = 0
    for block in blocks(page):
        where = f"{_name(page)}:{block.line}"
        assert block.language in LANGUAGES, f"{where}: a block in {block.language!r}: name its language"
        if block.why_not is not None:
            continue
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "jsonl":
            for line in block.text.splitlines():
                json.loads(line)
        elif block.language == "toml":
            folder = tmp_path / f"settings-{block.line}"
            folder.mkdir()
            (folder / "headrace.toml").write_text(block.text, encoding="utf-8")
            settings.load(folder)
        elif block.language == "console":
            script += _commands(block, where)
        elif block.language == "python":
            python += 1
            file = tmp_path / f"block{block.line}.py"
            file.write_text(block.text + "\n", encoding="utf-8")
            script.append(f"echo '@@ {where}' >&2; python {_runner(tmp_path)} {file} || exit 1")
    if not script:
        return
    # An executable `headrace` and `python` of this environment come first on the path.
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "80",
    }
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        ["bash", "-c", "set -uo pipefail\n" + "\n".join(script)],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


def _commands(block: Block, where: str) -> list[str]:
    """Each command fails the page unless it ends as it says (``# exit N``, else 0)."""
    found: list[str] = []
    lines = block.text.splitlines()
    assert any(line.startswith("$ ") for line in lines), f"{where}: a console block without a '$ ' command"
    i = 0
    while i < len(lines):
        if not lines[i].startswith("$ "):
            i += 1
            continue
        command = lines[i][2:]
        heredoc = re.search(r"<<\s*'?(\w+)'?", command)
        i += 1
        while command.endswith("\\") or (
            heredoc and not re.search(rf"^{heredoc[1]}$", command, re.MULTILINE)
        ):
            command += "\n" + re.sub(r"^> ?", "", lines[i])
            i += 1
        wanted = re.search(r"#\s*exit (\d+)\s*$", command)
        code = int(wanted[1]) if wanted else 0
        found.append(f"echo '@@ {where}' >&2")
        found.append(command)
        found.append(f'code=$?; [ $code = {code} ] || {{ echo "exit code $code, not {code}" >&2; exit 1; }}')
    return found


def _runner(tmp_path: Path) -> Path:
    """Runs a block in the namespace that the blocks before it left behind (their code runs again)."""
    path = tmp_path / "run_block.py"
    if not path.exists():
        path.write_text(
            "import re, sys\n"
            "from pathlib import Path\n"
            "here = Path(sys.argv[1])\n"
            "number = lambda p: int(re.search(r'block(\\d+)', p.name)[1])\n"
            "earlier = (p for p in here.parent.glob('block*.py') if number(p) < number(here))\n"
            "earlier = sorted(earlier, key=number)\n"
            "space = {'__name__': '__main__'}\n"
            "for path in [*earlier, here]:\n"
            "    space['__file__'] = str(path)\n"
            "    exec(compile(path.read_text(), str(path), 'exec'), space)\n",
            encoding="utf-8",
        )
    return path


def test_blocks_that_are_not_run_are_few_and_say_why() -> None:
    left = [(_name(page), b.line, b.why_not) for page in PAGES for b in blocks(page) if b.why_not is not None]
    assert len(left) <= MOST_NOT_RUN, left
    for page, line, why in left:
        assert len(why.split()) >= 3, f"{page}:{line}: say why it is not run"


def test_there_is_real_documentation() -> None:
    """At least 15 pages of at least 400 words each, decision notes and generated reference not counted."""
    pages = [p for p in PAGES if p.parent.name not in ("why", "reference") and p.name != "README.md"]
    lengths = {_name(p): len(re.findall(r"\w+", p.read_text(encoding="utf-8"))) for p in pages}
    assert sum(length >= 400 for length in lengths.values()) >= 15, lengths


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" in target or target.startswith("mailto:"):
                continue
            assert (page.parent / target).exists(), f"{_name(page)} links to {target!r}, which is not there"
