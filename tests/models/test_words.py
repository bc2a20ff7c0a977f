"""Bags of words, vectors of words, the map, gaps: against a rival where there is one."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from headrace.errors import InputError, ModelRefused, NotFound, ReadError
from headrace.models.masked import MaskedModel, fills_gaps
from headrace.models.projection import flat
from headrace.models.terms import Bag
from headrace.models.texts import texts_in
from headrace.models.wordvectors import train
from models.tiny_models import save_gpt2, save_words

TEXTS = {
    "mill": "the mill by the river turns when the water is high",
    "owl": "the owl sees the mouse by the barn at night, the mouse runs",
    "leave": "the staff have days of leave, and the leave is paid",
    "empty": "",
}


@pytest.mark.slow  # the rival takes ten seconds to import
def test_weights_are_those_of_the_rival() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    from headrace import text as plain

    bag = Bag(TEXTS)
    settings = {"tokenizer": plain.words, "token_pattern": None, "lowercase": False, "sublinear_tf": True}
    rival = text.TfidfVectorizer(norm=None, **settings)
    table = rival.fit_transform(TEXTS.values())
    # The rival adds 1 to each inverse frequency: its counts alone are taken off again.
    alone = text.TfidfVectorizer(norm=None, use_idf=False, **settings).fit_transform(TEXTS.values())
    assert bag.vocabulary == list(rival.get_feature_names_out())
    for row, name in enumerate(TEXTS):
        ours = bag.weights(name)
        theirs = (table[row] - alone[row]).toarray()[0]
        theirs = theirs / (np.linalg.norm(theirs) or 1.0)
        for column, word in enumerate(bag.vocabulary):
            assert ours.get(word, 0.0) == pytest.approx(theirs[column], abs=1e-12)
    assert bag.filled == table.nnz
    assert bag.sparsity == pytest.approx(1 - table.nnz / (table.shape[0] * table.shape[1]))


def test_weights_by_hand() -> None:
    bag = Bag({"a": "mill mill owl", "b": "owl"})
    assert bag.weights("a") == {"mill": 1.0, "owl": 0.0}  # ln((1 + 2) / (1 + 2)) = 0 for a word of all texts
    three = Bag({"a": "mill mill owl", "b": "owl", "c": "river"})
    mill, owl = (1 + math.log(2)) * math.log(4 / 2), math.log(4 / 3)
    length = math.hypot(mill, owl)
    assert three.weights("a") == pytest.approx({"mill": mill / length, "owl": owl / length})
    assert Bag({"a": "mill mill owl"}).top("a")[0].term == "mill"
    assert bag.sparsity == pytest.approx(1 / 4)


def test_a_rare_word_outranks_the_words_of_all() -> None:
    bag = Bag(TEXTS)
    weights = bag.weights("mill")
    assert weights["river"] > weights["is"] > weights["the"] > 0  # is: in two of four texts, the: in three
    assert bag.common(1) == [("the", 3)]
    assert bag.top("owl", 1)[0].term == "mouse"  # although "the" stands there more often
    assert bag.top("empty") == []
    with pytest.raises(InputError, match="no words"):
        Bag({"a": "…"})


def corpus(n: int = 400) -> list[str]:
    """Two worlds that never mix, and which words of one world stand for each other."""
    rng = random.Random(3)
    worlds = (
        ("mill miller wheel river gate".split(), "turns opens floods powers stops".split()),
        ("planet comet moon star orbit".split(), "shines circles rises fades glows".split()),
    )
    said = []
    for _ in range(n):
        nouns, verbs = worlds[rng.randrange(2)]
        said.append(" ".join(f"the {rng.choice(nouns)} {rng.choice(verbs)}" for _ in range(4)))
    return said


def test_neighbours_are_of_the_same_world_and_similarity_is_symmetric() -> None:
    vectors = train(corpus(), size=10)
    worlds = [set("mill miller wheel river gate turns opens floods powers stops".split())]
    worlds.append(set(vectors.words) - worlds[0])
    assert len(vectors.words) == 20
    for word in vectors.words:
        (own,) = [world for world in worlds if word in world]
        assert {near.word for near in vectors.near(word, 5)} <= own
    for one in vectors.words:
        assert vectors.similarity(one, one) == pytest.approx(1.0)
        for other in vectors.words:
            assert vectors.similarity(one, other) == pytest.approx(vectors.similarity(other, one), abs=1e-12)
    again = train(corpus(), size=10)
    assert again.words == vectors.words
    assert np.array_equal(again.vectors, vectors.vectors)


def test_words_without_a_vector_and_too_little_text() -> None:
    vectors = train(corpus(60), size=5)
    assert "The" not in vectors  # stop words have none
    with pytest.raises(NotFound, match="'nowhere' has no vector"):
        vectors.near("nowhere")
    with pytest.raises(InputError, match="0 words that occur 5 times"):
        train(["too little text"])


def test_neighbours_in_a_real_text(shared: Path) -> None:
    files = sorted((shared / "data" / "python_peps").glob("pep-03*.rst"))
    vectors = train([path.read_text("utf-8") for path in files], most=600)
    related = {
        "bytes": {"ascii", "encoding", "bytearray", "byte", "unicode"},
        "class": {"classes", "metaclass"},
    }
    for word, wanted in related.items():
        assert wanted & {near.word for near in vectors.near(word, 10)}, word


def test_the_map_keeps_what_differs_most() -> None:
    rng = np.random.default_rng(0)
    places = rng.normal(size=(60, 2)) * [5.0, 2.0]
    turn, _ = np.linalg.qr(rng.normal(size=(40, 40)))
    vectors = np.hstack([places, np.zeros((60, 38))]) @ turn
    found = flat(vectors)
    assert sum(found.shares) == pytest.approx(1.0)
    assert found.shares[0] > found.shares[1]
    ours = np.linalg.norm(found.points[:, None] - found.points[None], axis=-1)
    theirs = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert np.allclose(ours, theirs)
    assert np.array_equal(flat(vectors).points, found.points)
    with pytest.raises(InputError, match="at least 3 texts"):
        flat(vectors[:2])
    with pytest.raises(InputError, match="All texts are the same"):
        flat(np.ones((5, 3)))


def test_two_topics_separate(embedder: object) -> None:
    topics = {
        "mills": [
            "The mill wheel turns in the river.",
            "Water drives the old mill.",
            "The miller grinds grain.",
        ],
        "stars": ["The comet passed the sun.", "Stars shine at night.", "A planet circles its star."],
    }
    texts = [text for listed in topics.values() for text in listed]
    points = flat(np.asarray(embedder.embed(texts))).points  # type: ignore[attr-defined]
    left, right = points[:3], points[3:]
    inside = max(np.linalg.norm(each - part.mean(axis=0)) for part in (left, right) for each in part)
    assert np.linalg.norm(left.mean(axis=0) - right.mean(axis=0)) > inside


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("masked")
    size = save_words(folder, begins=True, ends=True)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    tokenizer.save_pretrained(folder)
    torch.manual_seed(4)
    config = BertConfig(
        vocab_size=size + 1,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.4,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


def test_gaps_are_filled_as_transformers_fills_them(masked: Path) -> None:
    from transformers import pipeline

    assert fills_gaps(masked)
    text = "the mill [MASK] by river"
    (gap,) = MaskedModel(masked).fill(text, 6)
    assert text[gap.start : gap.end] == "[MASK]"
    rival = pipeline("fill-mask", model=str(masked), tokenizer=str(masked), top_k=6)(text)
    assert [each.id for each in gap.candidates] == [each["token"] for each in rival]
    shares = [each.probability for each in gap.candidates]
    assert shares == pytest.approx([each["score"] for each in rival], abs=1e-6)
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1
    whole = MaskedModel(masked).fill("[MASK] <mask>", 1000)
    assert len(whole) == 2
    assert sum(each.probability for each in whole[1].candidates) == pytest.approx(1.0)


def test_what_cannot_be_filled(masked: Path, tmp_path: Path) -> None:
    model = MaskedModel(masked)
    with pytest.raises(InputError, match="no gap"):
        model.fill("the mill")
    with pytest.raises(InputError, match="top=0"):
        model.fill("the [MASK]", 0)
    with pytest.raises(InputError, match="reads at most 32"):
        model.fill("the " * 40 + "[MASK]")
    with pytest.raises(ModelRefused, match="saved as GPT2LMHeadModel"):
        MaskedModel(save_gpt2(tmp_path / "writes"))


def test_texts_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.txt").write_text("one")
    (tmp_path / "two.md").write_text("two")
    (tmp_path / "picture.png").write_bytes(b"\x89")
    assert [(t.name, t.group) for t in texts_in(tmp_path)] == [("a/one.txt", "a"), ("two.md", "")]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": "x", "label": "l"}) + "\n\n" + json.dumps({"text": "y"}) + "\n")
    assert [(t.text, t.group) for t in texts_in(rows)] == [("x", "l"), ("y", "")]
    rows.write_text('{"text": "x"}\n[1]\n')
    with pytest.raises(ReadError, match="Line 2"):
        texts_in(rows)
    with pytest.raises(NotFound):
        texts_in(tmp_path / "gone.txt")
    (tmp_path / "blank.txt").write_text("\n \n")
    with pytest.raises(InputError, match="holds no text"):
        texts_in(tmp_path / "blank.txt")
