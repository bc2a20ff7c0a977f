"""What a text says about itself at its top: front matter and header fields → metadata.

Simple ``key: value`` pairs and flat lists only; not YAML. The text itself is never changed, so
that offsets hold.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from headrace.types import to_json

_YAML = re.compile(
    r"---[ \t]*(\r\n|\n|\r)(.*?)(?:\r\n|\n|\r)(?:---|\.\.\.)[ \t]*(?:\r\n|\n|\r|\Z)", re.DOTALL
)
_TOML = re.compile(r"\+\+\+[ \t]*(\r\n|\n|\r)(.*?)(?:\r\n|\n|\r)\+\+\+[ \t]*(?:\r\n|\n|\r|\Z)", re.DOTALL)
_PAIR = re.compile(r"([A-Za-z_][\w .-]*?)[ \t]*:(?:[ \t]+(.*))?$")
_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,17})")
_REAL = re.compile(r"-?(?:0|[1-9]\d*)\.\d+(?:[eE][-+]?\d+)?")
_HEADER = re.compile(r"([A-Z][A-Za-z0-9-]*):[ \t]*(.*)")
_FIELD = re.compile(r":([A-Za-z][\w -]*):[ \t]*(.*)")


def scalar(value: str) -> Any:
    """A number where the text is exactly one (no leading zeros), else the text, stripped."""
    value = value.strip()
    if _INTEGER.fullmatch(value):
        return int(value)
    if _REAL.fullmatch(value):
        return float(value)
    return value


def front_matter(text: str) -> tuple[dict[str, Any], int]:
    """(metadata, where the body begins). YAML-like between ``---``, TOML between ``+++``."""
    if match := _TOML.match(text):
        try:
            return to_json(tomllib.loads(match[2].replace("\r\n", "\n"))), match.end()
        except tomllib.TOMLDecodeError:
            return {}, match.end()
    match = _YAML.match(text)
    if not match:
        return {}, 0
    found: dict[str, Any] = {}
    key = ""
    for line in re.split(r"\r\n|\n|\r", match[2]):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if (item := re.match(r"\s*-[ \t]+(.*)", line)) and key:
            held = found.get(key)
            found[key] = [*(held if isinstance(held, list) else []), _value(item[1])]
        elif not line[0].isspace() and (pair := _PAIR.match(line)):
            key = pair[1].strip()
            found[key] = _value(pair[2] or "")
        elif not line[0].isspace():
            return {}, 0  # a rule and prose, not front matter
    return {k: v for k, v in found.items() if v != ""}, match.end()


def _value(text: str) -> Any:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    text = re.sub(r"\s+#.*$", "", text)
    if text.startswith("[") and text.endswith("]"):
        return [_value(part) for part in text[1:-1].split(",") if part.strip()]
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return "" if text in ("null", "~", "|", ">") else scalar(text)


def header_fields(text: str) -> dict[str, Any]:
    """Fields at the very top: ``Name: value`` (as in letters and proposals) or ``:name: value``.

    At least two, up to the first blank line, else none: a sentence with a colon is no header.
    """
    found: dict[str, Any] = {}
    key = ""
    for line in re.split(r"\r\n|\n|\r", text[:8192].lstrip("\r\n")):
        if not line.strip():
            break
        if line[0].isspace() and key:
            found[key] = f"{found[key]} {line.strip()}".strip()
        elif match := _FIELD.match(line) or _HEADER.match(line):
            key = match[1].strip().lower()
            found[key] = match[2].strip()
        else:
            return {}
    if len(found) < 2:
        return {}
    return {name: scalar(value) for name, value in found.items() if value}
