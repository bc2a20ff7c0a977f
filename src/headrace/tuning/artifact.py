"""The folder of a tuned embedder: weights, tokenizer, and a manifest that says what it is.

The weights lie as sentence-transformers saves them, so the folder is a value for ``[embedder]
model``. The manifest names the base by hash, the data by hash and licence, the settings, and what
was measured; it holds no text of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace import __version__
from headrace.models.weights import HUB_ID, NAME, WEIGHTS_FILE, Weights, write_json
from headrace.types import to_json

if TYPE_CHECKING:
    from headrace.tuning.embedder import Tuned

MANIFEST = "manifest.json"
KIND = "tuned embedder"
BASE_LICENCE = {NAME: "apache-2.0"}  # as its card states it


def write(
    folder: Path,
    *,
    base: Weights,
    recipe: Mapping[str, Any],
    data: Mapping[str, Any],
    licence: str,
    more: Mapping[str, Any],
) -> None:
    """Write ``manifest.json`` into ``folder``, beside the weights that are there."""
    import hashlib

    with (folder / WEIGHTS_FILE).open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    known = BASE_LICENCE.get(base.name, "unknown")
    write_json(
        folder / MANIFEST,
        {
            "kind": KIND,
            "made_by": f"headrace {__version__}",
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "weights": weights,
            "base": {
                "name": HUB_ID if base.name == NAME else base.name,
                "weights": base.sha256,
                "tokenizer": base.tokenizer,
                "licence": known,
            },
            "data": {**data, "licence": licence or "unknown"},
            "settings": dict(recipe),
            **more,
        },
    )


def figures(result: Tuned) -> dict[str, Any]:
    """What of a result stands in the manifest: all but the rows."""
    found: dict[str, Any] = to_json(result)
    return {key: value for key, value in found.items() if key not in ("rows", "artifact", "chosen", "tried")}
