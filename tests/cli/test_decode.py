"""``headrace decode``: one JSON value, a table for people, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.main import run

PROMPT = "how many days of leave do you get ?"


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert run(["decode", *words]) == code
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    transformers = pytest.importorskip("transformers", reason="the extra 'local' is not installed")
    import tokenizers

    torch = pytest.importorskip("torch", reason="the extra 'local' is not installed")
    place = tmp_path_factory.mktemp("models") / "tiny"
    names = ["<s>", "</s>", "<unk>", *PROMPT.split(), "the", "mill", "stands"]
    vocabulary = {word: i for i, word in enumerate(names)}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(place)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(names), n_positions=32, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=1
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(place)
    return str(place)


def test_a_grid_is_one_json_value(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--grid", "temperature=0,0.7", "top_p=0.8,0.95", "num_beams=1,4", "--max-new-tokens", "6"]
    found: dict[str, Any] = json.loads(said(capsys, folder, PROMPT, *words, "--json"))
    assert found["model"].startswith("local:")
    assert found["prompt"] == PROMPT
    assert len(found["rows"]) == 8
    for row in found["rows"]:
        assert set(row["settings"]) == {"temperature", "top_p", "num_beams"}
        assert row["decoding"]["max_new_tokens"] == 6
        assert row["seconds"] > 0
        assert row["logprob"] < 0
        assert isinstance(row["text"], str)
        assert row["ignored"] == (["top_p"] if row["settings"]["temperature"] == 0 else [])
    again = json.loads(said(capsys, folder, PROMPT, *words, "--json"))
    assert [row["text"] for row in again["rows"]] == [row["text"] for row in found["rows"]]


def test_a_table_fits_80_columns(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, folder, PROMPT, "--grid", "temperature=0,1", "top_k=2,5", "--max-new-tokens", "5")
    assert "logprob" in shown
    assert "4 combinations, 3 different" in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert shown.count("–") >= 1


def test_the_four_stages(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, folder, PROMPT, "--stages", "--max-new-tokens", "4", "--max-length", "5")
    for line in ("1 prompt", "2 ids and mask: 5 tokens, 4 tokens dropped", "3 model: ", "4 text"):
        assert line in shown
    found = json.loads(said(capsys, folder, PROMPT, "--stages", "--max-new-tokens", "4", "--json"))
    assert set(found) == {"model", "decoding", "prompt", "read", "written", "text"}
    assert found["read"]["dropped"] == 0
    assert len(found["read"]["ids"]) == 9


@pytest.mark.parametrize(
    "words",
    [
        ["--grid", "top_p=1.3"],
        ["--grid", "heat=3"],
        ["--grid", "min_new_tokens=9", "--max-new-tokens", "3"],
        ["--stages", "--grid", "num_beams=1,2"],
        ["--stages"],  # a double has no stages
        ["--max-length", "3"],
        ["--next", "3"],  # nor probabilities
        ["--next", "3", "--grid", "temperature=1"],
        ["--grid", "top_p=0.8"],  # the temperature is 0
    ],
)
def test_what_cannot_be_is_bad_use(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "scripted:echo", PROMPT, *words, "--json", code=2))
    assert found["error"]["code"] == "input-error"
    assert found["error"]["hint"]


def test_what_is_no_model_is_bad_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no model" in said(capsys, str(tmp_path), PROMPT, "--json", code=2)
    assert "There is no folder" in said(capsys, "./nowhere", PROMPT, "--json", code=2)


def test_the_next_tokens(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, folder, PROMPT, "--next", "4", "--json"))["next"]
    shares = [each["probability"] for each in found]
    assert shares == sorted(shares, reverse=True)
    assert len(found) == 4
    assert sum(shares) <= 1
    assert "4 tokens hold" in said(capsys, folder, PROMPT, "--next", "4")


def test_an_empty_prompt_is_bad_use(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is empty" in said(capsys, folder, "", "--json", code=2)


def test_a_model_that_tells_no_log_probability(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(said(capsys, "scripted:echo", PROMPT, "--json"))["rows"]
    assert [row["logprob"] for row in rows] == [None]
    assert rows[0]["text"]
