"""Licences of models and data sets: what an identifier means for commercial use, and the check.

Identifiers are SPDX's (https://spdx.org/licenses/) where a licence has one, else the names that model
hubs use. What is said about each is our own short reading, not legal advice. Opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from headrace.errors import InputError, Refused

Use = Literal["yes", "conditions", "no", "unknown"]
Kind = Literal["permissive", "copyleft", "conditional", "non-commercial", "unknown"]
DEMANDS = ("permissive", "commercial", "any")


@dataclass(frozen=True, kw_only=True)
class Licence:
    """``commercial``: may it be used to earn money: yes, under conditions, no, or not known.

    ``kind`` is ``permissive`` (do what you like, name the author), ``copyleft`` (what you pass on must
    carry the same licence), ``conditional`` (rules on use, users or size), ``non-commercial`` or
    ``unknown``. ``said`` is the reason in a few words.
    """

    id: str
    kind: Kind
    commercial: Use
    said: str


_PERMISSIVE = "use, change and pass on freely; keep the notice"
_NAMED = "use freely; name the author"
_SHARE = "commercial use allowed; what is passed on carries the same licence"
_RAIL = "commercial use allowed; a list of forbidden uses travels with it"
_NC = "not for commercial use"
_RESEARCH = "for research only"


def _rows(ids: str, kind: Kind, commercial: Use, said: str) -> Iterable[tuple[str, tuple[Kind, Use, str]]]:
    return ((id, (kind, commercial, said)) for id in ids.split())


_TABLE: dict[str, tuple[Kind, Use, str]] = dict(
    [
        *_rows(
            "apache-2.0 mit mit-0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsd isc zlib unlicense 0bsd "
            "cc0-1.0 wtfpl bsl-1.0 ncsa postgresql python-2.0 afl-3.0 artistic-2.0 ms-pl upl-1.0 pddl "
            "cdla-permissive-1.0 cdla-permissive-2.0 lpl-1.02",
            "permissive",
            "yes",
            _PERMISSIVE,
        ),
        *_rows("cc-by-4.0 cc-by-3.0 cc-by-2.5 cc-by-2.0 odc-by etalab-2.0", "permissive", "yes", _NAMED),
        *_rows(
            "gpl-2.0 gpl-3.0 gpl agpl-3.0 lgpl lgpl-2.1 lgpl-3.0 lgpl-lr mpl-2.0 epl-1.0 epl-2.0 eupl-1.1 "
            "eupl-1.2 cc-by-sa-3.0 cc-by-sa-4.0 osl-3.0 odbl gfdl ofl-1.1 cdla-sharing-1.0 cc-by-sa-2.0 "
            "cc-by-sa-2.5 gpl-2.0-only gpl-2.0-or-later gpl-3.0-only gpl-3.0-or-later agpl-3.0-only "
            "agpl-3.0-or-later lgpl-3.0-only lgpl-3.0-or-later",
            "copyleft",
            "yes",
            _SHARE,
        ),
        *_rows(
            "openrail bigscience-openrail-m creativeml-openrail-m bigcode-openrail-m openrail++ "
            "bigscience-bloom-rail-1.0",
            "conditional",
            "conditions",
            _RAIL,
        ),
        *_rows(
            "llama2 llama3 llama3.1 llama3.2 llama3.3 llama4",
            "conditional",
            "conditions",
            "commercial use below 700 million monthly users; forbidden uses; name the model",
        ),
        *_rows(
            "gemma deepseek",
            "conditional",
            "conditions",
            "commercial use allowed; its own terms and forbidden uses travel with it",
        ),
        *_rows(
            "tii-falcon-llm",
            "conditional",
            "conditions",
            "its own terms: read them before earning money with it",
        ),
        *_rows(
            "cc-by-nd-4.0 cc-by-nd-3.0",
            "conditional",
            "conditions",
            "commercial use allowed; changed versions must not be passed on",
        ),
        *_rows(
            "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 "
            "cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc",
            "non-commercial",
            "no",
            _NC,
        ),
        *_rows(
            "fair-noncommercial-research-license apple-amlr intel-research llama",
            "non-commercial",
            "no",
            _RESEARCH,
        ),
    ]
)
_NON_COMMERCIAL = re.compile(r"(?<![a-z])(nc|non-?commercial|research-?only)(?![a-z])")
_ALSO = {
    "apache2": "apache-2.0",
    "apache-2": "apache-2.0",
    "apache": "apache-2.0",
    "apache-license-2.0": "apache-2.0",
    "the-mit-license": "mit",
    "mit-license": "mit",
    "cc0": "cc0-1.0",
    "public-domain": "cc0-1.0",
    "gplv3": "gpl-3.0",
    "gplv2": "gpl-2.0",
    "llama-2": "llama2",
    "llama-3": "llama3",
    "cc-by": "cc-by-4.0",
    "cc-by-sa": "cc-by-sa-4.0",
}
UNKNOWN = Licence(id="", kind="unknown", commercial="unknown", said="no licence is stated")


def read(stated: object) -> Licence:
    """The licence behind what a card states; ``unknown`` for none, and for one that is not in the table.

    Several stated licences give the strictest: whoever uses the whole must keep them all.
    """
    if isinstance(stated, (list, tuple)):
        found = [read(item) for item in stated]
        return max(found, key=lambda each: _STRICT[each.kind], default=UNKNOWN)
    text = str(stated or "").strip()
    id = re.sub(r"[\s_]+", "-", text.lower()).removeprefix("license:").removeprefix("licence:")
    id = _ALSO.get(id, id)
    if id in ("", "other", "unknown", "none", "proprietary"):
        said = "no licence is stated" if not id else f"stated as {text!r}: read its text"
        return Licence(id=id, kind="unknown", commercial="unknown", said=said)
    if id in _TABLE:
        kind, commercial, said = _TABLE[id]
        return Licence(id=id, kind=kind, commercial=commercial, said=said)
    if _NON_COMMERCIAL.search(id):
        return Licence(
            id=id, kind="non-commercial", commercial="no", said="its name says: not for commercial use"
        )
    return Licence(
        id=id, kind="unknown", commercial="unknown", said=f"{text!r} is not in the table: read its text"
    )


_STRICT: dict[Kind, int] = {
    "permissive": 0,
    "copyleft": 1,
    "conditional": 2,
    "unknown": 3,
    "non-commercial": 4,
}


def known() -> list[Licence]:
    """Every licence of the table, by id."""
    return [read(id) for id in sorted(_TABLE)]


def demanded(text: str) -> str | frozenset[str]:
    """What a person asks for: ``permissive``, ``commercial``, ``any``, or ids separated by commas."""
    wanted = text.strip().lower()
    if wanted in DEMANDS:
        return wanted
    ids = [read(part).id for part in wanted.split(",") if part.strip()]
    strange = [id for id in ids if id not in _TABLE]
    if strange or not ids:
        raise InputError(
            f"{text!r} names no licence that is known ({', '.join(strange) or 'nothing is named'}).",
            hint="Give permissive, commercial, any, or identifiers such as apache-2.0,mit; "
            "`headrace models licences` lists them.",
        )
    return frozenset(ids)


def why_not(licence: Licence, demand: str | frozenset[str]) -> str | None:
    """Why a licence does not meet a demand (see :func:`demanded`); None where it does.

    One that is unknown meets ``any`` alone.
    """
    stated = licence.id or "none stated"
    if isinstance(demand, frozenset):
        return None if licence.id in demand else f"licence {stated}, not {' or '.join(sorted(demand))}"
    if demand == "any":
        return None
    if licence.kind == "unknown":
        return f"licence unknown ({licence.said})"
    if demand == "commercial":
        return None if licence.commercial != "no" else f"licence {stated}: {licence.said}"
    return None if licence.kind == "permissive" else f"licence {stated} is {licence.kind}: {licence.said}"


@dataclass(frozen=True, kw_only=True)
class Used:
    """One thing that something is made of: the base model, an adapter, a data set; and its licence."""

    name: str
    licence: Licence


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``verdict``: ``pass``, ``unknown`` (nothing forbids it, and nothing allows it either), or
    ``overridden`` with the reason that a person gave. ``why`` names every part that matters."""

    verdict: Literal["pass", "unknown", "overridden"]
    why: str
    parts: tuple[Used, ...]


