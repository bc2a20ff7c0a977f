"""Groups in a data set; ``they`` by grammar, measured on sentences of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.auditing.representation import column, measure, mentions
from headrace.cli.main import run
from headrace.errors import InputError

# (text, whether its first they/them/their stands for one person)
THEY = [
    ("A student who loses the card tells the desk when they come in.", True),
    ("Someone left their umbrella.", True),
    ("Everyone brought their own lunch.", True),
    ("If a customer calls, ask them for the order number.", True),
    ("Each employee keeps their badge.", True),
    ("The author signed the book. They smiled.", True),
    ("Ask the new neighbour whether they like tea.", True),
    ("Nobody forgot their keys.", True),
    ("The engineer writes slowly because they think first.", True),
    ("When a patient arrives, they wait in the hall.", True),
    ("The winner said they would share the prize.", True),
    ("Any visitor may store their coat here.", True),
    ("The boxes fell because they were wet.", False),
    ("The engines were old, and their pipes leaked.", False),
    ("Dogs bark when they are bored.", False),
    ("The students lost their cards.", False),
    ("Ana and Ben said they would come.", False),
    ("The laws changed after they were challenged.", False),
    ("People say they like the river.", False),
    ("The teacher collected the papers and graded them.", False),
    ("A student wrote essays and burned them.", False),
    ("The mills stood empty. They were sold.", False),
    ("The rivers flood their banks.", False),
    ("The nurse washed the towels and folded them.", False),
    ("Both companies opened their books.", False),
    ("The police said they had no clue.", False),
    ("Trees lose their leaves.", False),
    ("The driver checked the tyres; they were flat.", False),
    ("The museum bought paintings and hung them.", False),
    ("These rules are old, but they work.", False),
]


def test_they_is_resolved_by_grammar() -> None:
    found = [any(kind == "pronoun" for kind, *_ in mentions(text, ["pronoun"])) for text, _ in THEY]
    right = sum(said and true for said, (_, true) in zip(found, THEY, strict=True))
    precision = right / sum(found)
    recall = right / sum(true for _, true in THEY)
    print(f"they: precision {precision:.2f}, recall {recall:.2f} on {len(THEY)} sentences")
    assert precision >= 0.9
    assert recall >= 0.9


def test_rows_mentions_and_shares() -> None:
    texts = ["She met her sister in Kenya.", "He sold it.", "The mill turns.", "His German friend, he said."]
    groups = {(one.kind, one.group): one for one in measure(texts)}
    assert (groups["pronoun", "he"].rows, groups["pronoun", "he"].mentions) == (2, 3)
    assert groups["pronoun", "he"].of == 3
    share = groups["pronoun", "she"].share
    assert share.value == pytest.approx(1 / 3)
    assert share.low is not None
    assert share.low < 1 / 3
    assert groups["continent", "africa"].rows == groups["continent", "europe"].rows == 1
    assert groups["religion", "sikh"].share.value is None
    with pytest.raises(InputError, match="'shoe size'"):
        measure(texts, kinds=["shoe size"])
    assert all(one.rows == 0 for one in measure(["", "😀 مرحبا"]))


def test_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('who,text\nx,"She, there"\ny,\n', encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"text": "he"}\n{"other": 1}\n', encoding="utf-8")
    assert column(tmp_path / "a.csv", "text") == ["She, there", ""]
    assert column(tmp_path / "a.jsonl", "text") == ["he", ""]
    with pytest.raises(InputError, match="no column 'bio'"):
        column(tmp_path / "a.csv", "bio")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text\nShe came\nHe went\nHe stayed\n", encoding="utf-8")
    words = ["audit", "representation", str(file), "--column", "text"]
    assert run([*words, "--kind", "pronoun", "--svg", str(tmp_path / "a.svg"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 3
    assert {"kind": "pronoun", "group": "he", "rows": 2}.items() <= found["groups"][1].items()
    assert "<svg" in (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert run(words) == 0
    assert "66.7%" in capsys.readouterr().out
    assert run([*words[:-1], "bio"]) == 2
