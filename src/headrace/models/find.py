"""Choosing a model: hard filters first, then a ranking of which every part says what it is worth.

What does not meet a filter is out, and so is what does not say whether it meets it: an unknown licence is
not a permissive one. Looks at folders, the Hub's cache and, where the network policy lets it, the Hub.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from headrace import network
from headrace.errors import Corrupt, HeadraceError, InputError, ModelError
from headrace.models import card as cards
from headrace.models import licence as licences
from headrace.models.endpoint import Again, Endpoint, Rejected
from headrace.models.headers import BYTES
from headrace.models.licence import Licence
from headrace.models.places import folders
from headrace.settings import Policy, environment

HUB = "https://huggingface.co"
MOST = 100  # models asked of the Hub at once
_FIELDS = ("downloads", "likes", "tags", "pipeline_tag", "lastModified", "safetensors", "sha", "gated")
YEAR = 365.25
# Names of one task, ours first; the Hub's are transformers'.
_SAME: Mapping[str, str] = {
    "summarize": "summarization",
    "sentiment": "text-classification",
    "sentiment-analysis": "text-classification",
    "classify": "zero-shot-classification",
    "translate": "translation",
    "tag": "token-classification",
    "ner": "token-classification",
    "table": "table-question-answering",
    "chat": "text-generation",
    "generate": "text-generation",
    "conversational": "text-generation",
    "embed": "sentence-similarity",
}

Source = Literal["folder", "cache", "hub"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that might do. None and "" mean: not known. ``bytes`` is the size of its weights."""

    name: str
    source: Source
    folder: Path | None = None
    task: str = ""
    licence: Licence = licences.UNKNOWN
    languages: tuple[str, ...] = ()
    parameters: int | None = None
    bytes: int | None = None
    context: int | None = None
    release: str = ""
    base_model: tuple[str, ...] = ()
    documented: bool | None = None
    downloads: int | None = None
    likes: int | None = None
    updated: dt.datetime | None = None
    revision: str = ""
    broken: str = ""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The hard filters; None and "" leave one out. ``licence`` as :func:`licences.demanded` reads it,
    ``max_megabytes`` are of 1,000,000 bytes, ``max_age_days`` since the model changed."""

    task: str = ""
    licence: str = "any"
    language: str = ""
    max_parameters: int | None = None
    max_megabytes: float | None = None
    max_age_days: float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        licences.demanded(self.licence)
        for key in ("max_parameters", "max_megabytes", "max_age_days"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise InputError(f"{key}={value!r} lets nothing through.", hint="Give a number above 0.")


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A model that meets every filter. ``why`` says what each part of ``score`` stands for."""

    candidate: Candidate
    score: float
    why: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class KeptOut:
    """A model that a filter kept out; ``why`` names every filter that did."""

    candidate: Candidate
    why: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """``ranked``, best first; ``rejected``; ``looked`` says where was looked."""

    ranked: tuple[Ranked, ...]
    rejected: tuple[KeptOut, ...]
    looked: tuple[str, ...] = field(default=())


# --------------------------------------------------------------------------- filters


def same_task(text: str) -> str:
    """A task under the name that hubs use."""
    wanted = text.strip().lower().replace("_", "-").replace(" ", "-")
    return _SAME.get(wanted, wanted)


def why_not(candidate: Candidate, wanted: Wanted, *, now: dt.datetime) -> list[str]:
    """Every reason why a model does not meet the filters; empty where it meets them all."""
    reasons = [candidate.broken] if candidate.broken else []
    if wanted.name and wanted.name.lower() not in candidate.name.lower():
        reasons.append(f"its name has no {wanted.name!r}")
    if wanted.task and candidate.task != same_task(wanted.task):
        reasons.append(f"task {candidate.task or 'unknown'}, not {same_task(wanted.task)}")
    if (reason := licences.why_not(candidate.licence, licences.demanded(wanted.licence))) is not None:
        reasons.append(reason)
    if wanted.language and not _speaks(candidate.languages, wanted.language):
        stated = ", ".join(candidate.languages) or "unknown"
        reasons.append(f"language {stated}, not {wanted.language.lower()}")
    reasons += _too_large(candidate, wanted)
    if wanted.max_age_days is not None:
        if candidate.updated is None:
            reasons.append("age unknown")
        elif (days := _days(candidate.updated, now)) > wanted.max_age_days:
            reasons.append(f"changed {days:,.0f} days ago, over {wanted.max_age_days:g}")
    return reasons


