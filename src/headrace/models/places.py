"""Where models lie on a machine: folders that are named, the folder per user, the Hub's cache.

Only looks for folders; what is in one is in ``card.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from headrace.errors import InputError, NotFound
from headrace.models.weights import read_json
from headrace.settings import environment

DEEP = 3  # folders below a place in which models are looked for
_SKIPPED = frozenset(("node_modules", "__pycache__", "site-packages", "venv"))


def cache() -> Path:
    """The folder of the Hugging Face cache, by its documented variables.

    https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """
    hub = environment("HF_HUB_CACHE") or environment("HUGGINGFACE_HUB_CACHE")
    if hub:
        return Path(hub).expanduser()
    base = environment("HF_HOME")
    if base:
        return Path(base).expanduser() / "hub"
    return Path(environment("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface" / "hub"


def in_folder(place: Path, deep: int = DEEP) -> Iterator[Path]:
    """Folders at or below ``place`` that hold a model; what lies below such a folder belongs to it.

    Folders that may not be read are passed over, as are hidden ones and those of packages.
    """
    try:
        names = sorted(place.iterdir())
    except OSError:
        return
    if _is_model(place, names):
        yield place
        return
    for entry in names if deep > 0 else ():
        if not entry.name.startswith(".") and entry.name not in _SKIPPED and os.path.isdir(entry):
            yield from in_folder(entry, deep - 1)


def _is_model(folder: Path, entries: Sequence[Path]) -> bool:
    """Whether it has weights, or a config.json that is a model's; many other things have a config.json."""
    if any(entry.suffix == ".safetensors" for entry in entries):
        return True
    config = read_json(folder / "config.json") if folder / "config.json" in entries else {}
    return "model_type" in config or "architectures" in config


def in_cache(kind: str = "models", root: Path | None = None) -> Iterator[tuple[str, str, Path]]:
    """(``owner/name``, revision, folder) of each snapshot in the cache; of each, the main one first.

    ``kind`` is ``models`` or ``datasets``.
    """
    for repository in sorted((root or cache()).glob(f"{kind}--*")):
        name = repository.name.removeprefix(f"{kind}--").replace("--", "/")
        main = repository / "refs" / "main"
        first = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
        snapshots = repository / "snapshots"
        found = sorted(entry for entry in snapshots.iterdir() if entry.is_dir()) if snapshots.is_dir() else []
        for folder in sorted(found, key=lambda entry: entry.name != first):
            yield name, folder.name, folder


def folders(places: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """(``folder`` or ``cache``, folder) of every model on this machine, each once: below the places that
    are given, then the main snapshots of the Hub's cache."""
    seen: set[Path] = set()
    for place in places:
        for folder in in_folder(place):
            if (whole := folder.resolve()) not in seen:
                seen.add(whole)
                yield "folder", folder
    names: set[str] = set()
    for name, _, folder in in_cache():
        if name not in names and folder.resolve() not in seen:
            names.add(name)
            yield "cache", folder


def name_of(folder: Path) -> str:
    """``owner/name`` for a snapshot of the Hub's cache, else the folder's own name."""
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        return folder.parent.parent.name.removeprefix("models--").replace("--", "/")
    return folder.name


def named(text: str, places: Sequence[Path]) -> Path:
    """The folder of a model that a person names: a path, or a name within one of the places.

    InputError where two models have that name; NotFound says where was looked.
    """
    if not text.strip():
        raise InputError("The name of the model is empty.", hint="Give a folder, or a name.")
    direct = Path(text.removeprefix("local:")).expanduser()
    if direct.is_dir():
        return direct.absolute()
    if text.startswith((".", "/", "~")):
        raise NotFound(f"There is no folder {text!r}.", hint="Name a folder that holds a model's files.")
    found = [path for _, path in folders(places) if text in (path.name, name_of(path))]
    if len(found) > 1:
        raise InputError(
            f"{text!r} names several models: {', '.join(sorted(map(str, found)))}.", hint="Name the folder."
        )
    if found:
        return found[0]
    raise NotFound(
        f"There is no model {text!r} on this machine.",
        hint="`headrace models find` lists those that are; a folder is named with its path (./my-model).",
    )
