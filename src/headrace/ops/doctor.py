"""What is installed, where models lie, what is wrong: measured in a fresh process, nothing guessed."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from headrace import __version__
from headrace.errors import HeadraceError, NotFound
from headrace.resources import build
from headrace.settings import Settings, environment_names, home, load

# Runs in a child process: what the import costs, and how many sockets it makes.
_PROBE = """
import json, sys, time
made = []
sys.addaudithook(lambda event, args: made.append(event) if event == "socket.__new__" else None)
began = time.process_time()
import headrace
headrace.app, headrace.KnowledgeBase, headrace.answer
print(json.dumps({"seconds": time.process_time() - began, "sockets": len(made)}))
"""


@dataclass(frozen=True, kw_only=True)
class Health:
    """What ``headrace doctor`` prints. ``problems`` is empty when all is well."""

    version: str
    python: str
    distributions: int
    import_seconds: float
    sockets_at_import: int
    embedder: Mapping[str, Any] | None
    embedder_source: str | None
    network: str
    problems: tuple[str, ...]
    model: str
    home: str
    project: str
    knowledge_bases: tuple[str, ...]
    extras: Mapping[str, bool]
    environment: tuple[str, ...]


def closure(name: str = "headrace") -> set[str]:
    """The distributions that installing ``name`` without extras needs here, itself included."""
    seen: set[str] = set()
    queue = [(name, frozenset[str]())]
    done: set[tuple[str, frozenset[str]]] = set()
    while queue:
        current, extras = queue.pop()
        key = re.sub(r"[-_.]+", "-", current).lower()
        if (key, extras) in done:
            continue
        done.add((key, extras))
        try:
            found = metadata.distribution(key)
        except metadata.PackageNotFoundError:
            continue
        seen.add(key)
        for line in found.requires or ():
            requirement, _, marker = line.partition(";")
            if not _applies(marker, extras):
                continue
            match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?", requirement)
            assert match is not None
            wanted = frozenset(x.strip() for x in (match[2] or "").split(",") if x.strip())
            queue.append((match[1], wanted))
    return seen


def _applies(marker: str, extras: frozenset[str]) -> bool:
    """Whether an environment marker (PEP 508) holds here."""
    if not marker.strip():
        return True
    from packaging.markers import Marker  # comes with huggingface_hub, which tokenizers brings

    parsed = Marker(marker)
    return any(parsed.evaluate({"extra": extra}) for extra in (extras or {""}))


def examine(root: Path | None = None) -> Health:
    """Look at this installation and this project; opens no knowledge base and no model."""
    problems: list[str] = []
    settings = load(root)
    child = subprocess.run(
        [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False
    )
    probe: dict[str, Any] = {"seconds": -1.0, "sockets": -1}
    if child.returncode == 0:
        probe = json.loads(child.stdout)
    else:
        problems.append(f"Importing headrace in a fresh process fails: {child.stderr.strip()[-300:]}")
    identity, source = _embedder(settings, problems)
    _disk(settings, problems)
    extras = {name: _installed(module) for name, module in _EXTRAS.items()}
    return Health(
        version=__version__,
        python=platform.python_version(),
        distributions=len(closure()),
        import_seconds=round(probe["seconds"], 4),
        sockets_at_import=probe["sockets"],
        embedder=identity,
        embedder_source=source,
        network=settings.network,
        problems=tuple(problems),
        model=settings.default_model or "none: answers are quotes",
        home=str(home()),
        project=str(settings.root),
        knowledge_bases=tuple(build.known_knowledge_bases(settings.root)),
        extras=extras,
        environment=environment_names(),
    )


_EXTRAS = {"serve": "starlette", "local": "transformers"}


def _installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def _embedder(settings: Settings, problems: list[str]) -> tuple[Mapping[str, Any] | None, str | None]:
    from headrace.models.weights import find_weights

    try:
        found = find_weights(settings.embedder.model, home=home(), policy=settings.network)
        return build.embedder_identity(settings), found.source
    except NotFound as error:
        problems.append(f"No embedding weights: search works by words alone. {error.hint}")
    except HeadraceError as error:
        problems.append(f"{error.message} {error.hint}")
    return None, None


def _disk(settings: Settings, problems: list[str]) -> None:
    free = shutil.disk_usage(settings.root).free
    if free < 500 * 1024 * 1024:
        problems.append(f"Only {free // 1024**2} MB are free where {settings.root} lies.")
