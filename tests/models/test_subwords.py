"""Sub-words: schemes, places, training, and what is out of vocabulary."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from headrace.errors import Corrupt, InputError, NotFound
from headrace.models.subwords import Subwords, out_of_vocabulary

CORPUS = [
    "the mill by the river turns when the water is high\n",
    "the miller opens the gate and the wheel turns all day\n",
] * 3


@pytest.fixture(scope="module")
def trained() -> Subwords:
    return Subwords.train(CORPUS, vocabulary=300)


def saved(folder: Path, model: object) -> Path:
    made = Tokenizer(model)
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))
    return folder


def test_the_most_frequent_pair_is_joined_first(trained: Subwords) -> None:
    pairs: Counter[tuple[str, str]] = Counter()
    for line in CORPUS:
        for word in line.replace(" ", " Ġ").split():
            pairs.update(itertools.pairwise(word))
    best = max(pairs.values())
    assert pairs[trained.merges[0]] == best
    assert len(trained.merges) == trained.size - 256
    assert trained.scheme == "BPE"
    assert "nothing is out of vocabulary" in trained.manner


@pytest.mark.parametrize("text", ["the mill", "teh milll", "Zürich 東京 🦉", "  two  blanks\n", "עברית"])
def test_no_text_is_out_of_vocabulary_and_all_come_back(trained: Subwords, text: str) -> None:
    cut = trained.cut(text)
    assert cut.round_trip
    assert cut.unknown == 0
    assert trained.decode([piece.id for piece in cut.pieces]) == text
    assert cut.characters == len(text)
    assert cut.pieces[0].start == 0
    assert cut.pieces[-1].end == len(text)


def test_three_schemes_of_one_text(trained: Subwords) -> None:
    cut = trained.cut("the miller turns the wheel")
    assert cut.characters > len(cut.pieces) >= len(cut.words) == 5


def test_misspelt_words_are_outside_sub_words_never(trained: Subwords) -> None:
    outside = out_of_vocabulary(CORPUS, "the milller turnz the wheel", trained)
    assert outside.words == pytest.approx(2 / 5)
    assert outside.unknown_words == ("milller", "turnz")
    assert outside.characters == pytest.approx(1 / 27)  # the z
    assert outside.subwords == 0


def test_the_scheme_of_a_model_is_said(tmp_path: Path) -> None:
    vocabulary = {"[UNK]": 0, "the": 1, "mill": 2, "##er": 3}
    pieces = Subwords.open(saved(tmp_path, models.WordPiece(vocabulary, unk_token="[UNK]")))
    cut = pieces.cut("The miller sang")
    assert pieces.scheme == "WordPiece"
    assert [(p.token, p.id, p.start, p.end) for p in cut.pieces] == [
        ("the", 1, 0, 3),
        ("mill", 2, 4, 8),
        ("##er", 3, 8, 10),
        ("[UNK]", 0, 11, 15),
    ]
    assert cut.unknown == 1
    assert not cut.round_trip
    assert "[UNK]" in pieces.manner
    unigram = models.Unigram([("<unk>", 0.0), ("mill", -1.0), ("er", -2.0)], unk_id=0)
    assert Subwords.open(saved(tmp_path, unigram)).scheme == "Unigram"
    assert Subwords.open(tmp_path).cut("mill owl").unknown == 1
    words = models.WordLevel({"<unk>": 0, "mill": 1}, unk_token="<unk>")
    assert Subwords.open(saved(tmp_path, words)).scheme == "WordLevel"


def test_a_trained_tokenizer_is_saved_and_opened(trained: Subwords, tmp_path: Path) -> None:
    trained.save(tmp_path / "tokenizer.json")
    again = Subwords.open(tmp_path / "tokenizer.json")
    assert again.cut("the milller").pieces == trained.cut("the milller").pieces
    assert again.merges == trained.merges


def test_what_cannot_be_opened_or_trained(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no tokenizer"):
        Subwords.open(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(Corrupt, match="cannot be read"):
        Subwords.open(tmp_path)
    with pytest.raises(InputError, match="vocabulary=100"):
        Subwords.train(CORPUS, vocabulary=100)


def test_stories_say_their_scheme(shared: Path) -> None:
    found = Subwords.open(shared / "models" / "stories260K")
    assert (found.scheme, found.size) == ("BPE", 512)
    cut = found.cut("Once upon a time 🦉")
    assert (len(cut.words), cut.unknown) == (4, 0)
    assert found.decode([piece.id for piece in cut.pieces]).strip() == "Once upon a time 🦉"
