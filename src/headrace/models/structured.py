"""A value of a given form out of a model: asked for with a schema, read, checked, asked for again.

The prompt carries the schema and a worked example; what comes back is read tolerantly (``jsonlike``), then
checked strictly. What does not fit goes back to the model with the reasons, a few times; then it is a typed
failure, never a value that does not fit. The decoding itself is not constrained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from headrace import request, tracing
from headrace.errors import InputError, InvalidOutput
from headrace.models import forms
from headrace.models.jsonlike import candidates
from headrace.schema.asking import asking
from headrace.schema.check import check
from headrace.schema.example import example as example_of
from headrace.schema.values import problems
from headrace.text import shorten
from headrace.types import Completion, Decoding, Message, Usage, to_json

ATTEMPTS = 3
_CALLED = {"json": "JSON value", "list": "list", "table": "table", "xml": "XML"}
_REPEATED = 20_000  # characters of a reply that go back to the model with what is wrong with it


class Completes(Protocol):
    """What is needed of a model here; handles have it too."""

    def complete(self, messages: Sequence[Message], decoding: Decoding) -> Completion: ...


@dataclass(frozen=True, kw_only=True)
class Structured:
    """``value`` fits the schema: plain JSON data, or an instance of the pydantic model that was given.

    ``text`` is what the model wrote last, ``attempts`` how often it was asked, ``usage`` of all
    attempts together, ``rejected`` why the earlier ones did not do.
    """

    value: Any
    text: str
    attempts: int
    usage: Usage
    model: str
    rejected: tuple[str, ...] = ()


def structured(
    model: Completes,
    messages: str | Sequence[Message],
    schema: Any,
    *,
    example: Any = None,
    attempts: int = ATTEMPTS,
    decoding: Decoding | None = None,
    ask: bool = True,
    form: forms.Form = "json",
) -> Structured:
    """Have ``model`` answer with a value that satisfies ``schema``.

    ``schema`` is a JSON schema (a mapping) or a pydantic model. ``example`` is a value that fits and
    goes into the prompt; None takes the schema's own or makes one. ``ask`` False: the messages hold
    schema and example already. ``form``: how the model writes it, ``json``, ``list`` (of texts or
    numbers), ``table`` (rows of one level) or ``xml``. ``attempts`` counts all calls, the first one included.

    Raises InputError, before the model is asked, for a schema that is broken or that no value can
    satisfy, and for an example that does not fit; InvalidOutput (``attempts``, ``text``,
    ``problems``) where no attempt gave a value that fits.
    """
    wanted = Form(schema, example=example, form=form)
    if attempts < 1 or isinstance(attempts, bool):
        raise InputError(f"attempts={attempts!r} is below 1.", hint="Give the number of calls, 1 or more.")
    asked = [Message("user", messages)] if isinstance(messages, str) else list(messages)
    if ask:
        asked = wanted.asked(asked)
    settings = decoding or Decoding()
    usage, rejected, turn = Usage(), list[str](), asked
    with tracing.span("structured", kind="step") as span:
        for attempt in range(1, attempts + 1):
            request.checkpoint()
            written = model.complete(turn, settings)
            usage = usage + written.usage
            span.set(attempts=attempt)
            value, wrong = wanted.read(written.text)
            if not wrong:
                return Structured(
                    value=value,
                    text=written.text,
                    attempts=attempt,
                    usage=usage,
                    model=written.model,
                    rejected=tuple(rejected),
                )
            if written.finish == "length":
                wrong = [f"the text was cut off after {written.usage.output_tokens} tokens", *wrong]
            rejected.append("; ".join(wrong))
            turn = [*asked, *_again(written.text, wrong, form)]
    cut = written.finish == "length"
    raise InvalidOutput(
        f"{written.model} wrote no value that fits the schema in {attempts} "
        f"{'attempt' if attempts == 1 else 'attempts'}; the last one: {wrong[0]}. It wrote "
        f"{shorten(written.text, 80)!r}.",
        hint="Allow longer answers: Decoding(max_new_tokens=…)."
        if cut
        else "Give an example, a simpler schema, more attempts, or a model that follows instructions.",
        attempts=attempts,
        text=written.text,
        problems=tuple(wrong),
    )


def _again(text: str, wrong: Sequence[str], form: str) -> list[Message]:
    listed = "\n".join(f"- {problem}" for problem in wrong)
    said = text if len(text) <= _REPEATED else text[:_REPEATED] + "…"
    return [
        Message("assistant", said.strip() or "(nothing)"),
        Message(
            "user",
            f"That does not fit:\n{listed}\nReply with the corrected {_CALLED[form]} and nothing else.",
        ),
    ]


class Form:
    """A schema, ready to be asked for and read: of a mapping, true, or a pydantic model."""

    def __init__(self, schema: Any, *, example: Any = None, form: forms.Form = "json") -> None:
        self.type = schema if _is_pydantic(schema) else None
        self.schema: Any = schema.model_json_schema() if self.type is not None else schema
        check(self.schema)
        self.form = None if form == "json" else forms.form_of(form, self.schema)
        self._example = to_json(_plain(example))
        if example is not None and (wrong := self._check(self._example)[1]):
            raise InputError(
                f"The example does not fit the schema: {wrong[0]}.", hint="Correct the example or the schema."
            )

    @cached_property
    def example(self) -> Any:
        """A value that fits. InputError where none was given and none could be made."""
        return self._example if self._example is not None else example_of(self.schema)

    @cached_property
    def instruction(self) -> str:
        """What a prompt has to say: the schema and a worked example."""
        if self.form is not None:
            return (
                f"{self.form.order}\n\nAn example of the form; its values are invented:\n"
                + self.form.write(self.example)
            )
        return asking(self.schema, self.example)

    def asked(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with the instruction at their end, where it is followed best."""
        if messages and messages[-1].role == "user":
            last = messages[-1]
            content = f"{last.content}\n\n{self.instruction}"
            return [*messages[:-1], Message("user", content, name=last.name)]
        return [*messages, Message("user", self.instruction)]

    def read(self, text: str) -> tuple[Any, list[str]]:
        """(the value, []) or (None, what is wrong). Of several values in a text, the first that fits."""
        if self.form is not None:
            try:
                value = self.form.read(text)
            except ValueError as error:
                return None, [str(error)]
            return self._check(value)
        first: list[str] = []
        for found in candidates(text):
            if found.problem:
                first = first or [found.problem]
                continue
            value, wrong = self._check(found.value)
            if not wrong:
                return value, []
            if not first or found.whole:
                first = wrong
        return None, first or ["the text holds no JSON value"]

    def _check(self, value: Any) -> tuple[Any, list[str]]:
        if self.type is None:
            return value, problems(value, self.schema)
        try:
            return self.type.model_validate(value), []
        except ValueError as error:  # pydantic's ValidationError is one
            return None, _listed(error)


def _is_pydantic(schema: Any) -> bool:
    return isinstance(schema, type) and hasattr(schema, "model_json_schema")


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump is not None and not isinstance(value, Mapping) else value


def _listed(error: ValueError) -> list[str]:
    """pydantic's findings as ``place: what``."""
    told = getattr(error, "errors", None)
    if told is None:
        return [str(error)]
    return [
        f"{'/'.join(['', *map(str, one['loc'])]) or 'the value'}: {one['msg']}"
        + ("" if one["type"] == "missing" else f" (it is {shorten(repr(one.get('input')), 60)})")
        for one in told(include_url=False)
    ][:20]