def _too_large(candidate: Candidate, wanted: Wanted) -> Iterator[str]:
    if wanted.max_parameters is not None:
        if candidate.parameters is None:
            yield "parameters unknown"
        elif candidate.parameters > wanted.max_parameters:
            yield f"{short(candidate.parameters)} parameters, over {short(wanted.max_parameters)}"
    if wanted.max_megabytes is not None:
        if candidate.bytes is None:
            yield "size unknown"
        elif candidate.bytes > wanted.max_megabytes * 1e6:
            yield f"{candidate.bytes / 1e6:,.0f} MB, over {wanted.max_megabytes:g}"


def _speaks(languages: Sequence[str], wanted: str) -> bool:
    want = wanted.strip().lower()
    return any(want in (each, each.partition("-")[0]) for each in languages)


# --------------------------------------------------------------------------- ranking


def choose(candidates: Iterable[Candidate], wanted: Wanted, *, now: dt.datetime | None = None) -> Choice:
    """Filter and rank. Equal scores: the smaller model first, then by name.

    The score adds parts between 0 and 1, times what they are worth: popularity 3, recency 2, size 2
    (small first), documentation 1, made for the task 1. What is not known adds nothing.
    """
    now = now or dt.datetime.now(dt.UTC)
    ranked: list[Ranked] = []
    rejected: list[KeptOut] = []
    for candidate in candidates:
        reasons = why_not(candidate, wanted, now=now)
        if reasons:
            rejected.append(KeptOut(candidate=candidate, why=tuple(reasons)))
        else:
            ranked.append(_scored(candidate, wanted, now))
    ranked.sort(key=lambda r: (-r.score, r.candidate.parameters or math.inf, r.candidate.name))
    return Choice(ranked=tuple(ranked), rejected=tuple(rejected))


