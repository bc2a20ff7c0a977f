"""A process that ingests until it is killed: ``python store_child.py FOLDER SEED [LIMIT]``.

Prints the ids of each acknowledged write on one line. The documents follow from the seed alone,
so that a resumed run makes the same ones. Uses the real word index. LIMIT sets RLIMIT_FSIZE.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from headrace.errors import DiskFull
from headrace.search import compact, publish
from headrace.search.store import Store
from headrace.search.words import Words
from headrace.types import Document
from search.store_kit import HashEmbedder, LineSplitter, source

DOCUMENTS = 120
ROUNDS = 2  # the second one replaces every document


def documents(seed: int, round: int) -> list[Document]:
    """The documents of a round; a few long ones among many short ones."""
    made = []
    for number in range(DOCUMENTS):
        chance = random.Random(f"{seed} {number} {round}")
        lines = chance.choice([1, 3, 8, 40])
        text = "".join(f"line {n} of {number}, round {round}: {chance.random()}\n" for n in range(lines))
        made.append(Document(text, {"number": number, "round": round}, f"d{number}"))
    return made


def run(folder: Path, seed: int) -> None:
    """Ingest both rounds; publish, seal and prune now and then."""
    publish.SEAL, publish.SEAL_AT_PUBLISH = 200, 100  # so that a short run seals often
    embedder, splitter = HashEmbedder(), LineSplitter()
    with (
        Store.open(folder, create=True) as store,
        store.writer(
            embedder=lambda: embedder, splitter=lambda: splitter, words=Words(folder / "words")
        ) as writer,
    ):
        chance = random.Random()
        for round in range(ROUNDS):
            made = documents(seed, round)
            at = 0
            while at < len(made):
                part = made[at : at + chance.randint(1, 12)]
                files = [source(f"{document.id}", str(round)) for document in part]
                writer.put(part, files)
                writer.finish_all(
                    [(file, [document.key]) for file, document in zip(files, part, strict=True)]
                )
                print(round, *[document.id for document in part], flush=True)
                at += len(part)
                if chance.random() < 0.15:
                    print("published", writer.publish(), flush=True)
                if chance.random() < 0.05:
                    compact.prune(writer, keep_versions=2)
        writer.publish()
    print("complete", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
    try:
        run(Path(sys.argv[1]), int(sys.argv[2]))
    except DiskFull as error:
        print("full", error.code, flush=True)
