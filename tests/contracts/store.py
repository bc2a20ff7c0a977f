"""What everything that ingest writes into must do (storage.Sink). A test class inherits this.

It gives two fixtures: ``sink``, an empty one, and ``live``, a function that tells the texts by id
as a reader sees them now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headrace.storage import Sink, Source
from headrace.types import Document

Live = Callable[[], Mapping[str, str]]


def a_source(name: str, content: str = "1") -> Source:
    """A file as ingest saw it."""
    return Source(path=f"/d/{name}", given=f"d/{name}", hash=content, size=1, mtime_ns=1, reader="r")


class SinkContract:
    """Documents in, whole, durable and readable at once; sources finished, changed, removed."""

    def test_an_empty_one(self, sink: Sink, live: Live) -> None:
        assert dict(sink.sources()) == {}
        assert live() == {}

    def test_what_is_put_can_be_read(self, sink: Sink, live: Live) -> None:
        result = sink.put([Document("one\n", id="a"), Document("two\n", id="b")])
        assert (result.added, result.replaced, result.unchanged) == (2, 0, 0)
        assert result.chunks == 2
        assert live() == {"a": "one\n", "b": "two\n"}

    def test_again_and_changed(self, sink: Sink, live: Live) -> None:
        first = sink.put([Document("one\n", id="a"), Document("two\n", id="b")])
        result = sink.put([Document("one\n", id="a"), Document("three\n", id="b"), Document("4\n", id="c")])
        assert (result.added, result.replaced, result.unchanged) == (1, 1, 1)
        assert result.commit > first.commit
        assert live() == {"a": "one\n", "b": "three\n", "c": "4\n"}

    def test_nothing(self, sink: Sink, live: Live) -> None:
        assert sink.put([]).added == 0
        assert live() == {}

    def test_a_source_is_known_when_it_is_finished(self, sink: Sink, live: Live) -> None:
        source = a_source("x")
        sink.put([Document("one\n", id="a"), Document("two\n", id="b")], source)
        assert dict(sink.sources()) == {}
        assert sink.finish(source, ["a", "b"]) == 0
        assert dict(sink.sources()) == {source.path: source}
        changed = a_source("x", "2")
        assert sink.finish(changed, ["b"]) == 1
        assert dict(sink.sources()) == {changed.path: changed}
        assert live() == {"b": "two\n"}

    def test_files_share_a_put(self, sink: Sink, live: Live) -> None:
        files = [a_source("x"), a_source("y")]
        sink.put([Document("one\n", id="a"), Document("two\n", id="b")], files)
        assert sink.finish_all([(files[0], ["a"]), (files[1], ["b"])]) == 0
        assert set(sink.sources()) == {"/d/x", "/d/y"}
        assert sink.remove("/d/x") == 1
        assert set(sink.sources()) == {"/d/y"}
        assert live() == {"b": "two\n"}

    def test_a_finished_source_claims_what_had_none(self, sink: Sink, live: Live) -> None:
        sink.put([Document("one\n", id="a")])
        sink.finish(a_source("x"), ["a"])
        assert sink.remove("/d/x") == 1
        assert sink.remove("/d/x") == 0
        assert live() == {}

    def test_publishing(self, sink: Sink, live: Live) -> None:
        sink.put([Document("one\n", id="a")])
        first = sink.publish()
        assert sink.publish() == first
        sink.put([Document("two\n", id="b")])
        assert sink.publish() > first
        assert sink.publish("named") >= first
        assert live() == {"a": "one\n", "b": "two\n"}
