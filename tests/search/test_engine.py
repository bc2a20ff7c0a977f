"""A knowledge base as others use it: searching, filters of the request, limits, versions, writing."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import request, tracing
from headrace.errors import Cancelled, EmbedderMismatch, InputError, NotFound, Unavailable
from headrace.search.engine import Engine
from headrace.types import Document, Passage, Passages, to_json

from .search_small import DOCUMENTS, BagEmbedder, filled, open_engine

PATIENCE = 30.0  # seconds until something that must end is given up


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with filled(tmp_path / "kb") as found:
        yield found


def documents(passages: Passages | tuple[Passage, ...]) -> list[str]:
    return [passage.document for passage in passages]


def test_what_a_request_may_not_see_is_neither_found_nor_shown_nor_counted(engine: Engine) -> None:
    everything = engine.count()
    hidden = "handbook/leave.md"
    assert engine.get(hidden) is not None
    with request.context(filters=f"document != '{hidden}'"):
        assert engine.get(hidden) is None
        assert engine.count() == everything - 1
        assert hidden not in documents(engine.search("paid leave", 10))
    with request.context(filters=f"document = '{hidden}'"):
        assert engine.get(hidden) is not None
        assert engine.count() == 1


# ------------------------------------------------------------------ what a search gives


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_a_passage_is_the_exact_slice_with_its_document(engine: Engine, mode: str) -> None:
    found = engine.search("How many days of paid leave are there in a year?", 1, mode=mode)
    assert found.outcome == "ok"
    (best,) = found
    source = next(item for item in DOCUMENTS if item.id == best.document)
    assert best.document == "handbook/leave.md"
    assert best.heading == "Leave"
    assert (
        best.text == source.text[best.start : best.end] == "Everybody has thirty days of paid leave a year."
    )
    assert best.metadata == source.metadata
    assert 0.0 <= best.relevance <= 1.0
    assert found.kb_version == engine.version()
    assert found.kb_version is not None
    assert (found.kb_version.name, found.kb_version.version) == ("kb", 1)


def test_the_plan_says_how_it_went_and_is_plain_data(engine: Engine) -> None:
    found = engine.search("paid leave", filters="year >= 2020 and topic in ('people', 'money')")
    plan = json.loads(json.dumps(to_json(found)))["plan"]
    assert plan["mode"] == "hybrid"
    assert plan["depth"] == 200
    assert plan["live"] == 7
    assert plan["matched"] == 5
    assert plan["filter"] == "year >= 2020 and topic in ('people', 'money')"
    assert set(plan["terms"]) == {"paid", "leav"}, "stems as text.content_words gives them"
    assert set(plan["seconds"]) == {"embed", "filter", "words", "vectors", "rank", "texts"}


def test_headings_are_searched_with_the_text(engine: Engine) -> None:
    (first, *_) = engine.search("expenses", mode="lexical")
    assert first.document == "handbook/expenses.md"
    assert "expenses" not in first.text.lower()


def test_top_k_only_cuts_and_scores_do_not_depend_on_it(engine: Engine) -> None:
    all_of_them = engine.search("days in the workshop", 7)
    assert len(all_of_them) == 7
    for number in range(1, 7):
        some = engine.search("days in the workshop", k=number)
        assert some.items == all_of_them.items[:number]
    scores = [passage.score for passage in all_of_them]
    assert scores == sorted(scores, reverse=True)


def test_more_than_the_fixed_depth_keeps_the_order_of_the_first(tmp_path: Path) -> None:
    lines = "\n".join(f"note {n} about {'glass' if n % 3 else 'iron'} and {n * 7 % 11}" for n in range(600))
    with open_engine(tmp_path / "kb") as engine:
        engine.add([Document(lines, id="notes")])
        few, many = engine.search("iron note 5", 50), engine.search("iron note 5", 600)
    assert len(many) == 600
    assert [p.seq for p in few] == [p.seq for p in many[:50]]
    assert all(a.score >= b.score for a, b in itertools.pairwise(many))


def test_the_same_text_is_given_once(engine: Engine) -> None:
    text = "Everybody has thirty days of paid leave a year."
    engine.add([Document(text, id="copy-1"), Document(text, id="copy-2")])
    found = engine.search("thirty days of paid leave", 7)
    assert [passage.text for passage in found].count(text) == 1
    assert len(found) == 7


def test_metrics(engine: Engine) -> None:
    question = "thirty days of paid leave a year"
    cosine = engine.search(question, 7, mode="dense")
    l2 = engine.search(question, 7, mode="dense", metric="l2")
    assert [p.seq for p in cosine] == [p.seq for p in l2]
    for near, far in zip(cosine, l2):
        assert far.score == pytest.approx(-np.sqrt(2 - 2 * near.score), abs=1e-4)
        assert far.relevance == pytest.approx(near.relevance, abs=1e-4), "relevance judges by cosine always"
    l1 = engine.search(question, 7, metric="l1")
    assert l1[0].seq == cosine[0].seq
    assert l1[0].signals["l1"] > 0


def test_an_empty_knowledge_base_and_words_that_are_nowhere(tmp_path: Path, engine: Engine) -> None:
    with open_engine(tmp_path / "empty") as nothing:
        assert nothing.search("anything").outcome == "empty"
        assert nothing.count() == 0
    found = engine.search("zeppelin", mode="lexical")
    assert (found.outcome, len(found)) == ("empty", 0)
    assert engine.search("leave", filters="year > 3000").outcome == "empty"


def test_a_question_of_a_hundred_thousand_characters(engine: Engine) -> None:
    question = "kiln cools " + "irrelevant " * 10_000
    assert documents(engine.search(question, 1, mode="lexical")) == ["workshop/kiln.md"]
    assert len(engine.search(question, 2)) == 2
    assert documents(engine.search("The kiln must cool. " * 5_000, 1)) == ["workshop/kiln.md"]


# ------------------------------------------------------------------ threshold and fallback


def test_a_threshold_leaves_out_what_is_not_relevant_and_says_so(engine: Engine) -> None:
    question = "thirty days of paid leave a year"
    ranked = engine.search(question, 7)
    bound = (ranked[0].relevance + min(p.relevance for p in ranked)) / 2
    some = engine.search(question, 7, score_threshold=bound)
    assert some.items == tuple(p for p in ranked if p.relevance >= bound)
    assert 0 < len(some) < 7
    assert (some.outcome, some.fallback) == ("ok", ())

    none = engine.search("utterly unrelated zeppelins", 3, score_threshold=1.0)
    assert (none.outcome, len(none)) == ("below threshold", 0)
    assert len(none.fallback) == 3
    assert none.plan["fallback"] == "nearest hits"

    mine = (Passage(text="Ask at the desk.", score=0.0, relevance=0.0, document="desk"),)
    given = engine.search("utterly unrelated zeppelins", 3, score_threshold=1.0, fallback=mine)
    assert given.fallback == mine
    assert given.plan["fallback"] == "the caller's"


def test_relevance_of_a_passage_does_not_depend_on_the_rest(engine: Engine) -> None:
    before = {p.text: p.relevance for p in engine.search("paid leave", 7)}
    alone = engine.search("paid leave", 7, filters={"topic": "people"})
    assert {p.text: p.relevance for p in alone}.items() <= before.items()


# ------------------------------------------------------------------ filters


def test_filters_hold_in_every_mode(engine: Engine) -> None:
    for mode in ("hybrid", "dense", "lexical"):
        found = engine.search(
            "days nights weeks paid", 7, mode=mode, filters={"topic": ["money", "workshop"]}
        )
        assert len(found) >= 1
        assert set(documents(found)) <= {"handbook/expenses.md", "workshop/kiln.md"}


def test_the_filters_of_the_request_cannot_be_widened(engine: Engine) -> None:
    with request.context(filters={"topic": "people"}):
        assert set(documents(engine.search("paid", 7))) == {"handbook/leave.md"}
        assert documents(engine.search("paid", 7, filters={"topic": "money"})) == []
        assert set(documents(engine.search("paid", 7, filters="topic = 'money' or topic = 'people'"))) == {
            "handbook/leave.md"
        }
        assert set(documents(engine.search("paid", 7, filters="topic = 'x' or not topic = 'x'"))) == {
            "handbook/leave.md"
        }
        with request.context(filters="year = 1900"):
            assert documents(engine.search("paid", 7)) == []
        with pytest.raises(InputError):
            engine.search("paid", filters="topic = 'people') or (year > 0")
    assert len(set(documents(engine.search("paid", 7)))) == 3


def test_filters_of_the_request_hold_under_a_time_limit_too(engine: Engine) -> None:
    with request.context(filters={"topic": "people"}, deadline=PATIENCE):
        assert set(documents(engine.search("paid", 7))) == {"handbook/leave.md"}


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top_k": 0}, "top_k=0"),
        ({"top_k": -3}, "top_k=-3"),
        ({"k": 0}, "top_k=0"),
        ({"top_k": 10_001}, "top_k=10001"),
        ({"top_k": 2.5}, "top_k=2.5"),
        ({"top_k": True}, "top_k=True"),
        ({"query": ""}, "empty"),
        ({"query": " \n"}, "empty"),
        ({"query": None}, "empty"),
        ({"query": "x" * 1_000_001}, "1,000,001"),
        ({"mode": "fuzzy"}, "mode='fuzzy'"),
        ({"metric": "dot"}, "metric='dot'"),
        ({"score_threshold": 1.5}, "score_threshold=1.5"),
        ({"score_threshold": float("nan")}, "score_threshold=nan"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": -1.0}, "timeout=-1.0"),
        ({"filters": "year >"}, "character 7"),
    ],
)
def test_bad_arguments_are_refused_with_a_way_out(
    engine: Engine, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        engine.search(**{"query": "leave", **arguments})
    assert message in caught.value.message
    assert caught.value.hint


def test_a_question_of_another_embedder_is_refused_with_both_names(engine: Engine) -> None:
    with open_engine(engine.store.folder, BagEmbedder("other-bag")) as other:
        for limit in (None, PATIENCE):
            with pytest.raises(EmbedderMismatch) as caught:
                other.search("leave", timeout=limit)
            assert "bag-of-words" in caught.value.message
            assert "other-bag" in caught.value.message
        assert documents(other.search("paid leave", 1, mode="lexical")) == ["handbook/leave.md"]


def test_without_an_embedder_words_alone_search_and_it_is_said(engine: Engine, tmp_path: Path) -> None:
    with open_engine(engine.store.folder, dense=False) as lexical:
        found = lexical.search("paid leave", 1)
        assert documents(found) == ["handbook/leave.md"]
        assert "words alone" in found.plan["notes"][0]
        with pytest.raises(Unavailable, match="embedding model"):
            lexical.search("paid leave", mode="dense")
    with filled(tmp_path / "wordy", dense=False) as made:
        assert documents(made.search("paid leave", 1)) == ["handbook/leave.md"]
    with open_engine(tmp_path / "wordy") as later:
        assert documents(later.search("paid leave", 1)) == ["handbook/leave.md"]
        with pytest.raises(Unavailable, match="no vectors"):
            later.search("paid leave", mode="dense")


# ------------------------------------------------------------------ time


class HeldEmbedder(BagEmbedder):
    """Answers only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()

    def embed(self, texts: Any) -> np.ndarray:
        self.go.wait(PATIENCE)
        return super().embed(texts)


