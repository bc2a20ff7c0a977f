"""Tagging on tiny random models: offsets, windows, what cannot tag. They know nothing of names."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import InputError, ModelRefused, NotFound

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXT = "Ada Lovelace met Charles Babbage in London, and they talked about engines for hours."
LABELS = ["O", "B-PER", "I-PER", "B-LOC"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two thousand weights with a WordPiece tokenizer made from a few letters."""
    path = tmp_path_factory.mktemp("tagger")
    pieces = list("abcdefghijklmnopqrstuvwxyz,.!") + [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]
    (path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    transformers.BertTokenizerFast(vocab_file=str(path / "vocab.txt"), model_max_length=48).save_pretrained(
        path
    )
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=48,
        initializer_range=1.0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    transformers.BertForTokenClassification(config).save_pretrained(path)
    return path


def test_spans_are_places_of_the_text(folder: Path) -> None:
    found = hr.tasks.tag(TEXT, model=folder)
    assert found
    for span in found:
        assert set(span) == {"entity_group", "score", "word", "start", "end"}
        assert TEXT[span["start"] : span["end"]] == span["word"]
        assert span["entity_group"] in ("PER", "LOC")
        assert 0 < span["score"] <= 1
    starts = [span["start"] for span in found]
    assert starts == sorted(starts)
    assert all(a["end"] <= b["start"] for a, b in pairwise(found))


def test_labels_are_those_of_transformers(folder: Path) -> None:
    short = "ada met bo"
    pipeline = transformers.pipeline(
        "token-classification", model=str(folder), aggregation_strategy="first", device="cpu"
    )
    theirs = [(item["entity_group"], item["start"], item["end"]) for item in pipeline(short)]
    ours = [(item["entity_group"], item["start"], item["end"]) for item in hr.tasks.tag(short, model=folder)]
    assert ours == theirs


def test_many_long_and_odd_texts(folder: Path) -> None:
    long = " ".join([TEXT] * 40)
    found = hr.tasks.tag([TEXT, long, "🎉 مرحبا"], model=f"local:{folder}")
    assert len(found) == 3
    assert found[1][-1]["end"] > len(long) - len(TEXT)  # the end is read too
    assert all(long[span["start"] : span["end"]] == span["word"] for span in found[1])
    assert len({(span["start"], span["end"]) for span in found[1]}) == len(found[1])
    with pytest.raises(InputError):
        hr.tasks.tag("", model=folder)


def test_what_cannot_tag(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"config\.json"):
        hr.tasks.tag(TEXT, model=tmp_path)
    other = tmp_path / "masked"
    other.mkdir()
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (other / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelRefused):
        hr.tasks.tag(TEXT, model=other)
    config = transformers.BertConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    transformers.BertModel(config).save_pretrained(other)
    with pytest.raises(ModelRefused, match="weights are missing"):
        hr.tasks.tag(TEXT, model=other)
