"""A typed function becomes a tool: a name, a description, a JSON schema, a time limit.

A model chooses a tool by its description, so there has to be one. What the model writes is validated
against the signature before the function sees it. It knows no model: ``agent.py`` does the choosing.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import json
import threading
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from headrace import request, tracing
from headrace.errors import Cancelled, HeadraceError, InputError, ToolError, UserError
from headrace.flows import guarding, waiting
from headrace.flows.signature import Signature
from headrace.text import shorten
from headrace.types import Answer, to_json


class Tool:
    """A function that an agent may call; calling it from Python is calling the function.

    ``schema`` is what a model is told: name, description and the parameters as JSON schema. Arguments
    that ``functools.partial`` fixed, and those that the function keeps to its author
    (``model_arguments``), are not in it. ``seconds`` is its time limit within an agent (None: the
    agent's); ``approve``: it runs only when somebody agrees.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str = "",
        description: str = "",
        seconds: float | None = None,
        approve: bool = False,
    ) -> None:
        inner: Any = function
        fixed: dict[str, Any] = {}
        while isinstance(inner, functools.partial):
            if inner.args:
                raise UserError(
                    f"{function!r:.80} fixes arguments by their position.",
                    hint="Fix them by name: functools.partial(function, timeout=5).",
                )
            inner, fixed = inner.func, {**inner.keywords, **fixed}
        if not callable(inner):
            raise UserError(f"{function!r:.80} is not a function.", hint="Write @hr.tool above a function.")
        self.function = function
        self.name = name or getattr(inner, "__name__", type(inner).__name__)
        if not self.name.isidentifier():
            raise UserError(
                f"{self.name!r} cannot be the name of a tool.",
                hint="Use letters, digits and '_', or name=… for a function without a name.",
            )
        self.description = " ".join((description or inspect.getdoc(inner) or "").split())
        if not self.description:
            raise UserError(
                f"The tool {self.name!r} has no description, and a model chooses by it.",
                hint="Give the function a docstring that says what it does and when to use it.",
            )
        if seconds is not None and not seconds > 0:
            raise InputError(f"seconds={seconds!r} is not a time.", hint="Give for example 10.")
        self.seconds, self.approve = seconds, approve
        self.signature = _offered(inner, self.name, fixed)
        self._asynchronous = inspect.iscoroutinefunction(inner)
        functools.update_wrapper(self, inner)

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def schema(self) -> dict[str, Any]:
        """Name, description and parameters, as function-calling interfaces take them."""
        return {"name": self.name, "description": self.description, "parameters": self.signature.schema()}

    def describe(self) -> str:
        """One line for a prompt: ``calculator(expression: string) - Calculate …``."""
        properties = self.signature.schema().get("properties", {})
        required = self.signature.required
        shown = ", ".join(
            f"{name}{'' if name in required else '?'}: {_kind(properties.get(name, {}))}"
            for name in self.signature.parameters
        )
        return f"{self.name}({shown}) - {shorten(self.description, 400)}"

    def read(self, written: str) -> dict[str, Any]:
        """What a model wrote as input → arguments: a JSON object, or the bare value of the one parameter.

        Raises InputError with what it takes.
        """
        text = _unfenced(written)
        names = list(self.signature.parameters)
        value = _literal(text)
        if isinstance(value, dict):
            only = self.signature.hints.get(names[0]) if len(names) == 1 else str
            if only is str or not value or set(value) & set(names):
                return self.signature.validate(value)
        needed = self.signature.required
        if len(names) == 1 or len(needed) == 1:
            name = needed[0] if len(needed) == 1 else names[0]
            if self.signature.hints.get(name) is str:
                value = value if isinstance(value, str) else text
            elif value is _NOT_JSON:
                value = text
            return self.signature.validate({name: value})
        if not names:
            return {}
        raise InputError(
            f"The input of {self.name} is {shorten(written, 60)!r}, not a JSON object.",
            hint=f"Write for example {json.dumps(dict.fromkeys(names, '…'), ensure_ascii=False)}.",
        )

    def run(self, arguments: Mapping[str, Any], *, seconds: float | None = None) -> Any:
        """Call it with validated arguments, at most ``seconds`` long, as a span of the trace.

        Raises ToolError where it raises or takes longer (then it is told to stop: a tool that asks
        ``request.checkpoint`` does, any other thread is left alone and its result is dropped), and
        Cancelled where the run itself was stopped.
        """
        limit = self.seconds if self.seconds is not None else seconds
        request.checkpoint()
        with tracing.span(self.name, kind="tool") as span:
            span.set(arguments=to_json(arguments))
            guarding.tool(self.name, arguments)
            return self._within(arguments, limit)

    def _within(self, arguments: Mapping[str, Any], limit: float | None) -> Any:
        token, outer = request.CancelToken(), request.current()
        done = threading.Event()
        result: list[Any] = []

        def work() -> None:
            try:
                with request.use(replace(outer, cancel=waiting.either(outer.cancel, token), listener=None)):
                    result.extend((True, self._call(arguments)))
            except BaseException as error:  # noqa: BLE001 - judged below, in the caller's thread
                result.extend((False, error))
            finally:
                done.set()

        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(work,), name=f"tool {self.name}", daemon=True).start()
        waited = 0.0
        while not done.wait(0.02 if limit is None else min(0.02, limit)):
            waited += 0.02 if limit is None else min(0.02, limit)
            if limit is not None and waited >= limit:
                token.cancel("the tool took too long")
                raise ToolError(f"{self.name} did not end within {limit:g} s and was stopped.")
            try:
                request.checkpoint()
            except Cancelled:
                token.cancel("the run was stopped")
                raise
        succeeded, value = result
        if succeeded:
            return value
        if isinstance(value, Cancelled):
            request.checkpoint()  # the run's own end is not the tool's fault
        if isinstance(value, (KeyboardInterrupt, GeneratorExit)):
            raise value
        message = value.message if isinstance(value, HeadraceError) else f"{type(value).__name__}: {value}"
        hint = value.hint if isinstance(value, HeadraceError) else ""
        raise ToolError(f"{self.name} failed: {shorten(message, 500)}", hint=hint) from value

    def _call(self, arguments: Mapping[str, Any]) -> Any:
        if (played := guarding.stand_in()) is not None:
            return played(self.name, arguments)
        if self._asynchronous:
            return waiting.run_coroutine(self.function(**arguments))
        return self.function(**arguments)