def check(
    parts: Sequence[Used], *, demand: str = "commercial", purpose: str = "use", override: str = ""
) -> Verdict:
    """Before something leaves the house: may what it is made of be used so?

    ``parts``: the base model and every data set. ``demand`` as in :func:`demanded`; with ``commercial``
    an unknown licence passes as ``unknown``, a non-commercial one raises Refused, unless ``override``
    holds the reason why it goes on anyway; the reason is to be kept with what is made.
    """
    wanted = demanded(demand)
    bad: list[str] = []
    unknown: list[str] = []
    for part in parts:
        reason = why_not(part.licence, wanted)
        if reason is None:
            continue
        if part.licence.kind == "unknown" and wanted == "commercial":
            unknown.append(f"{part.name}: {reason}")
        else:
            bad.append(f"{part.name}: {reason}")
    if bad and override.strip():
        return Verdict(verdict="overridden", why=f"{override.strip()} ({'; '.join(bad)})", parts=tuple(parts))
    if bad:
        raise Refused(
            f"The licence forbids this {purpose}: {'; '.join(bad)}.",
            hint="Use another model or data set, or go on with a reason that is recorded, if you may.",
        )
    if unknown:
        return Verdict(verdict="unknown", why="; ".join(unknown), parts=tuple(parts))
    return Verdict(
        verdict="pass",
        why="; ".join(f"{part.name}: {part.licence.id or 'no licence'}" for part in parts),
        parts=tuple(parts),
    )