@contextmanager
def held(engine: Engine) -> Iterator[None]:
    """The store opens no snapshot until the block ends."""
    go, snapshot = threading.Event(), engine.store.snapshot

    @contextmanager
    def late(version: int | None = None) -> Iterator[Any]:
        go.wait(PATIENCE)
        with snapshot(version) as found:
            yield found

    engine.store.snapshot = late  # type: ignore[method-assign]
    try:
        yield
    finally:
        go.set()
        engine.store.snapshot = snapshot  # type: ignore[method-assign]


def test_enough_time_gives_the_same_result(engine: Engine) -> None:
    for mode in ("hybrid", "dense", "lexical"):
        plain = engine.search("paid leave", 5, mode=mode)
        limited = engine.search("paid leave", 5, mode=mode, timeout=PATIENCE)
        assert limited.items == plain.items
        assert limited.outcome == "ok"


def test_a_slow_store_gives_a_typed_outcome_within_the_limit(engine: Engine) -> None:
    with held(engine):
        began = time.monotonic()
        found = engine.search("paid leave", timeout=0.2)
        assert (found.outcome, len(found), found.kb_version) == ("timeout", 0, None)
        assert time.monotonic() - began < PATIENCE / 2, "it did not wait for the store"
        mine = (Passage(text="Later.", score=0.0, relevance=0.0, document="x"),)
        assert engine.search("paid leave", timeout=0.1, fallback=mine).fallback == mine


