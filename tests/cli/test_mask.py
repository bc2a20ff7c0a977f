"""``headrace mask`` and ``headrace audit grounding``: what scripts rely on."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from headrace.cli.main import run

LETTER = "Write to a@b.example or a@b.example.\nCard 4111 1111 1111 1111.\n"


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    path = tmp_path / "letter.txt"
    path.write_text(LETTER, encoding="utf-8")
    return path


def test_json(letter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mask", str(letter), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"text", "findings"}
    assert found["text"] == "Write to [EMAIL_1] or [EMAIL_1].\nCard [CARD_1].\n"
    assert [f["kind"] for f in found["findings"]] == ["email", "email", "card"]
    first = found["findings"][0]
    assert LETTER[first["start"] : first["end"]] == "a@b.example"


def test_text_and_numbers_apart(letter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mask", str(letter), "--kind", "card"]) == 0
    said = capsys.readouterr()
    assert said.out == LETTER.replace("4111 1111 1111 1111", "[CARD_1]")
    assert said.err.strip() == "1 card"
    out = tmp_path / "masked.txt"
    assert run(["mask", str(letter), "-o", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert "a@b.example" not in out.read_text(encoding="utf-8")


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LETTER.encode())))
    assert run(["mask", "-", "--json"]) == 0
    assert "[CARD_1]" in json.loads(capsys.readouterr().out)["text"]


def test_bad_input(letter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    binary = tmp_path / "picture.bin"
    binary.write_bytes(bytes(range(256)) * 64)
    assert run(["mask", str(binary)]) != 0
    assert run(["mask", str(tmp_path / "none.txt")]) == 2
    assert run(["mask", str(letter), "--kind", "colour"]) == 2
    assert "colour" in capsys.readouterr().err
    assert run(["mask", str(letter), "-o", str(letter)]) != 0
    assert letter.read_text(encoding="utf-8") == LETTER
    empty = tmp_path / "empty.txt"
    empty.write_text("", encoding="utf-8")
    capsys.readouterr()
    assert run(["mask", str(empty), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": "", "findings": []}


def rows(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


GOOD = json.dumps(
    {
        "answer": "The library opened in 1988. A loan lasts three weeks.",
        "passages": ["The library opened on 3 May 1987.", {"text": "A loan lasts 3 weeks."}],
    }
)


def test_grounding_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "grounding", rows(tmp_path, GOOD, "", GOOD), "--words", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == 2
    assert found[0]["score"] == 0.5
    first, second = found[0]["sentences"]
    assert {"text", "verdict", "score", "passage"} <= set(first)
    assert (first["verdict"], first["passage"]) == ("contradicted", 0)
    assert (second["verdict"], second["passage"]) == ("supported", 1)


def test_grounding_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "grounding", rows(tmp_path, GOOD), "--words"]) == 0
    out = capsys.readouterr().out
    assert "contradicted" in out
    assert "1 of 2 sentences supported: 50.0%" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"answer": "It opened."}', "passages is None"),
        ('{"passages": []}', "answer is None"),
        ('{"answer": "x", "passages": "one text"}', "not a list"),
        ('{"answer": "x", "passages": [5]}', "passage 0 is 5"),
        ("[1]", "list, not an object"),
        ("{", "no JSON"),
    ],
)
def test_grounding_names_the_wrong_line(
    line: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "grounding", rows(tmp_path, GOOD, line)]) == 2
    error = capsys.readouterr().err
    assert "answers.jsonl:2" in error.replace("\n", "")
    assert said in " ".join(error.split())
