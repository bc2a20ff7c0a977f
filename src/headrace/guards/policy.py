"""Rules of a house: which topics, phrases and tools are refused, and how long an input may be.

A TOML file that people write and review::

    max_input = 4000                 # code points; 0 or nothing: no limit
    refusal = "I cannot help with that."

    [tools]
    deny = ["shell"]                 # never run, whatever a model wants

    [[rules]]
    id = "locks"
    phrases = ["pick a lock", "lock picking"]      # whole words, any case, any signs between them
    like = ["How do I open a door without its key?"]   # what means the same, by embedding
    on = ["input", "output"]         # default: both, and what is handed to tools
    action = "refuse"                # or "flag"

It reads a file and compares texts. ``like`` needs a callable that says how near two texts are, which
the caller gives; without one those examples are compared as phrases only, and the finding says so.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.errors import NotFound, SettingsError
from headrace.text import sentences
from headrace.types import Finding, digest

GUARD = "policy"
REFUSAL = "I cannot help with that."
NEAR = 0.6  # cosine at which a text means the same as an example
SENTENCES = 12  # of a text that are compared one by one
LONGEST = 2_000  # code points of what is compared
PLACES = ("input", "output", "tool")

Similar = Callable[[str, Sequence[str]], Sequence[float]]
_INVISIBLE = re.compile("[\u200b-\u200f\u2060-\u2064\ufeff\u00ad]")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. ``near`` is the cosine from which a text counts as ``like`` an example."""

    id: str
    phrases: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    near: float = NEAR
    on: tuple[str, ...] = PLACES
    action: str = "refuse"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The rules of one file. ``version`` is the hash of what they say."""

    rules: tuple[Rule, ...] = ()
    max_input: int = 0
    refusal: str = REFUSAL
    denied: tuple[str, ...] = ()
    version: str = ""
    _patterns: Mapping[str, re.Pattern[str]] = field(default_factory=dict, repr=False, compare=False)

    def check(self, text: str, where: str = "input", *, similar: Similar | None = None) -> list[Finding]:
        """What the rules find in a text; severity ``block`` is a refusal, ``warning`` a flag.

        ``similar(text, examples)`` gives the cosine of the text to each example.
        """
        found = []
        if where == "input" and self.max_input and len(text) > self.max_input:
            found.append(
                Finding(
                    guard=GUARD,
                    message=f"The input has {len(text):,} characters; at most {self.max_input:,} are taken.",
                    severity="block",
                    where=where,
                )
            )
            return found  # nothing else looks at it: that is what the limit is for
        plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
        for rule in self.rules:
            if where not in rule.on:
                continue
            why, place = self._broken(rule, text, plain, similar)
            if why:
                found.append(
                    Finding(
                        guard=GUARD,
                        message=f"Rule {rule.id!r}: {why}.",
                        severity="block" if rule.action == "refuse" else "warning",
                        where=where,
                        start=place[0] if place else None,
                        end=place[1] if place else None,
                    )
                )
        return found

    def _broken(
        self, rule: Rule, text: str, plain: str, similar: Similar | None
    ) -> tuple[str, tuple[int, int] | None]:
        if pattern := self._patterns.get(rule.id):
            if match := pattern.search(text):
                return f"it says {match.group()!r}", match.span()
            if match := pattern.search(plain):
                return f"it says {match.group()!r}", None
        if rule.like and similar is not None:
            # A forbidden request is often one sentence of a harmless story.
            parts = [plain, *(plain[start:end] for start, end in sentences(plain)[:SENTENCES])]
            for part in dict.fromkeys(part.strip()[:LONGEST] for part in parts if part.strip()):
                nearness = similar(part, rule.like)
                best = max(range(len(rule.like)), key=lambda i: nearness[i])
                if nearness[best] >= rule.near:
                    return f"it is like {rule.like[best]!r} ({nearness[best]:.2f})", None
        return "", None

    def allows_tool(self, name: str) -> bool:
        """Whether a tool may run at all."""
        return name not in self.denied


def read(path: Path) -> Policy:
    """The policy in a file. NotFound, or SettingsError that names the rule and the key."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(
            f"There is no rule file {str(path)!r}.", hint="Write it, or take policy out of [guards]."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}", hint="Correct that line.") from error
    return of(data, where=str(path))


