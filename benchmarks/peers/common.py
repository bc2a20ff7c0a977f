"""What the peers' scripts share: arguments, clocks, one JSON line at the end. Standard library only.

    PEER_side.py store FOLDER CHUNKS VECTORS        store texts and their ready vectors on disk
    PEER_side.py first FOLDER MODEL                 open, embed one question, top 4, print
    PEER_side.py warm FOLDER MODEL                  the same, then 50 other questions: p50, peak memory
    PEER_side.py ingest FOLDER MODEL CHUNKS         embed and store texts the peer's default way

Each peer gives the functions ``store``, ``opened`` and ``ingest`` (see :func:`main`) and imports
what it needs in them, so that ``first`` pays for nothing else.
"""

import json
import resource
import statistics
import sys
import time

QUESTION = "How does a class pattern bind the attributes of the matched object to names?"
QUESTIONS = [
    f"{ask} {what}?"
    for ask in ("Why was it decided to change", "How does the proposal handle", "What is said about")
    for what in (
        *("string formatting", "the import system", "type hints for tuples", "generators", "coroutines"),
        *("the global interpreter lock", "wheel tags", "exception groups", "metaclasses", "descriptors"),
        *("integer division", "decorators", "the release schedule", "unicode identifiers", "dictionaries"),
        *("context managers", "virtual environments"),
    )
][:50]


def lines(path):
    """The chunks: a list of {"id", "text"}."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def main(store, opened, ingest):
    """``store(folder, chunks, vectors)``; ``opened(folder, model)`` gives ``ask(question) -> [text]``;
    ``ingest(folder, model)`` loads the model and gives ``write(chunks)``."""
    job, folder, *rest = sys.argv[1:]
    if job == "store":
        import numpy

        chunks, vectors = lines(rest[0]), numpy.load(rest[1])
        began = time.process_time()
        store(folder, chunks, vectors)
        print(json.dumps({"cpu_seconds": round(time.process_time() - began, 2), "chunks": len(chunks)}))
    elif job == "first":
        texts = opened(folder, rest[0])(QUESTION)
        assert len([text for text in texts if text]) == 4, texts
        print(json.dumps({"texts": texts}))
    elif job == "warm":
        ask = opened(folder, rest[0])
        for question in QUESTIONS[:5]:
            ask(question)
        spent = []
        for question in QUESTIONS:
            began = time.perf_counter()
            texts = ask(question)
            spent.append(time.perf_counter() - began)
            assert len(texts) == 4, texts
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"p50_ms": round(statistics.median(spent) * 1000, 2), "peak_mb": round(peak)}))
    elif job == "ingest":
        chunks = lines(rest[1])
        write = ingest(folder, rest[0])
        cpu, wall = time.process_time(), time.perf_counter()
        more = write(chunks) or {}
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"chunks": len(chunks), "cpu": cpu, "wall": wall, "peak_mb": round(peak), **more}))
    else:
        raise SystemExit(f"no such job: {job}")
