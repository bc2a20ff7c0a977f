"""The word index: what it finds, in what order, and that it agrees with the formula."""

from __future__ import annotations

import math
import shutil
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Corrupt
from headrace.search import terms as words_of
from headrace.search.words import Words, entry

ROWS = [
    (1, "Ships wait in the harbour until the tide is high.", "Harbour"),
    (2, "The tide table lists high and low water for every day.", "Harbour"),
    (4, "Café owners pay a fee for tables on the pavement.", "Town"),
    (7, "Running water, running costs: what the town pays.", "Town"),
]


@pytest.fixture
def words(tmp_path: Path) -> Words:
    found = Words(tmp_path / "words")
    found.apply(ROWS, [], 1)
    return found


def ask(words: Words, question: str, depth: int = 10, **more: object) -> list[int]:
    return words.search(words.terms(question), depth, **more).seqs.tolist()  # type: ignore[arg-type]


def test_finds_by_words_stems_accents_and_headings(words: Words) -> None:
    assert ask(words, "tides") == [1, 2]
    assert ask(words, "cafe") == [4]
    assert ask(words, "CAFE\u0301") == [4]
    assert ask(words, "to run") == [7]
    assert set(ask(words, "harbour")) == {1, 2}
    assert ask(words, "zeppelin") == []


def test_equal_scores_are_ordered_by_seq(tmp_path: Path) -> None:
    words = Words(tmp_path / "words")
    words.apply([(seq, "the same line", "") for seq in (30, 10, 20, 40, 5)], [], 1)
    assert ask(words, "same line", depth=3) == [5, 10, 20]


def test_a_question_of_stop_words_alone_still_finds(words: Words) -> None:
    assert 2 in ask(words, "and for")
    assert words_of.asked("What is the tide?") == Counter({"tide": 1})


def test_scores_are_the_formula(words: Words) -> None:
    terms = words.terms("How high is the water in the harbour? High water?")
    statistics = words.statistics()
    lengths = [len(words_of.analyse(entry(text, heading))) for _, text, heading in ROWS]
    assert statistics.chunks == len(ROWS)
    assert statistics.average == pytest.approx(sum(lengths) / len(lengths))
    high = next(term for term in terms if term.text == "high")
    assert (high.count, high.frequency) == (2, 2)
    assert high.idf == pytest.approx(math.log(1 + (4 - 2 + 0.5) / (2 + 0.5)))
    hits = words.search(terms, 10)
    texts = {seq: entry(text, heading) for seq, text, heading in ROWS}
    for seq, score in zip(hits.seqs.tolist(), hits.scores.tolist()):
        found = words_of.analyse(texts[seq])
        assert score == pytest.approx(words_of.bm25(terms, Counter(found), len(found), statistics), rel=1e-5)
        assert score <= words_of.ceiling(terms)


@settings(deadline=None, max_examples=25)
@given(repeats=st.lists(st.integers(1, 3_000), min_size=2, max_size=5))
def test_long_chunks_are_scored_as_the_index_scores_them(
    tmp_path_factory: pytest.TempPathFactory, repeats: list[int]
) -> None:
    words = Words(tmp_path_factory.mktemp("kb") / "words")
    texts = {seq: "brine " * (1 + n % 3) + "filler " * n for seq, n in enumerate(repeats, 1)}
    words.apply([(seq, text, "") for seq, text in texts.items()], [], 1)
    terms, statistics = words.terms("brine"), words.statistics()
    hits = words.search(terms, 10)
    assert len(hits.seqs) == len(texts)
    for seq, score in zip(hits.seqs.tolist(), hits.scores.tolist()):
        found = words_of.analyse(texts[seq])
        assert score == pytest.approx(words_of.bm25(terms, Counter(found), len(found), statistics), rel=1e-5)


def test_a_fresh_row_is_ranked_as_if_it_were_indexed(words: Words, tmp_path: Path) -> None:
    new = (9, "High tide, high water, high time.", "Harbour")
    question = "high water at the harbour"
    before = words.search(words.terms(question, [new]), 10, fresh=[new])
    assert before.seqs[0] == 9
    words.apply([new], [], 2)
    after = words.search(words.terms(question), 10)
    assert after.seqs.tolist() == before.seqs.tolist()
    both = words.search(words.terms(question, [new]), 10, fresh=[new])
    assert both.seqs.tolist() == after.seqs.tolist(), "a row in both places counts once"


def test_fresh_rows_alone_need_no_index(tmp_path: Path) -> None:
    words = Words(tmp_path / "nothing")
    terms = words.terms("tide", ROWS)
    assert words.search(terms, 10, fresh=ROWS).seqs.tolist() == [1, 2]
    assert words.search(terms, 10).seqs.tolist() == []
    assert not (tmp_path / "nothing").exists(), "reading makes nothing"
    assert words.count() == 0
    assert words.seqs().tolist() == []


def test_masked_hits_are_made_up_for(tmp_path: Path) -> None:
    words = Words(tmp_path / "words")
    words.apply([(seq, f"tide number {seq}", "") for seq in range(1, 601)], [], 1)
    kept = np.arange(590, 601)
    keep = lambda seqs: np.isin(seqs, kept)  # noqa: E731
    assert sorted(ask(words, "tide", depth=5, keep=keep)) == [590, 591, 592, 593, 594]
    assert sorted(ask(words, "tide", depth=50, keep=keep)) == kept.tolist()
    assert sorted(ask(words, "tide", depth=50, only=np.array([3, 77, 9_999]))) == [3, 77]
    assert ask(words, "tide", depth=5, keep=lambda seqs: np.zeros(len(seqs), bool)) == []