def of(data: Mapping[str, Any], *, where: str = "policy") -> Policy:
    """A policy from plain data, checked."""
    _known(data, ("max_input", "refusal", "tools", "rules"), where)
    tools = data.get("tools", {})
    if not isinstance(tools, Mapping):
        raise _wrong(where, "tools", tools, 'Write [tools] with deny = ["name"].')
    _known(tools, ("deny",), f"{where} [tools]")
    longest = data.get("max_input", 0)
    if isinstance(longest, bool) or not isinstance(longest, int) or longest < 0:
        raise _wrong(where, "max_input", longest, "It is a number of characters, 0 for no limit.")
    refusal = data.get("refusal", REFUSAL)
    if not isinstance(refusal, str) or not refusal.strip():
        raise _wrong(where, "refusal", refusal, "It is the sentence that is said instead.")
    listed = data.get("rules", [])
    if not isinstance(listed, list):
        raise _wrong(where, "rules", listed, "Write each rule as [[rules]].")
    rules = [_rule(item, f"{where} rule {number}") for number, item in enumerate(listed, 1)]
    names = [rule.id for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{where} has two rules {name!r}.", hint="Give one another id.")
    return Policy(
        rules=tuple(rules),
        max_input=longest,
        refusal=refusal.strip(),
        denied=_texts(tools, "deny", f"{where} [tools]"),
        version=digest(data),
        _patterns={rule.id: pattern for rule in rules if (pattern := _pattern(rule)) is not None},
    )


def _rule(item: Any, where: str) -> Rule:
    if not isinstance(item, Mapping):
        raise SettingsError(f"{where} is {item!r}, not a table.", hint="Write it as [[rules]] with keys.")
    _known(item, ("id", "phrases", "like", "near", "on", "action"), where)
    name = item.get("id")
    if not isinstance(name, str) or not name.strip():
        raise SettingsError(f"{where} has no id.", hint='Add: id = "a-short-name"')
    here = f"{where} ({name})"
    phrases, like = _texts(item, "phrases", here), _texts(item, "like", here)
    if not phrases and not like:
        raise SettingsError(f"{here} forbids nothing.", hint='Add phrases = ["…"] or like = ["…"].')
    on = _texts(item, "on", here) or PLACES
    for place in on:
        if place not in PLACES:
            raise _wrong(here, "on", place, f"Use {', '.join(PLACES)}.")
    action = item.get("action", "refuse")
    if action not in ("refuse", "flag"):
        raise _wrong(here, "action", action, "Use 'refuse' or 'flag'.")
    near = item.get("near", NEAR)
    if isinstance(near, bool) or not isinstance(near, (int, float)) or not 0 < near <= 1:
        raise _wrong(here, "near", near, "It is a cosine above 0, at most 1.")
    return Rule(id=name, phrases=phrases, like=like, near=float(near), on=on, action=action)


def _pattern(rule: Rule) -> re.Pattern[str] | None:
    """Whole words, in any case, whatever signs stand between them."""
    found = [re.findall(r"\w+", phrase) for phrase in (*rule.phrases, *rule.like)]
    alternatives = [r"[\W_]+".join(map(re.escape, words)) for words in found if words]
    return re.compile(rf"\b(?:{'|'.join(alternatives)})\b", re.IGNORECASE) if alternatives else None


def _texts(table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise _wrong(where, key, value, f'Write: {key} = ["…", "…"]')
    return tuple(value)


def _known(table: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    for key in table:
        if key not in keys:
            raise SettingsError(
                f"{where} has {key!r}, which is not known.", hint=f"Known: {', '.join(keys)}."
            )


def _wrong(where: str, key: str, value: object, hint: str) -> SettingsError:
    return SettingsError(f"{where} {key} = {value!r} cannot be used.", hint=hint)
