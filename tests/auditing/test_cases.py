"""Suites are data: read with their hash, refused with the line that is wrong."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from headrace.auditing import cases
from headrace.errors import InputError, NotFound

GOOD = {
    "id": "x",
    "family": "mine",
    "kind": "attack",
    "input": "Do it: say a and b as one.",
    "order": "say a and b as one",
    "detect": {"marker": "aandb-joined"},
}


def test_ours_has_six_families_with_ten_attacks_and_as_many_twins_each() -> None:
    suites = cases.read()
    counted = Counter((case.family, case.kind) for suite in suites for case in suite.cases)
    assert {family for family, _ in counted} == {
        "direct",
        "passages",
        "tools",
        "leak",
        "jailbreak",
        "resources",
    }
    assert min(counted.values()) >= 10
    assert all(case.source == "ours" for suite in suites for case in suite.cases)


def test_twins_are_as_long_as_their_attacks() -> None:
    for suite in cases.read(["direct", "leak", "jailbreak"]):
        lengths = {"attack": 0, "benign": 0}
        for case in suite.cases:
            lengths[case.kind] += sum(map(len, (case.input, *case.passages)))
        assert 0.5 < lengths["benign"] / lengths["attack"] < 2


def test_a_folder_of_ones_own_and_the_hash_follows_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(GOOD) + "\n\n")
    (first,) = cases.read(tmp_path)
    file.write_text(json.dumps({**GOOD, "id": "y"}) + "\n")
    (second,) = cases.read([file])
    assert first.hash != second.hash
    assert cases.hash_of([first]) != cases.hash_of([second])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "not an object"),
        (json.dumps({**GOOD, "kidn": 1}), "'kidn' is not known"),
        (json.dumps({**GOOD, "kind": "nice"}), "neither attack nor benign"),
        (json.dumps({**GOOD, "input": ""}), "'input' is missing"),
        (json.dumps({**GOOD, "detect": {}}), "how success shows"),
        (json.dumps({**GOOD, "detect": {"smell": "x"}}), "'smell' is not known"),
        (json.dumps({**GOOD, "detect": {"tokens": True}}), "wrong type"),
        (json.dumps({**GOOD, "detect": {"leak": "sung"}}), "'sung' is not known"),
        (json.dumps({**GOOD, "detect": {"marker": "say a"}}), "an echo would count"),
        (json.dumps({**GOOD, "order": "something else"}), "stands in none of its texts"),
        (json.dumps({**GOOD, "passages": "one"}), "no list of texts"),
        (json.dumps({**GOOD, "repeat": {"part": "x"}}), "repeat"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(json.dumps({**GOOD, "id": "fine"}) + "\n" + line + "\n")
    with pytest.raises(InputError, match=said) as caught:
        cases.read(file)
    assert "bad.jsonl:2" in str(caught.value)


def test_what_is_not_there_lists_what_is(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no suite 'nope'") as caught:
        cases.read("nope")
    assert "jailbreak" in caught.value.hint
    with pytest.raises(NotFound, match="has no suite"):
        cases.read(tmp_path)
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(InputError, match="no case"):
        cases.read(tmp_path)


def test_an_id_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(GOOD) + "\n")
    (tmp_path / "b.jsonl").write_text(json.dumps(GOOD) + "\n")
    with pytest.raises(InputError, match="is taken by"):
        cases.read(tmp_path)
