"""Ledgers and traces for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.ledger.database import Ledger
from headrace.settings import LedgerSettings
from headrace.tracing import new_id
from headrace.types import Answer, Citation, Span, Trace

NOW = 1_750_000_000.0
MakeTrace = Callable[..., Trace]
OpenLedger = Callable[..., Ledger]


def make_trace(**changes: Any) -> Trace:
    """A run as an application leaves it behind: two spans, a prompt, a cited answer."""
    start = changes.pop("start", NOW)
    text = "The ferry leaves at nine [1]."
    cited = Citation(
        number=1,
        document="docs/ferry.md",
        heading="Timetable",
        start=10,
        end=37,
        text="The ferry leaves at nine.",
        score=0.5,
        relevance=0.9,
    )
    given: dict[str, Any] = {
        "id": new_id(start),
        "start": start,
        "seconds": 0.25,
        "subject": {"app": "harbour", "release": None, "fingerprint": "f" * 64},
        "context": {"user": "ana", "session": "s1"},
        "inputs": {"question": "When does the ferry leave?"},
        "output": Answer(text=text, citations=(cited,), answered_by="scripted:echo", confidence=0.8),
        "record": {
            "prompts": [{"hash": "a" * 64, "messages": [{"role": "user", "content": "Tell me: ferry"}]}],
            "models": [{"name": "scripted:echo", "claimed": False}],
        },
        "spans": (
            Span(
                id="00000000000000b1",
                parent="00000000000000a1",
                name="complete",
                kind="model",
                start=start + 0.1,
                seconds=0.1,
                attributes={"model": "scripted:echo", "provider": "scripted", "input_tokens": 12},
            ),
            Span(id="00000000000000a1", parent=None, name="harbour", kind="app", start=start, seconds=0.25),
        ),
    }
    return Trace(**{**given, **changes})


@pytest.fixture
def open_ledger(tmp_path: Path) -> Iterator[OpenLedger]:
    """Opens ledgers at one path (settings as keywords) and closes them after the test."""
    opened: list[Ledger] = []

    def open_one(path: Path | None = None, **settings: Any) -> Ledger:
        ledger = Ledger.open(
            path or tmp_path / "state" / "ledger.sqlite", LedgerSettings(**settings), clock=lambda: NOW
        )
        opened.append(ledger)
        return ledger

    yield open_one
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger: OpenLedger) -> Ledger:
    return open_ledger()