def test_a_slow_embedder_leaves_what_the_words_found(tmp_path: Path) -> None:
    embedder = HeldEmbedder()
    with filled(tmp_path / "kb", embedder=embedder) as engine:
        embedder.go.clear()
        try:
            found = engine.search("paid leave", 2, timeout=0.5)
            assert found.outcome == "partial"
            assert found.plan["cut"] == ["dense"]
            assert documents(found)[0] == "handbook/leave.md"
            assert engine.search("paid leave", mode="dense", timeout=0.1).outcome == "timeout"
        finally:
            embedder.go.set()
        assert engine.search("paid leave", 2, timeout=PATIENCE).outcome == "ok"


def test_slow_words_leave_what_the_vectors_found(engine: Engine) -> None:
    go, terms = threading.Event(), engine.words.terms

    def late(*arguments: Any) -> Any:
        if threading.current_thread() is stuck[0]:
            go.wait(PATIENCE)
        return terms(*arguments)

    stuck: list[threading.Thread] = []
    lexical = "_lexical_alone"
    from headrace.search.retrieve import Retrieval

    original = getattr(Retrieval, lexical)

    def first(self: Retrieval) -> Any:
        stuck.append(threading.current_thread())
        return original(self)

    engine.words.terms = late  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Retrieval, lexical, first)
        found = engine.search("paid leave a year", 2, timeout=0.5)
    go.set()
    assert found.outcome == "partial"
    assert found.plan["cut"] == ["lexical"]
    assert documents(found)[0] == "handbook/leave.md"


