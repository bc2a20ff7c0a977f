"""The page of tasks: a form each, made from the catalogue; the same result as JSON at the .json twin.

What a task does, and which models a form may name, is decided in ``tasks/``; the server's places, time
limit, size limit and keys hold here as everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from headrace.errors import HeadraceError
from headrace.tasks import asked
from headrace.tasks.catalogue import TASKS, Task
from headrace.types import Message, to_json
from headrace.web.pages import Problem, render
from headrace.web.respond import form_body, is_form, json_body, unless_gone
from headrace.web.site import caller, site


@dataclass(frozen=True, kw_only=True)
class TasksPage:
    """The catalogue; ``ready`` are the tasks that something here can do now."""

    app: str
    tasks: tuple[Task, ...]
    ready: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """One task's form. ``values`` is what was sent, ``result`` what it gave, None before."""

    app: str
    task: Task
    tasks: tuple[str, ...]
    models: tuple[str, ...]
    ready: bool
    values: Mapping[str, str]
    result: Any = None
    turns: tuple[Message, ...] = ()
    history: str = ""
    problem: Problem | None = None


async def tasks(request: Request) -> Response:
    """GET /tasks and /tasks.json: what there is."""
    where = site(request)
    every = tuple(TASKS.values())
    ready = tuple(task.name for task in every if task.without_model or asked.models(task, where.settings))
    return render(request, "tasks.html", TasksPage(app=where.name, tasks=every, ready=ready))


async def task(request: Request) -> Response:
    """GET: the form. POST: a form gives the page with the result; JSON, and the .json twin, the result."""
    where = site(request)
    found = asked.find(request.path_params["name"])
    if request.method != "POST":
        return render(request, "task.html", _page(request, found, {}))
    machine = request.url.path.endswith(".json") or not is_form(request)
    given: Mapping[str, Any]
    if is_form(request):
        # A form sends all of its fields; those that were left empty say nothing.
        given = {name: values[-1] for name, values in (await form_body(request)).items() if values[-1]}
    else:
        given = await json_body(request)
    try:
        work = where.desk.call(lambda: asked.ask(found.name, given, settings=where.settings), caller(request))
        result = to_json(await unless_gone(request, work))
    except HeadraceError as error:
        if machine:
            raise
        problem = Problem(code=error.code, message=error.message, hint=error.hint)
        return render(request, "task.html", _page(request, found, given, problem=problem), error.status)
    if machine:
        return JSONResponse(result)
    return render(request, "task.html", _page(request, found, given, result=result))


def _page(request: Request, found: Task, given: Mapping[str, str], **more: Any) -> TaskPage:
    where = site(request)
    offered = asked.models(found, where.settings)
    result = more.get("result")
    values = dict(given)
    turns: list[Message] = []
    if found.name == "chat" and "problem" not in more:
        turns = asked.turns(given.get("history", ""))
    if found.name == "chat" and result is not None:
        turns += [Message("user", given["text"]), Message("assistant", result[0]["generated_text"])]
        values["text"] = ""  # it stands among the turns now
    return TaskPage(
        app=where.name,
        task=found,
        tasks=tuple(TASKS),
        models=offered,
        ready=bool(found.without_model or offered),
        values=values,
        turns=tuple(turns),
        history=_sent_back(turns) if turns else given.get("history", ""),
        **more,
    )


def _sent_back(turns: Sequence[Message]) -> str:
    """The turns of a chat, as the form sends them back with the next message."""
    kept = turns[-asked.MOST_TURNS :]
    return json.dumps([{"role": m.role, "content": m.content} for m in kept], ensure_ascii=False)
