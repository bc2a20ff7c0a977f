"""What applications hold: handles. A handle is four strings and does no I/O.

Kind, name, specification, project root. Creating one, or importing a file that creates some,
opens and reads nothing; the first use asks the current bindings what it means.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headrace.errors import InputError
from headrace.request import Filters
from headrace.resources import bindings
from headrace.settings import FILE, STATE, find_root
from headrace.storage import IngestReport, PutResult
from headrace.types import Completion, Decoding, Document, KnowledgeVersion, Message, Passage, Passages

if TYPE_CHECKING:
    from headrace.protocols import Model, ModelStream, Progress
    from headrace.search.engine import Engine

_PACKAGE = str(Path(__file__).absolute().parents[1])
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


@dataclass(frozen=True)
class Handle:
    """``kind`` (``knowledge``, ``model``), ``name``, ``specification``, project ``root``."""

    kind: str
    name: str
    specification: str
    root: str

    def __post_init__(self) -> None:
        bindings.created(self)

    @property
    def key(self) -> str:
        """``kind:name``: how a manifest lists it."""
        return f"{self.kind}:{self.name}"


def root_of_caller(depth: int = 2) -> Path:
    """The project root for a handle: of the file that creates it, else of the current folder.

    Headrace's own files say nothing about the project: they may lie in another one's ``.venv``.
    """
    try:
        name = sys._getframe(depth).f_code.co_filename
    except ValueError:
        name = ""
    if name and not name.startswith(("<", _PACKAGE)):
        root = find_root(Path(name).absolute().parent)
        if (root / FILE).is_file():
            return root
    return find_root()


class KnowledgeBase(Handle):
    """Documents that can be searched.

    A bare name (``"kb"``) is a knowledge base of the project, under its ``.headrace/``; anything
    with a separator (``"./kb"``) is a path from the current folder. Writing creates it; searching
    never does.

    ``follow``: ``"release"`` (a release pins the version that it was made with) or ``"latest"``.

    >>> KnowledgeBase("kb").name
    'kb'
    """

    def __init__(
        self,
        name: str | Path = "kb",
        *,
        follow: Literal["release", "latest"] = "release",
        root: str | Path | None = None,
    ) -> None:
        text = str(name)
        if follow not in ("release", "latest"):
            raise InputError(f"follow={follow!r} is not known.", hint="Use 'release' or 'latest'.")
        base = Path(root) if root is not None else root_of_caller()
        if isinstance(name, Path) or "/" in text or "\\" in text:
            folder = Path(text).expanduser().absolute()
        elif _NAME.match(text):
            folder = base / STATE / "kb" / text
        else:
            raise InputError(
                f"{text!r} cannot be the name of a knowledge base.",
                hint="Use letters, digits, '.', '_' and '-', or a path such as './kb'.",
            )
        super().__init__("knowledge", text, json.dumps({"folder": str(folder), "follow": follow}), str(base))

    @classmethod
    def at(cls, folder: Path, *, name: str, root: Path, follow: str = "release") -> KnowledgeBase:
        """One that lies where no name leads to: a release's, inside its bundle."""
        made = cls.__new__(cls)
        specification = json.dumps({"folder": str(folder), "follow": follow})
        Handle.__init__(made, "knowledge", name, specification, str(root))
        return made

    @cached_property
    def folder(self) -> Path:
        """Where it lies. It may not exist yet."""
        return Path(json.loads(self.specification)["folder"])

    @cached_property
    def follow(self) -> str:
        """``release`` or ``latest``."""
        return str(json.loads(self.specification)["follow"])

    def engine(self, *, create: bool = False) -> Engine:
        """The opened knowledge base behind this handle. NotFound where there is none."""
        from headrace.resources import build

        return build.engine(self, create=create)

    # -- writing

    def add(self, documents: Document | Sequence[Document]) -> PutResult:
        """Add or replace documents (by id). Durable, and searchable, when it returns.

        A document without an id is known by its content, so adding it twice changes nothing.
        """
        listed = _documents(documents)  # before anything is created
        return self.engine(create=True).add(listed)

    def add_files(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        prune: bool = False,
        drop_duplicates: bool = False,
        progress: Progress | None = None,
        wait: float = 0.0,
    ) -> IngestReport:
        """Read files and folders into the knowledge base; unchanged files are skipped.

        ``prune`` removes documents whose files are gone. Broken files are listed in the report's
        ``failed`` and stop nothing. ``wait``: seconds to wait for another writer.
        """
        from headrace.resources import build

        listed = [paths] if isinstance(paths, (str, Path)) else list(paths)
        return build.ingest(
            self, listed, prune=prune, drop_duplicates=drop_duplicates, progress=progress, wait=wait
        )

    def delete(self, ids: str | Sequence[str]) -> int:
        """Delete documents by id; ids that are not there are ignored. Returns how many went."""
        return self.engine().delete([ids] if isinstance(ids, str) else list(ids))

    def update(self, id: str, *, text: str | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        """Change a document's text, or set keys of its metadata. NotFound for an unknown id."""
        self.engine().update(id, text=text, metadata=metadata)

    # -- reading

    def search(
        self,
        query: str,
        top_k: int = 4,
        *,
        k: int | None = None,
        mode: Literal["hybrid", "dense", "lexical"] = "hybrid",
        filters: Filters | None = None,
        score_threshold: float | None = None,
        fallback: Sequence[Passage] | None = None,
        metric: Literal["cosine", "l2", "l1"] = "cosine",
        timeout: float | None = None,
        version: int | None = None,
    ) -> Passages:
        """The passages nearest to a question, best first.

        ``filters``: an expression over metadata (``"year >= 2020 and topic in ('a', 'b')"``) or a
        dict of equalities. ``score_threshold`` is on ``relevance`` (0 to 1); below it nothing is
        returned but ``fallback``. ``timeout`` in seconds gives a typed outcome, never an
        exception. ``version`` pins a published version.
        """
        return self.engine().search(
            query,
            top_k,
            k=k,
            mode=mode,
            filters=filters,
            score_threshold=score_threshold,
            fallback=fallback,
            metric=metric,
            timeout=timeout,
            version=version,
        )

    def get(self, id: str) -> Document | None:
        """One document by id, None where there is none."""
        return self.engine().get(id)

    def count(self) -> int:
        """How many documents there are."""
        return self.engine().count()

    def version(self) -> KnowledgeVersion:
        """Which contents a search would see now."""
        return self.engine().version()

    def versions(self) -> list[Any]:
        """The published versions, oldest first."""
        return list(self.engine().store.versions())

    def prune(self, *, keep_versions: int = 1) -> Any:
        """Free the room of deleted and replaced documents that no kept version needs."""
        from headrace.resources import build

        return build.prune(self, keep_versions)

    def check(self, *, repair: bool = False) -> list[Any]:
        """What is wrong with it: a list of findings, empty when sound. ``repair`` mends derived data."""
        return list(self.engine().check(repair=repair))


def _documents(given: Document | Sequence[Document]) -> list[Document]:
    listed = [given] if isinstance(given, Document) else list(given)
    for item in listed:
        if not isinstance(item, Document):
            raise InputError(
                f"A knowledge base takes Document objects, not {type(item).__name__} ({item!r:.60}).",
                hint="Write hr.Document('the text', {'year': 2024}); for files use add_files('docs/').",
            )
    return listed


class ModelHandle(Handle):
    """A language model, perhaps: ask ``available`` before relying on it.

    Offers ``complete``, ``stream`` and ``count`` as the model behind it does.
    """

    def __init__(self, specification: str, *, root: str | Path | None = None) -> None:
        base = Path(root) if root is not None else root_of_caller()
        super().__init__("model", specification, specification, str(base))

    @property
    def available(self) -> bool:
        """Whether a model is configured behind this handle. Contacts nothing."""
        from headrace.resources import build

        return build.model_is_configured(self)

    def open(self) -> Model:
        """The model. Unavailable where none is configured, with what to do about it."""
        from headrace.resources import build

        return build.model(self)

    def complete(self, messages: str | Sequence[Message], decoding: Decoding | None = None) -> Completion:
        """Ask the model; a plain string is one user message."""
        return self.open().complete(_messages(messages), decoding or Decoding())

    def stream(self, messages: str | Sequence[Message], decoding: Decoding | None = None) -> ModelStream:
        """Ask the model and get the text piece by piece."""
        return self.open().stream(_messages(messages), decoding or Decoding())

    def count(self, text: str) -> int:
        """Tokens of a text, as this model counts them."""
        return self.open().count(text)


def _messages(given: str | Sequence[Message]) -> Sequence[Message]:
    return [Message("user", given)] if isinstance(given, str) else given


def revived(kind: str, name: str, specification: str, root: str) -> Handle:
    """A handle from its four strings, as a report keeps those that an evaluation used."""
    if kind == "knowledge":
        place = json.loads(specification)
        return KnowledgeBase.at(Path(place["folder"]), name=name, root=Path(root), follow=place["follow"])
    if kind == "prompt":
        from headrace.resources.prompt import PromptHandle

        return PromptHandle(name, root=root)
    return ModelHandle(specification, root=root)


def model(specification: str = "auto") -> ModelHandle:
    """A handle to a language model; nothing is loaded or contacted.

    ``"auto"``: what ``[models] default`` in headrace.toml or ``HEADRACE_MODEL`` names, else
    unavailable. ``"provider:model"`` (``"openai:gpt-4o-mini"``, ``"local:./my-model"``,
    ``"scripted:echo"``) or the name of a ``[models.NAME]`` table.
    """
    if not isinstance(specification, str) or not specification.strip():
        raise InputError(
            f"{specification!r} does not name a model.",
            hint="Write hr.model('auto'), hr.model('provider:model') or the name of a [models.NAME] table.",
        )
    return ModelHandle(specification.strip(), root=root_of_caller())
