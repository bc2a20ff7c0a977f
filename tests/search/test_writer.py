"""What the writer does to a knowledge base, against a dict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from contracts.store import Live, SinkContract
from headrace.errors import EmbedderMismatch, InputError, NotFound
from headrace.protocols import Embedder
from headrace.search import check, compact, publish
from headrace.search.store import Store
from headrace.storage import Sink
from headrace.types import Chunk, Document

from .store_kit import Base, DictWords, HashEmbedder, LineSplitter, source


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return Base(tmp_path / "kb")


class TestWriterAsSink(SinkContract):
    @pytest.fixture
    def sink(self, base: Base) -> Iterator[Sink]:
        with base.writer() as writer:
            yield writer

    @pytest.fixture
    def live(self, base: Base) -> Live:
        return base.live


def test_what_is_there_already_costs_nothing(base: Base) -> None:
    documents = [Document(f"text {n}\nmore {n}\n", {"n": n}, f"d{n}") for n in range(10)]
    with base.writer() as writer:
        first = writer.put(documents)
        assert (first.added, first.replaced, first.unchanged, first.chunks) == (10, 0, 0, 20)
        embedded = len(base.embedder.texts)
        second = writer.put(documents)
        assert (second.added, second.replaced, second.unchanged, second.chunks) == (0, 0, 10, 0)
        assert second.commit == first.commit
    assert len(base.embedder.texts) == embedded == 20


def test_only_what_changed_is_embedded_again(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("same\nold\n", id="a")])
        result = writer.put([Document("same\nnew\n", id="a")])
        assert (result.added, result.replaced, result.chunks) == (0, 1, 2)
    assert base.embedder.texts == ["same\n", "old\n", "new\n"]
    assert base.live() == {"a": "same\nnew\n"}


def test_equal_chunks_are_embedded_once(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("footer\n", id="a"), Document("footer\n", id="b")])
        writer.put([Document("footer\n", id="c")])
    assert base.embedder.texts == ["footer\n"]
    assert len(base.live()) == 3


def test_another_splitter_splits_again(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\ntwo\n", id="a")])
    base.splitter = LineSplitter("other")
    with base.writer() as writer:
        result = writer.put([Document("one\ntwo\n", id="a")])
        assert (result.replaced, result.unchanged) == (1, 0)
    assert len(base.embedder.texts) == 2  # the same texts keep their vectors


def test_of_two_documents_with_one_id_the_later_wins(base: Base) -> None:
    with base.writer() as writer:
        assert writer.put([Document("one\n", id="a"), Document("two\n", id="a")]).added == 1
    assert base.live() == {"a": "two\n"}


def test_without_an_id_the_content_is_the_id(base: Base) -> None:
    document = Document("one\n")
    with base.writer() as writer:
        writer.put([document, document])
        assert writer.get(document.key) is not None
        assert writer.delete([document.key, "unknown"]) == 1
        assert writer.delete([document.key]) == 0
    assert base.live() == {}


def test_an_empty_text_is_a_document_without_chunks(base: Base) -> None:
    with base.writer() as writer:
        assert writer.put([Document("", id="a"), Document("\n\n", id="b")]).chunks == 0
    assert base.live() == {"a": "", "b": "\n\n"}
    assert base.embedder.texts == []


def test_metadata_is_replaced_without_embedding(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\ntwo\n", {"old": 1}, "a")], source("a"))
        writer.finish(source("a"), ["a"])
        first = writer.publish()
        writer.update_metadata("a", {"new": 2})
        found = writer.get("a")
        assert found is not None
        assert found.metadata == {"new": 2}
        assert set(writer.sources()) == {"/docs/a"}
        with pytest.raises(NotFound, match="'b'"):
            writer.update_metadata("b", {})
    assert len(base.embedder.texts) == 2
    with base.store.snapshot(first) as snapshot:
        old = snapshot.get("a")
        assert old is not None
        assert old.metadata == {"old": 1}
    base.live()


def test_another_embedder_is_refused_by_both_names(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\n", id="a")])
    base.embedder = HashEmbedder("two")
    with base.writer() as writer, pytest.raises(EmbedderMismatch) as caught:
        writer.put([Document("new\n", id="b")])
    assert "hash-one" in caught.value.message
    assert "hash-two" in caught.value.message
    assert "weights" in caught.value.message
    assert base.store.info().documents == 1


def test_another_name_for_the_same_weights_is_no_other_embedder(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\n", id="a")])
    base.embedder.identity = {**base.embedder.identity, "name": "the same elsewhere"}
    with base.writer() as writer:
        assert writer.put([Document("two\n", id="b")]).added == 1


def test_without_an_embedder_words_only_and_vectors_later(base: Base) -> None:
    with base.writer(embedder=None) as writer:
        writer.put([Document("one\ntwo\n", id="a")])
        writer.publish()
    info = base.store.info()
    assert (info.embedder, info.missing, info.chunks) == (None, 2, 2)
    with base.store.snapshot() as snapshot:
        assert snapshot.blocks() == []
        assert len(snapshot.select("1")) == 2
    assert base.words.count() == 2
    assert check.check(base.store, base.words) == []
    with base.writer() as writer:
        writer.put([Document("three\n", id="b")])
        writer.publish()
    assert base.store.info().missing == 0
    assert base.live() == {"a": "one\ntwo\n", "b": "three\n"}


@pytest.mark.parametrize("broken", ["shape", "nan"])
def test_an_embedder_that_lies_is_not_believed(base: Base, broken: str) -> None:
    class Lying(HashEmbedder):
        def embed(self, texts):  # type: ignore[no-untyped-def]
            matrix = super().embed(texts)
            return matrix[:, 1:] if broken == "shape" else matrix * np.float32("nan")

    base.embedder = Lying()
    with base.writer() as writer, pytest.raises(InputError, match="hash-one"):
        writer.put([Document("one\n", id="a")])
    assert base.store.info().documents == 0


def test_a_splitter_that_lies_is_not_believed(base: Base) -> None:
    class Lying(LineSplitter):
        def split(self, document: Document) -> list[Chunk]:
            return [Chunk(document=document.key, ordinal=0, start=0, end=3, text="something else")]

    base.splitter = Lying()
    with base.writer() as writer, pytest.raises(InputError, match="'a'"):
        writer.put([Document("one\n", id="a")])
    assert base.store.info().documents == 0


@pytest.mark.parametrize(
    "document", [Document("a \ud800 b\n", id="x"), Document("a\n", {"k": "\udfff"}, "x")]
)
def test_half_a_surrogate_pair_is_refused(base: Base, document: Document) -> None:
    with base.writer() as writer:
        with pytest.raises(InputError, match="surrogate"):
            writer.put([Document("fine\n", id="ok"), document])
        writer.put([Document("fine\n", id="ok")])
    assert base.live() == {"ok": "fine\n"}


def test_an_empty_id_is_refused(base: Base) -> None:
    with base.writer() as writer, pytest.raises(InputError, match="''"):
        writer.put([Document("one\n", id="")])


# ------------------------------------------------------------------ sources


def test_a_source_counts_when_it_is_finished(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\n", id="a"), Document("two\n", id="b")], source("x"))
        assert writer.sources() == {}
        assert writer.finish(source("x"), ["a", "b"]) == 0
        assert writer.sources() == {"/docs/x": source("x")}
        writer.put([Document("three\n", id="a")], source("x", "22"))
        assert writer.sources() == {}, "it changed and is not finished yet"
        assert writer.finish(source("x", "22"), ["a"]) == 1
        assert writer.sources()["/docs/x"].hash == "22"
    assert base.live() == {"a": "three\n"}


def test_finish_claims_what_was_put_without_a_source(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\n", id="a"), Document("two\n", id="b")])
        writer.finish_all([(source("x"), ["a"]), (source("y"), ["b"])])
        assert writer.remove("/docs/x") == 1
        assert set(writer.sources()) == {"/docs/y"}
        assert writer.remove("/docs/x") == 0
    assert base.live() == {"b": "two\n"}


def test_one_source_per_document(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\n", id="a"), Document("two\n", id="b")], [source("x"), None])
        assert writer.remove("/docs/x") == 1
    assert base.live() == {"b": "two\n"}


def test_a_source_that_loses_a_document_is_read_again(base: Base) -> None:
    with base.writer() as writer:
        for name in ("x", "y"):
            writer.put([Document(f"of {name}\n", id="same")], source(name))
            writer.finish(source(name), ["same"])
        assert set(writer.sources()) == {"/docs/y"}
        writer.delete(["same"])
        assert writer.sources() == {}
    assert base.live() == {}


def test_a_touched_file_makes_no_commit(base: Base) -> None:
    with base.writer() as writer:
        writer.put([Document("one\n", id="a")], source("x"))
        writer.finish(source("x"), ["a"])
        version = writer.publish()
        commit = writer.head
        writer.finish(source("x"), ["a"])
        assert writer.head == commit
        assert writer.publish() == version


# ------------------------------------------------------------------ bounds


def test_a_long_tail_is_sealed(base: Base) -> None:
    with base.writer() as writer:
        for at in range(0, publish.SEAL + 600, 300):
            writer.put([Document("".join(f"line {n}\n" for n in range(at, at + 300)), id=f"d{at}")])
        assert base.store.info().tail < publish.SEAL
        assert base.store.info().segments == 1
        writer.publish()
    assert base.store.info().tail < publish.SEAL_AT_PUBLISH
    base.live()


def test_a_document_of_many_groups_is_one_commit(base: Base) -> None:
    with base.writer() as writer:
        result = writer.put([Document("".join(f"line {n}\n" for n in range(publish.SLICE + 5)), id="a")])
        assert (result.chunks, result.commit) == (publish.SLICE + 5, 1)
    base.live()


def test_progress_is_told(base: Base) -> None:
    told: list[int] = []
    with base.writer(progress=lambda done, total, what: told.append(done)) as writer:
        writer.put([Document("".join(f"line {n}\n" for n in range(1200)), id="a")])
    assert told[-1] == 1200
    assert len(told) == 3


def test_the_real_embedder(tmp_path: Path, embedder: Embedder) -> None:
    words = DictWords()
    with Store.open(tmp_path / "kb", create=True) as store:
        with store.writer(embedder=lambda: embedder, splitter=LineSplitter, words=words) as writer:
            writer.put([Document("The wheel turns.\nWater falls.\n", id="a")])
            writer.publish()
        with store.snapshot() as snapshot:
            matrix = np.concatenate([block.matrix for block in snapshot.blocks()])
        assert check.check(store, words) == []
    assert matrix.shape == (2, embedder.dimension)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-3)


# ------------------------------------------------------------------ against a dict

IDS = st.sampled_from([f"d{n}" for n in range(6)])
TEXTS = st.lists(
    st.sampled_from(["alpha\n", "beta\n", "gamma\n", "delta\r\n", "\n", "ü😀\x00\n"]), max_size=5
).map("".join)


class AgainstDict(RuleBasedStateMachine):
    """Any order of writes, publications, pins, prunes and reopenings equals a dict."""

    folder: Path  # set by the test

    def __init__(self) -> None:
        super().__init__()
        AgainstDict.number += 1
        self.base = Base(AgainstDict.folder / str(AgainstDict.number))
        self.model: dict[str, str] = {}
        self.versions: dict[int, dict[str, str]] = {}

    number = 0

    @rule(documents=st.lists(st.tuples(IDS, TEXTS), min_size=1, max_size=4))
    def put(self, documents: list[tuple[str, str]]) -> None:
        with self.base.writer() as writer:
            result = writer.put([Document(text, id=id) for id, text in documents])
        wanted = dict(documents)
        assert result.added == len(wanted.keys() - self.model.keys())
        assert result.unchanged == sum(self.model.get(id) == text for id, text in wanted.items())
        self.model |= wanted

    @rule(ids=st.sets(IDS, max_size=3))
    def delete(self, ids: set[str]) -> None:
        with self.base.writer() as writer:
            assert writer.delete(ids) == len(ids & self.model.keys())
        self.model = {id: text for id, text in self.model.items() if id not in ids}

    @rule()
    def publish(self) -> None:
        with self.base.writer() as writer:
            number = writer.publish()
        if number in self.versions:
            assert self.versions[number] == self.model
        self.versions[number] = dict(self.model)

    @rule()
    def seal(self) -> None:
        with self.base.writer() as writer:
            publish.seal(writer, 1)

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(sorted(self.versions)))
        with self.base.writer() as writer:
            number = writer.rollback(chosen)
        rows = {row.version: row for row in self.base.store.versions()}
        assert rows[number].corpus == rows[chosen].corpus
        self.model = dict(self.versions[chosen])
        self.versions[number] = dict(self.model)

    @rule(keep=st.integers(0, 2))
    def prune(self, keep: int) -> None:
        with self.base.writer() as writer:
            compact.prune(writer, keep_versions=keep, vacuum=keep == 1)
        kept = sorted(self.versions)[len(self.versions) - min(keep, len(self.versions)) :]
        self.versions = {version: self.versions[version] for version in kept}
        assert [row.version for row in self.base.store.versions()] == kept

    @rule()
    def reopen(self) -> None:
        self.base.reopen()

    @invariant()
    def same(self) -> None:
        assert self.base.live() == self.model
        for version, contents in self.versions.items():
            assert self.base.live(version) == contents

    def teardown(self) -> None:
        assert check.check(self.base.store, self.base.words) == []
        self.base.store.close()


def test_against_a_dict(tmp_path: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    AgainstDict.folder = tmp_path
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        AgainstDict,
        settings=settings(
            max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
