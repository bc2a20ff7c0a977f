"""The word index: BM25 over the chunks through tantivy, brought up to date by the writer.

A cache of the rows in SQLite. It knows ``seq`` numbers and words, not which chunks are live (the
caller masks that) nor how far it goes (the watermark row is the writer's). Rows that are newer
than the index are scored here with the same formula and the index's statistics, so that a
document is found as soon as it is committed.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headrace.errors import Corrupt
from headrace.search import terms as words_of
from headrace.search.terms import ANALYSER, Statistics, Term, analyse, bm25

if TYPE_CHECKING:
    import tantivy
    from numpy.typing import NDArray

    Seqs = NDArray[np.int64]
    Fresh = tuple[int, str, str]  # seq, text, heading

_HEAP = 64 << 20  # bytes the writer may gather before it writes a part
_MOST = 10_000  # how far ties at the cut are followed, so that seq and not the layout decides them
_REMEMBERED = 20_000  # analysed fresh rows that are kept between searches


@dataclass(frozen=True, kw_only=True)
class WordHits:
    """Chunks by descending BM25 score, equal scores by ``seq``."""

    seqs: Seqs
    scores: NDArray[np.float64]


def entry(text: str, heading: str) -> str:
    """What is indexed for a chunk: its headings can be searched with it."""
    return f"{heading}\n{text}" if heading else text


class Words:
    """The word index of one knowledge base. Nothing is opened, or imported, before it is used.

    Reading is safe from many threads. :meth:`apply` and :meth:`rebuild` are the writer's, under
    the knowledge base's lock.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._index: tantivy.Index | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._statistics: Statistics | None = None
        self._fresh: dict[int, tuple[Counter[str], int]] = {}

    # ------------------------------------------------------------------ the writer's side

    def apply(self, add: Iterable[Fresh], purge: Iterable[int], watermark: int) -> None:
        """Remove the seqs in ``purge``, replace or add the rows in ``add``; one durable commit.

        Doing it again changes nothing. ``watermark`` is kept by the writer, in its own commit
        after this one.
        """
        rows, gone = iter(add), list(purge)
        first = next(rows, None)
        if first is None and not gone and self._meta().is_file():
            return
        if not self._meta().is_file():
            self._create()
        self._write(self._chain(first, rows), gone)

    def rebuild(self, rows: Iterable[Fresh], watermark: int) -> None:
        """Forget everything and index ``rows``."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._create()
        self._write(iter(rows), [])

    def count(self) -> int:
        """How many chunks the index holds."""
        searcher = self._searcher()
        return searcher.num_docs if searcher is not None else 0

    def seqs(self) -> Seqs:
        """All seqs in the index, sorted: for ``kb check``."""
        from tantivy import Query

        searcher = self._searcher()
        if searcher is None or not searcher.num_docs:
            return np.empty(0, np.int64)
        hits = searcher.search(Query.all_query(), searcher.num_docs, count=False).hits
        return np.sort(self._seqs_of(searcher, hits))

    @staticmethod
    def _chain(first: Fresh | None, rows: Iterator[Fresh]) -> Iterator[Fresh]:
        if first is not None:
            yield first
            yield from rows

    def _create(self) -> None:
        from tantivy import Index

        self.folder.mkdir(parents=True, exist_ok=True)
        Index(_schema(), path=str(self.folder))
        self._forget()

    def _write(self, rows: Iterator[Fresh], gone: list[int]) -> None:
        from tantivy import Document

        index = self._open()
        writer = index.writer(_HEAP, 1)
        try:
            for seq in gone:
                writer.delete_documents_by_term("seq", seq)
            for seq, text, heading in rows:
                writer.delete_documents_by_term("seq", seq)
                document = Document()
                document.add_integer("seq", seq)
                document.add_text("body", words_of.composed(entry(text, heading)))
                writer.add_document(document)
            writer.commit()
        except BaseException:
            writer.rollback()
            raise
        finally:
            writer.wait_merging_threads()
        self._forget()

    # ------------------------------------------------------------------ the readers' side

    def statistics(self, fresh: Iterable[Fresh] = ()) -> Statistics:
        """Chunks and their average length in terms: the index's, or of ``fresh`` where it is empty."""
        searcher = self._searcher()
        if searcher is not None and searcher.num_docs:
            return self._measure(searcher)
        lengths = [self._counted(row)[1] for row in fresh]
        return Statistics(chunks=len(lengths), average=max(1.0, sum(lengths) / max(1, len(lengths))))

    def terms(self, question: str, fresh: Iterable[Fresh] = ()) -> tuple[Term, ...]:
        """The question's terms with their rarity here."""
        fresh = list(fresh)
        return words_of.weigh(words_of.asked(question), self._frequency(fresh), self.statistics(fresh))

    def content_terms(self, question: str, fresh: Iterable[Fresh] = ()) -> dict[str, float]:
        """``{stem: idf}`` of the question's content words: see :func:`terms.content_terms`."""
        fresh = list(fresh)
        statistics, frequency = self.statistics(fresh), self._frequency(fresh)
        return words_of.content_terms(
            question, lambda term: statistics.idf(min(frequency(term), statistics.chunks))
        )

    def search(
        self,
        terms: tuple[Term, ...],
        depth: int,
        *,
        keep: Callable[[Seqs], NDArray[np.bool_]] | None = None,
        only: Seqs | None = None,
        fresh: Iterable[Fresh] = (),
    ) -> WordHits:
        """The ``depth`` best chunks that hold one of the terms.

        ``keep`` says which seqs count (live, allowed); ``only`` narrows the search itself to a
        few seqs and is as exact. ``fresh`` are rows that the index may not have yet.
        """
        fresh = list(fresh)
        found: dict[int, float] = {}
        searcher = self._searcher()
        if searcher is not None and terms and depth > 0:
            found = self._ask(searcher, terms, depth, keep, only)
        if fresh and terms:
            seqs = np.array([row[0] for row in fresh], np.int64)
            kept = np.ones(len(seqs), bool) if keep is None else keep(seqs)
            if only is not None:
                kept &= np.isin(seqs, only)
            statistics = self.statistics(fresh)
            for row, wanted in zip(fresh, kept, strict=True):
                if wanted and row[0] not in found:
                    counts, length = self._counted(row)
                    if score := bm25(terms, counts, length, statistics):
                        found[row[0]] = score
        order = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:depth]
        return WordHits(
            seqs=np.array([seq for seq, _ in order], np.int64),
            scores=np.array([score for _, score in order], np.float64),
        )

    def coverage(
        self, terms: tuple[Term, ...], seqs: Seqs, fresh: Iterable[Fresh] = ()
    ) -> NDArray[np.float64]:
        """For each of ``seqs`` (sorted) the share of the terms, weighted by idf, that it holds."""
        result, whole = np.zeros(len(seqs)), sum(term.idf for term in terms)
        if not whole or not len(seqs):
            return result
        searcher = self._searcher()
        if searcher is not None:
            hits = searcher.search(_query(terms, seqs, present=True), len(seqs), count=False).hits
            found = self._seqs_of(searcher, hits)
            result[np.searchsorted(seqs, found)] = [score / whole for score, _ in hits]
        for row in fresh:
            at = int(np.searchsorted(seqs, row[0]))
            if at < len(seqs) and seqs[at] == row[0]:
                result[at] = words_of.coverage(terms, self._counted(row)[0])
        return np.minimum(result, 1.0)

    def _ask(
        self,
        searcher: tantivy.Searcher,
        terms: tuple[Term, ...],
        depth: int,
        keep: Callable[[Seqs], NDArray[np.bool_]] | None,
        only: Seqs | None,
    ) -> dict[int, float]:
        """Over-fetches until ``depth`` hits count, ties at the cut are in, or no more are there."""
        query = _query(terms, only)
        total = searcher.num_docs
        limit = min(total, depth + 32)
        while limit:
            hits = searcher.search(query, limit, count=False).hits
            seqs = self._seqs_of(searcher, hits)
            kept = np.ones(len(seqs), bool) if keep is None else keep(seqs)
            scores = np.fromiter((score for score, _ in hits), np.float64, len(hits))
            inside = np.flatnonzero(kept)
            if len(hits) < limit or limit >= total:
                break
            if len(inside) >= depth and (scores[inside[depth - 1]] > scores[-1] or limit >= _MOST):
                break
            limit = min(total, limit * 4)
        else:
            return {}
        return {int(seq): float(score) for seq, score in zip(seqs[inside], scores[inside], strict=True)}

    def _frequency(self, fresh: list[Fresh]) -> Callable[[str], int]:
        searcher = self._searcher()
        if searcher is not None and searcher.num_docs:
            return lambda term: searcher.doc_freq("body", term)
        counts = [self._counted(row)[0] for row in fresh]
        return lambda term: sum(1 for found in counts if term in found)

    def _counted(self, row: Fresh) -> tuple[Counter[str], int]:
        seq, text, heading = row
        if (known := self._fresh.get(seq)) is None:
            found = analyse(entry(text, heading))
            known = (Counter(found), len(found))
            if len(self._fresh) >= _REMEMBERED:
                self._fresh.clear()
            self._fresh[seq] = known
        return known

    def _measure(self, searcher: tantivy.Searcher) -> Statistics:
        """The numbers that tantivy itself scores with; its explanation of a score is their only door."""
        from tantivy import Query

        with self._lock:
            if self._statistics is not None:
                return self._statistics
            stamp = self._stamp
        chunks, average = searcher.num_docs, 1.0
        for term, _ in searcher.terms_with_prefix("body", "", limit=1):  # any term will do
            query = Query.term_query(_schema(), "body", term, index_option="freq")
            found = searcher.search(query, 1, count=False).hits
            if found:
                numbers = dict(_numbers(json.loads(query.explain(searcher, found[0][1]).to_json())))
                chunks, average = int(numbers["N"]), numbers["avgdl"]
        statistics = Statistics(chunks=chunks, average=max(average, 1.0))
        with self._lock:
            if self._stamp == stamp:
                self._statistics = statistics
        return statistics

    @staticmethod
    def _seqs_of(searcher: tantivy.Searcher, hits: list[tuple[object, tantivy.DocAddress]]) -> Seqs:
        values = searcher.fast_field_values("seq", [address for _, address in hits])
        return np.fromiter((-1 if value is None else int(value) for value in values), np.int64, len(hits))

    # ------------------------------------------------------------------ opening

    def _meta(self) -> Path:
        return self.folder / "meta.json"

    def _forget(self) -> None:
        with self._lock:
            self._index = self._stamp = self._statistics = None

    def _searcher(self) -> tantivy.Searcher | None:
        """A searcher over the newest commit; None where nothing was ever indexed."""
        try:
            stat = self._meta().stat()
        except FileNotFoundError:
            return None
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        with self._lock:
            if self._index is None:
                self._index = self._open()
                self._stamp, self._statistics = stamp, None
            elif stamp != self._stamp:
                try:
                    self._index.reload()
                except ValueError:  # replaced as a whole
                    self._index = self._open()
                self._stamp, self._statistics = stamp, None
            return self._index.searcher()

    def _open(self) -> tantivy.Index:
        from tantivy import Index

        try:
            index = Index.open(str(self.folder))
            known = ANALYSER in self._meta().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise Corrupt(
                f"The word index in {self.folder} cannot be opened: {error}",
                hint="It can be made again from the texts: headrace kb check --repair",
            ) from error
        if not known:
            raise Corrupt(
                f"The word index in {self.folder} was made by another version of Headrace.",
                hint="It can be made again from the texts: headrace kb check --repair",
            )
        index.register_tokenizer(ANALYSER, words_of.analyser())
        index.config_reader("manual", 0)
        return index


