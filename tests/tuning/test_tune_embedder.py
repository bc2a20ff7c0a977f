"""Tuning the embedder: a small one end to end, resumed, stopped, and everything that is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.errors import Conflict, EmbedderMismatch, InputError, ModelError, NotFound
from headrace.models.embedder import open_embedder
from headrace.models.weights import find_weights
from headrace.tuning import pairs as read
from headrace.tuning.contrastive import Recipe, Training
from headrace.tuning.embedder import EmbedderTuning, Tuned
from headrace.tuning.encoder import Encoder
from headrace.tuning.mining import Pair, mine, ndcg
from tuning.small_encoder import save_encoder, save_subject

torch = pytest.importorskip("torch")

RECIPE = Recipe(epochs=2, batch=8, rate=5e-3, frozen=-1, tokens=16, every=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning")
    save_encoder(folder / "base")
    save_subject(folder)
    return folder


def tuning(made: Path, out: Path, **more: Any) -> EmbedderTuning:
    corpus = read.read_corpus([made / "passages.jsonl"])
    questions, _ = read.read_questions(made / "pairs.jsonl", corpus)
    given = {"base": str(made / "base"), "home": made / "home", "precision": "f32", "recipe": RECIPE}
    return EmbedderTuning(questions, corpus, out=out, **{**given, **more})


@pytest.fixture(scope="module")
def tuned(made: Path) -> Tuned:
    return tuning(made, made / "tuned", licence="cc0-1.0", recipe=replace(RECIPE, epochs=10)).run()


def test_it_learns_what_the_pairs_say(tuned: Tuned) -> None:
    assert tuned.baseline.value is not None
    assert tuned.tuned.value is not None
    assert tuned.tuned.value > tuned.baseline.value + 0.2
    assert tuned.difference.verdict == "better"
    assert np.mean(tuned.losses[-5:]) < np.mean(tuned.losses[:5])
    assert tuned.chosen["epoch"] > 0
    assert tuned.tried[0]["epoch"] == 0


def test_the_runtime_gives_what_torch_gives(made: Path, tuned: Tuned) -> None:
    assert tuned.parity > 0.99999
    opened = open_embedder(str(tuned.artifact), "f32", home=made / "home")
    base = open_embedder(str(made / "base"), "f32", home=made / "home")
    assert opened.identity["weights"] != base.identity["weights"]
    texts = ["bread by bird", "a mill near the owl", "the"]
    weights = find_weights(str(tuned.artifact), home=made / "home", originals=True)
    exact = Encoder(weights, frozen=0, window=32).vectors(texts)
    np.testing.assert_allclose(opened.embed(texts), exact, atol=1e-5)
    assert np.abs(base.embed(texts) - exact).max() > 0.05


def test_torch_is_the_bert_of_transformers(made: Path) -> None:
    transformers = pytest.importorskip("transformers")
    weights = find_weights(str(made / "base"), home=made / "home", originals=True)
    encoder = Encoder(weights, frozen=1, window=32)
    model = transformers.BertModel.from_pretrained(made / "base", add_pooling_layer=False).eval()
    ids = encoder.tokenizer.ids(["a mill near the river"])
    with torch.inference_mode():
        mean = model(torch.tensor(ids)).last_hidden_state.mean(1)
    expected = torch.nn.functional.normalize(mean, dim=1).numpy()
    np.testing.assert_allclose(encoder.vectors(["a mill near the river"]), expected, atol=1e-5)


def test_a_knowledge_base_of_the_base_refuses_the_tuned(made: Path, tuned: Tuned, tmp_path: Path) -> None:
    from headrace.resources import pool
    from headrace.resources.handles import KnowledgeBase
    from headrace.types import Document

    settings = tmp_path / "headrace.toml"
    settings.write_text(
        f'[embedder]\nmodel = "{made / "base"}"\n[kb]\nchunk_tokens = 30\nchunk_overlap = 0\n'
    )
    KnowledgeBase("kb", root=tmp_path).add([Document("a mill near the river", id="a")])
    settings.write_text(settings.read_text().replace(str(made / "base"), str(tuned.artifact)))
    pool.close_all()  # another process, as it were
    with pytest.raises(EmbedderMismatch):
        KnowledgeBase("kb", root=tmp_path).search("stream", mode="dense")
    KnowledgeBase("new", root=tmp_path).add([Document("a mill near the river", id="a")])
    assert KnowledgeBase("new", root=tmp_path).search("stream", mode="dense")[0].document == "a"


def test_the_manifest_says_what_it_is(made: Path, tuned: Tuned) -> None:
    manifest = json.loads((tuned.artifact / "manifest.json").read_text())
    base = find_weights(str(made / "base"), home=made / "home", originals=True)
    assert manifest["base"]["weights"] == base.sha256
    assert manifest["base"]["licence"] == "unknown"
    assert manifest["data"]["licence"] == "cc0-1.0"
    assert set(manifest["data"]) >= {"train", "validation", "test", "corpus"}
    assert manifest["settings"]["seed"] == 0
    assert manifest["tuned"]["value"] == pytest.approx(tuned.tuned.value)
    assert manifest["parity"] == pytest.approx(tuned.parity)
    assert manifest["seconds"] > 0
    assert "mill near" not in json.dumps(manifest)
    assert not (tuned.artifact / ".work").exists()


def test_no_document_is_on_two_sides(made: Path, tmp_path: Path) -> None:
    ready = tuning(made, tmp_path)
    parts = [ready.train, ready.validation, ready.test]
    documents = [{name for q in part for name in q.documents} for part in parts]
    assert all(parts)
    assert sum(map(len, documents)) == len(set().union(*documents)) == 66


def test_killed_and_resumed_gives_the_same_losses(made: Path, tmp_path: Path) -> None:
    whole = tuning(made, tmp_path / "whole").run()

    class Killed(BaseException):
        pass

    def die(done: int, total: int, what: str) -> None:
        if done == 8:
            raise Killed

    ready = tuning(made, tmp_path / "parts")
    with pytest.raises(Killed):
        run_training(ready, die)
    again = tuning(made, tmp_path / "parts").run()
    assert again.resumed == 8  # the last checkpoint: every second step
    np.testing.assert_allclose(again.losses, whole.losses, atol=1e-5)
    assert again.tuned == whole.tuned
    with pytest.raises(Conflict, match="holds a tuned embedder"):
        tuning(made, tmp_path / "parts")


def run_training(ready: EmbedderTuning, progress: Any) -> None:
    from contextlib import nullcontext

    ready.run(lambda title: nullcontext(progress if title == "training" else None))


def test_stopped_by_hand_the_best_so_far_is_there(made: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(tuning(made, tmp_path / "out"), stop)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["stopped"] is True
    assert manifest["steps"] == 9
    assert open_embedder(str(tmp_path / "out"), "f32", home=tmp_path).embed(["a mill"]).shape == (1, 32)
    with pytest.raises(InputError, match="other settings"):
        tuning(made, tmp_path / "out", recipe=replace(RECIPE, rate=1e-3)).run()
    assert tuning(made, tmp_path / "out").run().resumed == 9


def test_a_loss_that_is_no_number_ends_it(made: Path, tmp_path: Path) -> None:
    weights = find_weights(str(made / "base"), home=tmp_path, originals=True)
    encoder = Encoder(weights, frozen=0, window=16)
    with torch.no_grad():
        encoder.parameters["encoder.layer.1.output.dense.bias"][0] = float("nan")
    corpus = read.Corpus(("a mill", "an owl"), ("a", "b"))
    pairs = [Pair("grinder", 0, (1,), frozenset({0})), Pair("bird", 1, (0,), frozenset({1}))]
    training = Training(encoder, pairs, corpus, replace(RECIPE, batch=2), tmp_path, "k")
    with pytest.raises(ModelError, match=r"loss of step 1 is nan"):
        training.run()


def test_negatives_leave_out_what_may_be_right() -> None:
    corpus = read.Corpus(("right", "nearly", "hard", "far"), ("a", "b", "c", "d"))
    vectors = np.array([[1, 0], [0.99, 0.14], [0.8, 0.6], [0, 1]], np.float32)
    asked = np.array([[1, 0]], np.float32)
    [pair] = mine([read.Question("q", frozenset({"a"}))], corpus, asked, vectors)
    assert pair.positive == 0
    assert pair.negatives == (2, 3)  # 1 is above 0.95 of the positive


def test_ndcg_is_by_document() -> None:
    asked, vectors = np.array([[1, 0]], np.float32), np.array([[1, 0], [0.9, 0], [0.5, 0]], np.float32)
    question = read.Question("q", frozenset({"b"}))
    assert ndcg([question], ["a", "a", "b"], asked, vectors) == [pytest.approx(1 / np.log2(3))]


# --------------------------------------------------------------------------- what is refused


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"prompt": "a", "completion": "b"}], "pairs.jsonl:1: needs 'question'"),
        ([{"question": "a?", "documents": ["nowhere"]}], "no document 'nowhere'"),
        ([{"question": "", "passage": "b"}], "pairs.jsonl:1: needs 'question'"),
        ([{"question": "a?", "passage": "not there"}], "the passage 'not there' is not in"),
        (["{"], "pairs.jsonl:1 is not JSON"),
        (["[1]"], "no object"),
        ([], "holds no pair"),
    ],
)
def test_bad_pairs_are_named_by_line(rows: list[Any], said: str, tmp_path: Path) -> None:
    corpus = read.Corpus(("some text",), ("a",), "corpus")
    with pytest.raises(InputError, match=said):
        read.read_questions(write(tmp_path / "pairs.jsonl", *rows), corpus)


def test_documents_need_a_corpus(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no corpus is given"):
        read.read_questions(write(tmp_path / "p.jsonl", {"question": "a?", "documents": ["x"]}))
    with pytest.raises(NotFound):
        read.read_questions(tmp_path / "none.jsonl")


def test_all_forms_of_a_pair_are_read(tmp_path: Path) -> None:
    corpus = read.Corpus(("The mill turns.", "An owl."), ("mill", "owl"))
    rows = [
        {"question": "What turns?", "documents": "mill"},
        {"query": "What turns?", "passage": "An owl."},
        {"inputs": {"question": "Who?"}, "expectations": {"documents": ["owl"]}},
        {"question": "Which?", "passage": "mill turns"},
    ]
    found, _ = read.read_questions(write(tmp_path / "p.jsonl", *rows), corpus)
    assert [(q.text, sorted(q.documents)) for q in found] == [
        ("What turns?", ["mill", "owl"]),
        ("Who?", ["owl"]),
        ("Which?", ["mill"]),
    ]
    table = tmp_path / "p.csv"
    table.write_text('question,passage\n"What, then?",The mill turns.\n')
    alone, own = read.read_questions(table)
    assert own.texts == ("The mill turns.",)
    assert alone[0].documents == {own.documents[0]}


def test_a_question_in_both_is_refused_with_its_rows(made: Path, tmp_path: Path) -> None:
    same = read.Question("bread by bird", frozenset({"d1"}), "p:1")
    shared = read.Question("BREAD by bird!", frozenset({"d0"}), "test.jsonl:7")
    corpus = read.read_corpus([made / "passages.jsonl"])
    with pytest.raises(
        InputError, match=r"(?s)1 of the questions in the pairs stand in the test too.*test.jsonl:7"
    ):
        tuning_with(made, tmp_path, corpus, [same, *many()], [shared])


def tuning_with(
    made: Path, out: Path, corpus: read.Corpus, train: Any, test: Any, **more: Any
) -> EmbedderTuning:
    return EmbedderTuning(
        train, corpus, test=test, out=out, home=made / "home", base=str(made / "base"), recipe=RECIPE, **more
    )


def many() -> list[read.Question]:
    return [read.Question(f"what of thing {n}", frozenset({f"d{n}"}), f"p:{n}") for n in range(2, 30)]


def test_near_duplicates_are_counted_and_can_be_dropped(made: Path, tmp_path: Path) -> None:
    corpus = read.read_corpus([made / "passages.jsonl"])
    near = read.Question("the miller does open the big old gate at night", frozenset({"d0"}), "p:1")
    test = [read.Question("the miller does not open the big old gate at night", frozenset({"d0"}), "t:1")]
    assert tuning_with(made, tmp_path, corpus, [near, *many()], test).near == 1
    ready = tuning_with(made, tmp_path, corpus, [near, *many()], test, drop_shared=True)
    assert (ready.near, ready.dropped) == (0, 1)
    assert ready.plan().dropped == 1


def test_too_little_is_refused(made: Path, tmp_path: Path) -> None:
    corpus = read.read_corpus([made / "passages.jsonl"])
    with pytest.raises(InputError, match="3 questions to tune on"):
        tuning_with(made, tmp_path, corpus, many()[:3], ())
    one = [read.Question(f"what of thing {n}", frozenset({"d0"})) for n in range(20)]
    with pytest.raises(InputError, match="share no document"):
        tuning_with(made, tmp_path, corpus, one, ())
    for wrong in ({"epochs": 0}, {"batch": 1}, {"rate": 0.0}, {"tokens": 2}):
        with pytest.raises(InputError):
            Recipe(**wrong)
    with pytest.raises(InputError, match="frozen layers"):
        tuning(made, tmp_path, recipe=replace(RECIPE, frozen=9))
    with pytest.raises(InputError, match="int4"):
        tuning(made, tmp_path, precision="int4")
