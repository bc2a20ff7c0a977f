"""A prompt of four parts as the text of its file: for showing, for diffs, and for writing it down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.prompts.fourpart import FourPart


def dumped(template: FourPart, usual: Mapping[str, Any], sections: Sequence[str]) -> str:
    """The text of a file that gives this template again. ``usual``: the options nobody needs to write."""
    top = {key: value for key, value in vars(template.options).items() if value != usual[key]}
    lists = {"variables": template.declared or (), "labels": template.labels, "models": template.models}
    lines = [f"{key} = {_toml(list(value))}" for key, value in lists.items() if value]
    lines += [f"{key} = {_toml(value)}" for key, value in top.items()]
    if template.decoding:
        inside = ", ".join(f"{key} = {_toml(value)}" for key, value in template.decoding.items())
        lines.append(f"decoding = {{{inside}}}")
    if template.schema is not None:
        text = json.dumps(template.schema, ensure_ascii=False, indent=2)
        plain = "'''" not in text
        lines.append(f"schema = '''\n{text}'''" if plain else f"schema = {_toml(text)}")
    blocks = ["\n".join(["+++", *lines, "+++"])] if lines else []
    blocks += [f"[{name}]\n{getattr(template, name)}" for name in sections if getattr(template, name)]
    blocks += [f"[{n}@{key}]\n{t}" for key, parts in template.overrides.items() for n, t in parts.items()]
    blocks += [
        "[example]\n"
        + "".join(f"{name}: {value}\n" for name, value in shot.values.items())
        + f"→ {shot.output}"
        for shot in template.shots
    ]
    return "\n\n".join(blocks) + "\n"


def _toml(value: Any) -> str:
    """A text, number, truth or flat list as TOML: as JSON, whose texts TOML reads alike."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
