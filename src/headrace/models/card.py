"""What a model in a folder is, read from its files: nothing is loaded, no code of it is run.

Numbers come from the weights' own headers and config.json; licence, training data and languages are
what its README states in the front matter, as model hubs write it
(https://huggingface.co/docs/hub/model-cards). Looking for models is in ``find.py``.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.errors import NotFound
from headrace.matter import front_matter
from headrace.models import licence as licences
from headrace.models.headers import Memory, Tensors, counted, memory_of, whole_number
from headrace.models.licence import Licence
from headrace.models.places import name_of
from headrace.models.weights import read_json, sha256_of
from headrace.settings import home

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
_PLACES = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
)
# The class that a model was saved as → the task that hubs file it under.
TASKS: Mapping[str, str] = {
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "ForConditionalGeneration": "text2text-generation",
    "ForSeq2SeqLM": "text2text-generation",
    "MTModel": "translation",
    "ForMaskedLM": "fill-mask",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMultipleChoice": "multiple-choice",
}


@dataclass(frozen=True, kw_only=True)
class Text:
    """How the model takes text. ``context`` is in tokens."""

    context: int | None
    scheme: str
    vocabulary: int | None
    chat_template: bool


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the README says; nobody has checked it."""

    licence: Licence
    base_model: tuple[str, ...] = ()
    training_data: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    words: int = 0  # of the README, front matter left out


@dataclass(frozen=True, kw_only=True)
class File:
    """One file. ``sha256`` is "" where it was not asked for."""

    name: str
    bytes: int
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A model on this machine. ``release`` is ``base``, ``chat``, ``instruct`` or "" where nothing says.

    ``missing`` names files that the folder should have and has not: it cannot be loaded then.
    ``updated`` is when its newest file was written here, or what the README's date says.
    """

    name: str
    folder: Path
    family: str
    task: str
    release: str
    tensors: Tensors | None
    memory: Memory | None
    text: Text
    stated: Stated
    files: tuple[File, ...]
    missing: tuple[str, ...] = ()
    updated: dt.datetime | None = None
    revision: str = ""
    notes: tuple[str, ...] = field(default=())

    def __json__(self) -> dict[str, Any]:
        tensors, memory, text, stated = self.tensors, self.memory, self.text, self.stated
        return {
            "name": self.name,
            "folder": self.folder,
            "family": self.family,
            "task": self.task,
            "release": self.release,
            "parameters": tensors.parameters if tensors else None,
            "dtype": tensors.dtype if tensors else "",
            "dtypes": tensors.dtypes if tensors else {},
            "bytes": tensors.bytes if tensors else None,
            "memory": memory,
            "context": text.context,
            "tokenizer": {"scheme": text.scheme, "vocabulary": text.vocabulary},
            "chat_template": text.chat_template,
            "licence": stated.licence,
            "base_model": stated.base_model,
            "training_data": stated.training_data,
            "languages": stated.languages,
            "tags": stated.tags,
            "files": self.files,
            "missing": self.missing,
            "updated": self.updated,
            "revision": self.revision,
            "notes": self.notes,
        }


def card(folder: Path, *, name: str = "", hashed: bool = True) -> Card:
    """The card of the model in a folder. ``hashed`` reads every file through once (remembered after).

    Raises NotFound where there is no model, Corrupt where the weights' headers lie.
    """
    if not folder.is_dir():
        raise NotFound(
            f"There is no folder {str(folder)!r}.", hint="Name a folder that holds a model's files."
        )
    if not (folder / CONFIG).is_file() and not any(folder.glob("*.safetensors")):
        raise NotFound(
            f"There is no model in {str(folder)!r}: it has neither {CONFIG!r} nor weights in safetensors.",
            hint="Name a folder as transformers saves it, with save_pretrained.",
        )
    config = read_json(folder / CONFIG)
    missing = tuple(_missing(folder))
    weights = sorted(folder.glob("*.safetensors"))
    tensors = counted(weights) if weights else None
    stated, readme = stated_in(folder / "README.md")
    text = _text(folder, config)
    name = name or name_of(folder)
    files = tuple(_file(path, folder, hashed) for path in _paths(folder))
    return Card(
        name=name,
        folder=folder,
        family=str(config.get("model_type", "")),
        task=_task(config, readme),
        release=release_of(name, text.chat_template, bool(stated.base_model)),
        tensors=tensors,
        memory=None if tensors is None else memory_of(tensors, config),
        text=text,
        stated=stated,
        files=files,
        missing=missing,
        updated=_updated(folder, readme),
        revision=folder.name if folder.parent.name == "snapshots" else "",
        notes=tuple(_notes(folder, config, tensors)),
    )


def whole(found: Card) -> Card:
    """The card itself; NotFound that names the files which its folder lacks."""
    if found.missing:
        raise NotFound(
            f"The model {found.name!r} is not whole: {', '.join(map(repr, found.missing))} "
            f"{'is' if len(found.missing) == 1 else 'are'} missing in {str(found.folder)!r}.",
            hint="Copy the folder again, or fetch the missing files from where it came.",
        )
    return found


def _missing(folder: Path) -> Iterator[str]:
    """Files without which it cannot be opened, and shards that the index names."""
    if not (folder / CONFIG).is_file():
        yield CONFIG
    shards: set[str] = set()
    if (folder / INDEX).is_file():
        listed = read_json(folder / INDEX).get("weight_map")
        shards = {str(name) for name in listed.values()} if isinstance(listed, dict) else set()
        yield from sorted(name for name in shards if not (folder / name).is_file())
    if not shards and not any(folder.glob("*.safetensors")):
        yield "model.safetensors"
    if not any(
        (folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json")
    ):
        yield "tokenizer.json"


# --------------------------------------------------------------------------- text, README


def _text(folder: Path, config: Mapping[str, Any]) -> Text:
    read = read_json(folder / "tokenizer_config.json")
    data = read_json(folder / "tokenizer.json")
    model = data.get("model") if isinstance(data.get("model"), dict) else {}
    assert isinstance(model, dict)
    scheme = str(model.get("type") or ("BPE" if "merges" in model else ""))
    added = data.get("added_tokens")
    vocabulary: int | None = None
    if isinstance(model.get("vocab"), (dict, list)):
        own = model["vocab"]
        names = set(own) if isinstance(own, dict) else {item[0] for item in own}
        extra = [t.get("content") for t in added if isinstance(t, dict)] if isinstance(added, list) else []
        vocabulary = len(names | {e for e in extra if e is not None})
    context = whole_number(config, *_PLACES)
    limit = read.get("model_max_length")
    if isinstance(limit, int) and 0 < limit < 10**9:
        context = limit if context is None else min(context, limit)
    template = bool(read.get("chat_template")) or (folder / "chat_template.jinja").is_file()
    return Text(
        context=context,
        scheme=scheme,
        vocabulary=vocabulary or whole_number(config, "vocab_size"),
        chat_template=template,
    )


def stated_in(path: Path) -> tuple[Stated, Mapping[str, Any]]:
    """(what a README states, its front matter); nothing where there is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Stated(licence=licences.UNKNOWN), {}
    matter, begin = front_matter(text)
    stated = Stated(
        licence=licences.read(_licence(matter)),
        base_model=_listed(matter.get("base_model")),
        training_data=_listed(matter.get("datasets")),
        languages=tuple(each.lower() for each in _listed(matter.get("language"))),
        tags=_listed(matter.get("tags")),
        words=len(text[begin:].split()),
    )
    return stated, matter


