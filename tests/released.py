"""A small project to release, for tests: an application, a knowledge base, settings."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import headrace as hr

APP = '''"""A test's application."""

import headrace as hr
from helpers import shouted

kb = hr.KnowledgeBase("kb")


@hr.app
def finder(question: str) -> str:
    """The best passage, loud."""
    found = kb.search(question, top_k=1, mode="lexical")
    return shouted(found[0].text) if found else "nothing"
'''
HELPERS = "def shouted(text: str) -> str:\n    return text.upper()\n"
TOML = '[app]\nentry = "app.py:finder"\n'


def write_project(
    root: Path, files: Mapping[str, str] | None = None, *, toml: str = TOML, documents: int = 3
) -> Path:
    """The project in ``root``; ``documents`` go into its knowledge base, 0 makes none."""
    written = {"app.py": APP, "helpers.py": HELPERS, "headrace.toml": toml, **(files or {})}
    for name, text in written.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    if documents:
        texts = ("Water runs downhill.", "Fire burns upward.", "Air moves about.", "Earth stays put.")
        hr.KnowledgeBase("kb", root=root).add(
            [hr.Document(texts[n % 4] + f" Number {n}." * (n > 3), id=f"d{n}") for n in range(documents)]
        )
    return root


def forget_modules(root: Path) -> None:
    """What loading a working copy leaves in this process: its siblings under their plain names."""
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None)
        if place and Path(place).is_relative_to(root) and not name.startswith("headrace_release_"):
            del sys.modules[name]
    sys.path[:] = [entry for entry in sys.path if not (entry and Path(entry).is_relative_to(root))]