def test_the_deadline_of_the_request_caps_the_time_limit(engine: Engine) -> None:
    with held(engine), request.context(deadline=0.2):
        began = time.monotonic()
        assert engine.search("paid leave", timeout=PATIENCE).outcome == "timeout"
        assert time.monotonic() - began < PATIENCE / 2
        while (request.current().remaining or 0.0) > 0:
            time.sleep(0.005)
        with pytest.raises(Cancelled):
            engine.search("paid leave")


def test_a_deadline_that_is_far_off_costs_a_search_no_threads(engine: Engine) -> None:
    started: list[str] = []
    with pytest.MonkeyPatch.context() as patch, request.context(deadline=120):
        patch.setattr("headrace.search.retrieve._Stage", lambda work: started.append("stage"))
        assert engine.search("paid leave").outcome == "ok"
        with pytest.raises(AttributeError):  # a limit of its own is kept, by stages
            engine.search("paid leave", timeout=60)
    assert started


def test_a_cancelled_request_searches_no_more(engine: Engine) -> None:
    token = request.CancelToken()
    token.cancel("the browser was closed")
    with (
        request.use(request.RequestContext(cancel=token)),
        pytest.raises(Cancelled, match="browser"),
    ):
        engine.search("paid leave")


def test_an_error_in_a_thread_reaches_the_caller(engine: Engine) -> None:
    with pytest.raises(NotFound, match="version"):
        engine.search("paid leave", version=77, timeout=PATIENCE)


# ------------------------------------------------------------------ writing


def test_documents_are_found_as_soon_as_they_are_committed(engine: Engine) -> None:
    with engine.writer() as writer:
        writer.put([Document("# Airship\nThe zeppelin leaves at noon.", {"topic": "travel"}, "air.md")])
        for mode in ("hybrid", "dense", "lexical"):
            found = engine.search("zeppelin leaves at noon", 1, mode=mode)
            assert documents(found) == ["air.md"], mode
            assert found.kb_version is not None
            assert found.kb_version.version is None, "committed, not published"
        assert documents(engine.search("airship", 1, mode="lexical")) == ["air.md"]
        before = engine.search("zeppelin leaves at noon", 3)
        writer.publish()
    after = engine.search("zeppelin leaves at noon", 3)
    assert documents(after)[0] == documents(before)[0] == "air.md"


