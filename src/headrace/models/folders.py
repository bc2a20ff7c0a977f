"""Where the weights of a local language model lie, and whether they can be opened safely.

Loads nothing and imports neither torch nor transformers.
"""

from __future__ import annotations

from pathlib import Path

from headrace.errors import ModelRefused, NotFound
from headrace.extras import need
from headrace.settings import Policy

FOR_WHAT = "Running a language model on this machine"
_WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "README.md")


def check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise NotFound(
            f"There is no model in {str(folder)!r}: it has no config.json.",
            hint="Name a folder as transformers saves it, with save_pretrained.",
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelRefused(
            f"{str(folder)!r} has no weights in safetensors.",
            hint="Other formats can run code when they are opened. Convert the weights first: load them "
            "where you trust them and save them with save_pretrained(safe_serialization=True).",
        )


def find_folder(name: str, *, revision: str, policy: Policy, root: Path) -> Path:
    """A folder (relative to the project root) or a hub id in this machine's cache; the Hub itself is
    asked only where the policy is ``open``."""
    path = Path(name).expanduser()
    folder = path if path.is_absolute() else root / path
    if folder.is_dir():
        return folder.resolve()
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise NotFound(
            f"There is no folder {name!r}.", hint=f"Looked for {str(folder)!r}; a hub id is 'owner/name'."
        )
    hub = need("huggingface_hub", extra="local", for_what=FOR_WHAT)
    try:
        found = hub.snapshot_download(
            name,
            revision=revision or None,
            local_files_only=policy != "open",
            allow_patterns=list(_WANTED),
            library_name="headrace",
        )
    except (OSError, ValueError) as error:  # connection, HTTP and repository errors are all OSErrors
        missing = "is not on this machine" if policy != "open" else "could not be fetched"
        raise NotFound(
            f"The model {name!r} {missing} (network policy {policy!r}).",
            hint="Name a folder that holds it, or let Headrace fetch it: policy = 'open' under [network].",
        ) from error
    return Path(found)
