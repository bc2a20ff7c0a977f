"""Tools: schema from the signature, input as models write it, failures and time limits."""

from __future__ import annotations

import functools
import time
from fractions import Fraction
from typing import Any, Literal

import pytest

import headrace as hr
from headrace import request
from headrace.errors import Cancelled, InputError, ToolError, UserError
from headrace.flows.tool import Tool, observation, tools_of


@hr.tool
def convert(amount: float, to: Literal["USD", "EUR"] = "EUR") -> float:
    """Convert an amount of Swiss francs.

    Use it for money only.
    """
    return amount * (1.1 if to == "USD" else 1.05)


def test_a_typed_function_has_a_schema_and_can_still_be_called() -> None:
    assert isinstance(convert, Tool)
    assert convert(10.0, to="USD") == pytest.approx(11.0)
    schema = convert.schema()
    assert schema["name"] == "convert"
    assert schema["description"] == "Convert an amount of Swiss francs. Use it for money only."
    assert schema["parameters"]["required"] == ["amount"]
    assert schema["parameters"]["properties"]["to"]["enum"] == ["USD", "EUR"]
    assert schema["parameters"]["additionalProperties"] is False
    assert convert.describe().startswith('convert(amount: number, to?: "USD" or "EUR") - Convert an amount')


def test_a_model_sees_only_what_it_may_choose() -> None:
    made = hr.tool(hr.tools.python)
    assert list(made.schema()["parameters"]["properties"]) == ["code"]
    with pytest.raises(InputError, match="unsafe"):
        made.read('{"code": "1", "unsafe": true}')
    short = Tool(functools.partial(convert.function, to="USD"), name="dollars")
    assert list(short.schema()["parameters"]["properties"]) == ["amount"]
    assert short.run(short.read("2")) == pytest.approx(2.2)


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ('{"amount": 5}', {"amount": 5.0, "to": "EUR"}),
        ('```json\n{"amount": 5, "to": "USD"}\n```', {"amount": 5.0, "to": "USD"}),
        ("{'amount': 5}", {"amount": 5.0, "to": "EUR"}),
        ("5", {"amount": 5.0, "to": "EUR"}),
        (' "5" ', {"amount": 5.0, "to": "EUR"}),
    ],
)
def test_input_is_read_as_models_write_it(written: str, arguments: dict[str, Any]) -> None:
    assert convert.read(written) == arguments


@pytest.mark.parametrize(
    ("written", "expression"),
    [
        ("2 + 2", "2 + 2"),
        ('"2 + 2"', "2 + 2"),
        ('{"expression": "2 + 2"}', "2 + 2"),
        ("`2 + 2`", "2 + 2"),
        ("42", "42"),
    ],
)
def test_a_bare_text_is_the_one_parameter(written: str, expression: str) -> None:
    assert hr.tool(hr.tools.calculator).read(written) == {"expression": expression}


@pytest.mark.parametrize("written", ["", "much", '{"amount": "much"}', '{"sum": 5}', "[" * 5000, "{" * 5000])
def test_input_that_does_not_fit_says_what_fits(written: str) -> None:
    with pytest.raises(InputError) as error:
        convert.read(written)
    assert "amount" in str(error.value)


def test_a_tool_without_description_or_types_is_refused() -> None:
    def silent(x: int) -> int:
        return x

    def untyped(x):  # type: ignore[no-untyped-def]
        """Says something."""

    with pytest.raises(UserError, match="no description"):
        hr.tool(silent)
    with pytest.raises(UserError, match="has no type"):
        hr.tool(untyped)
    with pytest.raises(UserError, match="name of a tool"):
        Tool(convert.function, name="a tool")
    with pytest.raises(InputError, match="Two tools"):
        tools_of([convert, convert])
    with pytest.raises(InputError, match="not a list"):
        tools_of(convert)  # type: ignore[arg-type]


def test_what_it_raises_becomes_a_tool_error() -> None:
    @hr.tool
    def broken(text: str) -> str:
        """Always fails."""
        raise KeyError(text)

    with pytest.raises(ToolError, match="broken failed: KeyError: 'a'"):
        broken.run({"text": "a"})


def test_a_tool_that_hangs_is_left_and_told_to_stop() -> None:
    stopped = []

    @hr.tool(seconds=0.1)
    def slow() -> str:
        """Takes its time."""
        try:
            for _ in range(1000):
                time.sleep(0.01)
                request.checkpoint()
        except Cancelled:
            stopped.append(True)
            raise
        return "done"

    with pytest.raises(ToolError, match="did not end within 0.1 s"):
        slow.run({})
    for _ in range(200):
        if stopped:
            break
        time.sleep(0.01)
    assert stopped


def test_a_cancelled_run_stops_its_tool() -> None:
    token = request.CancelToken()

    @hr.tool
    def stopper() -> str:
        """Cancels the run that it is in."""
        token.cancel("the test")
        request.checkpoint()
        return "never"

    with request.use(request.RequestContext(cancel=token)), pytest.raises(Cancelled):
        stopper.run({})


def test_an_async_function_is_a_tool_too() -> None:
    @hr.tool
    async def later(x: int) -> int:
        """Doubles, later."""
        return x * 2

    assert later.run({"x": 4}) == 8


def test_observations_are_texts_of_bounded_length() -> None:
    assert observation(Fraction(3, 10), 100) == "0.3"
    assert observation({"a": [1, None]}, 100) == '{"a": [1, null]}'
    assert observation("", 100) == "[nothing]"
    long = observation("x" * 10**6, 1000)
    assert len(long) < 1100
    assert "[cut: 999,000 characters]" in long


def test_a_knowledge_base_as_a_tool(tmp_path: Any) -> None:
    kb = hr.KnowledgeBase(tmp_path / "kb")
    kb.add(hr.Document("The ferry leaves at nine in the morning.", id="ferry.md"))
    search = hr.tool(hr.tools.knowledge(kb, name="harbour", about="the harbour"))
    assert "about the harbour" in search.description
    assert "ferry.md" in search.run(search.read("When does the ferry leave?"))
