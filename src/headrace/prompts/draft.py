"""A first prompt out of a goal in one line: four parts, clauses, a format; to be edited and measured.

No model writes it: the goal becomes the instruction, and what else a prompt needs is put round it by the
kind of task that the goal's verb names. Examples in it are placeholders, and say so.
"""

from __future__ import annotations

import json
import re

from headrace.errors import InputError
from headrace.prompts.lint import task_verbs

LONGEST = 500
_LABELS = re.compile(r"\b(?:as|into|between|either|of:|labels?:|one of:?)\s+(.+)$", re.IGNORECASE)
_CLASSES = {"classify", "categorise", "categorize", "label", "tag", "sort", "decide", "detect"}
_FIELDS = re.compile(
    r"\b(?:extract|find|identify|list|name)\s+(.+?)(?:\s+(?:from|in|of|out of|mentioned)\b.*)?$", re.I
)
_SHORT = {"the", "a", "an", "all", "any", "every", "its", "their"}


def draft(goal: str) -> str:
    """The text of a prompt file for a goal such as ``Classify reviews as good or bad``.

    Raises InputError for a goal that is empty or longer than ``LONGEST`` characters.
    """
    said = " ".join(goal.split())
    if not re.search(r"\w", said):
        raise InputError(
            f"The goal {goal[:60]!r} is empty.", hint="Say what the model is to do, in one line."
        )
    if len(said) > LONGEST:
        raise InputError(
            f"The goal has {len(said):,} characters, more than {LONGEST}.",
            hint="Say it in one line; texts to work on go into variables.",
        )
    verbs = task_verbs(said)
    if not verbs:
        said = f"Answer what is asked for, with this goal: {said}"
    instruction = said[0].upper() + said[1:] + ("" if said[-1] in ".!?:…" else ".")
    instruction = instruction.replace("{", "{{").replace("}", "}}")
    verb = verbs[0] if verbs else ""
    if verb in _CLASSES and len(labels := _labels(said)) > 1:
        return _classify(instruction, labels)
    if verb == "extract":
        return _extract(instruction, _fields(said))
    if verb in ("answer", "") and (verb or "?" in said):
        return _answer(instruction)
    return _text(instruction, verb)


def name_for(goal: str) -> str:
    """A name for the file of a goal: its first words, in plain letters; ``prompt`` where there are none."""
    words = [word for word in re.findall(r"[a-z0-9]+", goal.lower()) if word not in _SHORT]
    return "-".join(words[:4])[:40].strip("-") or "prompt"


def _labels(goal: str) -> list[str]:
    """What stands after ``as`` or ``into``: ``good, bad or mixed`` → three labels."""
    found = _LABELS.search(goal)
    listed = (
        re.split(r"\s*,\s*(?:or\s+|and\s+)?|\s+(?:or|and)\s+|/", found[1].strip(" .!?:")) if found else []
    )
    return list(dict.fromkeys(label.strip(" '\"") for label in listed if 0 < len(label.strip(" '\"")) <= 40))


def _fields(goal: str) -> list[str]:
    """What is to be extracted, as names of properties."""
    found = _FIELDS.search(goal.rstrip(" .!?"))
    names = []
    for part in re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+", found[1]) if found else []:
        words = [word for word in re.findall(r"[a-z0-9]+", part.lower()) if word not in _SHORT]
        if words and len(words) <= 4:
            names.append("_".join(words))
    return list(dict.fromkeys(names)) or ["items"]


def _classify(instruction: str, labels: list[str]) -> str:
    shots = "\n\n".join(
        f"[example]\ntext: Replace this by a text that is {label}.\n→ {label}" for label in labels
    )
    return (
        f'+++\nvariables = ["text"]\nlabels = {json.dumps(labels, ensure_ascii=False)}\n+++\n'
        f"[instruction]\n{instruction}\n\n[question]\nText: {{text}}\n\n"
        f"[format]\nReply with one label and nothing else: {_braced(', '.join(labels))}.\n\n{shots}\n"
    )


def _extract(instruction: str, names: list[str]) -> str:
    properties = ", ".join(f'{name} = {{ type = ["string", "null"] }}' for name in names)
    right = json.dumps({name: f"replace this by a real {name.replace('_', ' ')}" for name in names})
    return (
        f'+++\nvariables = ["text"]\n\n[schema]\ntype = "object"\nproperties = {{ {properties} }}\n'
        f"required = {json.dumps(names)}\nadditionalProperties = false\n+++\n"
        f"[instruction]\n{instruction} Use null for what the text does not say.\n\n"
        f"[question]\nText: {{text}}\n\n[example]\ntext: Replace this by a text.\n→ {right}\n"
    )


def _answer(instruction: str) -> str:
    return (
        '+++\nvariables = ["passages", "question"]\nsandwich = true\n+++\n'
        f"[instruction]\n{instruction} Use the passages and nothing else.\n\n"
        "[context]\nPassages: {passages}\n\n[question]\nQuestion: {question}\n\n"
        "[format]\nAt most three sentences.\n"
    )


def _text(instruction: str, verb: str) -> str:
    how = {
        "translate": "The translation and nothing else.",
        "summarise": "At most three sentences, in the language of the text.",
        "summarize": "At most three sentences, in the language of the text.",
        "list": "A list, one item a line, each beginning with '- '.",
    }.get(verb, "Plain text of at most 150 words, without an introduction.")
    refusal = (
        "" if verb in ("summarise", "summarize") else "refusal = false   # there is nothing to look up\n"
    )
    return (
        f'+++\nvariables = ["text"]\n{refusal}+++\n'
        f"[instruction]\n{instruction}\n\n[question]\nText: {{text}}\n\n[format]\n{how}\n"
    )


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
