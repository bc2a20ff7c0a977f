"""Name → factory, per protocol. Built-ins come in through the strangers' door.

A factory is written as ``module:attribute`` so that nothing is imported before it is used; the
house test counts these strings as imports. Other packages add to a group through the entry-point
groups ``headrace.readers``, ``headrace.models`` and so on.
"""

from __future__ import annotations

import difflib
import importlib
from functools import cache
from typing import Any

from headrace.errors import NotFound

BUILT_IN: dict[str, dict[str, str]] = {
    # suffix → reader
    "readers": {
        ".txt": "headrace.ingest.readers:read_text",
        ".text": "headrace.ingest.readers:read_text",
        ".log": "headrace.ingest.readers:read_text",
        ".md": "headrace.ingest.readers:read_markdown",
        ".markdown": "headrace.ingest.readers:read_markdown",
        ".rst": "headrace.ingest.readers:read_rst",
        ".html": "headrace.ingest.markup:read_html",
        ".htm": "headrace.ingest.markup:read_html",
        ".xhtml": "headrace.ingest.markup:read_html",
        ".csv": "headrace.ingest.rows:read_csv",
        ".tsv": "headrace.ingest.rows:read_csv",
        ".jsonl": "headrace.ingest.rows:read_jsonl",
        ".ndjson": "headrace.ingest.rows:read_jsonl",
        ".pdf": "headrace.ingest.office:read_pdf",
        ".docx": "headrace.ingest.office:read_docx",
        **dict.fromkeys(
            (
                *(".py", ".pyi", ".js", ".mjs", ".ts", ".tsx", ".jsx", ".java", ".c", ".h", ".cc", ".cpp"),
                *(".hpp", ".cs", ".go", ".rs", ".rb", ".php", ".swift", ".kt", ".scala", ".sh", ".bash"),
                *(
                    ".sql",
                    ".r",
                    ".lua",
                    ".pl",
                    ".toml",
                    ".yaml",
                    ".yml",
                    ".ini",
                    ".cfg",
                    ".json",
                    ".xml",
                    ".css",
                ),
            ),
            "headrace.ingest.readers:read_code",
        ),
    },
    # provider → model
    "models": {
        "openai": "headrace.models.remote:open_remote",
        "local": "headrace.models.local:open_local",
        "scripted": "headrace.models.scripted:open_scripted",
    },
}


@cache
def _external(group: str) -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=f"headrace.{group}")}


def names(group: str) -> list[str]:
    """All names known in a group, built in and installed."""
    return sorted({*BUILT_IN.get(group, {}), *_external(group)})


def knows(group: str, name: str) -> bool:
    """Whether a group has a name."""
    return name in BUILT_IN.get(group, {}) or name in _external(group)


def get(group: str, name: str) -> Any:
    """The factory behind a name; NotFound lists the known ones."""
    if name in (built_in := BUILT_IN.get(group, {})):
        module, _, attribute = built_in[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    if name in (external := _external(group)):
        return external[name].load()
    known = names(group)
    near = difflib.get_close_matches(name, known, n=1)
    raise NotFound(
        f"{name!r} is not a known name in {group}.",
        hint=(f"Did you mean {near[0]!r}? " if near else "") + f"Known: {', '.join(known)}.",
    )
