"""The converted copy: the graph, saved once per user, checked and rebuilt where it is damaged.

A folder under ``home``/models holds graph, tokenizer and a manifest with the digests of both; it
is written beside its place and renamed into it, so that it is whole or absent. It is a cache:
nothing but time is lost with it, unless the original weights are gone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from headrace.errors import Corrupt, NotFound
from headrace.models import runtime
from headrace.models.weights import (
    HUB_ID,
    INSTALL_HINT,
    TOKENIZER_FILE,
    TOKENIZER_SHA256,
    WEIGHTS_SHA256,
    Weights,
    find_weights,
    read_json,
    write_json,
    writing_models,
)
from headrace.settings import Policy

FORMAT = 1  # of the graph that minilm.build writes; counts up when it changes
GROUP = 128  # activations that share a scale under dynamic quantisation: cosine 0.998 to f32
GRAPH = "graph.xml"
FILES = (GRAPH, "graph.bin", TOKENIZER_FILE)
MANIFEST = "manifest.json"


def open_graph(
    weights: Weights, precision: str, folder: Path, *, threads: int, streams: int
) -> runtime.Graph:
    """The compiled graph of a sound converted copy.

    ``streams`` batches run side by side, each on ``threads`` / ``streams`` threads (0: all cores).
    """
    config: dict[str, Any] = {
        "CACHE_DIR": str(folder / "compiled"),
        "CACHE_MODE": "OPTIMIZE_SIZE",  # the cache refers to the weights beside it, and is small
        "INFERENCE_PRECISION_HINT": "f32" if precision == "f32" else "bf16",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP if _is_dynamic(weights, precision) else 0,
    }
    return runtime.Graph(folder / GRAPH, config, streams)


def _is_dynamic(weights: Weights, precision: str) -> bool:
    """Whether the plugin has to round the activations: no grids were measured for these weights."""
    return precision == "int8" and weights.sha256 != WEIGHTS_SHA256


def ensure(weights: Weights, precision: str, *, home: Path, policy: Policy | str) -> Path:
    """The folder of a sound copy of these weights in this precision, made where there is none.

    Raises Corrupt where the copy is damaged and the weights it was made from are gone.
    """
    folder = converted_folder(weights, precision, home)
    if not is_sound(folder, recipe(weights, precision)):
        convert(_original(weights, home, policy), precision, folder)
    return folder


def converted_folder(weights: Weights, precision: str, home: Path) -> Path:
    """Where the copy of these weights in this precision lies; f32 and bf16 share one."""
    kind = "int8" if precision == "int8" else "float"
    return home / "models" / f"{weights.sha256[:16]}-{kind}"


def recipe(weights: Weights, precision: str) -> str:
    """What a copy's graph depends on besides the weights: the builder, and the 8-bit grids."""
    from headrace.models.quantise import GRIDS_FILE

    gridded = precision == "int8" and not _is_dynamic(weights, precision)
    return f"{FORMAT}-{_sha256(GRIDS_FILE)[:16]}" if gridded else str(FORMAT)


def is_sound(folder: Path, made_by: str) -> bool:
    """Whether a converted copy is whole and was made by this recipe.

    Size and time of change of each file are compared with the manifest, and where they differ the
    digest decides: hashing on every start would cost more than the first vector.
    """
    manifest = read_json(folder / MANIFEST)
    files = manifest.get("files")
    if manifest.get("recipe") != made_by or not isinstance(files, dict) or set(files) != set(FILES):
        return False
    moved = False
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            return False
        stat = path.stat()
        if [stat.st_size, stat.st_mtime_ns] == entry["stamp"]:
            continue
        if _sha256(path) != entry["sha256"]:
            return False
        entry["stamp"], moved = [stat.st_size, stat.st_mtime_ns], True
    if moved:
        write_json(folder / MANIFEST, manifest)
    return True


def convert(weights: Weights, precision: str, folder: Path) -> None:
    """Build the graph from the weights and put it at ``folder``, in the place of what is there."""
    from headrace.models import minilm
    from headrace.models.quantise import packaged_grids

    openvino = runtime.full()
    tensors = minilm.read_tensors(weights.folder)
    int8 = precision == "int8"
    grids = packaged_grids() if int8 and not _is_dynamic(weights, precision) else {}
    model = minilm.build(openvino, tensors, weights.shape, int8=int8, grids=grids)
    with writing_models(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        openvino.save_model(model, beside / GRAPH, compress_to_fp16=False)
        shutil.copyfile(weights.folder / TOKENIZER_FILE, beside / TOKENIZER_FILE)
        made_by = recipe(weights, precision)
        write_json(beside / MANIFEST, {**_manifest(weights, beside), "recipe": made_by})
        _move_into_place(beside, folder, made_by)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _original(weights: Weights, home: Path, policy: Policy | str) -> Weights:
    """The weights that a converted copy was made from, found again."""
    if weights.source != "converted":
        return weights
    try:
        found = find_weights(weights.model, home=home, policy=policy, originals=True)
    except NotFound as error:
        raise Corrupt(
            f"The converted copy in {str(weights.folder)!r} is damaged, or of another precision, and the "
            "weights it was made from are not on this machine.",
            hint=INSTALL_HINT,
        ) from error
    if (found.sha256, found.tokenizer) != (weights.sha256, weights.tokenizer):
        raise Corrupt(
            f"The weights in {str(found.folder)!r} are not those that {str(weights.folder)!r} was made from.",
            hint=f"Delete {str(weights.folder)!r} to use the new ones.",
        )
    return found


def _manifest(weights: Weights, folder: Path) -> dict[str, Any]:
    files = {}
    for name in FILES:
        stat = (folder / name).stat()
        files[name] = {"sha256": _sha256(folder / name), "stamp": [stat.st_size, stat.st_mtime_ns]}
    published = (weights.sha256, weights.tokenizer) == (WEIGHTS_SHA256, TOKENIZER_SHA256)
    # what a folder holds is known by the folder only: its name may mean something else tomorrow
    named = weights.model if weights.source in ("cache", "hub") else ""
    return {
        "model": HUB_ID if published else named,
        "name": weights.name,
        "weights": weights.sha256,
        "tokenizer": weights.tokenizer,
        "shape": asdict(weights.shape),
        "openvino": runtime.version(),
        "files": files,
    }


def _move_into_place(beside: Path, folder: Path, made_by: str) -> None:
    """Rename a finished copy into its place. Whoever comes second keeps what the first made."""
    if folder.exists():
        if is_sound(folder, made_by):
            return
        aside = folder.with_name(f".{folder.name}-{os.urandom(4).hex()}")
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    try:
        beside.rename(folder)
    except OSError:
        if not is_sound(folder, made_by):
            raise


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
