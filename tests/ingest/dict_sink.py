"""A Sink in memory: the same promises as the real one, in plain dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.storage import PutResult, Source
from headrace.types import Document


class DictSink:
    """``fail_at`` raises ``error`` in that call of put (from 1), before anything is written."""

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.owner: dict[str, str | None] = {}
        self.state: dict[str, Source] = {}
        self.puts: list[list[str]] = []
        self.published = 0
        self.fail_at = 0
        self.error: BaseException = KeyboardInterrupt()

    def sources(self) -> Mapping[str, Source]:
        return dict(self.state)

    def put(
        self, documents: Sequence[Document], source: Source | Sequence[Source | None] | None = None
    ) -> PutResult:
        each = [source] * len(documents) if source is None or isinstance(source, Source) else source
        self.puts.append([document.key for document in documents])
        if len(self.puts) == self.fail_at:
            raise self.error
        added = replaced = unchanged = 0
        for document, owner in zip(documents, each, strict=True):
            old = self.documents.get(document.key)
            added += old is None
            replaced += old is not None and old.hash != document.hash
            unchanged += old is not None and old.hash == document.hash
            self.documents[document.key] = document
            self.owner[document.key] = owner.path if owner else None
        return PutResult(added=added, replaced=replaced, unchanged=unchanged, chunks=added + replaced)

    def finish(self, source: Source, documents: Sequence[str]) -> int:
        return self.finish_all([(source, documents)])

    def finish_all(self, sources: Sequence[tuple[Source, Sequence[str]]]) -> int:
        removed = 0
        for source, ids in sources:
            for id in ids:
                assert id in self.documents, f"{id} was never put"
                self.owner[id] = source.path
            removed += self._drop({i for i, o in self.owner.items() if o == source.path} - set(ids))
            self.state[source.path] = source
        return removed

    def remove(self, path: str) -> int:
        self.state.pop(path, None)
        return self._drop({i for i, owner in self.owner.items() if owner == path})

    def _drop(self, ids: set[str]) -> int:
        for id in ids:
            del self.documents[id], self.owner[id]
        return len(ids)

    def publish(self, name: str | None = None) -> int:
        self.published += 1
        return self.published
