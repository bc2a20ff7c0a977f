"""The scripted double: given answers, played like a model would write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.model import ASK, SHORT, ModelContract
from headrace import request
from headrace.errors import InputError, ModelBusy, ModelError, ModelTimeout, NotFound, SettingsError
from headrace.models.scripted import NOTHING_TO_QUOTE, ScriptedModel, open_scripted
from headrace.settings import ModelSettings
from headrace.types import Decoding, Message


class TestContract(ModelContract):
    @pytest.fixture
    def model(self) -> ScriptedModel:
        return ScriptedModel("Twenty-five days, all told.")


class TestSlowContract(ModelContract):
    @pytest.fixture
    def model(self) -> ScriptedModel:
        return ScriptedModel({"leave": "Twenty-five  days\nof leave."}, delay=0.001, pace=0.001)


def say(text: str) -> list[Message]:
    return [Message("user", text)]


def opened(name: str, root: Path, **settings: Any) -> ScriptedModel:
    return open_scripted(name, ModelSettings(**settings), policy="off", root=root)


def test_a_list_is_played_in_order_and_then_ends() -> None:
    model = ScriptedModel(["one", "two"])
    assert [model.complete(say("?"), SHORT).text for _ in range(2)] == ["one", "two"]
    with pytest.raises(ModelError, match="all of its 2 replies"):
        model.complete(say("?"), SHORT)


def test_a_list_can_begin_again() -> None:
    model = ScriptedModel(["one", "two"], cycle=True)
    assert [model.complete(say("?"), SHORT).text for _ in range(3)] == ["one", "two", "one"]


def test_a_mapping_takes_the_first_pattern_that_matches() -> None:
    model = ScriptedModel({r"leave|holiday": "25 days", "": "No idea."})
    assert model.complete(say("How much holiday?"), SHORT).text == "25 days"
    assert model.complete(say("What for lunch?"), SHORT).text == "No idea."


def test_a_mapping_without_a_match_says_for_what() -> None:
    with pytest.raises(ModelError, match="'What for lunch\\?'"):
        ScriptedModel({"leave": "25"}).complete(say("What for lunch?"), SHORT)


def test_a_callable_gets_the_messages() -> None:
    model = ScriptedModel(lambda messages: messages[-1].content.upper())
    assert model.complete(say("loud"), SHORT).text == "LOUD"


def test_it_remembers_what_was_asked() -> None:
    model = ScriptedModel("yes")
    model.complete(ASK, SHORT)
    assert model.calls[0].messages == ASK
    assert model.calls[0].decoding == SHORT


def test_lengths_count_words_and_cut_at_the_limit() -> None:
    done = ScriptedModel("a b c d e").complete(say("one two"), Decoding(max_new_tokens=3))
    assert (done.text, done.finish) == ("a b c", "length")
    assert (done.usage.input_tokens, done.usage.output_tokens) == (2, 3)


def test_exactly_the_limit_is_not_cut() -> None:
    done = ScriptedModel("a b c\n").complete(say("?"), Decoding(max_new_tokens=3))
    assert (done.text, done.finish) == ("a b c\n", "stop")


def test_stop_strings_end_the_text_before_them() -> None:
    done = ScriptedModel("first. Question: next").complete(say("?"), Decoding(stop=("Question:", "xyz")))
    assert done.text == "first. "


def test_it_fails_as_often_as_told() -> None:
    model = ScriptedModel("at last", fail=2)
    for _ in range(2):
        with pytest.raises(ModelBusy):
            model.complete(say("?"), SHORT)
    assert model.complete(say("?"), SHORT).text == "at last"


def test_it_fails_with_the_errors_given() -> None:
    model = ScriptedModel("fine", fail=[None, ModelTimeout("too slow")])
    assert model.complete(say("?"), SHORT).text == "fine"
    with pytest.raises(ModelTimeout):
        list(model.stream(say("?"), SHORT))
    assert model.complete(say("?"), SHORT).text == "fine"


def test_a_slow_answer_is_stopped_by_the_deadline() -> None:
    model = ScriptedModel("never", delay=60)
    with request.context(deadline=0.05), pytest.raises(request.Cancelled, match="deadline"):
        model.complete(say("?"), SHORT)


def test_a_prompt_beyond_the_window_names_both_numbers() -> None:
    with pytest.raises(InputError, match=r"4 tokens.*at most 4"):
        ScriptedModel("x", window=4).complete(say("a b c d"), SHORT)


def test_prices_make_a_cost(tmp_path: Path) -> None:
    model = opened("echo", tmp_path, input_price=1.0, output_price=2.0)
    assert model.complete(say("a b"), SHORT).usage.cost == pytest.approx((2 * 1 + 3 * 2) / 1e6)


def test_echo_is_the_whole_prompt(tmp_path: Path) -> None:
    model = opened("echo", tmp_path)
    text = " ".join(str(n) for n in range(2000))
    done = model.complete([Message("system", "Be brief."), Message("user", text)], SHORT)
    assert done.text == f"system: Be brief.\n\nuser: {text}"
    assert done.model == "scripted:echo"


def test_quote_cites_the_first_passage(tmp_path: Path) -> None:
    prompt = "Passages:\n<<begin x>>\n[2] a.md > Leave\nTake 25 days. More text.\n\n[3] b.md\nNo.\n<<end x>>"
    assert opened("quote", tmp_path).complete(say(prompt), SHORT).text == "Take 25 days. [2]"


def test_quote_without_a_passage_says_so(tmp_path: Path) -> None:
    assert opened("quote", tmp_path).complete(say("Hello, [1] there"), SHORT).text == NOTHING_TO_QUOTE


def test_replies_from_files(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(json.dumps(["a", "b"]), encoding="utf-8")
    (tmp_path / "map.json").write_text(json.dumps({"x+": "found"}), encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"reply": "r1"}\n\n{"reply": "r2"}\n', encoding="utf-8")
    (tmp_path / "match.jsonl").write_text('{"match": "y", "reply": "yes"}\n', encoding="utf-8")
    assert opened("list.json", tmp_path).complete(say("?"), SHORT).text == "a"
    assert opened("map.json", tmp_path).complete(say("xxx"), SHORT).text == "found"
    assert opened("rows.jsonl", tmp_path).complete(say("?"), SHORT).text == "r1"
    assert opened("match.jsonl", tmp_path).complete(say("y"), SHORT).text == "yes"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("b.json", b"[1, 2]"),
        ("c.json", b'{"(": "open"}'),
        ("d.jsonl", b'{"answer": "x"}'),
        ("e.json", b"\xff\xfe"),
        ("f.json", b'"text"'),
    ],
)
def test_a_file_that_holds_no_replies_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        opened(name, tmp_path)


def test_a_missing_file_lists_the_modes(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="scripted:echo"):
        opened("nothing.json", tmp_path)


def test_options_are_checked(tmp_path: Path) -> None:
    model = opened("echo", tmp_path, options={"fail": 1, "delay": 0.0})
    with pytest.raises(ModelBusy):
        model.complete(say("?"), SHORT)
    with pytest.raises(SettingsError, match="'dely'"):
        opened("echo", tmp_path, options={"dely": 1.0})


def test_identity_follows_the_replies_and_their_order() -> None:
    def hash_of(replies: Any) -> Any:
        return ScriptedModel(replies).identity["hash"]

    assert hash_of({"a": "1", "b": "2"}) == hash_of({"a": "1", "b": "2"})
    assert hash_of({"a": "1", "b": "2"}) != hash_of({"b": "2", "a": "1"})
    assert hash_of(["a"]) != hash_of("a")