def _licence(matter: Mapping[str, Any]) -> object:
    """The stated licence; for ``other``, the name that stands beside it where our table knows that."""
    stated = matter.get("license", matter.get("licence"))
    named = matter.get("license_name")
    if stated == "other" and named and licences.read(named).kind != "unknown":
        return named
    return stated


def _listed(value: object) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    return tuple(str(item) for item in value) if isinstance(value, (list, tuple)) else (str(value),)


def _task(config: Mapping[str, Any], matter: Mapping[str, Any]) -> str:
    if isinstance(matter.get("pipeline_tag"), str):
        return str(matter["pipeline_tag"])
    for saved in config.get("architectures") or ():
        for ending, task in TASKS.items():
            if str(saved).endswith(ending):
                return task
    return ""


def release_of(name: str, template: bool, tuned: bool) -> str:
    """``base``, ``chat`` or ``instruct``, as the name says; a chat template means chat."""
    words = set(name.lower().replace("_", "-").replace("/", "-").replace(".", "-").split("-"))
    if words & {"instruct", "it", "instruction", "dolly"}:
        return "instruct"
    if words & {"chat", "assistant", "dialogue"} or template:
        return "chat"
    return "base" if "base" in words or not tuned else ""


def _notes(folder: Path, config: Mapping[str, Any], tensors: Tensors | None) -> Iterator[str]:
    if config.get("auto_map"):
        yield "brings code of its own, which Headrace never runs"
    if tensors is None and any(folder.glob(pattern) for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt")):
        yield "its weights are in a format that can run code when opened: convert them to safetensors first"
    if not (folder / "README.md").is_file():
        yield "has no README.md: licence and training data are not stated"


# --------------------------------------------------------------------------- files


def _paths(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _file(path: Path, folder: Path, hashed: bool) -> File:
    size = path.stat().st_size
    digest = ""
    if hashed:
        digest = (
            sha256_of(path, home()) if size > 1_000_000 else hashlib.sha256(path.read_bytes()).hexdigest()
        )
    return File(name=path.relative_to(folder).as_posix(), bytes=size, sha256=digest)


def _updated(folder: Path, matter: Mapping[str, Any]) -> dt.datetime | None:
    """The README's own date, else when config.json was written here."""
    stated = matter.get("date")
    if isinstance(stated, str):
        try:
            found = dt.datetime.fromisoformat(stated)
        except ValueError:
            pass
        else:
            return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    times = [
        path.stat().st_mtime for path in (folder / CONFIG, *folder.glob("*.safetensors")) if path.is_file()
    ]
    return dt.datetime.fromtimestamp(max(times), dt.UTC) if times else None
