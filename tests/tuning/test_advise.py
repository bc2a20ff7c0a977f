"""Which route first: the order holds, training from nothing is never advised, each no has its reason."""

from __future__ import annotations

import itertools
import json

import pytest

from headrace.cli.main import run
from headrace.errors import InputError
from headrace.tuning.advise import MISSING, ROUTES, Case, advise


def test_every_case_keeps_the_order_and_never_starts_from_nothing() -> None:
    options = itertools.product(MISSING, (0, 50, 5000), (True, False), (True, False))
    for missing, rows, private, measured in options:
        tried: set[str] = set()
        seen: list[str] = []
        while True:
            routes = advise(
                Case(
                    missing=missing,  # type: ignore[arg-type]
                    rows=rows,
                    private=private,
                    measured=measured,
                    tried=frozenset(tried),
                )
            )
            assert tuple(route.route for route in routes) == ROUTES
            assert all(route.why for route in routes)
            following = [route.route for route in routes if route.verdict == "next"]
            if not following:
                break
            (found,) = following
            seen.append(found)
            tried.add(found)
        assert "from scratch" not in seen
        assert seen == [route for route in ROUTES if route in seen]
        assert ("service" in seen) <= (not private)
        assert ("tune" in seen) <= (rows >= 1000 and measured and missing in ("form", "labels"))


def test_a_few_cases() -> None:
    def first(case: Case) -> str:
        return next(route.route for route in advise(case) if route.verdict == "next")

    before = frozenset({"prompt", "few-shot", "instruct"})
    assert first(Case()) == "prompt"
    assert first(Case(missing="facts", tried=frozenset({"prompt"}))) == "documents"
    assert first(Case(missing="search", rows=500)) == "embedder"
    assert first(Case(rows=5000, tried=before, measured=True)) == "tune"
    assert first(Case(rows=5000, tried=before, measured=True, private=False)) == "service"
    tune = next(route for route in advise(Case(rows=5000, tried=before)) if route.route == "tune")
    assert tune.verdict == "no"
    assert "held-out" in tune.why
    with pytest.raises(InputError, match="luck"):
        advise(Case(tried=frozenset({"luck"})))


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", "advise", "--missing", "labels", "--rows", "40", "--tried", "prompt"]
    assert run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["next"] == "few-shot"
    assert [route["route"] for route in found["routes"]] == list(ROUTES)
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "→ few-shot" in said
    assert max(map(len, said.splitlines())) <= 80
