"""The nouns of Headrace, in the order in which data travels.

Document → Chunk → Passage(s) → Message → Prompt → Decoding → Completion → Finding → Citation →
Answer → Span → Trace → Feedback → Example → Score → Report → Release.

Plain frozen dataclasses: no I/O, no validation beyond what keeps an object from lying about
itself. Strangers' bytes are validated where they enter (readers, settings, the HTTP door), not
here. Everything turns into JSON through :func:`to_json`.
"""

from __future__ import annotations

import dataclasses
import datetime as _dt
import enum
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, overload

from headrace.errors import InputError

__all__ = [
    "Answer",
    "Chunk",
    "Citation",
    "Completion",
    "Decoding",
    "Document",
    "Event",
    "Example",
    "Feedback",
    "Finding",
    "KnowledgeVersion",
    "Message",
    "Passage",
    "Passages",
    "Prompt",
    "Release",
    "Report",
    "Score",
    "Section",
    "Span",
    "Table",
    "ToolCall",
    "Trace",
    "Usage",
    "digest",
    "to_json",
]


_PLAIN = frozenset({str, int, bool, type(None)})


def to_json(value: Any) -> Any:
    """Plain JSON data (dict, list, str, number, bool, None) for any noun, enum, path or date."""
    kind = type(value)
    if kind in _PLAIN:  # most of what a trace holds; the rest of this function costs ten times as much
        return value
    if kind is dict:
        return {str(key): to_json(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [to_json(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        custom = getattr(value, "__json__", None)
        if custom is not None:
            return to_json(custom())
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return to_json(value.value)
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, (_dt.datetime, _dt.date)):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if hasattr(value, "model_dump"):  # a pydantic model
        return to_json(value.model_dump())
    if isinstance(value, (set, frozenset)):
        return sorted((to_json(item) for item in value), key=repr)
    if isinstance(value, (Sequence, Iterator)):
        return [to_json(item) for item in value]
    if hasattr(value, "item"):  # a numpy scalar
        return to_json(value.item())
    return str(value)


def digest(value: Any) -> str:
    """SHA-256 (64 hex characters) over bytes, or over canonical JSON of anything else."""
    if not isinstance(value, bytes):
        value = json.dumps(to_json(value), sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "surrogatepass"
        )
    return hashlib.sha256(value).hexdigest()


# --------------------------------------------------------------------------- ingest


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading of a document. ``start`` is where its line begins, in code points of the text."""

    start: int
    level: int
    title: str


@dataclass(frozen=True)
class Document:
    """A text with its metadata. Without an ``id`` the content's hash is the id.

    ``text`` is what every offset in Headrace counts code points of: for text formats the decoded
    file with its newlines untouched, for html, pdf and docx the extracted text. ``sections`` are
    the headings that a reader found, in order; splitting prefers to cut there.
    """

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    media: str = field(default="text/plain", kw_only=True)
    sections: tuple[Section, ...] = field(default=(), kw_only=True)

    @property
    def hash(self) -> str:
        """SHA-256 of what the document says: text, metadata, media type and headings."""
        return digest([self.text, self.metadata, self.media, [s.start for s in self.sections]])

    @property
    def key(self) -> str:
        """The id that was given, else ``sha256:`` and the first 16 characters of the hash."""
        return self.id if self.id is not None else f"sha256:{self.hash[:16]}"


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A piece of a document: ``text == document.text[start:end]``, exactly.

    ``heading`` is the path of headings above it (``"Leave > Parental leave"``), ``tokens`` the
    length as the embedder counts it, special tokens included.
    """

    document: str
    ordinal: int
    start: int
    end: int
    text: str
    heading: str = ""
    tokens: int = 0


# --------------------------------------------------------------------------- search


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A chunk that a search found.

    ``score`` orders hits within one search and means nothing across searches. ``relevance`` is
    absolute, between 0 and 1: the calibrated probability that the passage is about the question.
    Thresholds, abstention and alarms use relevance only. ``signals`` holds the raw parts
    (``cosine``, ``bm25``, ``coverage``) where they were computed.
    """

    text: str
    score: float
    relevance: float
    document: str
    start: int = 0
    end: int = 0
    heading: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
    signals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class KnowledgeVersion:
    """Which contents of a knowledge base a search saw.

    ``commit`` counts durable writes, ``version`` published states (None: unpublished commits are
    in view). ``corpus`` is a hash over the live documents of a published version, "" otherwise.
    """

    name: str
    commit: int
    version: int | None = None
    corpus: str = ""
    embedder: str = ""
    splitter: str = ""


Outcome = Literal["ok", "below threshold", "timeout", "partial", "empty"]


@dataclass(frozen=True, kw_only=True)
class Passages(Sequence[Passage]):
    """What a search returns: a sequence of passages, best first, and how it went.

    ``outcome``: ``ok``; ``below threshold`` (nothing was relevant enough, ``fallback`` has the
    nearest hits or what the caller gave as fallback); ``timeout`` (nothing in time); ``partial``
    (the time limit cut one of the two searches off); ``empty`` (nothing matched at all).
    """

    items: tuple[Passage, ...] = ()
    outcome: Outcome = "ok"
    plan: Mapping[str, Any] = field(default_factory=dict)
    kb_version: KnowledgeVersion | None = None
    fallback: tuple[Passage, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Passage: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Passage, ...]: ...
    def __getitem__(self, index: int | slice) -> Passage | tuple[Passage, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)


# --------------------------------------------------------------------------- models

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A tool that a model wants to be run. ``arguments`` is the text that it wrote, which may be no JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    ``tools`` of a system message are the functions that a model may call, as JSON schemas with name,
    description and parameters; ``calls`` of an assistant are those that it called, and ``call_id`` of a
    tool's message says which of them it answers. A model that knows no tools leaves all three alone.
    """

    role: Role
    content: str
    name: str | None = field(default=None, kw_only=True)
    tools: tuple[Mapping[str, Any], ...] = field(default=(), kw_only=True)
    calls: tuple[ToolCall, ...] = field(default=(), kw_only=True)
    call_id: str | None = field(default=None, kw_only=True)

    def __json__(self) -> dict[str, Any]:
        more = {"tools": self.tools, "calls": self.calls, "call_id": self.call_id}
        base = {"role": self.role, "content": self.content, "name": self.name}
        return {**base, **{key: value for key, value in more.items() if value}}


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What is sent to a model, and what had to be left out.

    ``template`` is the content hash of the template, ``kept`` and ``dropped`` the numbers (from 1)
    of the passages that were put in or did not fit, ``tokens`` the whole length as the model
    counts it.
    """

    messages: tuple[Message, ...]
    template: str = ""
    kept: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    tokens: int = 0
    canary: str = ""

    @property
    def text(self) -> str:
        """The exact text, one ``role: content`` block per message."""
        return "\n\n".join(f"{m.role}: {m.content}" for m in self.messages)


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How a model turns probabilities into text. Greedy unless ``temperature`` is above 0.

    Lengths are in tokens of the model; a stop string ends the text before it, however short the
    text is then. ``num_beams`` above 1 searches with so many beams, and with a temperature above 0
    each beam samples. ``seed`` fixes sampling. None leaves a setting to the model. Settings that
    contradict each other are refused with InputError, since one of them would silently do nothing.
    """

    max_new_tokens: int = 512
    min_new_tokens: int = 0
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    num_beams: int = 1
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        stop: object = self.stop  # people write one text, or a list
        if isinstance(stop, list):
            object.__setattr__(self, "stop", tuple(stop))
        _whole("max_new_tokens", self.max_new_tokens, 1)
        _whole("min_new_tokens", self.min_new_tokens, 0)
        _whole("num_beams", self.num_beams, 1)
        if self.top_k is not None:
            _whole("top_k", self.top_k, 1)
        if self.seed is not None:
            _whole("seed", self.seed, 0)
        if not _number(self.temperature) or not 0 <= self.temperature < float("inf"):
            _refused("temperature", self.temperature, "It is 0 (the likeliest token each time) or more.")
        if self.top_p is not None and (not _number(self.top_p) or not 0 < self.top_p <= 1):
            _refused("top_p", self.top_p, "It is a share of probability: above 0, at most 1.")
        if isinstance(stop, str) or not all(isinstance(text, str) and text for text in self.stop):
            _refused("stop", self.stop, "Write a tuple of texts, none of them empty: stop=('END',).")
        if self.min_new_tokens > self.max_new_tokens:
            _refused(
                "min_new_tokens",
                self.min_new_tokens,
                f"That is more than max_new_tokens={self.max_new_tokens}.",
            )
        for name in ("top_k", "top_p"):
            if self.temperature == 0 and getattr(self, name) is not None:
                _refused(
                    name,
                    getattr(self, name),
                    "With temperature=0 the likeliest token is taken each time, so there is nothing to draw "
                    f"from: give a temperature above 0, or leave {name} out.",
                )


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        _refused(name, value, f"It is a whole number, {least} or more.")


def _refused(name: str, value: object, why: str) -> NoReturn:
    raise InputError(f"Decoding {name}={value!r} cannot be used.", hint=why)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens and money of one or more model calls. ``cost`` is in US dollars, None: unknown."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None

    def __add__(self, other: Usage) -> Usage:
        known = [c for c in (self.cost, other.cost) if c is not None]
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost=sum(known) if known else None,
        )


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What a model wrote. ``finish`` is ``stop``, ``length`` (cut off) or ``cancelled``.

    ``exact`` is False where the token counts are an estimate because the server sent none. ``calls`` are
    tools that it wants to be run before it goes on.
    """

    text: str
    model: str
    finish: Literal["stop", "length", "cancelled"] = "stop"
    usage: Usage = field(default_factory=Usage)
    exact: bool = True
    identity: Mapping[str, Any] = field(default_factory=dict)
    calls: tuple[ToolCall, ...] = ()


# --------------------------------------------------------------------------- guards, answers


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a guard or a check noticed. ``start``/``end`` count code points of ``where``."""

    guard: str
    message: str
    severity: Literal["note", "warning", "block"] = "warning"
    where: str = "answer"
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, kw_only=True)
class Citation:
    """A place that supports an answer: ``text`` is the document's ``[start:end]``, exactly.

    ``number`` is what the answer's ``[n]`` refers to.
    """

    number: int
    document: str
    heading: str
    start: int
    end: int
    text: str
    score: float
    relevance: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer with its sources, or an abstention that says what was looked for.

    ``answered_by`` is ``quotes`` or ``provider:model``. ``dropped`` lists the documents of
    passages that did not fit into the model's window.
    """

    text: str
    abstained: bool = False
    citations: tuple[Citation, ...] = ()
    answered_by: str = "quotes"
    confidence: float | None = None
    findings: tuple[Finding, ...] = ()
    dropped: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    trace_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """What ``.stream`` yields: ``step`` (a part began or ended), ``delta`` (provisional text),
    and, last, one ``answer`` with the authoritative value."""

    kind: Literal["step", "delta", "answer"]
    text: str = ""
    name: str = ""
    value: Any = None
    trace_id: str | None = None


# --------------------------------------------------------------------------- ledger


@dataclass(frozen=True, kw_only=True)
class Span:
    """A timed part of a run. Times are seconds: ``start`` since the epoch, ``seconds`` long."""

    id: str
    parent: str | None
    name: str
    kind: str
    start: float
    seconds: float
    attributes: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The one record of a run: every answer knows what made it.

    ``subject`` names application, release and fingerprint; ``context`` user and session;
    ``record`` gathers from the spans what made the answer: knowledge-base versions, passages with
    scores, prompt hash and text, model and decoding, tokens, cost, findings, answer.
    """

    id: str
    start: float
    seconds: float
    subject: Mapping[str, Any]
    context: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    output: Any = None
    error: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """What a person said about a run. ``value`` is ``up`` or ``down``."""

    trace_id: str
    value: Literal["up", "down"]
    comment: str = ""
    correction: str = ""
    user: str = ""
    at: float = 0.0
    id: str = ""


# --------------------------------------------------------------------------- evaluation, release


@dataclass(frozen=True, kw_only=True)
class Example:
    """A row to evaluate: ``inputs`` by parameter name, and what is expected of the output."""

    inputs: Mapping[str, Any]
    expectations: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric on one example. ``value`` None: not assessed, ``why`` says so."""

    name: str
    value: float | None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Measurements about one subject (a fingerprint): of evaluation, audit or operation."""

    id: str
    kind: str
    subject: str
    examples: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    measurements: tuple[Mapping[str, Any], ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    created: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Release:
    """A frozen application: what a Trace records, as a manifest, under a content address."""

    id: str
    name: str
    version: int
    manifest: Mapping[str, Any] = field(default_factory=dict)
    created: float = 0.0


@dataclass(frozen=True)
class Table:
    """Rows under named columns; an application's signature may ask for one."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def __json__(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]]) -> Table:
        """A table from records; columns in order of first appearance, missing cells None."""
        columns = tuple(dict.fromkeys(key for record in records for key in record))
        return cls(columns, tuple(tuple(record.get(c) for c in columns) for record in records))