def test_only_gives_the_same_scores(words: Words) -> None:
    terms = words.terms("high water tables")
    whole = dict(zip(*map(np.ndarray.tolist, (words.search(terms, 10).seqs, words.search(terms, 10).scores))))
    some = words.search(terms, 10, only=np.array([2, 4]))
    assert dict(zip(some.seqs.tolist(), some.scores.tolist())) == pytest.approx({s: whole[s] for s in (2, 4)})


def test_applying_twice_changes_nothing_and_purging_removes(words: Words) -> None:
    words.apply(ROWS[1:3], [], 2)
    assert words.count() == 4
    assert words.seqs().tolist() == [1, 2, 4, 7]
    words.apply([(2, "No more of it.", "")], [1, 999], 3)
    assert words.seqs().tolist() == [2, 4, 7]
    assert ask(words, "tide") == []
    words.apply([], [], 4)
    assert words.count() == 3


def test_rebuilding_forgets_what_was_there(words: Words) -> None:
    words.rebuild([(50, "only this", "")], 9)
    assert words.seqs().tolist() == [50]
    assert ask(words, "tide") == []


def test_another_reader_sees_what_the_writer_wrote(words: Words) -> None:
    reader = Words(words.folder)
    assert ask(reader, "tide") == [1, 2]
    words.apply([(8, "The tide turns.", "")], [], 2)
    assert 8 in ask(reader, "tide")
    words.rebuild([(8, "The tide turns.", "")], 3)
    assert ask(reader, "tide") == [8]


def test_the_question_is_never_read_as_a_query_language(words: Words) -> None:
    for question in ('tide" OR (', "body:tide", "tide AND NOT high^9~", "seq:1", "/ti.*/", "[a TO z]", "\\"):
        assert set(ask(words, question)) <= {1, 2, 4, 7}
    assert ask(words, "seq:1") == []


def test_an_enormous_question_is_answered_by_its_rarest_words(words: Words) -> None:
    noise = " ".join(f"word{i}" for i in range(20_000))
    question = f"{noise} tide pavement {'water ' * 5_000}"
    assert len(question) > 100_000
    terms = words.terms(question)
    assert len(terms) <= words_of.MOST_TERMS
    assert {"tide", "pavement"} <= {term.text for term in terms}
    assert set(ask(words, question)) == {1, 2, 4, 7}


def test_scripts_without_spaces_are_found_by_their_characters(tmp_path: Path) -> None:
    words = Words(tmp_path / "words")
    words.apply([(1, "北京大学在海淀区", ""), (2, "東京の天気", ""), (3, "हिन्दी में लिखा", "")], [], 1)
    assert ask(words, "大学") == [1]
    assert ask(words, "天気は") == [2]
    assert ask(words, "हिन्दी") == [3]


def test_content_terms_are_keyed_as_text_stems_them(words: Words) -> None:
    found = words.content_terms("How high are the tides at the harbour?")
    assert list(found) == ["high", "tide", "harbour"]
    assert found["harbour"] == pytest.approx(words.statistics().idf(2))
    assert words.content_terms("zeppelin")["zeppelin"] == pytest.approx(words.statistics().idf(0))


def test_coverage_is_the_share_of_rarity_that_is_present(words: Words) -> None:
    terms = words.terms("high tide zeppelin")
    assert words_of.coverage(terms, {term.text for term in terms}) == pytest.approx(1.0)
    assert words_of.coverage(terms, set()) == 0.0
    assert words_of.coverage((), {"tide"}) == 0.0
    by_name = {term.text: term.idf for term in terms}
    share = words_of.coverage(terms, {"tide"})
    assert share == pytest.approx(by_name["tide"] / sum(by_name.values()))


def test_coverage_through_the_index_is_the_same(words: Words) -> None:
    new = (9, "High water in the harbour.", "")
    terms = words.terms("high water zeppelin tables high")
    texts = {seq: set(words_of.analyse(entry(text, heading))) for seq, text, heading in [*ROWS, new]}
    seqs = np.array([1, 2, 4, 7, 9, 500])
    found = words.coverage(terms, seqs, [new])
    expected = [words_of.coverage(terms, texts.get(seq, set())) for seq in seqs.tolist()]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    assert words.coverage((), seqs).tolist() == [0.0] * 6


def test_a_damaged_or_foreign_index_is_named(words: Words, tmp_path: Path) -> None:
    (words.folder / "meta.json").write_text("{", encoding="utf-8")
    with pytest.raises(Corrupt, match="cannot be opened"):
        ask(Words(words.folder), "tide")
    shutil.rmtree(words.folder)
    import tantivy

    other = tantivy.SchemaBuilder().add_text_field("body").build()
    words.folder.mkdir()
    tantivy.Index(other, path=str(words.folder))
    with pytest.raises(Corrupt, match="another version"):
        ask(Words(words.folder), "tide")


def test_many_threads_read_while_one_writes(words: Words) -> None:
    reader, wrong = Words(words.folder), []

    def read() -> None:
        for _ in range(40):
            found = ask(reader, "tide")
            if not {1, 2} <= set(found):
                wrong.append(found)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for seq in range(100, 110):
        words.apply([(seq, "tide", "")], [], seq)
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(ask(reader, "tide", depth=50)) == 12


def test_surrogates_and_odd_characters_do_not_stop_it(words: Words) -> None:
    words.apply([(60, "broken \ud800 tide \x00 text", "\ud800")], [], 3)
    assert 60 in ask(words, "tide \udfff")
