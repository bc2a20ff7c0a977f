"""Personal data: found and found wrongly, on sentences of ours and on text that has hardly any.

The labelled sentences (tests/guards/data/personal.jsonl) were written together with the rules, benign
look-alikes included: order numbers, versions, times, ISBNs. Their figures say that the rules do what
they are meant to, not how much strangers' text holds. False alarms a megabyte are counted on SQuAD's
paragraphs and the PEPs, where every finding that is not plainly an e-mail address counts as one.

    python benchmarks/masking.py
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import machine
import squad
from headrace.guards import personal
from headrace.measure.statistics import rate

ROOT = Path(__file__).resolve().parents[1]
LABELLED = ROOT / "tests" / "guards" / "data" / "personal.jsonl"
PEPS = ROOT.parent / "shared" / "data" / "python_peps"


def interval(good: int, n: int) -> dict[str, Any]:
    found = rate(good, n)
    return {"share": found.value, "low": found.low, "high": found.high, "n": n}


def labelled() -> dict[str, Any]:
    """Precision and recall, place and kind exactly; a benign sentence with any finding."""
    rows = [json.loads(line) for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    right = said = true = stopped = benign = 0
    for row in rows:
        gold = {(f["kind"], f["start"], f["end"]) for f in row["findings"]}
        found = {(f.kind, f.start, f.end) for f in personal.locate(row["text"])}
        right, said, true = right + len(gold & found), said + len(found), true + len(gold)
        if not gold:
            benign += 1
            stopped += bool(found)
        if gold != found:
            print("  differs:", row["text"][:70], sorted(found ^ gold))
    return {
        "precision": interval(right, said),
        "recall": interval(right, true),
        "benign sentences with a finding": interval(stopped, benign),
    }


def quiet(name: str, text: str) -> dict[str, Any]:
    """Findings a megabyte, by kind, e-mail addresses apart."""
    began = time.monotonic()
    found = Counter(one.kind for one in personal.locate(text))
    seconds = time.monotonic() - began
    size = len(text.encode()) / 1e6
    others = sum(found.values()) - found["email"]
    print(f"{name}: {others / size:.1f} a MB without e-mails, {dict(found)}, {size / seconds:.2f} MB/s")
    return {
        "megabytes": round(size, 2),
        "findings": dict(found),
        "a_megabyte_without_emails": round(others / size, 2),
        "megabytes_a_second": round(size / seconds, 2),
    }


def main() -> None:
    """Measure, print, save."""
    result: dict[str, Any] = {"labelled": labelled()}
    for name, one in result["labelled"].items():
        print(f"{name}: {one['share']:.3f} [{one['low']:.3f}, {one['high']:.3f}] of {one['n']}")
    result["SQuAD"] = quiet("SQuAD", "\n".join(p.text for p in squad.load().paragraphs))
    files = sorted(path for path in PEPS.rglob("*") if path.suffix in (".rst", ".txt"))
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    result["PEPs"] = quiet("PEPs", "\n".join(texts))
    machine.save("masking", result, command="python benchmarks/masking.py")


if __name__ == "__main__":
    main()