def test_deleted_and_changed_documents_are_not_found_any_more(engine: Engine) -> None:
    assert engine.delete(["workshop/kiln.md", "never there"]) == 1
    assert engine.search("kiln", mode="lexical").outcome == "empty"
    assert "workshop/kiln.md" not in documents(engine.search("The kiln must cool", 7))
    engine.update("handbook/leave.md", text="Everybody has forty holidays.")
    assert engine.search("thirty", mode="lexical").outcome == "empty"
    assert documents(engine.search("forty holidays", 1)) == ["handbook/leave.md"]
    assert engine.count() == 2
    assert engine.check() == []


def test_updating_metadata_sets_keys_and_keeps_the_rest(engine: Engine) -> None:
    engine.update("handbook/leave.md", metadata={"topic": "holidays", "new": 1})
    found = engine.get("handbook/leave.md")
    assert found is not None
    assert found.metadata["topic"] == "holidays"
    assert found.metadata["year"] == 2024
    assert set(documents(engine.search("paid", 7, filters={"new": 1}))) == {"handbook/leave.md"}
    assert documents(engine.search("paid", 7, filters={"topic": "people"})) == []
    assert engine.search("thirty days", 1)[0].heading == "Leave"
    with pytest.raises(NotFound, match="nobody"):
        engine.update("nobody", text="x")


def test_a_published_version_can_be_pinned(engine: Engine) -> None:
    first = engine.version()
    assert first.version is not None
    engine.delete(["handbook/leave.md"])
    engine.add([Document("Paid leave was abolished.", id="news")])
    now = engine.search("paid leave thirty days", 7)
    then = engine.search("paid leave thirty days", 7, version=first.version)
    assert "news" in documents(now)
    assert "handbook/leave.md" not in documents(now)
    assert documents(then)[0] == "handbook/leave.md"
    assert "news" not in documents(then)
    assert then.kb_version == first
    with pytest.raises(NotFound, match="99"):
        engine.search("leave", version=99)


def test_many_threads_search_while_one_writes(engine: Engine) -> None:
    wrong: list[Any] = []
    stop = threading.Event()

    def search() -> None:
        while not stop.is_set():
            try:
                found = engine.search("thirty days of paid leave a year", 3)
            except Exception as error:
                wrong.append(error)
                return
            if found[0].text != "Everybody has thirty days of paid leave a year.":
                wrong.append(found)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(6):
        engine.add([Document(f"Remark {n} on brass fittings.", id=f"r{n}")])
    engine.delete(["r0", "r1"])
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert wrong == []
    assert len(engine.search("brass fittings", 10, filters="document like 'r%'")) == 4


def test_reading_needs_no_splitter_and_writing_says_so(engine: Engine) -> None:
    with Engine.open(engine.store.folder, name="kb") as reader:
        assert documents(reader.search("paid leave", 1)) == ["handbook/leave.md"]
        with pytest.raises(Unavailable, match="reading"):
            reader.add(DOCUMENTS)
    with pytest.raises(NotFound):
        Engine.open(engine.store.folder / "nowhere", name="nowhere")


# ------------------------------------------------------------------ the record


def test_a_run_records_the_version_and_the_passages(engine: Engine) -> None:
    with tracing.collect("run") as collector:
        found = engine.search("paid leave", 2)
    assert collector.record["kb_versions"] == [found.kb_version]
    noted = collector.record["passages"]
    assert [(item["document"], item["start"], item["text"]) for item in noted] == [
        (p.document, p.start, p.text) for p in found
    ]
    spans = {span.name: span for span in collector.spans}
    assert spans["retrieve"].kind == "retrieve"
    assert spans["retrieve"].attributes["outcome"] == "ok"
    assert spans["retrieve"].attributes["passages"] == 2
    assert spans["embed"].parent == spans["retrieve"].id
    json.dumps(to_json(collector.record))


def test_explain_shows_the_parts_of_each_score(engine: Engine) -> None:
    found = engine.explain("paid leave", 3, filters="year >= 2020")
    assert found["plan"]["filter"] == "year >= 2020"
    for hit in found["hits"]:
        assert {"document", "score", "relevance", "bm25", "coverage", "cosine"} <= set(hit)
