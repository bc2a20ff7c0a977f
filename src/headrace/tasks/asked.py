"""A task asked by a form: named texts in, the task's own result out. It knows no web.

What strangers send is checked here: only inputs that the catalogue lists, and only models that the
project itself has named. Whoever fills in a form cannot open a folder or an address of his choice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from headrace.errors import InputError, NotFound, Unavailable
from headrace.resources import bindings
from headrace.resources.handles import ModelHandle
from headrace.settings import Settings
from headrace.tasks.catalogue import TASKS, Input, Task
from headrace.types import Decoding, Message

MOST_TURNS = 50  # of a chat
MODEL = "model"


def find(name: str) -> Task:
    """The task of a name; NotFound with the list of them."""
    if name not in TASKS:
        raise NotFound(f"There is no task {name!r}.", hint=f"The tasks are: {', '.join(TASKS)}.")
    return TASKS[name]


def models(task: Task, settings: Settings) -> tuple[str, ...]:
    """The models that a form may offer for a task: those that headrace.toml names, the default first.

    Tagging needs a model of its own kind, so for it only those on this machine are offered.
    """
    if not task.takes_model:
        return ()
    named = list(settings.models)
    if task.name == "tag":
        return tuple(name for name in named if settings.models[name].provider == "local")
    default = settings.default_model
    return tuple(dict.fromkeys([*([default] if default else []), *named]))


def ask(name: str, given: Mapping[str, Any], *, settings: Settings) -> Any:
    """Do a task with what a form or a JSON object holds, within the project of these settings.

    InputError for an input that is missing, not listed, or not of its kind, and for a model that the
    project does not name; whatever the task itself raises.
    """
    task = find(name)
    listed = {field.name: field for field in task.inputs}
    if strange := sorted(set(given) - set(listed) - {MODEL}):
        raise InputError(f"{name} takes no {strange[0]!r}.", hint=f"It takes: {', '.join([*listed, MODEL])}.")
    read = {key: _read(field, given.get(key, "")) for key, field in listed.items()}
    with bindings.within(settings.root):
        return _RUNS[name](read, _model(task, str(given.get(MODEL) or "").strip(), settings))


def _model(task: Task, chosen: str, settings: Settings) -> Any:
    """What the task is given as its model: a handle, for tagging a folder, or None."""
    offered = models(task, settings)
    if chosen and chosen not in offered:
        raise InputError(
            f"{chosen!r} is not a model that this project offers for {task.name}.",
            hint=f"It offers: {', '.join(offered)}."
            if offered
            else "Name one in headrace.toml: [models.NAME]",
        )
    if not chosen and not task.without_model:
        chosen = next(iter(offered), "")
    if not chosen:
        if task.without_model:
            return None
        raise Unavailable(
            f"{task.name} needs a model, and headrace.toml names none that can do it.",
            hint="Name one under [models.NAME]"
            + (' with provider = "local".' if task.name == "tag" else ", or set default under [models]."),
        )
    if task.name == "tag":
        folder = Path(settings.models[chosen].model).expanduser()
        return str(folder if folder.is_absolute() else settings.root / folder)
    return ModelHandle(chosen, root=settings.root)


def _read(field: Input, text: Any) -> Any:
    if field.kind == "integer" and isinstance(text, int) and not isinstance(text, bool):
        text = str(text)  # JSON has numbers and lists, a form has texts alone
    elif field.kind == "lines" and isinstance(text, list):
        text = "\n".join(item if isinstance(item, str) else json.dumps(item) for item in text)
    elif field.kind == "history" and isinstance(text, list):
        text = json.dumps(text)
    if not isinstance(text, str):
        raise InputError(f"{field.name}: {text!r:.60} is not a text.", hint="Send every input as a text.")
    text = text.replace("\r\n", "\n")  # forms send CR LF
    if not text.strip():
        if field.required:
            raise InputError(f"{field.name}: nothing was given.", hint=f"Fill in {field.label!r}.")
        return None
    if field.kind == "integer":
        if not (text.strip().isascii() and text.strip().isdigit() and 0 < int(text.strip()[:9]) <= 100_000):
            raise InputError(
                f"{field.name}: {text.strip()!r:.60} is not a whole number above 0.",
                hint=f"Correct {field.label!r}.",
            )
        return int(text)
    if field.kind == "lines":
        return [line.strip() for line in text.split("\n") if line.strip()]
    if field.kind == "history":
        return turns(text)
    return text.strip() if field.kind == "line" else text


def turns(text: str) -> list[Message]:
    """The turns of a chat from their JSON; none from an empty text."""
    if not text.strip():
        return []
    try:
        listed = json.loads(text)
        if not isinstance(listed, list):
            raise TypeError("no list")
        found = [Message(turn["role"], turn["content"]) for turn in listed]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            "history: that is not a list of turns.", hint='A turn is {"role": "user", "content": "…"}.'
        ) from error
    for turn in found:
        if turn.role not in ("user", "assistant") or not isinstance(turn.content, str):
            raise InputError(
                f"history: a turn of {turn.role!r:.40} cannot be.", hint="Turns are of user and assistant."
            )
    return found[-MOST_TURNS:]


# --------------------------------------------------------------------------- the tasks


def _decoding(read: Mapping[str, Any]) -> Decoding | None:
    return Decoding(max_new_tokens=read["tokens"]) if read.get("tokens") else None


def _summarize(read: Mapping[str, Any], model: Any) -> Any:
    from headrace.tasks.summaries import summarize

    return summarize(read["text"], sentences=read["sentences"], words=read["words"], model=model)


def _sentiment(read: Mapping[str, Any], model: Any) -> Any:
    from headrace.tasks.sentiments import sentiment

    return sentiment(read["text"])


def _classify(read: Mapping[str, Any], model: Any) -> Any:
    from headrace.tasks.classes import classify

    examples = None
    if read["examples"]:
        try:
            examples = [json.loads(line) for line in read["examples"]]
        except ValueError as error:
            raise InputError(
                f"examples: a line is not JSON: {error}.", hint='A line is {"text": "…", "label": "…"}.'
            ) from error
    return classify(read["text"], read["labels"], examples=examples, model=model)


def _translate(read: Mapping[str, Any], model: Any) -> Any:
    from headrace.tasks.writing import translate

    return translate(read["text"], read["to"], source=read["source"] or "en", model=model)


def _tag(read: Mapping[str, Any], model: Any) -> Any:
    from headrace.tasks.tags import tag

    return tag(read["text"], model=model)


def _table(read: Mapping[str, Any], model: Any) -> Any:
    from headrace.tasks import tables

    return tables.table(read["text"], tables.read(read["table"]), model=model)


def _chat(read: Mapping[str, Any], model: Any) -> Any:
    from headrace.tasks.writing import chat

    return chat(read["text"], history=read["history"] or (), model=model, decoding=_decoding(read))


def _generate(read: Mapping[str, Any], model: Any) -> Any:
    from headrace.tasks.writing import generate

    return generate(read["text"], model=model, decoding=_decoding(read))


_RUNS: Mapping[str, Callable[[Mapping[str, Any], Any], Any]] = {
    "summarize": _summarize,
    "sentiment": _sentiment,
    "classify": _classify,
    "translate": _translate,
    "tag": _tag,
    "table": _table,
    "chat": _chat,
    "generate": _generate,
}
