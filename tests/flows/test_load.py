"""Loading applications: what is found, what is refused, and that nothing is opened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import NotFound, UserError
from headrace.flows.scaffold import create

FILE = """
import headrace as hr

kb = hr.KnowledgeBase("kb")
llm = hr.model("auto")

@hr.app
def handbook(question: str) -> hr.Answer:
    passages = kb.search(question, top_k=4)
    return hr.answer(question, passages, model=llm)
"""


def test_file_and_function(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FILE)
    found = hr.load(f"{tmp_path / 'app.py'}:handbook")
    assert found.name == "handbook"
    assert [h.key for h in found.handles] == ["knowledge:kb", "model:auto"]
    assert hr.load(tmp_path / "app.py").name == "handbook"


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FILE)
    with pytest.raises(NotFound, match="no application file"):
        hr.load(tmp_path / "other.py")
    with pytest.raises(NotFound, match=r"Did you mean 'handbook'\?"):
        hr.load(f"{tmp_path / 'app.py'}:hanbook")
    with pytest.raises(NotFound, match="no release 'handbook@production'"):
        hr.load("handbook@production")
    with pytest.raises(NotFound, match="has no headrace.toml"):
        hr.load(tmp_path)
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(NotFound, match="defines no application"):
        hr.load(tmp_path / "empty.py")


def test_a_file_that_fails_says_where(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import headrace\n\nraise RuntimeError('boom')\n")
    with pytest.raises(UserError, match=r"RuntimeError: boom \(line 3\)"):
        hr.load(tmp_path / "bad.py")
    (tmp_path / "worse.py").write_text("def (\n")
    with pytest.raises(UserError, match=r"SyntaxError.*line 1"):
        hr.load(tmp_path / "worse.py")


def test_a_project_folder(tmp_path: Path) -> None:
    create("hand-book", tmp_path)
    found = hr.load(tmp_path / "hand-book")
    assert found.name == "hand-book"
    assert found.root == tmp_path / "hand-book"
    with pytest.raises(UserError, match="exists already"):
        create("hand-book", tmp_path)
    with pytest.raises(hr.HeadraceError, match="cannot be the name"):
        create("9 lives", tmp_path)


def test_importing_an_applications_file_opens_nothing(tmp_path: Path) -> None:
    """No file of the project is opened but the application itself; no socket; nothing is written."""
    create("handbook", tmp_path)
    code = """
import sys
opened = []
def hook(event, args):
    if event in ("open", "socket.__new__", "sqlite3.connect", "os.mkdir"):
        opened.append((event, str(args[0])))
sys.addaudithook(hook)
import headrace as hr
app = hr.load("app.py:handbook")
opened = [x for x in opened if "__pycache__" not in x[1]]  # Python's own, of any import
bad = [x for x in opened if x[0] != "open" or ".headrace" in x[1] or x[1].endswith(("sqlite", ".toml"))]
assert not bad, bad
assert "openvino" not in sys.modules and "tantivy" not in sys.modules and "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "handbook", check=True)
    assert not (tmp_path / "handbook" / ".headrace").exists()


def test_siblings_of_the_file_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "wording_of_this_test.py").write_text("GREETING = 'hello'\n")
    (tmp_path / "app.py").write_text(
        "import headrace as hr\nfrom wording_of_this_test import GREETING\n\n"
        "@hr.app\ndef greet(name: str) -> str:\n    return f'{GREETING} {name}'\n"
    )
    assert hr.load(tmp_path / "app.py")("Ana") == "hello Ana"