@typing.overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@typing.overload
def tool(
    *, name: str = "", description: str = "", seconds: float | None = None, approve: bool = False
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    description: str = "",
    seconds: float | None = None,
    approve: bool = False,
) -> Any:
    """Make a typed function a tool: its docstring is the description, its types are the schema.

    ``seconds``: how long it may take within an agent. ``approve``: an agent runs it only when somebody
    agrees (see :class:`headrace.Agent`).
    """
    settings: dict[str, Any] = {"seconds": seconds, "approve": approve}
    if function is None:
        return lambda found: Tool(found, name=name, description=description, **settings)
    return Tool(function, name=name, description=description, **settings)


def tools_of(given: Sequence[Tool | Callable[..., Any]]) -> dict[str, Tool]:
    """Tools by name; plain functions become tools. InputError where a name is there twice."""
    listed: object = given
    if callable(listed) or isinstance(listed, (str, bytes)):
        raise InputError(f"tools={given!r:.60} is not a list.", hint="Write tools=[hr.tools.calculator].")
    found: dict[str, Tool] = {}
    for item in given:
        made = item if isinstance(item, Tool) else Tool(item)
        if made.name in found:
            raise InputError(
                f"Two tools are named {made.name!r}.",
                hint="Give one another name: hr.tool(name=…)(function).",
            )
        found[made.name] = made
    return found


def observation(value: Any, most: int) -> str:
    """What a tool gave, as text of at most ``most`` code points; what was cut is said."""
    if isinstance(value, str):
        text = value
    elif hasattr(value, "observation"):
        text = str(value.observation())
    elif isinstance(value, Fraction):
        from headrace.tools.exact import shown

        text = shown(value)
    elif isinstance(value, Answer):
        text = value.text
    else:
        text = json.dumps(to_json(value), ensure_ascii=False)
    if len(text) > most:
        cut = len(text) - most
        text = f"{text[: most * 3 // 4]}\n[cut: {cut:,} characters]\n{text[len(text) - most // 4 :]}"
    return text if text.strip() else "[nothing]"


def _offered(function: Callable[..., Any], name: str, fixed: Mapping[str, Any]) -> Signature:
    """The signature of what a model may choose."""
    call = inspect.signature(function)
    chosen = getattr(function, "model_arguments", None)
    parameters = [p for n, p in call.parameters.items() if n not in fixed and (chosen is None or n in chosen)]
    if len(parameters) == len(call.parameters):
        return Signature(function, name)
    hints = typing.get_type_hints(function, include_extras=True)

    def shim(**_: Any) -> None:
        """Carries the signature."""

    shim.__dict__["__signature__"] = call.replace(parameters=parameters)
    shim.__annotations__ = {p.name: hints[p.name] for p in parameters if p.name in hints}
    return Signature(shim, name)


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(json.dumps(item, ensure_ascii=False) for item in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(item) for item in schema["anyOf"])
    return str(schema.get("type", "value"))


_NOT_JSON: Any = object()


def _literal(text: str) -> Any:
    """The JSON, or Python literal, that a text is; ``_NOT_JSON`` where it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if text[:1] in "{['\"" and len(text) < 100_000:
        import ast

        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return _NOT_JSON
    return _NOT_JSON


def _unfenced(text: str) -> str:
    """Without a fence of back quotes round it."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and len(text) >= 6:
        first, newline, rest = text[3:-3].partition("\n")
        named = bool(newline) and (first.strip().isalnum() or not first.strip())
        text = rest if named else text[3:-3]
    elif len(text) > 1 and text.startswith("`") and text.endswith("`"):
        text = text[1:-1]
    return text.strip("\n") if "\n" in text else text.strip()
