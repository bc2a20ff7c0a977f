"""A random base learns a form from rows that were made up, and answers one that it never saw."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("trl", reason="the extra 'tune' is not installed")


def figures(said: str) -> dict[str, tuple[float, float, float]]:
    found = re.findall(r"^(.+?) +(\d+\.\d+)   95 %: (\d+\.\d+) to (\d+\.\d+)$", said, re.MULTILINE)
    return {name: (float(value), float(low), float(high)) for name, value, low, high in found}


def test_it_learns_on_the_spot_and_says_what_that_is_worth(
    example: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    example("mini_dolly").main(["--epochs", "20"])
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert "a random model, built here" in said
    found = figures(said)
    assert found["perplexity, tuned"][2] < found["perplexity, base"][1]
    asked = re.search(r"is by the (\w+) \.' → 'by the (\w+) \.'", " ".join(said.split()))
    assert asked is not None, said
    assert found["ends"][0] == 1.0


def test_help_tells_what_it_is(
    example: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    module = example("mini_dolly")
    with pytest.raises(SystemExit) as end:
        module.main(["--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0
    assert {"--base", "--data", "--epochs"} <= set(said.split())
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.slow
def test_a_real_base(
    example: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str], shared: Path
) -> None:
    example("mini_dolly").main(["--base", str(shared / "models" / "stories260K"), "--epochs", "10"])
    found = figures(capsys.readouterr().out)
    assert found["perplexity, tuned"][2] < found["perplexity, base"][1]
