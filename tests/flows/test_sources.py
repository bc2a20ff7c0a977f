"""Which files belong to an application's code: found by its imports, the same in every process."""

from __future__ import annotations

import sys
from pathlib import Path

import headrace as hr
from headrace.flows.sources import code_files

FILES = {
    "headrace.toml": "",
    "app.py": "import json, helpers\nfrom pack import part, VALUE\nfrom lazy_parent.inner import deep\n",
    "helpers.py": "import os.path\ndef f():\n    import late\n    return late\n",
    "late.py": "",
    "unused.py": "",
    "json.py": "raise SystemExit('not the standard one')",
    "pack/__init__.py": "from . import other\nVALUE = 1\n",
    "pack/part.py": "from .sub import thing\n",
    "pack/other.py": "",
    "pack/sub/__init__.py": "",
    "pack/sub/thing.py": "import helpers\n",
    "lazy_parent/inner/deep.py": "",
    ".venv/lib/numpy.py": "",
}


def write(root: Path, files: dict[str, str] = FILES) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_imports_are_followed_through_the_project(tmp_path: Path) -> None:
    write(tmp_path)
    assert list(code_files(tmp_path / "app.py", tmp_path)) == [
        "app.py",
        "helpers.py",
        "late.py",
        "lazy_parent/inner/deep.py",
        "pack/__init__.py",
        "pack/other.py",
        "pack/part.py",
        "pack/sub/__init__.py",
        "pack/sub/thing.py",
    ]


def test_a_change_of_imports_is_seen_and_a_lost_file_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "import one\n", "one.py": "", "second.py": ""})
    app = tmp_path / "app.py"
    assert list(code_files(app, tmp_path)) == ["app.py", "one.py"]
    app.write_text("import one\nimport second\n")
    assert list(code_files(app, tmp_path)) == ["app.py", "one.py", "second.py"]
    (tmp_path / "one.py").unlink()
    assert list(code_files(app, tmp_path)) == ["app.py", "second.py"]


def test_a_file_outside_of_a_project_has_its_own_folder_as_base(tmp_path: Path) -> None:
    write(tmp_path, {"elsewhere/app.py": "import near\n", "elsewhere/near.py": "", "root/near.py": ""})
    assert list(code_files(tmp_path / "elsewhere/app.py", tmp_path / "root")) == ["app.py", "near.py"]


def test_what_else_is_imported_in_this_process_changes_no_fingerprint(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "headrace.toml": "",
            "app.py": "import headrace as hr\n\n@hr.app\ndef f(text: str) -> str:\n    return text\n",
            "my_metrics_beside.py": "def m(example, output):\n    return 1.0\n",
        },
    )
    app = hr.load(tmp_path / "app.py")
    before = hr.fingerprint(app).id
    import my_metrics_beside  # type: ignore[import-not-found]

    try:
        assert my_metrics_beside.m(None, None) == 1.0
        assert hr.fingerprint(app).id == before
    finally:
        del sys.modules["my_metrics_beside"]
