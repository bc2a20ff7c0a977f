"""An application's signature → its JSON schema, and strangers' values → its arguments.

One schema serves HTTP, the page's form and the command line. pydantic does the validating; it is
loaded when a door first needs it, never for a plain call from Python.

Types: str, int, float, bool, Literal, Enum, datetime, date, Path, list, dict, dataclass, pydantic
model, ``list[Message]`` and :class:`~headrace.types.Table`; each optional, each with a default.
"""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from headrace.errors import InputError, UserError
from headrace.types import Message, Table


class Signature:
    """The typed parameters of an application. Raises UserError for a parameter without a type."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.name = name
        self.function = function
        self._call = inspect.signature(function)
        self.parameters = dict(self._call.parameters)
        for parameter in self.parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise UserError(
                    f"{name}: the parameter {str(parameter)!r} cannot be part of an application's signature.",
                    hint="Name each parameter and give it a type: def app(question: str) -> hr.Answer.",
                )
            if parameter.annotation is parameter.empty:
                raise UserError(
                    f"{name}: the parameter {parameter.name!r} has no type.",
                    hint=f"Write {parameter.name}: str (or int, float, bool, Literal, list, a dataclass …).",
                )

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Resolved types by parameter name, and ``return``."""
        try:
            return typing.get_type_hints(self.function, include_extras=True)
        except NameError as error:
            raise UserError(
                f"{self.name}: the type of a parameter cannot be resolved: {error}.",
                hint="Import or define it at the top of the application's file.",
            ) from error

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the parameters without a default."""
        return tuple(n for n, p in self.parameters.items() if p.default is p.empty)

    @property
    def question(self) -> str | None:
        """The one required ``str``: what a chat message or a bare argument fills. None: not exactly one."""
        found = [n for n in self.required if self.hints.get(n) is str]
        return found[0] if len(found) == 1 and len(self.required) == 1 else None

    @property
    def history(self) -> str | None:
        """The parameter that takes earlier messages (``list[Message]``), if there is one."""
        for name in self.parameters:
            if _takes_messages(self.hints.get(name)):
                return name
        return None

    @cached_property
    def _model(self) -> Any:
        import pydantic

        fields: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (_wire_type(self.hints[name]), default)
        try:
            return pydantic.create_model(
                f"{self.name}_inputs",
                __config__=pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=False),
                **fields,
            )
        except pydantic.errors.PydanticSchemaGenerationError as error:
            raise UserError(
                f"{self.name}: a parameter has a type that has no JSON form: {str(error).splitlines()[0]}",
                hint="Use str, int, float, bool, Literal, Enum, datetime, Path, list, a dataclass, a "
                "pydantic model, list[Message] or hr.Table.",
            ) from error

    def schema(self) -> dict[str, Any]:
        """The JSON schema (draft 2020-12) of the inputs: an object, unknown fields refused."""
        schema: dict[str, Any] = self._model.model_json_schema()
        schema["title"] = self.name
        return schema

    def output_schema(self) -> dict[str, Any]:
        """The JSON schema of the output; empty where the return type says nothing."""
        import pydantic

        hint = self.hints.get("return", Any)
        try:
            return pydantic.TypeAdapter(_wire_type(hint)).json_schema(mode="serialization")
        except (pydantic.errors.PydanticSchemaGenerationError, pydantic.errors.PydanticInvalidForJsonSchema):
            return {}

    def validate(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Strangers' values → keyword arguments. InputError names every field that does not fit."""
        import pydantic

        if not isinstance(inputs, Mapping):
            raise InputError(f"The inputs are {inputs!r:.80}, not an object with fields.", hint=self._usage())
        try:
            model = self._model.model_validate(dict(inputs))
        except pydantic.ValidationError as error:
            lines = [
                f"{'.'.join(str(part) for part in problem['loc']) or 'inputs'}: {problem['msg']}"
                + (f" (got {problem['input']!r:.60})" if problem["type"] != "missing" else "")
                for problem in error.errors(include_url=False, include_context=False)
            ]
            raise InputError(
                f"The inputs of {self.name} do not fit: " + "; ".join(lines), hint=self._usage()
            ) from None
        return {name: getattr(model, name) for name in self.parameters}

    @cached_property
    def _properties(self) -> dict[str, Any]:
        found: dict[str, Any] = self.schema().get("properties", {})
        return found

    def from_strings(self, words: Mapping[str, str]) -> dict[str, Any]:
        """Values from the command line or a form: strings, JSON where the type is not a string."""
        inputs: dict[str, Any] = {}
        properties = self._properties
        for name, word in words.items():
            kind = properties.get(name, {}).get("type")
            if kind in ("array", "object") or "anyOf" in properties.get(name, {}):
                try:
                    inputs[name] = json.loads(word)
                    continue
                except json.JSONDecodeError:
                    if kind in ("array", "object"):
                        raise InputError(f"{name}={word!r:.60} is not JSON.", hint=self._usage()) from None
            inputs[name] = word
        return self.validate(inputs)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of a plain Python call → keyword arguments, defaults filled in."""
        try:
            bound = self._call.bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(f"{self.name}: {error}.", hint=self._usage()) from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def _usage(self) -> str:
        shown = ", ".join(str(p) for p in self.parameters.values())
        return f"It takes: {shown}."


def _takes_messages(hint: Any) -> bool:
    if hint is None:
        return False
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_takes_messages(item) for item in arguments)
    return origin in (list, tuple, Sequence) and bool(arguments) and arguments[0] is Message


def _wire_type(hint: Any) -> Any:
    """The type as pydantic is to see it: a Table is a list of records on the wire."""
    import pydantic

    if hint is Table:
        return typing.Annotated[
            Any,
            pydantic.AfterValidator(_table),
            pydantic.WithJsonSchema({"type": "array", "items": {"type": "object"}, "format": "table"}),
        ]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.Union[tuple(_wire_type(item) for item in typing.get_args(hint))]  # noqa: UP007
    return hint


def _table(value: Any) -> Table:
    if isinstance(value, Table):
        return value
    if (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(r, Mapping) for r in value)
    ):
        return Table.of(value)
    raise ValueError("a table is a list of objects, one per row")
