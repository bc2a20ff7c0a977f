"""headrace task: the contract that others script against. Each runs as a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.test_contract import headrace, value

EXAMPLES = [
    ("When is lunch?", "time"),
    ("At what time?", "time"),
    ("Who is it?", "person"),
    ("Who?", "person"),
]


def test_sentiment_json(tmp_path: Path) -> None:
    got = value(headrace("task", "sentiment", "A warm and funny film.", "--json", cwd=tmp_path))
    assert [set(item) for item in got] == [{"label", "score"}] * 2
    assert got[0]["label"] == "positive"
    assert got[0]["score"] + got[1]["score"] == pytest.approx(1)
    assert got == value(headrace("task", "sentiment", "--json", cwd=tmp_path, stdin="A warm and funny film."))


def test_lines_give_a_value_each_and_bad_ones_say_so(tmp_path: Path) -> None:
    lines = "A warm and funny film.\n\n🎉 ممتاز\nA dull mess.\n"
    done = headrace("task", "sentiment", "--lines", cwd=tmp_path, stdin=lines, code=2)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 4
    assert found[1]["error"]["code"] == "input-error"
    assert (found[0][0]["label"], found[3][0]["label"]) == ("positive", "negative")
    assert headrace("task", "sentiment", "--lines", "--json", cwd=tmp_path, stdin="").stdout == ""


def test_classify(tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_text("\n".join(json.dumps({"text": t, "label": n}) for t, n in EXAMPLES), encoding="utf-8")
    done = headrace(
        "task", "classify", "--examples", str(file), "--lines", cwd=tmp_path, stdin="When?\nWho was it?\n"
    )
    labels = [json.loads(line)[0]["label"] for line in done.stdout.splitlines()]
    assert labels == ["time", "person"]
    got = value(headrace("task", "classify", "text", "--labels", "a,b,a", "--json", cwd=tmp_path, code=2))
    assert "twice" in got["error"]["message"]
    headrace("task", "classify", "text", cwd=tmp_path, code=2)


def test_the_others(tmp_path: Path) -> None:
    text = "First things first. We present a paint that shows bare steel. It is cheap."
    got = value(headrace("task", "summarize", text, "--sentences", "1", "--json", cwd=tmp_path))
    assert got[0]["summary_text"] in text
    (tmp_path / "t.csv").write_text("name,age\nAda,36\nBo,20\n", encoding="utf-8")
    got = value(headrace("task", "table", "average age", "--table", "t.csv", "--json", cwd=tmp_path))
    assert (got["answer"], got["query"]) == (28.0, 'SELECT AVG("age") FROM "data"')
    shown = headrace("task", "table", "average age", "--table", "t.csv", cwd=tmp_path).stdout
    assert "28.0" in shown
    assert "SELECT" in shown
    echo = ("--model", "scripted:echo", "--json")
    assert value(headrace("task", "generate", "Once upon", *echo, cwd=tmp_path))[0]["generated_text"]
    assert value(headrace("task", "translate", "Hi", "--to", "fr", *echo, cwd=tmp_path))[0][
        "translation_text"
    ]
    assert value(headrace("task", "chat", "Hello", *echo, cwd=tmp_path))[0]["generated_text"]


def test_chat_lines_are_turns_of_one_conversation(tmp_path: Path) -> None:
    done = headrace("task", "chat", "--lines", "--model", "scripted:echo", cwd=tmp_path, stdin="One\nTwo\n")
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", "x"), "needs a language model"),
        (("tag", "x"), "token-classification"),
        (("translate", "x"), "--to"),
        (("table", "x"), "--table"),
        (("sentiment", "x", "--to", "fr"), "belongs to"),
        (("sentiment", ""), "empty"),
        (("sentiment", "x", "--lines"), "standard input"),
        (("translate", "x", "--to", "xx"), "not known"),
        (("sing", "x"), "sing"),
    ],
)
def test_bad_use(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = headrace("task", *words, "--json", cwd=tmp_path, code=2)
    assert said in json.loads(done.stdout)["error"]["message"] + done.stderr


def test_a_megabyte_on_standard_input(tmp_path: Path) -> None:
    text = "The committee met again. Nobody knew why, and nothing was decided in the end. " * 13_000
    got = value(headrace("task", "summarize", "--sentences", "2", "--json", cwd=tmp_path, stdin=text))
    assert len(got[0]["spans"]) == 2
