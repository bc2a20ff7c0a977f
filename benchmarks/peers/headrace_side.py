"""Headrace's side. Its base is made by ``stored.py``; chunks come ready, so nobody's splitter counts.

headrace_side.py ingest FOLDER PRECISION CHUNKS
"""

import sys
from pathlib import Path

import common

sys.path.append(str(Path(__file__).parents[1]))


def store(folder, chunks, vectors):
    raise SystemExit("stored.py makes Headrace's base")


def opened(folder, model):
    import headrace as hr

    kb = hr.KnowledgeBase(Path(folder))
    return lambda question: [passage.text for passage in kb.search(question, top_k=4)]


def ingest(folder, precision):
    import time

    from embedded import Whole
    from headrace.models.embedder import open_embedder
    from headrace.search.engine import Engine
    from headrace.settings import home
    from headrace.types import Document

    embedder = open_embedder(precision=precision, home=home())
    embedder.warm()
    spent = {"cpu": 0.0, "wall": 0.0}

    class Watched:
        """The embedder, with a clock round ``embed``."""

        identity, dimension, window = embedder.identity, embedder.dimension, embedder.window

        def embed(self, texts):
            cpu, wall = time.process_time(), time.perf_counter()
            found = embedder.embed(texts)
            spent["cpu"] += time.process_time() - cpu
            spent["wall"] += time.perf_counter() - wall
            return found

        def offsets(self, text):
            return embedder.offsets(text)

    watched, whole = Watched(), Whole()
    engine = Engine.open(
        Path(folder), name="kb", create=True, embedder=lambda: watched, splitter=lambda: whole
    )

    def write(chunks):
        engine.add([Document(c["text"], {}, c["id"]) for c in chunks])
        return {"embed_cpu": spent["cpu"], "embed_wall": spent["wall"]}

    return write


if __name__ == "__main__":
    common.main(store, opened, ingest)
