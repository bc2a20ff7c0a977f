"""``[ledger] mask = true``: texts are kept, personal data and secrets in them are not."""

from __future__ import annotations

from pathlib import Path

from headrace.flows.load import load
from headrace.resources import build
from headrace.types import to_json

SOURCE = '''
import headrace as hr


@hr.step
def look_up(question: str) -> str:
    return "found for " + question


@hr.app
def desk(question: str) -> hr.Answer:
    """Answer."""
    if "broken" in question:
        raise ValueError(question)
    look_up(question)
    return hr.Answer(text="Card 4111 1111 1111 1111 belongs to ana@post.example.")
'''


def test_no_copy_of_a_value_is_stored(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text(
        '[app]\nentry = "app.py:desk"\n[ledger]\nmask = true\n', encoding="utf-8"
    )
    (tmp_path / "app.py").write_text(SOURCE, encoding="utf-8")
    app = load(tmp_path)
    given = app("Whose is ana@post.example?")
    assert "ana@post.example" in given.text  # the user sees the answer as it is
    try:
        app("broken for ana@post.example")
    except ValueError:
        pass
    else:
        raise AssertionError("it must raise")
    ledger = build.ledger(tmp_path)
    ledger.flush(10.0)
    trace = ledger.trace(given.trace_id)
    stored = str(to_json(trace))
    assert "Whose is [EMAIL_1]?" in stored
    assert "Card [CARD_1] belongs to [EMAIL_1]." in stored
    assert ledger.count() == 2
    for path in (tmp_path / ".headrace").glob("ledger.sqlite*"):
        assert b"ana@post.example" not in path.read_bytes()
        assert b"4111 1111" not in path.read_bytes()