def _schema() -> tantivy.Schema:
    from tantivy import SchemaBuilder

    builder = SchemaBuilder()
    builder.add_integer_field("seq", indexed=True, fast=True)
    builder.add_text_field("body", tokenizer_name=ANALYSER, index_option="freq")
    return builder.build()


def _query(terms: tuple[Term, ...], only: Seqs | None, *, present: bool = False) -> tantivy.Query:
    """Any of the terms, weighted by how much they are asked; never a parsed query language.

    ``present``: a term adds its idf where it occurs, however often.
    """
    from tantivy import Occur, Query

    schema = _schema()
    clauses = []
    for term in terms:
        query = Query.term_query(schema, "body", term.text, index_option="freq")
        if present:
            query = Query.const_score_query(query, term.idf)
        elif term.count > 1:
            query = Query.boost_query(query, term.weight)
        clauses.append((Occur.Should, query))
    wanted = Query.boolean_query(clauses)
    if only is None:
        return wanted
    these = Query.const_score_query(Query.term_set_query(schema, "seq", only.tolist()), 0.0)
    return Query.boolean_query([(Occur.Must, these), (Occur.Must, wanted)])


def _numbers(explanation: dict[str, object]) -> Iterator[tuple[str, float]]:
    """(name, value) pairs of a tantivy explanation, where a name is what stands before the comma."""
    details = explanation.get("details", [])
    value = explanation["value"]
    if isinstance(value, (int, float)):
        yield str(explanation["description"]).partition(",")[0], float(value)
    for detail in details if isinstance(details, list) else []:
        yield from _numbers(detail)
