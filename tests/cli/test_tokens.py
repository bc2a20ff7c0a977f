"""``headrace tokens``: three cuts of one text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from headrace.cli.main import run

NOTES = "the mill by the river turns when the water is high\n" * 4


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert run(["tokens", *words]) == code
    return capsys.readouterr().out


def test_the_packaged_tokenizer(embedder: object, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = json.loads(said(capsys, "Unbelievable mills!", "--price", "2", "--json"))
    assert found["scheme"] == "WordPiece"
    assert found["counts"]["characters"] == 19
    assert found["words"] == ["Unbelievable", "mills"]
    assert found["counts"]["subwords"] == len(found["subwords"]) >= 3
    assert set(found["subwords"][0]) == {"token", "id", "start", "end"}
    assert found["cost"] == pytest.approx(2e-6 * found["counts"]["subwords"])
    assert found["round_trip"] is False
    assert found["outside"] is None


def test_training_on_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text(NOTES, encoding="utf-8")
    words = ["the milll turns", "--train", str(notes), "--vocabulary", "290"]
    found = json.loads(said(capsys, *words, "--save", str(tmp_path / "tokenizer.json"), "--json"))
    assert found["vocabulary"] <= 290
    assert found["merges"]
    assert found["round_trip"] is True
    assert found["outside"] == {
        "words": pytest.approx(1 / 3),
        "characters": 0.0,
        "subwords": 0.0,
        "unknown_words": ["milll"],
    }
    again = json.loads(said(capsys, "the milll turns", "--model", str(tmp_path), "--json"))
    assert again["subwords"] == found["subwords"]
    shown = said(capsys, *words)
    assert "33% of words, 0% of characters, 0% of sub-words" in shown
    assert "15 characters · 3 words" in shown


def test_terms_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mill.txt").write_text("the mill by the river turns", encoding="utf-8")
    (tmp_path / "owl.txt").write_text("the owl by the barn sleeps", encoding="utf-8")
    found = json.loads(said(capsys, "--terms", str(tmp_path), "--json"))
    assert (found["texts"], found["vocabulary"]) == (2, 8)
    assert found["sparsity"] == pytest.approx(1 - found["filled"] / 16)
    assert [term["term"] for term in found["top"]["owl.txt"]] == ["barn", "owl", "sleeps", "by", "the"]
    shown = said(capsys, "--terms", str(tmp_path))
    assert "2 texts × 8 words: 10 cells are not 0" in shown


def test_words_near_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mill river wheel\nowl barn night\n" * 10, encoding="utf-8")
    found = json.loads(said(capsys, "--near", "mill", "--near", "owl", "--train", str(notes), "--json"))
    assert {near["word"] for near in found["near"]["mill"][:2]} == {"river", "wheel"}
    assert set(found["near"]) == {"mill", "owl"}
    assert "similarity" in said(capsys, "--near", "owl", "--train", str(notes))


def test_pictures_are_files(embedder: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": "The mill wheel turns.", "label": "mills"}, {"text": "Stars shine.", "label": "<stars>"}]
    texts, picture = tmp_path / "texts.jsonl", tmp_path / "map.svg"
    texts.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *rows, rows[0]]), encoding="utf-8")
    found = json.loads(said(capsys, "--map", str(texts), "--picture", str(picture), "--json"))
    assert [point["group"] for point in found["points"]][:2] == ["mills", "<stars>"]
    assert sum(found["shares"]) <= 1 + 1e-9
    drawn = ElementTree.fromstring(picture.read_text("utf-8"))
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}circle"))) == 5 + 2
    said(capsys, "Unbelievable <mills> & \n\x07 🦉", "--picture", str(tmp_path / "tokens.svg"))
    boxes = ElementTree.fromstring((tmp_path / "tokens.svg").read_text("utf-8"))
    assert "mill" in "".join(boxes.itertext())


@pytest.mark.parametrize(
    "words",
    [
        ["", "--train", "NOTES"],
        ["--terms", "NOTES", "--map", "NOTES"],
        ["text", "--terms", "NOTES"],
        ["--near", "mill"],
        ["--near", "nowhere", "--train", "NOTES"],
        ["--terms", "EMPTY"],
        ["--terms", "./nowhere"],
        [],
        ["the mill", "--model", "./nowhere"],
        ["the mill", "--train", "./nowhere.txt"],
        ["the mill", "--train", "EMPTY"],
        ["the mill", "--train", "NOTES", "--model", "x"],
        ["the mill", "--save", "x.json"],
        ["the mill", "--train", "NOTES", "--vocabulary", "9"],
        ["the mill", "--train", "NOTES", "--price", "-1"],
    ],
)
def test_what_cannot_be_is_bad_use(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text(NOTES, encoding="utf-8")
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    files = {"NOTES": str(tmp_path / "notes.txt"), "EMPTY": str(tmp_path / "empty.txt")}
    found = json.loads(said(capsys, *[files.get(word, word) for word in words], "--json", code=2))
    assert found["error"]["hint"]
