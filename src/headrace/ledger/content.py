"""A trace without what people wrote: texts become their length and a keyed hash.

Used where ``[ledger] content = false``, and by the exports that leave content out. It works by an
allow-list: the names in ``KEPT`` hold identities (of documents, prompts, models), everything else
that is text is replaced, so that a new attribute is silent until somebody decides otherwise.
User and session are identities and stay; a ledger without content is not an anonymous one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from headrace.types import Answer, Span, Trace, to_json

Mask = Callable[[str], str]

# Names whose strings say which, never what.
KEPT = frozenset(
    """answered_by app application claimed code corpus digest document documents dropped embedder
    finish fingerprint follow guard hash host id ids kb kind knowledge media metric mode model models name
    names operation outcome parent pooling precision prompt_hash provider release revision role
    severity sha256 splitter status template tokenizer tool trace_id unit version weights where
    why""".split()
)
# Names whose whole value is the author's or the user's own, whatever it is made of.
OPAQUE = frozenset("arguments expectations filter filters input inputs metadata output params result".split())
_ANSWER = frozenset(Answer.__dataclass_fields__)


def summary(value: Any, key: bytes) -> dict[str, Any]:
    """``{"type", "length", "hash"}`` of a value.

    ``length`` counts code points of a string, else of its JSON. The hash is HMAC-SHA-256 under
    the ledger's own key: equal texts can be recognised within one ledger, and nobody who lacks
    the ledger can test a guess.
    """
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    mark = hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
    return {"type": type(value).__name__, "length": len(text), "hash": mark}


def is_summary(value: Any) -> bool:
    """Whether a value is what :func:`summary` puts in the place of content."""
    return isinstance(value, dict) and value.keys() == {"type", "length", "hash"}


def without_content(trace: Trace, key: bytes) -> Trace:
    """The same trace with inputs, output texts, prompts, passages and error messages replaced."""
    return replace(
        trace,
        inputs={name: summary(to_json(value), key) for name, value in trace.inputs.items()},
        output=_output(to_json(trace.output), key),
        error=_error(trace.error),
        record=_mapping(to_json(trace.record), key),
        spans=tuple(_span(span, key) for span in trace.spans),
    )


def masked(trace: Trace, mask: Mask | None) -> Trace:
    """The same trace with personal data masked in every text: ``mask(text)`` is asked for each.

    Names that say which and never what stay. Places in a text that was masked may be off. Without a
    ``mask`` a ValueError: texts that should be masked are never kept as they are.
    """
    if mask is None:
        raise ValueError("[ledger] mask is on, and nothing was given to mask with")
    return replace(
        trace,
        inputs=_masked(to_json(trace.inputs), mask),
        output=_masked(to_json(trace.output), mask),
        error=None if trace.error is None else mask(trace.error),
        record=_masked(to_json(trace.record), mask),
        spans=tuple(
            replace(
                span,
                attributes=_masked(to_json(span.attributes), mask),
                error=None if span.error is None else mask(span.error),
            )
            for span in trace.spans
        ),
    )


def _masked(value: Any, mask: Mask) -> Any:
    if isinstance(value, str):
        return mask(value) if value else value
    if isinstance(value, dict):
        return {k: v if k in KEPT and isinstance(v, str) else _masked(v, mask) for k, v in value.items()}
    return [_masked(item, mask) for item in value] if isinstance(value, list) else value


def _span(span: Span, key: bytes) -> Span:
    return replace(span, attributes=_mapping(to_json(span.attributes), key), error=_error(span.error))


def error_kind(error: str) -> str:
    """``input-error`` of ``input-error: The question …``; "" where a message names none."""
    name, colon, _ = error.partition(": ")
    return name if colon and name.replace(".", "").replace("-", "").isidentifier() else ""


def _error(error: str | None) -> str | None:
    """The kind of error alone: messages quote values."""
    if error is None:
        return None
    return f"{error_kind(error) or 'error'}: (a message of {len(error)} characters was not kept)"


def _output(value: Any, key: bytes) -> Any:
    """An Answer keeps its shape, so that citations stay countable; any other value is opaque."""
    if isinstance(value, dict) and value.keys() == _ANSWER:
        return _mapping(value, key)
    return value if value is None else summary(value, key)


def _mapping(value: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, item in value.items():
        if name in OPAQUE:
            kept[name] = summary(item, key) if item is not None else None
        else:
            kept[name] = _value(item, name in KEPT, key)
    return kept


def _value(value: Any, keep: bool, key: bytes) -> Any:
    if isinstance(value, str):
        return value if keep or not value else summary(value, key)
    if isinstance(value, dict):
        return value if is_summary(value) else _mapping(value, key)
    if isinstance(value, list):
        return [_value(item, keep, key) for item in value]
    return value
