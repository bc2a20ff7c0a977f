"""Settings that contradict each other, the four stages, and grids of settings."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace import to_json, tracing
from headrace.errors import InputError
from headrace.models.decoding import axes, grid, stages
from headrace.models.scripted import ScriptedModel
from headrace.types import Decoding, Message

PROMPT = "how many days of leave do you get ?"


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"temperature": 0, "top_p": 0.9}, "temperature=0"),
        ({"temperature": 0.0, "top_k": 5}, "temperature=0"),
        ({"min_new_tokens": 30, "max_new_tokens": 20}, "max_new_tokens=20"),
        ({"min_new_tokens": -1}, "0 or more"),
        ({"max_new_tokens": 0}, "1 or more"),
        ({"max_new_tokens": 2.5}, "whole number"),
        ({"temperature": 1.0, "top_p": 1.5}, "at most 1"),
        ({"temperature": 1.0, "top_p": 0.0}, "above 0"),
        ({"temperature": 1.0, "top_p": float("nan")}, "share of probability"),
        ({"temperature": 1.0, "top_k": 0}, "1 or more"),
        ({"temperature": -0.1}, "0 (the likeliest"),
        ({"temperature": float("nan")}, "0 (the likeliest"),
        ({"temperature": "hot"}, "0 (the likeliest"),
        ({"num_beams": 0}, "1 or more"),
        ({"num_beams": True}, "whole number"),
        ({"seed": -3}, "0 or more"),
        ({"stop": "END"}, "tuple of texts"),
        ({"stop": ("END", "")}, "none of them empty"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        Decoding(**wrong)
    assert reason in caught.value.hint
    assert any(f"{name}={value!r}" in caught.value.message for name, value in wrong.items())
    with pytest.raises(InputError):
        replace(Decoding(), **wrong)


def test_a_decoding_is_a_value() -> None:
    one = Decoding(temperature=0.7, top_p=0.9, stop=("a", "b"), seed=3)
    assert one == Decoding(temperature=0.7, top_p=0.9, stop=["a", "b"], seed=3)  # type: ignore[arg-type]
    assert hash(one) == hash(replace(one))
    assert pickle.loads(pickle.dumps(one)) == one
    assert Decoding(temperature=1, num_beams=4, top_k=1, top_p=1).num_beams == 4
    assert Decoding(seed=1) != Decoding()


# ---------------------------------------------------------------------- the four stages


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("torch", reason="the extra 'local' is not installed")
    from tiny_models import save_t5

    from headrace.models.local import open_local
    from headrace.settings import ModelSettings

    folder = save_t5(tmp_path_factory.mktemp("models") / "t5", seed=1)
    return open_local(str(folder), ModelSettings(), policy="off", root=Path("/"))


def test_the_stages_are_those_of_the_call(tiny: Any) -> None:
    decoding = Decoding(max_new_tokens=8, temperature=1.0, seed=2)
    with tracing.collect("test") as run:
        shown = stages(tiny, PROMPT, decoding)
    done = tiny.complete([Message("user", PROMPT)], decoding)
    assert shown.prompt == PROMPT
    assert shown.read.tokens[:3] == ("how", "many", "days")
    assert shown.read.tokens[-1] == "</s>"
    assert (len(shown.read.ids), shown.read.mask, shown.read.dropped) == (10, (1,) * 10, 0)
    assert shown.text == done.text
    assert shown.written.finish == done.finish
    assert len(shown.written.tokens) == len(shown.written.logprobs) == len(shown.written.ids)
    assert len([token for token in shown.written.tokens if token != "</s>"]) == done.usage.output_tokens
    assert shown.written.seconds > 0
    assert run.record["prompts"][0]["text"] == PROMPT
    assert to_json(shown)["written"]["ids"] == list(shown.written.ids)


def test_a_prompt_that_is_cut_says_so(tiny: Any) -> None:
    shown = stages(tiny, PROMPT, Decoding(max_new_tokens=3), max_length=6)
    assert shown.read.dropped == 4
    assert len(shown.read.ids) == 6
    assert shown.prompt == "how many days of leave"


def test_a_double_cannot_be_opened_up() -> None:
    with pytest.raises(InputError, match="cannot be opened up"):
        stages(ScriptedModel("yes"), PROMPT)


# ---------------------------------------------------------------------- grids


def test_a_grid_tries_every_combination(tiny: Any) -> None:
    values = {"temperature": [0.0, 0.7], "top_p": [0.8, 0.95], "num_beams": [1, 4]}
    rows = list(grid(tiny, PROMPT, values, base=Decoding(max_new_tokens=8, seed=1)))
    assert [row.asked for row in rows] == [
        {"temperature": t, "top_p": p, "num_beams": b}
        for t in (0.0, 0.7)
        for p in (0.8, 0.95)
        for b in (1, 4)
    ]
    for row in rows:
        shown = stages(tiny, PROMPT, row.decoding)
        assert row.text == shown.text
        assert row.logprob == pytest.approx(sum(shown.written.logprobs))
        assert row.logprob_per_token == pytest.approx(row.logprob / row.tokens)
        assert row.tokens == len(shown.written.ids)
        assert row.decoding.max_new_tokens == 8
    greedy = [row for row in rows if row.decoding.temperature == 0]
    assert all(row.ignored == ("top_p",) and row.decoding.top_p is None for row in greedy)
    assert greedy[0].seconds == greedy[2].seconds  # the same decoding is not computed twice
    assert rows[-1].ignored == ()
    assert rows[-1].decoding == Decoding(temperature=0.7, top_p=0.95, num_beams=4, max_new_tokens=8, seed=1)


def test_a_grid_of_a_model_that_tells_no_probabilities() -> None:
    double = ScriptedModel("one two three")
    rows = list(grid(double, PROMPT, {"max_new_tokens": [2, 9]}))
    assert [(row.text, row.tokens, row.finish) for row in rows] == [
        ("one two", 2, "length"),
        ("one two three", 3, "stop"),
    ]
    assert all(row.logprob is None and row.logprob_per_token is None for row in rows)
    with pytest.raises(InputError, match="max_length=3"):
        list(grid(double, PROMPT, {}, max_length=3))


def test_a_grid_is_checked_before_it_begins() -> None:
    double = ScriptedModel("yes")
    for values in (
        {"max_new_tokens": [20, 5], "min_new_tokens": [10]},
        {"temperature": [0.0], "top_p": [1.2]},
        {"seed": range(501)},
        {"top_p": [0.8, 0.9]},  # greedy, all of them
    ):
        with pytest.raises(InputError):
            grid(double, PROMPT, values)
    assert not double.calls


def test_settings_are_read_from_words() -> None:
    assert axes(["temperature=0,0.7", "top_k=5"]) == {"temperature": [0.0, 0.7], "top_k": [5]}
    assert axes([]) == {}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["heat=1"], "heat=1"),
        (["temperature"], "temperature"),
        (["top_k=1.5"], "1.5"),
        (["top_p=a,b"], "top_p=a,b"),
        (["top_k="], "''"),
        (["top_k=1,1"], "twice"),
        (["top_k=1", "top_k=2"], "twice"),
    ],
)
def test_settings_that_are_not_say_what_is_wrong(words: list[str], says: str) -> None:
    with pytest.raises(InputError) as caught:
        axes(words)
    assert says in str(caught.value)
    assert caught.value.hint
