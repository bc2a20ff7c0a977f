"""The monitor page and its twin: what the ledger says, escaped, for this application only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.resources import build
from headrace.tracing import new_id
from headrace.types import Answer, Feedback, Trace

Serve = Callable[..., Any]


@pytest.fixture
def runs(project: Path) -> Iterator[Path]:
    """Two releases of the application `handbook`, one with an unkind name, and votes."""
    import time

    ledger = build.ledger(project)
    now = time.time()
    for number in range(12):
        at = now - 3600 * (12 - number)
        release = "aaaa1111" if number < 6 else '<script>"x"'
        trace = Trace(
            id=new_id(at),
            start=at,
            seconds=0.2,
            subject={"app": "handbook", "release": release},
            inputs={"question": "How much does the large crane lift?"},
            output=Answer(text="40 tonnes."),
            record={"passages": [{"relevance": 0.6}], "usage": [{"input_tokens": 7, "output_tokens": 2}]},
            context={"user": "monitored"},
        )
        ledger.record(trace)
        ledger.add_feedback(
            Feedback(trace_id=trace.id, value="up" if number % 3 else "down", user="monitored", at=at + 1)
        )
    yield project
    ledger.forget_user("monitored")


def test_releases_stand_side_by_side(runs: Path, serve: Serve) -> None:
    server = serve("handbook")
    with server.client() as client:
        page = client.get("/monitor?since=24h")
        twin = client.get("/monitor.json?since=24h").json()
    assert page.status_code == 200
    assert page.text.count("<svg") == 4
    assert "<script>" not in page.text
    assert "No alarm after" in page.text
    parts = {part["release"]: part for part in twin["releases"] if part["release"]}  # other tests ask too
    assert {name: part["runs"] for name, part in parts.items()} == {"aaaa1111": 6, '<script>"x"': 6}
    assert [(part["up"], part["down"]) for part in parts.values()] == [(4, 2), (4, 2)]
    thumbs = parts["aaaa1111"]["thumbs"]
    assert thumbs["low"] < 4 / 6 < thumbs["high"]
    assert sum(part["input_tokens"] for part in parts.values()) == 84
    assert len([point for point in twin["trend"] if point["release"]]) == 12
    assert twin["alarm"]["raised"] is None


def test_an_application_sees_its_own_runs_only(runs: Path, serve: Serve) -> None:
    server = serve("who")
    with server.client() as client:
        client.post("/v1/apps/who/invoke", json={"question": "hello"})
        twin = client.get("/monitor.json").json()
    assert {part["release"] for part in twin["releases"]} == {""}
    assert twin["whole"]["up"] == 0


def test_before_the_first_run_the_page_is_empty(project: Path, serve: Serve) -> None:
    server = serve("hostile")
    for row in build.ledger(project).traces(app="hostile", limit=1000):
        with sqlite3.connect(build.ledger(project).path) as connection:
            connection.execute("DELETE FROM traces WHERE id = ?", (row.id,))
    with server.client() as client:
        page = client.get("/monitor")
    assert page.status_code == 200
    assert "Nothing was asked in this time" in page.text


@pytest.mark.parametrize("since", ["", "7", "-1d", "<b>", "9" * 400 + "d"])
def test_a_strange_length_of_time_is_refused(serve: Serve, since: str) -> None:
    server = serve("handbook")
    with server.client() as client:
        answer = client.get("/monitor.json", params={"since": since})
    assert answer.status_code == 422
    assert "length of time" in answer.text


def test_a_run_says_step_by_step_what_happened(serve: Serve) -> None:
    server = serve("handbook")
    with server.client() as client:
        ids = [
            client.post("/v1/apps/handbook/invoke", json={"question": question}).json()["trace_id"]
            for question in ("How much does the large crane lift?", "Who composed the fourth symphony?")
        ]
        answered, refused = (client.get(f"/traces/{id}.json").json()["steps"] for id in ids)
        shown = client.get(f"/traces/{ids[1]}", headers={"accept": "text/html"}).text
    assert {step["verdict"] for step in answered} == {"ok"}
    (stopped,) = (step for step in refused if step["verdict"] == "stopped")
    assert stopped["name"] == "quote"
    assert "threshold" in stopped["said"]
    assert "Step by step" in shown
    assert "stopped" in shown