def _scored(candidate: Candidate, wanted: Wanted, now: dt.datetime) -> Ranked:
    parts: list[tuple[float, str]] = []
    if candidate.downloads is not None:
        share = min(1.0, math.log10(1 + candidate.downloads) / 7)  # ten million a month is the most
        parts.append((3 * share, f"{candidate.downloads:,} downloads"))
    else:
        parts.append((0.0, "popularity unknown"))
    if candidate.updated is not None:
        days = _days(candidate.updated, now)
        parts.append((2 * 0.5 ** (days / (2 * YEAR)), f"changed {_age(days)} ago"))
    else:
        parts.append((0.0, "age unknown"))
    size = candidate.parameters or (candidate.bytes // 4 if candidate.bytes else None)
    if size:
        share = min(1.0, max(0.0, (11 - math.log10(size)) / 5))  # a million: all of it; 100 billion: nothing
        parts.append((2 * share, f"{short(size)} parameters"))
    else:
        parts.append((0.0, "size unknown"))
    if candidate.documented is not None:
        parts.append((1.0, "documented") if candidate.documented else (0.0, "not documented"))
    if wanted.task and (candidate.base_model or candidate.release in ("chat", "instruct")):
        what = (
            f"tuned from {candidate.base_model[0]}"
            if candidate.base_model
            else f"a {candidate.release} model"
        )
        parts.append((1.0, what))
    why = tuple(f"{said} (+{worth:.1f})" if worth >= 0.05 else said for worth, said in parts)
    return Ranked(candidate=candidate, score=round(sum(worth for worth, _ in parts), 4), why=why)


def _days(then: dt.datetime, now: dt.datetime) -> float:
    return max(0.0, (now - then).total_seconds() / 86400)


def _age(days: float) -> str:
    if days < 60:
        return f"{days:.0f} days"
    return f"{days / (YEAR / 12):.0f} months" if days < 2 * YEAR else f"{days / YEAR:.1f} years"


def short(number: float) -> str:
    """A count for reading: 260.0k, 22.7M, 7.0B."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:g}"


# --------------------------------------------------------------------------- on this machine


def local(places: Sequence[Path]) -> Iterator[Candidate]:
    """Every model below these folders and in the Hub's cache. One that cannot be read is there too,
    with ``broken`` saying why."""
    for source, folder in folders(places):
        yield of_folder(folder, "cache" if source == "cache" else "folder")


def of_folder(folder: Path, source: Source = "folder") -> Candidate:
    """The candidate in one folder; nothing is hashed."""
    try:
        found = cards.card(folder, hashed=False)
    except (HeadraceError, OSError) as error:
        said = error.message if isinstance(error, HeadraceError) else str(error)
        reason = "damaged" if isinstance(error, Corrupt) else "cannot be read"
        return Candidate(name=folder.name, source=source, folder=folder, broken=f"{reason}: {said}")
    lacks = ", ".join(found.missing)
    return Candidate(
        name=found.name,
        source=source,
        folder=folder,
        task=found.task,
        licence=found.stated.licence,
        languages=found.stated.languages,
        parameters=found.tensors.parameters if found.tensors else None,
        bytes=found.tensors.bytes if found.tensors else None,
        context=found.text.context,
        release=found.release,
        base_model=found.stated.base_model,
        documented=found.stated.words >= 100,
        updated=found.updated,
        revision=found.revision,
        broken=f"not whole: {lacks} missing" if lacks else "",
    )


# --------------------------------------------------------------------------- on the Hub


def hub(wanted: Wanted, *, policy: Policy, limit: int = MOST, url: str = "") -> list[Candidate]:
    """What the Hub offers, most downloaded first; the filters are applied again by :func:`choose`.

    One request to ``{url}/api/models``. NetworkRefused unless the policy is ``open``; nothing is sent then.
    """
    address = url or environment("HF_ENDPOINT", HUB)
    network.require(address, policy, named=False)
    asked: list[tuple[str, str]] = [("sort", "downloads"), ("direction", "-1"), ("limit", str(limit))]
    if wanted.task:
        asked.append(("pipeline_tag", same_task(wanted.task)))
    if wanted.language:
        asked.append(("filter", wanted.language.strip().lower()))
    if wanted.name:
        asked.append(("search", wanted.name))
    demand = licences.demanded(wanted.licence)
    if isinstance(demand, frozenset) and len(demand) == 1:
        asked.append(("filter", f"license:{next(iter(demand))}"))
    asked += [("expand[]", name) for name in _FIELDS]
    endpoint = Endpoint(address, key="", policy=policy, timeout=30.0, retries=1)
    try:
        found = endpoint.get(f"/api/models?{urlencode(asked)}", timeout=30.0)
    except Again as again:
        raise again.error from again
    except Rejected as rejected:
        raise ModelError(
            f"The Hub at {endpoint.shown!r} refused the search (HTTP {rejected.status}): {rejected.message}",
            hint="Try again later, or look at this machine only: --no-hub.",
        ) from rejected
    finally:
        endpoint.close()
    if not isinstance(found, list):
        raise ModelError(
            f"The Hub at {endpoint.shown!r} answered with something that is no list of models.",
            hint="Is HF_ENDPOINT the address of a model hub?",
        )
    return [_of_hub(row) for row in found if isinstance(row, dict) and isinstance(row.get("id"), str)]


def _of_hub(row: Mapping[str, Any]) -> Candidate:
    tags = [str(tag) for tag in row.get("tags") or () if isinstance(tag, str)]
    weights = row.get("safetensors")
    counts = weights.get("parameters") if isinstance(weights, dict) else None
    total = weights.get("total") if isinstance(weights, dict) else None
    size = None
    if isinstance(counts, dict) and all(isinstance(n, int) for n in counts.values()):
        size = int(sum(n * BYTES.get(kind, 4.0) for kind, n in counts.items()))
    base = [tag.removeprefix("base_model:") for tag in tags if tag.startswith("base_model:")]
    name = str(row["id"])
    reasons = []
    if row.get("gated"):
        reasons.append("gated: its owner grants access one by one")
    if "safetensors" not in tags and not isinstance(weights, dict):
        reasons.append("no weights in safetensors")
    return Candidate(
        name=name,
        source="hub",
        task=str(row.get("pipeline_tag") or ""),
        licence=licences.read([t.removeprefix("license:") for t in tags if t.startswith("license:")]),
        languages=tuple(_languages(tags)),
        parameters=total if isinstance(total, int) and total > 0 else None,
        bytes=size or None,
        release=cards.release_of(name, False, bool(base)),
        base_model=tuple(dict.fromkeys(tag.rpartition(":")[2] for tag in base)),
        downloads=_count(row.get("downloads")),
        likes=_count(row.get("likes")),
        updated=_moment(row.get("lastModified")),
        revision=str(row.get("sha") or ""),
        broken="; ".join(reasons),
    )


def _languages(tags: Sequence[str]) -> Iterator[str]:
    for tag in tags:
        text = tag.removeprefix("language:").lower()
        if text == "multilingual" or (text.isascii() and text.isalpha() and 2 <= len(text) <= 3):
            yield text


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _moment(value: object) -> dt.datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = dt.datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
